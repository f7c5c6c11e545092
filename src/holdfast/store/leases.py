"""Leases: who needs which stored artefacts now, so that nothing is removed under a running server or job.

What generations, releases and lineages need follows from the audit log; only what *runs* has to be remembered, and is forgotten
with the process that ran it. Invariants: an artefact is never held and being removed at the same time: ``hold`` refuses
what is being removed, ``removing`` leaves out what is held, and neither waits in between; a lease ends when its block ends,
however it ends. Kept in memory, by one thread: the daemon's event loop.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Leases:
    """All leases of one store."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[str, frozenset[str]]] = {}
        self._removing: frozenset[str] = frozenset()
        self._next = 0

    def take(self, holder: str, digests: Iterable[str]) -> int:
        """Keep artefacts from being removed until ``release``.

        Args:
            holder: Who needs them, for people: ``serving``, ``train.run`` ...
            digests: The artefacts.

        Returns:
            The lease's number.

        Raises:
            Conflict: If one of them is just being removed.
        """
        wanted = frozenset(digests)
        lost = sorted(wanted & self._removing)
        if lost:
            raise Conflict(
                "store.removing",
                f"The artefact {hashing.short(lost[0])} is just being removed from the store.",
                remedy="Import the medium that holds it again.",
                digest=lost[0],
            )
        self._next += 1
        self._held[self._next] = (holder, wanted)
        return self._next

    def release(self, number: int) -> None:
        """End a lease; nothing happens if it has ended.

        Args:
            number: What ``take`` gave.
        """
        self._held.pop(number, None)

    @contextmanager
    def hold(self, holder: str, digests: Iterable[str]) -> Iterator[None]:
        """Keep artefacts from being removed while a block runs.

        Args:
            holder: Who needs them, for people.
            digests: The artefacts.

        Yields:
            Nothing.
        """
        number = self.take(holder, digests)
        try:
            yield
        finally:
            self.release(number)

    @contextmanager
    def removing(self, digests: Iterable[str]) -> Iterator[frozenset[str]]:
        """Keep artefacts from being leased while a block removes them.

        Args:
            digests: What shall go.

        Yields:
            Those of them that nobody holds: the block may remove these.
        """
        self._removing = frozenset(digests) - self.held.keys()
        try:
            yield self._removing
        finally:
            self._removing = frozenset()

    @property
    def held(self) -> dict[str, tuple[str, ...]]:
        """The holders of every artefact that is leased, by its digest."""
        found: dict[str, list[str]] = {}
        for holder, digests in self._held.values():
            for digest in digests:
                found.setdefault(digest, []).append(holder)
        return {digest: tuple(sorted(holders)) for digest, holders in found.items()}
