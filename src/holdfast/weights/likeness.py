"""How like a merged model is to its base with the adapter applied.

The adapter is applied by peft as at training, the merged model is read from disk as later users read it: two ways that share
no arithmetic with ``lora``. Models are opened one after the other; only the logits of the probe are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.gguf.fidelity import chunks, log_softmax
from holdfast.gguf.reference import Reference
from holdfast.weights.spec import PROBE_TOKENS, Likeness

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt


def compare(model: Path, adapter: Path, merged: Path, texts: Iterable[str], threads: int) -> Likeness:
    """Compare a merged model with what it was made from.

    Args:
        model: Folder of the base, with its tokenizer.
        adapter: Folder of the adapter.
        merged: Folder of the merged model.
        texts: Probe texts; without any, the built-in ones are used.
        threads: Threads to compute with.

    Returns:
        The figures; a figure that is not a number is infinite.
    """
    reference = Reference(model, threads)
    probes = chunks(reference.token_ids, reference.context, texts, PROBE_TOKENS)
    plain = _logits(reference, probes)
    wanted = _logits(reference.with_adapter(adapter), probes)
    del reference
    found = _logits(Reference(merged, threads), probes)
    return Likeness(
        difference=_finite(np.abs(wanted - found).max()),
        kl=_divergence(wanted, found),
        effect=_divergence(wanted, plain),
        tokens=len(wanted),
    )


def _logits(model: Reference, probes: list[list[int]]) -> npt.NDArray[np.float32]:
    return np.concatenate([model.logits(probe) for probe in probes])


def _divergence(wanted: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    first, second = log_softmax(wanted), log_softmax(found)
    return _finite((np.exp(first) * (first - second)).sum() / len(first))


def _finite(value: np.floating[npt.NBitBase]) -> float:
    """Give a figure, infinite if it is not a number, so that every bound refuses it."""
    return float(value) if np.isfinite(value) else float("inf")
