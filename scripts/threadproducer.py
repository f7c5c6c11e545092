"""A producer for threads: what a worker that waits for each receipt would be, for the bench and for tests.

Whoever waits for an answer reads the socket itself, for all who wait (leader and followers), so that an answer crosses no other
thread; only for those who wait otherwise, on an event loop, a thread reads. Invariants: as ``holdfast.audit.producer``.
"""

from __future__ import annotations

import select
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast import frames
from holdfast.audit.appender import Receipt
from holdfast.audit.producer import MAX_IN_FLIGHT, answered, cut_off, request
from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from holdfast.audit.event import Draft
    from holdfast.audit.producer import Owner
    from holdfast.canonical import Json

_READ = 2**15  # bytes read from the socket at once; hundreds of answers


class _Answer(Future[Receipt]):
    """A receipt to come, whose waiter reads the socket."""

    def __init__(self, producer: ThreadProducer) -> None:
        super().__init__()
        self._producer = producer
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> Receipt:
        if timeout is None:
            self._producer.read_until(self.done)
        else:
            self._producer.read_aside()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if timeout is None:
            self._producer.read_until(self.done)
        else:
            self._producer.read_aside()
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[Receipt]], object]) -> None:
        super().add_done_callback(fn)
        self._producer.read_aside()


class ThreadProducer:
    """The worker's end. Any thread may submit.

    Args:
        sock: The inherited stream socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Who waits in ``recv`` is woken when the other end takes what was sent, too, and in vain; who polls is not.
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._sending = threading.Lock()
        self._turn = threading.Condition()  # over what follows
        self._reading = False  # whether some thread reads, for all
        self._followers = 0  # threads that wait for it
        self._aside = False  # whether that is a thread of our own
        self._waiting: dict[int, _Answer] = {}
        self._next = 0
        self._gone = False
        self._inbox = bytearray()  # belongs to the thread that reads

    def submit(
        self, draft: Draft, payloads: Mapping[str, bytes] | None = None, owner: Owner | None = None
    ) -> Future[Receipt]:
        """Hand in an event; waits only while ``MAX_IN_FLIGHT`` others wait.

        Args:
            draft: The event.
            payloads: Data to seal, by name; the log gets commitments.
            owner: Whose data it is; required with payloads.

        Returns:
            The receipt to come, or the daemon's refusal.
        """
        message = request(draft, payloads, owner)
        answer = _Answer(self)
        with self._sending:  # numbers leave in order
            self.read_until(lambda: len(self._waiting) < MAX_IN_FLIGHT)
            with self._turn:
                if self._gone:
                    answer.set_exception(cut_off())
                    return answer
                number = self._next
                self._waiting[number] = answer
            try:
                frame = frames.pack({"id": number, **message})
            except BaseException:
                with self._turn:
                    del self._waiting[number]
                raise
            self._next += 1
            with suppress(OSError):  # whoever reads sees the end too, and tells all who wait
                self._sock.sendall(frame)
        return answer

    def append(
        self, draft: Draft, payloads: Mapping[str, bytes] | None = None, owner: Owner | None = None
    ) -> Receipt:
        """Record an event and wait until it is on disk.

        Args:
            draft: The event.
            payloads: Data to seal, by name.
            owner: Whose data it is.

        Returns:
            Its receipt.
        """
        return self.submit(draft, payloads, owner).result()

    def read_aside(self) -> None:
        """Have a thread read answers from here on: somebody waits for one without reading."""
        with self._turn:
            if self._aside or self._gone:
                return
            self._aside = True
        threading.Thread(
            target=self.read_until, args=(lambda: self._gone,), name="audit-producer", daemon=True
        ).start()

    def read_until(self, enough: Callable[[], bool]) -> None:
        """Read answers, or wait while another thread does, until there is enough or the daemon is gone.

        Args:
            enough: Tells when.
        """
        with self._turn:
            self._followers += 1
            self._turn.wait_for(lambda: not self._reading or enough() or self._gone)
            self._followers -= 1
            if enough() or self._gone:
                return
            self._reading = True
        try:
            while not enough() and not self._gone:
                self._read()
        finally:
            with self._turn:
                self._reading = False
                self._turn.notify_all()

    def _read(self) -> None:
        """Read once, and settle what came whole."""
        self._readable.poll()
        try:
            data = self._sock.recv(_READ)
        except OSError:
            data = b""
        self._inbox += data
        place, gone = 0, not data
        try:
            while (found := frames.split(self._inbox, place)) is not None:
                body, place = found
                self._settle(frames.parse(body))
        except WorkerFailed:  # the daemon talks nonsense: the same as gone to those who wait
            gone = True
        del self._inbox[:place]
        if gone:
            self._end()
        if self._followers:
            with self._turn:
                self._turn.notify_all()

    def _settle(self, message: dict[str, Json]) -> None:
        number, found = answered(message)
        with self._turn:
            answer = self._waiting.pop(number, None)
        if answer is None:
            return
        if isinstance(found, Receipt):
            answer.set_result(found)
        else:
            answer.set_exception(found)

    def _end(self) -> None:
        with self._turn:
            self._gone = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for answer in waiting:
            answer.set_exception(cut_off())
