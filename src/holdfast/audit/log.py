"""The log: one committer thread that takes drafts in order and acknowledges events once they are on disk.

Order of operations for each group of drafts: sequence → write → ``fdatasync`` → (for a new segment: sync the folder) →
Merkle tree → acknowledge. Invariants:

- an event is acknowledged only when its bytes are on disk, and a sequence number is given to one event only;
- checkpoints are made over acknowledged events only, and stored before they are handed out;
- a write or sync that failed is never tried again: the log takes nothing more until it is opened anew;
- an outcome is accepted once, and only for an open intent of its own act;
- on opening, everything is read again and compared with the stored checkpoint. An unfinished write at the end, which
  nobody was told of, is cut off and kept beside the log as ``<seq>.torn``. What lies after the checkpoint is written anew,
  because after a failed sync the kernel may hold as clean in memory what never reached the disk.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.audit import actions, checkpoint, event, proof, replay, segment
from holdfast.audit.actions import Phase
from holdfast.audit.merkle import Tree, leaf_hash
from holdfast.audit.verify import segments
from holdfast.errors import Conflict, NotFound, NotRecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from holdfast.audit.event import Draft, Event, Prepared
    from holdfast.audit.replay import Torn
    from holdfast.audit.signer import LogSigner

    Clock = Callable[[], tuple[datetime, str]]

MAX_GROUP = 256  # events synced at once; 16 MiB at their largest
MAX_PENDING = 8_192  # drafts that wait; beyond it ``submit`` waits too, so that memory stays bounded
CHECKPOINT_EVERY = 1_024  # events; signing and storing takes a few milliseconds


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class _Pending:
    action: actions.Action
    cause: int | None
    prepared: Prepared
    future: Future[Receipt]


class Log:
    """An open log; see the module's description. Made by ``Log.open``.

    Args:
        folder: The log's folder.
        origin: The log's name.
        signer: The log's keys.
        clock: Gives the time and what it is worth.
        disk: File operations.
        on_synced: Called from the committer with the new size after each group; must not raise or wait.
        segment_bytes: Bytes after which a segment is closed.
        checkpoint_every: Events after which a checkpoint is made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        origin: str,
        signer: LogSigner,
        clock: Clock,
        disk: segment.Disk,
        on_synced: Callable[[int], None],
        segment_bytes: int,
        checkpoint_every: int,
    ) -> None:
        self.origin = checkpoint.check_origin(origin)
        self.torn: Torn | None = None  # an unfinished write found on opening
        self._folder, self._signer, self._clock, self._disk = folder, signer, clock, disk
        self._on_synced, self._segment_bytes, self._every = on_synced, segment_bytes, checkpoint_every
        self._places = segment.Places(folder)
        self._tree = Tree(lambda start, stop: [leaf for leaf, _ in self._places.read(start, stop)])
        self._open: dict[int, str] = {}
        self._first, self._length, self._handle = 0, 0, -1  # of the segment being written
        self._wake = threading.Condition()
        self._signing = threading.RLock()
        self._queue: deque[_Pending] = deque()
        self._closing = False
        self._failure: NotRecorded | None = None
        self._checkpoint, self._signed = b"", -1
        self._load()
        self._committer = threading.Thread(target=self._run, name="audit-committer", daemon=True)
        self._committer.start()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        origin: str,
        signer: LogSigner,
        clock: Clock,
        disk: segment.Disk | None = None,
        on_synced: Callable[[int], None] = lambda _size: None,
        segment_bytes: int = segment.SEGMENT,
        checkpoint_every: int = CHECKPOINT_EVERY,
    ) -> Log:
        """Open a log, or found it if its folder is empty.

        Args:
            folder: The log's folder; made if missing. The caller sees to it that nobody else has it open.
            origin: The log's name, a schema-less URL; also the name of its keys.
            signer: The log's keys.
            clock: Gives the time and what it is worth (``trusted`` or ``host``).
            disk: File operations; the host's unless given.
            on_synced: Called from the committer with the new size after each group; must not raise or wait.
            segment_bytes: Bytes after which a segment is closed.
            checkpoint_every: Events after which a checkpoint is made by itself.

        Returns:
            The log, ready to take events.

        Raises:
            VerificationFailed: If what is stored is not what was signed.
            NotRecorded: If the folder can't be written.
        """
        return cls(
            folder,
            origin=origin,
            signer=signer,
            clock=clock,
            disk=disk or segment.HostDisk(),
            on_synced=on_synced,
            segment_bytes=segment_bytes,
            checkpoint_every=checkpoint_every,
        )

    @property
    def size(self) -> int:
        """Events on disk."""
        return self._tree.size

    @property
    def root(self) -> bytes:
        """Merkle root over the events on disk, 32 bytes."""
        with self._wake:
            return self._tree.root()

    def submit(self, draft: Draft) -> Future[Receipt]:
        """Hand in an event. Waits only while ``MAX_PENDING`` others wait.

        Args:
            draft: The event, of a registered action.

        Returns:
            The receipt to come; ``NotRecorded`` if the event could not be stored. It can't be cancelled.

        Raises:
            UntrustedInput: If the draft is malformed.
            Conflict: If it is an outcome of no open act.
        """
        action, prepared = actions.get(draft.action), event.prepare(draft)
        future: Future[Receipt] = Future()
        future.set_running_or_notify_cancel()
        with self._wake:
            self._wake.wait_for(lambda: len(self._queue) < MAX_PENDING or self._stopped)
            if self._stopped:
                future.set_exception(self._failure or _closed())
                return future
            if action.phase is Phase.OUTCOME:
                self._end(action, draft.cause)
            self._queue.append(_Pending(action, draft.cause, prepared, future))
            self._wake.notify_all()
        return future

    def _end(self, action: actions.Action, cause: int | None) -> None:
        """Take an intent off the open ones."""
        if cause is None or self._open.get(cause) != action.act:
            raise Conflict(
                "audit.outcome",
                f"{action.name} can't be recorded: event {cause} is no open {action.act}.",
                remedy="Record one outcome per act, with the intent's sequence number as its cause.",
            )
        del self._open[cause]

    def append(self, draft: Draft) -> Receipt:
        """Record an event and wait until it is on disk.

        Args:
            draft: The event.

        Returns:
            Its receipt.
        """
        return self.submit(draft).result()

    def checkpoint(self) -> bytes:
        """Sign the log as it is on disk now.

        Returns:
            The signed note, which is also stored as ``checkpoint`` in the folder.

        Raises:
            NotRecorded: If it could not be stored, or an earlier write failed.
        """
        with self._signing:
            with self._wake:
                size, root = self._tree.size, self._tree.root()
            if self._failure is not None:
                raise self._failure
            if size != self._signed:
                seconds = int(self._clock()[0].timestamp())
                note = checkpoint.make(self.origin, size, root, self._signer, time=seconds)
                try:
                    segment.replace(self._disk, self._folder / "checkpoint", note)
                except OSError as error:
                    raise self._fail(error) from error
                self._checkpoint, self._signed = note, size
            return self._checkpoint

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Read stored events.

        Args:
            start: The first.
            stop: One past the last; no more than ``size`` are given.

        Yields:
            Each event's bytes as stored.
        """
        for _, body in self._places.read(start, min(stop, self.size)):
            yield body

    def event(self, seq: int) -> Event:
        """Read one event.

        Args:
            seq: Its number.

        Returns:
            The event.

        Raises:
            NotFound: If there is no such event on disk.
        """
        for body in self.read(seq, seq + 1) if 0 <= seq < self.size else ():
            return event.parse(body)
        raise NotFound(
            "audit.seq", f"The log has no event {seq}.", remedy=f"It has {self.size}, from 0.", seq=seq
        )

    def events(self) -> Iterator[Event]:
        """Read all events on disk, for a fold.

        Yields:
            Each event, in order.
        """
        for body in self.read(0, self.size):
            yield event.parse(body)

    def unfinished(self) -> list[Event]:
        """List the acts that have no outcome yet.

        Returns:
            Their intents, in order.
        """
        with self._wake:
            seqs = sorted(self._open)
        return [self.event(seq) for seq in seqs]

    def prove(self, seq: int) -> bytes:
        """Make a receipt that can be checked with nothing but the log's keys.

        Args:
            seq: The event.

        Returns:
            A C2SP ``tlog-proof`` with the event inside.

        Raises:
            NotFound: If there is no such event on disk.
        """
        found = b"".join(self.read(seq, seq + 1)) if 0 <= seq < self.size else b""
        if not found:
            raise NotFound(
                "audit.seq", f"The log has no event {seq}.", remedy=f"It has {self.size}, from 0.", seq=seq
            )
        with self._signing:
            note = self._checkpoint if seq < self._signed else self.checkpoint()
            signed = self._signed
        return proof.make(seq, found, self._tree.inclusion(seq, signed), note)

    def close(self) -> None:
        """Write what waits, sign the end, and let go of the files. Later submits fail.

        Raises:
            NotRecorded: If the end could not be signed; every acknowledged event is on disk all the same.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._committer.join()
        try:
            if self._failure is None:
                self.checkpoint()
        finally:
            if self._handle >= 0:
                handle, self._handle = self._handle, -1
                self._disk.close(handle)

    # --- committing

    @property
    def _stopped(self) -> bool:
        return self._closing or self._failure is not None

    def _run(self) -> None:
        try:
            while group := self._take():
                self._commit(group)
        finally:
            if not self._closing and self._failure is None:
                self._fail(RuntimeError("the committer ended unexpectedly"))

    def _take(self) -> list[_Pending]:
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._stopped)
            if self._failure is not None:
                return []
            group = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
            self._wake.notify_all()
            return group

    def _commit(self, group: list[_Pending]) -> None:
        moment, clock = self._clock()
        time, start = event.timestamp(moment), self._tree.size
        fresh = self._handle < 0 or self._length >= self._segment_bytes
        first = start if fresh else self._first
        data = bytearray(segment.header(self.origin, first) if fresh else b"")
        placed: list[tuple[int, bytes]] = []
        for seq, pending in enumerate(group, start):
            body = pending.prepared.stamp(seq, time, clock)
            leaf = leaf_hash(body)
            placed.append(((0 if fresh else self._length) + len(data), leaf))
            data += segment.record(body, leaf, start)
        try:
            if fresh:
                self._roll(first)
            self._disk.write(self._handle, bytes(data))
            self._disk.sync(self._handle)
            if fresh:
                self._disk.sync_folder(self._folder)
        except OSError as error:
            failure = self._fail(error)
            for pending in group:
                pending.future.set_exception(failure)
            return
        self._length += len(data)
        with self._wake:
            for seq, (pending, (offset, leaf)) in enumerate(zip(group, placed, strict=True), start):
                self._places.note(seq, first, offset)
                self._tree.append(leaf)
                if pending.action.phase is Phase.INTENT:
                    self._open[seq] = pending.action.name
        for seq, (pending, (_, leaf)) in enumerate(zip(group, placed, strict=True), start):
            pending.future.set_result(Receipt(seq, time, f"sha256:{leaf.hex()}"))
        self._on_synced(self._tree.size)
        if self._tree.size - self._signed >= self._every:
            with suppress(NotRecorded):  # the log has stopped then; whoever submits next is told
                self.checkpoint()

    def _roll(self, first: int) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            self._disk.close(handle)
        self._handle = self._disk.create(self._folder / segment.name(first))
        self._first, self._length = first, 0

    def _fail(self, error: Exception) -> NotRecorded:
        """Stop taking events, and tell all who wait."""
        failure = NotRecorded(
            "audit.write-failed",
            f"The audit log could not be written ({error}); it takes no more events.",
            remedy="See to the disk, then start the daemon again.",
        )
        with self._wake:
            self._failure = self._failure or failure
            waiting = list(self._queue)
            self._queue.clear()
            self._wake.notify_all()
        for pending in waiting:
            pending.future.set_exception(self._failure)
        return self._failure

    # --- opening

    def _load(self) -> None:
        stored, public = self._folder / "checkpoint", self._signer.public(self.origin)
        try:
            self._disk.make_folder(self._folder)
            files = segments(self._folder)
            if not files and not stored.exists():
                segment.replace(self._disk, self._folder / "log.pub", public)
                self.checkpoint()
                return
            if (self._folder / "log.pub").read_bytes() != public:
                raise replay.mismatch("its verifier keys (log.pub) are not those of the key file in use")
            self._checkpoint = stored.read_bytes()
            self._replay(files)
        except OSError as error:
            raise NotRecorded(
                "audit.open",
                f"The audit log can't be opened: {error}.",
                remedy="See to the disk and its permissions.",
            ) from error

    def _replay(self, files: list[Path]) -> None:
        """Read everything again, compare it with the checkpoint, and repair the end of the last segment."""
        note = checkpoint.parse(self._checkpoint, self._signer.keys(self.origin))
        found = replay.replay(self._disk, files, note, self._tree, self._places)
        self._open, self.torn, self._signed = found.open, found.torn, note.size
        if not files:
            return
        if self.torn is not None or self.size != note.size:
            segment.replace(self._disk, files[-1], found.kept)
            self.checkpoint()
        self._first, self._length = int(files[-1].stem), len(found.kept)
        self._handle = self._disk.open(files[-1])


def _closed() -> NotRecorded:
    return NotRecorded("audit.closed", "The audit log is closed.", remedy="Start the daemon again.")
