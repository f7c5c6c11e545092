"""The Merkle tree of a growing log, and proofs from it.

Leaves are SHA-256(0x00 || bytes), inner nodes SHA-256(0x01 || left || right). Invariants: memory is one hash per 256
leaves; the lowest eight levels are computed again from stored leaf hashes when a proof needs them; a tree answers for
every size up to its own. No I/O: the stored leaf hashes come through a function.

Source: RFC 6962 section 2.1; proofs are verified as in RFC 9162 sections 2.1.3 and 2.1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.audit.verify import HASH, Frontier, inclusion_root, leaf_hash, node_hash

__all__ = ["HASH", "TILE", "Frontier", "Tree", "consistent", "inclusion_root", "leaf_hash", "node_hash"]

TILE = 256  # leaves below one hash that is kept

Leaves = Callable[[int, int], Sequence[bytes]]


class Tree(Frontier):
    """A frontier that also keeps the root of every complete tile, so that proofs are quick.

    Args:
        leaves: Gives the leaf hashes ``start`` to ``stop - 1``; asked for whole tiles or the unfinished last one.
    """

    def __init__(self, leaves: Leaves) -> None:
        super().__init__()
        self._leaves = leaves
        self._tile = Frontier()
        self._levels: list[bytearray] = []
        self._held: tuple[int, Sequence[bytes]] = (-1, ())

    def append(self, leaf: bytes) -> None:
        """Take the next leaf.

        Args:
            leaf: Its hash, 32 bytes.
        """
        super().append(leaf)
        self._tile.append(leaf)
        if self._tile.size == TILE:
            self._keep(self._tile.root())
            self._tile = Frontier()

    def _keep(self, node: bytes) -> None:
        for kept in self._levels:
            kept.extend(node)
            if (len(kept) // HASH) & 1:
                return
            node = node_hash(bytes(kept[-2 * HASH : -HASH]), node)
        self._levels.append(bytearray(node))

    def root_at(self, size: int) -> bytes:
        """Give the root that the tree had at a size.

        Args:
            size: Leaves, at most the tree's own.

        Returns:
            32 bytes.
        """
        return self._range(0, size) if size else Frontier().root()

    def peaks(self, size: int) -> list[bytes]:
        """Give the frontier that the tree had at a size.

        Args:
            size: Leaves, at most the tree's own.

        Returns:
            The roots of the complete subtrees, 32 bytes each, the largest first.
        """
        found, start = [], 0
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                found.append(self._range(start, start + (1 << bit)))
                start += 1 << bit
        return found

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove that a leaf is in the tree of a size.

        Args:
            index: The leaf's number, below ``size``.
            size: Leaves, at most the tree's own.

        Returns:
            Sibling hashes from the leaf's up to the root's child (RFC 6962 section 2.1.1).
        """
        path: list[bytes] = []
        start, stop = 0, size
        while stop - start > 1:
            middle = start + _split(stop - start)
            if index < middle:
                path.append(self._range(middle, stop))
                stop = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the tree of one size is a beginning of the tree of another.

        Args:
            old: The smaller size, at least 1.
            new: The larger size, at most the tree's own.

        Returns:
            Hashes in the order of RFC 6962 section 2.1.2.
        """
        path: list[bytes] = []
        start, stop, whole = 0, new, True
        while old != stop:
            middle = start + _split(stop - start)
            if old <= middle:
                path.append(self._range(middle, stop))
                stop = middle
            else:
                path.append(self._range(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._range(start, stop))
        return path[::-1]

    def _range(self, start: int, stop: int) -> bytes:
        """Give the root over leaves ``start`` to ``stop - 1``; ``start`` is aligned as in RFC 6962."""
        count = stop - start
        if count >= TILE and count & (count - 1) == 0:
            level, place = (count // TILE).bit_length() - 1, start // count * HASH
            return bytes(self._levels[level][place : place + HASH])
        if count <= TILE:
            frontier = Frontier()
            for leaf in self._within_tile(start, stop):
                frontier.append(leaf)
            return frontier.root()
        middle = start + _split(count)
        return node_hash(self._range(start, middle), self._range(middle, stop))

    def _within_tile(self, start: int, stop: int) -> Sequence[bytes]:
        """Give leaves of one tile; a proof asks for several parts of the same one, so the last one read is held."""
        tile, begin = start // TILE, start // TILE * TILE
        held, leaves = self._held
        if held != tile or len(leaves) < stop - begin:
            leaves = self._leaves(begin, min(begin + TILE, self.size))
            self._held = tile, leaves
        return leaves[start - begin : stop - begin]


def _split(count: int) -> int:
    """Give the largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether a proof shows that one tree extends another (RFC 9162 section 2.1.4.2).

    Args:
        old: Size of the earlier tree, at least 1.
        new: Size of the later tree.
        old_root: Root of the earlier tree, 32 bytes.
        new_root: Root of the later tree, 32 bytes.
        path: What ``Tree.consistency`` gave.

    Returns:
        True if both roots follow from the path.
    """
    if not 0 < old <= new or (old == new and path):
        return False
    if old == new:
        return old_root == new_root
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not hashes:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root
