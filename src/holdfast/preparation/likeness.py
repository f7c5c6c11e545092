"""Near duplicates: MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3).

Order of operations: distinct rows in the order of their digests; each is looked up among those before it; candidates are compared
by their signatures, and the likely ones by their pieces; what is alike is one cluster. Invariants: seeds and permutations are
fixed, so that the same rows give the same clusters in whatever order they came; a pair is joined only after it was compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]  # it has no type hints

from holdfast.dataset.split import Clusters
from holdfast.preparation import shingles
from holdfast.preparation.sources import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from holdfast.dataset.forms import Row
    from holdfast.preparation.shingles import Hashes
    from holdfast.preparation.sources import Reporter

ALIKE = 0.8  # Jaccard index from which two rows are near duplicates (Lee et al., 2022, arXiv:2107.06499)
# A pair at 0.8 is found with a chance of 0.99995; half of those at 0.5 come up for comparison.
BANDS, ROWS = 25, 5
SEED = 1
SCHEME = "affine32"
SLACK = 0.15  # by which a signature may underrate a pair that is then compared: 4 standard errors
# Of a cluster that are looked up: with all of them, a thousand equal forms would take a million looks.
MEMBERS = 32
LOOKS = 64  # pairs of one row that are compared piece by piece
SHORTEST = 12  # pieces that a row must have: two very short answers are alike by chance
EVERY = 1000  # rows between two reports of progress


def clusters(rows: Iterable[Row], reporter: Reporter) -> dict[str, str]:
    """Find rows that are nearly equal.

    Args:
        rows: All rows; equal ones count once.
        reporter: Is told how far it is.

    Returns:
        Each distinct row's digest, and its cluster's name.
    """
    distinct = {row.digest: row for row in rows}
    found = Clusters(distinct)
    index = Index()
    for done, digest in enumerate(sorted(distinct)):
        if done % EVERY == 0:
            check(reporter)
            reporter.progress("looking for near duplicates", done, len(distinct))
        pieces = shingles.of_texts(distinct[digest].content.texts())
        if pieces.size < SHORTEST:
            continue
        signature = signed(pieces)
        for other in index.alike(signature, pieces):
            found.join(digest, other)
        if found.size(digest) <= MEMBERS:
            index.add(digest, signature, pieces)
    return found.named()


class Index:
    """Texts that can be looked up by likeness."""

    def __init__(self) -> None:
        self._lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        self._names: list[str] = []
        self._pieces: list[Hashes] = []
        self._signatures: list[npt.NDArray[np.uint32]] = []

    def add(self, name: str, signature: MinHash, pieces: Hashes) -> None:
        """Add a text.

        Args:
            name: Its name.
            signature: Its MinHash.
            pieces: Its pieces.
        """
        self._lsh.insert(len(self._names), signature, check_duplication=False)
        self._names.append(name)
        self._pieces.append(pieces)
        self._signatures.append(signature.hashvalues)

    def alike(self, signature: MinHash, pieces: Hashes) -> list[str]:
        """Find the texts that are nearly equal to one.

        Args:
            signature: Its MinHash.
            pieces: Its pieces.

        Returns:
            Their names, the most alike first; at most ``LOOKS`` texts are compared.
        """
        candidates = np.array(sorted(self._lsh.query(signature)), np.int64)
        if not candidates.size:
            return []
        signatures = np.stack([self._signatures[at] for at in candidates])
        shared = (signatures == signature.hashvalues).mean(axis=1)
        likely = candidates[np.lexsort((candidates, -shared))][: int((shared >= ALIKE - SLACK).sum())]
        return [
            self._names[at] for at in likely[:LOOKS] if shingles.likeness(self._pieces[at], pieces) >= ALIKE
        ]


def signed(pieces: Hashes) -> MinHash:
    """Give the MinHash of a text.

    Args:
        pieces: Its pieces.

    Returns:
        The signature.
    """
    found = MinHash(num_perm=BANDS * ROWS, seed=SEED, scheme=SCHEME, hashfunc=_itself)
    found.update_batch(pieces)
    return found


def matching(names: Mapping[str, tuple[str, ...]]) -> Index:
    """Make an index of texts.

    Args:
        names: The texts by name.

    Returns:
        The index; texts that are too short to be compared are not in it.
    """
    index = Index()
    for name, texts in names.items():
        pieces = shingles.of_texts(texts)
        if pieces.size >= SHORTEST:
            index.add(name, signed(pieces), pieces)
    return index


def _itself(value: int) -> int:
    return value
