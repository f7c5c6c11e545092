"""How fast this machine multiplies matrices: the measure that a run's own speed is held against.

The largest of several square products, at the run's precision and threads, is what the hardware and its matrix library give
at best; a run reaches a fraction of it (model FLOP utilisation, after Chowdhery et al., "PaLM", 2022, arXiv:2204.02311,
appendix B, with a measured peak in place of the data sheet's). Invariants: no random number is drawn.
"""

from __future__ import annotations

import time
from functools import cache

import torch

SIZES = (1024, 2048)  # rows and columns: enough for a matrix library's best, few for slow processors
SECONDS = 0.25  # at each size


@cache
def measure(dtype: torch.dtype, device: str, threads: int) -> float:
    """Measure the peak, once in a process.

    Args:
        dtype: Numbers of the product.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of one operation, as torch has been told.

    Returns:
        Floating-point operations per second.
    """
    del threads  # other threads, another peak
    return max(_rate(size, dtype, device) for size in SIZES)


def _rate(size: int, dtype: torch.dtype, device: str) -> float:
    left = torch.linspace(-1, 1, size * size, device=device).reshape(size, size).to(dtype)  # [n, n]
    right = left.t().contiguous()  # [n, n]
    into = torch.empty(size, size, dtype=dtype, device=device)  # [n, n]
    _timed(left, right, into)  # the first product prepares the kernel
    best = float("inf")
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        best = min(best, _timed(left, right, into))
    return 2 * size**3 / (best if best < float("inf") else _timed(left, right, into))


def _timed(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> float:
    begun = time.perf_counter()
    torch.mm(left, right, out=into)
    if left.is_cuda:
        torch.cuda.synchronize()
    return max(time.perf_counter() - begun, 1e-9)
