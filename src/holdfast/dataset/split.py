"""The split into rows to train on and rows held out, by a stable hash.

A row is held out if the SHA-256 of its cluster's name is below the share. A cluster (rows that are equal, or nearly) is named
by the smallest digest among its rows, so that it never straddles the split. Invariants: the split knows neither order, file nor
line; a row changes sides only when a row that is nearly equal to it is added or removed. No I/O.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

_BYTES = 8  # of the hash that are compared with the share


def held_out(clusters: Mapping[str, Hashable], share: float) -> set[str]:
    """Decide which rows are held out.

    Args:
        clusters: The digest of each distinct row, and its cluster.
        share: The part of the clusters that is held out, from 0 to 1.

    Returns:
        The digests of the rows that are.
    """
    names: dict[Hashable, str] = {}
    for digest, cluster in clusters.items():
        names[cluster] = min(names.get(cluster, digest), digest)
    out = {cluster for cluster, name in names.items() if _is_out(name, share)}
    return {digest for digest, cluster in clusters.items() if cluster in out}


def _is_out(name: str, share: float) -> bool:
    # Hashed again: the smallest of many digests is small, and would be held out too often.
    drawn = int.from_bytes(hashlib.sha256(b"holdfast.split\0" + bytes.fromhex(name)).digest()[:_BYTES], "big")
    return drawn < share * float(2 ** (8 * _BYTES))


class Clusters:
    """Sets of rows that grow together (union-find, Tarjan 1975).

    Args:
        members: Digests of the distinct rows.
    """

    def __init__(self, members: Iterable[str]) -> None:
        self._above = {one: one for one in members}
        self._sizes = dict.fromkeys(self._above, 1)

    def root(self, member: str) -> str:
        """Find the name of a row's cluster.

        Args:
            member: The row's digest.

        Returns:
            The digest that stands for the cluster at this moment.
        """
        while self._above[member] != member:
            self._above[member] = self._above[self._above[member]]
            member = self._above[member]
        return member

    def size(self, member: str) -> int:
        """Count a row's cluster.

        Args:
            member: The row's digest.

        Returns:
            How many rows are in it.
        """
        return self._sizes[self.root(member)]

    def join(self, one: str, other: str) -> None:
        """Put two rows into one cluster.

        Args:
            one: A row's digest.
            other: Another's.
        """
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        if (self._sizes[one], one) < (self._sizes[other], other):
            one, other = other, one
        self._above[other] = one
        self._sizes[one] += self._sizes.pop(other)

    def named(self) -> dict[str, str]:
        """Give every row's cluster.

        Returns:
            Row's digest to cluster's name.
        """
        return {one: self.root(one) for one in self._above}
