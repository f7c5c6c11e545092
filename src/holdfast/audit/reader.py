"""A log as it can be read while it grows: events, tree, and what it can prove and sign of itself.

Invariants: only events that are on disk are read; nothing here changes the log but the stored checkpoint's successor, which
``Log`` makes. Any thread may read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.audit import event
from holdfast.audit.segment import damaged, name
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.audit.event import Event
    from holdfast.audit.stored import Stored


class Reader:
    """What of a log can be read.

    Args:
        stored: The log on its disk.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._stored.origin

    @property
    def size(self) -> int:
        """Events on disk, with those that were archived."""
        return self._stored.size

    @property
    def first(self) -> int:
        """The first event that is still here."""
        return self._stored.first

    @property
    def root(self) -> bytes:
        """Merkle root over the events on disk, 32 bytes."""
        return self._stored.root()[1]

    def boundaries(self) -> list[int]:
        """List where segments begin.

        Returns:
            The first event of each, in order.
        """
        return self._stored.boundaries

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Read stored events.

        Args:
            start: The first.
            stop: One past the last; no more than ``size`` are given.

        Yields:
            Each event's bytes as stored.

        Raises:
            NotFound: If they were archived.
            VerificationFailed: If they are no longer what was written.
        """
        seq = start
        try:
            for _, body in self._stored.read(start, min(stop, self.size)):
                yield body
                seq += 1
        except FileNotFoundError as error:
            if seq >= self.first:
                raise damaged(seq, self._stored.folder, "its segment is gone") from error
            raise NotFound(
                "audit.archived",
                f"Event {seq} was archived; the first that is here is {self.first}.",
                remedy="Look it up in the archive that holds it.",
                seq=seq,
                first=self.first,
            ) from error

    def event(self, seq: int) -> Event:
        """Read one event.

        Args:
            seq: Its number.

        Returns:
            The event.

        Raises:
            NotFound: If there is no such event on disk.
        """
        return event.parse(self._one(seq))

    def events(self) -> Iterator[Event]:
        """Read all events that are here, for a fold.

        Yields:
            Each event, in order.
        """
        for body in self.read(self.first, self.size):
            yield event.parse(body)

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Read leaf hashes, of archived events too.

        Args:
            start: The first.
            stop: One past the last, at most ``size``.

        Yields:
            32 bytes each, in order.
        """
        yield from self._stored.leaves(start, self._within(stop))

    def root_at(self, size: int) -> bytes:
        """Give the root that the log had at a size.

        Args:
            size: Events, at most ``size``.

        Returns:
            32 bytes.
        """
        return self._stored.tree.root_at(self._within(size))

    def peaks(self, size: int) -> list[bytes]:
        """Give the frontier that the log had at a size.

        Args:
            size: Events, at most ``size``.

        Returns:
            The roots of the complete subtrees, 32 bytes each, the largest first.
        """
        return self._stored.tree.peaks(self._within(size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the log of one size is a beginning of the log of another.

        Args:
            old: The smaller size, at least 1.
            new: The larger size, at most ``size``.

        Returns:
            Hashes in the order of RFC 6962 section 2.1.2.

        Raises:
            NotFound: If the sizes are none that the log had, in this order.
        """
        if not 0 < old <= self._within(new):
            raise _unknown(old, self.size)
        return self._stored.tree.consistency(old, new)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all segments here."""
        return sum((self._stored.folder / name(first)).stat().st_size for first in self.boundaries())

    def _one(self, seq: int) -> bytes:
        if not 0 <= seq < self.size:
            raise _unknown(seq, self.size)
        return b"".join(self.read(seq, seq + 1))

    def _within(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise _unknown(size, self.size)
        return size


def _unknown(seq: int, size: int) -> NotFound:
    return NotFound("audit.seq", f"The log has no event {seq}.", remedy=f"It has {size}, from 0.", seq=seq)
