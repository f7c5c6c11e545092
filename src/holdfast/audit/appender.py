"""The one thread that takes what is to be appended, from threads of this process and from other processes' sockets.

Order of operations of a turn: wait for sockets or the bell → read what came → take a group → commit it → let every channel
answer. One thread does it all, so that an event crosses no other thread between its socket and its answer. Invariants: what is
taken is settled exactly once, in the order in which it was taken; what waits is bounded, because whoever hands in more waits;
no callback may wait or raise.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.audit.actions import Action
    from holdfast.audit.event import Prepared
    from holdfast.errors import HoldfastError

    Settle = Callable[["Receipt | HoldfastError"], None]

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
MAX_GROUP = 256  # events synced at once; 16 MiB at their largest
MAX_PENDING = 8_192  # events that wait; beyond it ``put`` waits too, so that memory stays bounded


@dataclass(frozen=True, slots=True)
class Receipt:
    """That an event is on disk.

    Args:
        seq: Its number.
        time: Its time, as in the event.
        leaf: Its leaf hash, ``sha256:`` and 64 digits.
    """

    seq: int
    time: str
    leaf: str


@dataclass(slots=True)
class Run:
    """One life of a producer.

    Args:
        name: The producer, one of ``event.PRODUCERS``.
        id: 16 hexadecimal digits.
        count: How many of its events are on disk.
        refused: Events that it handed in and that were not taken: action and the error's key, by their number. They are
            put on the record as ``audit.refused`` before what follows them.
    """

    name: str
    id: str
    count: int = 0
    refused: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that waits to be written.

    Args:
        action: What it is.
        prepared: Its bytes, less what only the log knows.
        run: Who hands it in.
        settle: Told its receipt, or why it is not recorded; called once, from the appender's thread.
        number: Its number among those of its run; None for the next one.
    """

    action: Action
    prepared: Prepared
    run: Run
    settle: Settle
    number: int | None = None


class Channel(Protocol):
    """A socket that events come from. The appender's thread calls; nothing here may wait."""

    def fileno(self) -> int:
        """Give the descriptor to watch."""

    def receive(self) -> None:
        """Read what came; called when there is something, or the other end is gone."""

    def advance(self) -> int | None:
        """Send and take what can be; gives the epoll events to wait for (0: none), or None when all is over."""

    def abandon(self) -> None:
        """Let go: nothing here is called any more."""


class Appender:
    """See the module's description.

    Args:
        commit: Writes a group and settles all of it.
        failed: Told if the thread ends otherwise than by ``stop``.
    """

    def __init__(
        self, commit: Callable[[list[Pending]], None], failed: Callable[[Exception], object]
    ) -> None:
        self._commit, self._failed = commit, failed
        self._room = threading.Condition()
        self._queue: deque[Pending] = deque()
        self._arrivals: deque[Channel] = deque()
        self._channels: dict[int, tuple[Channel, int]] = {}  # by descriptor, with what is waited for
        self._broken: set[Channel] = set()
        self._closing = self._ended = False
        self._epoll, self._bell = select.epoll(), os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="audit-appender", daemon=True)
        self._thread.start()

    def put(self, pending: Pending) -> bool:
        """Hand in an event; waits while ``MAX_PENDING`` others wait.

        Args:
            pending: The event.

        Returns:
            False if nothing is taken any more.
        """
        with self._room:
            self._room.wait_for(lambda: len(self._queue) < MAX_PENDING or self._closing)
            if self._closing:
                return False
            self._queue.append(pending)
            if len(self._queue) == 1:
                self._ring()
        return True

    def push(self, pending: Pending) -> None:
        """Hand in an event from a channel, which keeps its own bound; called in the appender's thread.

        Args:
            pending: The event.
        """
        with self._room:
            self._queue.append(pending)

    def attend(self, channel: Channel) -> None:
        """Look at a channel soon: it is new, or something about it changed in another thread.

        Args:
            channel: The channel.
        """
        with self._room:
            if not self._ended:
                self._arrivals.append(channel)
                self._ring()
                return
        channel.abandon()

    def stop(self) -> None:
        """Commit what waits, and end."""
        with self._room:
            self._closing = True
            self._room.notify_all()
            if not self._ended:
                self._ring()
        self._thread.join()

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._room:
                stopped, self._closing, self._ended = self._closing, True, True
                left = [*self._queue]
                channels = [*(channel for channel, _ in self._channels.values()), *self._arrivals]
                self._room.notify_all()
                self._epoll.close()
                os.close(self._bell)
            for channel in channels:
                channel.abandon()
            if not stopped:
                self._failed(RuntimeError("the appender ended unexpectedly"))
                self._commit(left)  # refuses it all

    def _turn(self) -> bool:
        for descriptor, events in self._epoll.poll(0 if self._queue else -1):
            if descriptor == self._bell:
                os.eventfd_read(self._bell)
            elif events & ~select.EPOLLOUT:
                channel, _ = self._channels[descriptor]
                self._ask(channel, channel.receive)
        if group := self._take():
            self._commit(group)
        self._advance()
        with self._room:
            return bool(self._queue) or not self._closing

    def _take(self) -> list[Pending]:
        with self._room:
            full = len(self._queue) >= MAX_PENDING
            group = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
            while self._arrivals:
                channel = self._arrivals.popleft()
                self._channels.setdefault(channel.fileno(), (channel, 0))
            if full:
                self._room.notify_all()
        return group

    def _ask(self, channel: Channel, call: Callable[[], T]) -> T | None:
        """Call a channel; one that breaks is let go of, and stops neither the log nor the others."""
        if channel in self._broken:
            return None
        try:
            return call()
        except Exception:  # noqa: BLE001 - whatever breaks in one channel, the log goes on
            _LOG.exception("A channel into the audit log broke; it is cut off.")
            self._broken.add(channel)
            return None

    def _advance(self) -> None:
        for descriptor, (channel, watched) in [*self._channels.items()]:
            wanted = self._ask(channel, channel.advance)
            if wanted == watched:
                continue
            if watched:
                self._epoll.unregister(descriptor)
            if wanted:
                self._epoll.register(descriptor, wanted)
            if wanted is None:
                del self._channels[descriptor]
                self._broken.discard(channel)
                channel.abandon()
            else:
                self._channels[descriptor] = (channel, wanted)
