"""The rolling hash of a run's state: one line of hashes that two equal runs share from the first step to the last.

H_0 is SHA-512 of the run digest's text; H_k is SHA-512 of H_{k-1}, the step and SHA-512 over every trained tensor (by name:
name, dtype, shape, bytes) and the loss. Invariants: equal chains mean equal weights at every hashed step; each hash depends
on all before it, so that a chain can't be mended behind a difference. It is not kept during steps in between, and reading
the tensors changes nothing.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import torch

from holdfast import hashing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.hashing import Digest


def first(run: Digest) -> Digest:
    """Give the hash before the first step.

    Args:
        run: The run's digest.

    Returns:
        H_0.
    """
    return hashing.sha512(run.encode("ascii"))


def following(before: Digest, *, step: int, tensors: Mapping[str, torch.Tensor], loss: float) -> Digest:
    """Give the next hash.

    Args:
        before: The hash before it.
        step: Optimiser steps done.
        tensors: What is trained, by name, on any device and of any dtype.
        loss: The step's loss.

    Returns:
        H_k.
    """
    state = hashlib.sha512()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        state.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # As bytes, for NumPy has no bfloat16; on the CPU without a copy.
        state.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    state.update(struct.pack("<d", loss))
    return hashing.sha512(hashing.raw(before) + struct.pack("<Q", step) + state.digest())
