"""Texts as sets of hashed pieces of five characters, by which likeness is measured.

Invariants: the same text gives the same set on every machine; a set is bounded, by keeping its smallest hashes: two such sketches
still give the likeness of the whole texts (bottom-k sketch, Broder 1997).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from holdfast.dataset.overlap import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint32]

PIECE = 5  # characters of one piece: words are too long where they are not spaced, and in short questions
KEPT = 4096  # hashes of one text; more would not change the likeness by a hundredth


def of_texts(texts: Iterable[str]) -> Hashes:
    """Give the pieces of a row.

    Args:
        texts: Its texts; no piece spans two.

    Returns:
        Distinct hashes, ascending, at most ``KEPT``.
    """
    parts = [windows(plain(text), PIECE) for text in texts]
    whole = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
    return np.unique((whole >> np.uint64(32)).astype(np.uint32))[:KEPT]


def windows(text: str, length: int) -> npt.NDArray[np.uint64]:
    """Hash every piece of a text.

    Args:
        text: The text.
        length: Characters of a piece.

    Returns:
        A 64-bit hash for each position; one for the whole text if it is shorter than a piece, none if it is empty.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if not codes.size:
        return np.empty(0, np.uint64)
    count = max(1, codes.size - length + 1)
    found = np.full(count, min(length, codes.size), np.uint64)
    for at in range(min(length, codes.size)):
        found = _mixed(found * np.uint64(0x9E3779B97F4A7C15) + codes[at : at + count])
    return found


def likeness(one: Hashes, other: Hashes) -> float:
    """Measure how alike two texts are.

    Args:
        one: The pieces of one.
        other: The pieces of the other.

    Returns:
        The Jaccard index: shared pieces over all pieces, from 0 to 1; estimated where a sketch is full.
    """
    both = np.intersect1d(one, other, assume_unique=True)
    if max(one.size, other.size) < KEPT:
        union = one.size + other.size - both.size
        return float(both.size / union) if union else 1.0
    smallest = np.union1d(one, other)[:KEPT]
    return float(np.isin(both, smallest, assume_unique=True).sum() / smallest.size)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter hashes over 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
