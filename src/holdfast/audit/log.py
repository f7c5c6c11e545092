"""The log: takes drafts in order and acknowledges events once they are on disk.

Order of operations for each group of drafts: look at the space left → sequence → write → ``fdatasync`` → (for a new segment:
sync the folder) → Merkle tree → acknowledge. Invariants:

- an event is acknowledged only when its bytes are on disk, and a sequence number is given to one event only;
- each producer's events are numbered without a gap: what of them was not taken is put on the record as refused, before
  what follows it;
- checkpoints are made over acknowledged events only, and stored before they are handed out;
- a write or sync that failed is never tried again: the log takes nothing more until everything is read again from disk, by
  opening it anew, or, after a disk that was full, by ``recover``;
- an outcome is accepted once, and only for an open intent of its own act;
- when only the reserve is left, what begins nothing new is taken alone (see ``space``).

What lies on disk, and what happens on opening: see ``stored``. The thread that writes: see ``appender``.
"""

from __future__ import annotations

import errno
import re
import secrets
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.audit import actions, checkpoint, event, numbering, proof, segment, unrecorded
from holdfast.audit.actions import Phase
from holdfast.audit.appender import MAX_GROUP, Appender, Pending, Receipt, Run
from holdfast.audit.openacts import OpenActs
from holdfast.audit.reader import Reader
from holdfast.audit.reserve import Reserve
from holdfast.audit.space import Thresholds
from holdfast.audit.stored import Stored
from holdfast.audit.verify import MAX_EVENT
from holdfast.errors import Conflict, NotRecorded, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from holdfast.audit.actions import Action
    from holdfast.audit.appender import Channel, Settle
    from holdfast.audit.event import Draft, Event, Prepared
    from holdfast.audit.replay import Torn
    from holdfast.audit.signer import LogSigner
    from holdfast.audit.space import Level
    from holdfast.errors import HoldfastError

    Clock = Callable[[], tuple[datetime, str]]

CHECKPOINT_EVERY = 1_024  # events; signing and storing takes a few milliseconds
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_KEPT = re.compile(r"witness/[0-9a-f]{8}|[0-9]{20}\.(?:snapshot|kept)")


class Log(Reader):
    """An open log; see the module's description. Made by ``Log.open``.

    Args:
        load: Opens what is on disk.
        clock: Gives the time and what it is worth.
        disk: File operations.
        on_synced: Told the new size after each group.
        checkpoint_every: Events after which a checkpoint is made.
        space: When space is low, and when the log stops.
        on_space: Told each change of the level, and the bytes that are free.
    """

    def __init__(
        self,
        load: Callable[[], Stored],
        *,
        clock: Clock,
        disk: segment.Disk,
        on_synced: Callable[[int], None],
        checkpoint_every: int,
        space: Thresholds,
        on_space: Callable[[Level, int], None],
    ) -> None:
        with unrecorded.opening():
            super().__init__(load())
            self._reserve = Reserve(disk, self._stored.folder, space, on_space)
        self._load, self._clock = load, clock
        self._on_synced, self._every = on_synced, checkpoint_every
        self._signing, self._writing = threading.RLock(), threading.Lock()  # taken in this order
        self._open = OpenActs(self._stored.open)
        self._run = Run("daemon", secrets.token_hex(8))
        self._failure: NotRecorded | None = None
        self._full = False  # whether it failed because the disk was full
        self._unsure: list[Run] = []  # of the group that failed: how many of their events are on disk
        self._appender = Appender(self._commit, self._fail)

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
        space: Thresholds = Thresholds(),  # noqa: B008 - immutable
        on_space: Callable[[Level, int], None] = lambda _level, _free: None,
    ) -> Log:
        """Open a log, or found it if its folder is empty.

        Args:
            folder: The log's folder; made if missing. The caller sees to it that nobody else has it open.
            origin: The log's name, a schema-less URL; also the name of its keys.
            signer: The log's keys.
            clock: Gives the time and what it is worth (``trusted`` or ``host``).
            disk: File operations; the host's unless given.
            on_synced: Called with the new size after each group; must not raise or wait.
            segment_bytes: Bytes after which a segment is closed.
            checkpoint_every: Events after which a checkpoint is made by itself.
            space: When space is low, and when the log stops.
            on_space: Called from any thread with the level and the bytes free when the level of space has changed since
                the log was opened; must not raise or wait.

        Returns:
            The log, ready to take events.

        Raises:
            VerificationFailed: If what is stored is not what was signed.
            NotRecorded: If the folder can't be written.
        """
        checkpoint.check_origin(origin)
        on = disk or segment.HostDisk()

        def load() -> Stored:
            time = int(clock()[0].timestamp())
            return Stored(
                folder, origin=origin, signer=signer, disk=on, segment_bytes=segment_bytes, time=time
            )

        return cls(
            load,
            clock=clock,
            disk=on,
            on_synced=on_synced,
            checkpoint_every=checkpoint_every,
            space=space,
            on_space=on_space,
        )

    @property
    def torn(self) -> Torn | None:
        """The unfinished write that was found on opening."""
        return self._stored.torn

    @property
    def failure(self) -> NotRecorded | None:
        """Why nothing is taken any more; None while all is well."""
        return self._failure

    @property
    def space(self) -> Level:
        """What the log takes, by the space that is left."""
        return self._reserve.level

    # --- appending

    def submit(self, draft: Draft) -> Future[Receipt]:
        """Hand in an event. Waits only while ``appender.MAX_PENDING`` others wait.

        Args:
            draft: The event, of a registered action.

        Returns:
            The receipt to come; ``NotRecorded`` if the event could not be stored, ``NoSpace`` if the log keeps what
            space it has for what it must record. It can't be cancelled.

        Raises:
            UntrustedInput: If the draft is malformed.
            Conflict: If it is an outcome of no open act.
        """
        future: Future[Receipt] = Future()
        future.set_running_or_notify_cancel()

        def settle(found: Receipt | HoldfastError) -> None:
            if isinstance(found, Receipt):
                future.set_result(found)
            else:
                future.set_exception(found)

        pending = self._pend(draft, event.prepare(draft), self._run, settle)
        if not self._appender.put(pending):
            settle(unrecorded.closed())
        return future

    def append(self, draft: Draft) -> Receipt:
        """Record an event and wait until it is on disk.

        Args:
            draft: The event.

        Returns:
            Its receipt.
        """
        return self.submit(draft).result()

    def push(self, draft: Draft, settle: Settle, run: Run | None = None, number: int | None = None) -> None:
        """Hand in an event from a channel, in the appender's thread; never waits.

        Args:
            draft: The event, checked as ``event.parse_draft`` does.
            settle: Told the receipt or the error.
            run: The producer's run; None for the process that has the log open.
            number: The event's number in the run; None for the next one.

        Raises:
            UntrustedInput: If the draft can't be an event.
            Conflict: If it is an outcome of no open act.
        """
        self._appender.push(self._pend(draft, event.write(draft), run or self._run, settle, number))

    def attend(self, channel: Channel) -> None:
        """Take events from another process, or look at its channel again.

        Args:
            channel: The channel.
        """
        self._appender.attend(channel)

    def _pend(
        self, draft: Draft, prepared: Prepared, run: Run, settle: Settle, number: int | None = None
    ) -> Pending:
        action = actions.admit(draft)
        if action.phase is Phase.OUTCOME:
            self._open.end(action, draft.cause)
        return Pending(action, prepared, run, settle, number)

    def _commit(self, group: list[Pending]) -> None:
        """Write a group and settle all of it; runs in the appender's thread."""
        with self._writing:
            before = self.size
            settled = self._write(self._taken(group))
        for pending, found in settled:
            pending.settle(found)
        if self.size > before:
            self._on_synced(self.size)
        if self.size - self._stored.signed >= self._every:
            with suppress(NotRecorded):  # the log has stopped then; whoever hands in next is told
                self.checkpoint()

    def _write(self, group: list[Pending]) -> list[tuple[Pending, Receipt | NotRecorded]]:
        """Write a group; gives what each is to be told."""
        if not group:
            return []
        if self._failure is not None:
            return [(pending, self._failure) for pending in group]
        group = numbering.complete(group)
        moment, clock = self._clock()
        time, start = event.timestamp(moment), self._stored.size
        try:
            leaves = self._stored.append(numbering.stamp(group, start, time, clock), self._reserve.free)
        except OSError as error:
            failure = self._fail(error)
            self._unsure = [pending.run for pending in group]
            self._look()
            return [(pending, failure) for pending in group]
        numbering.written(group)
        for seq, pending in enumerate(group, start):
            if pending.action.phase is Phase.INTENT:
                self._open.begin(seq, pending.action.name)
        receipts = (Receipt(seq, time, f"sha256:{leaf.hex()}") for seq, leaf in enumerate(leaves, start))
        return list(zip(group, receipts, strict=True))

    def _taken(self, group: list[Pending]) -> list[Pending]:
        """Refuse what there is no space for; gives the others."""
        if self._failure is None:
            self._look()
        taken = []
        for pending in group:
            if self._reserve.takes(pending.action):
                taken.append(pending)
            else:
                pending.settle(self._reserve.refusal())
        return taken

    def _fail(self, error: Exception) -> NotRecorded:
        """Take nothing more; whoever waits is told by the appender."""
        if self._failure is None:
            self._full = isinstance(error, OSError) and error.errno in _FULL
            self._failure = unrecorded.failed(error, full=self._full)
        return self._failure

    # --- space

    def require_space(self, action: Action) -> None:
        """Refuse early what there is no space for.

        Args:
            action: What is about to be handed in.

        Raises:
            NoSpace: If only the reserve is left, and the event neither ends an act nor is essential.
        """
        if not self._reserve.takes(action):
            raise self._reserve.refusal()

    def check_space(self) -> Level:
        """Look at the space that is left, as is done before each group; for when nothing is appended.

        Returns:
            The level.
        """
        with self._writing:
            self._look()
        return self.space

    def _look(self) -> int:
        """Give the bytes that are free, after bringing level and reserve to them."""
        try:
            return self._reserve.look()
        except OSError as error:
            self._fail(error)
            return 0

    def recover(self) -> bool:
        """Take events again after the disk was full and has space: read everything anew, as on opening.

        What the failed write or sync covered is written anew into a new file, or cut off if it is no whole event; what was
        acknowledged is there, and what was not may be.

        Returns:
            Whether the log takes events; False if there is no space yet, or the failure was of another kind.

        Raises:
            VerificationFailed: If what is stored is not what was signed.
        """
        with self._signing, self._writing:
            if self._failure is None:
                return True
            old, known = self._stored, self._stored.size
            if self._look() < old.tail + MAX_GROUP * MAX_EVENT or not self._full:
                return False
            try:
                old.close()
                self._stored = self._load()
            except OSError:
                return False
            self._open = OpenActs(self._stored.open)
            numbering.found(self._unsure, [event.parse(body).source for body in self.read(known, self.size)])
            self._failure, self._full, self._unsure = None, False, []
        self._on_synced(self.size)
        return True

    # --- what the log signs, proves and keeps

    def checkpoint(self) -> bytes:
        """Sign the log as it is on disk now.

        Returns:
            The signed note, which is also stored as ``checkpoint`` in the folder.

        Raises:
            NotRecorded: If it could not be stored, or an earlier write failed.
        """
        with self._signing:
            if self._failure is not None:
                raise self._failure
            if self.size == self._stored.signed:
                return self._stored.note
            try:
                return self._stored.sign(self._now())
            except OSError as error:
                raise self._fail(error) from error

    def sign_at(self, size: int) -> bytes:
        """Sign a head that the log had; the note is not stored.

        Args:
            size: Events, at most ``size``.

        Returns:
            The signed note.
        """
        return self._stored.sign_at(self._within(size), self._now())

    def prove(self, seq: int, stored: bytes | None = None) -> bytes:
        """Make a receipt that can be checked with nothing but the log's keys.

        Args:
            seq: The event.
            stored: Its bytes, if it was archived and they were kept elsewhere.

        Returns:
            A C2SP ``tlog-proof`` with the event inside.

        Raises:
            NotFound: If there is no such event on disk.
        """
        found = self._one(seq) if stored is None else stored
        with self._signing:
            note = self._stored.note if seq < self._stored.signed else self.checkpoint()
            signed = self._stored.signed
        return proof.make(seq, found, self._stored.tree.inclusion(seq, signed), note)

    def unfinished(self) -> list[Event]:
        """List the acts that have no outcome yet.

        Returns:
            Their intents, in order.
        """
        return [self.event(seq) for seq in self._open.seqs()]

    def keep(self, name: str, data: bytes) -> None:
        """Store a small file in the log's folder, on disk when this returns.

        Args:
            name: ``witness/<key id>``, ``<size>.snapshot`` or ``<size>.kept``.
            data: Its content.

        Raises:
            UsageRefused: If the name is another.
            NotRecorded: If it could not be stored.
        """
        if not _KEPT.fullmatch(name):
            raise UsageRefused(
                "audit.keep", f"{name[:80]!r} is no file of an audit log.", remedy="Keep it elsewhere."
            )
        with self._signing:
            try:
                self._stored.keep(name, data)
            except OSError as error:
                raise unrecorded.not_kept(name, error) from error

    def forget(self, until: int) -> None:
        """Remove the first segments, after they were archived. What proves the events that stay is kept.

        Args:
            until: One of ``boundaries``, at most the signed size: the first event that stays.

        Raises:
            Conflict: If it is not, or an act that began before it has no outcome yet.
            NotRecorded: If what stands for the events could not be stored, or a segment could not be removed.
        """
        with self._signing:
            begun = [seq for seq in self._open.seqs() if seq < until]
            if until not in self.boundaries() or until > self._stored.signed:
                raise Conflict(
                    "audit.boundary",
                    f"No signed segment of the audit log ends before event {until}.",
                    remedy="Archive whole segments: see where they begin.",
                    boundaries=self.boundaries(),
                )
            if begun:
                raise Conflict(
                    "audit.open-acts",
                    f"Event {begun[0]} began an act that has no outcome yet; it can't be archived.",
                    remedy="Wait until the act ends, or archive fewer events.",
                    acts=begun,
                )
            if until == self.first:
                return
            try:
                self._stored.forget(until)
            except OSError as error:
                raise unrecorded.not_kept("archived", error) from error

    def close(self) -> None:
        """Write what waits, sign the end, and let go of the files. Later submits fail.

        Raises:
            NotRecorded: If the end could not be signed; every acknowledged event is on disk all the same.
        """
        self._appender.stop()
        try:
            if self._failure is None:
                self.checkpoint()
        finally:
            if self._failure is None:
                self._stored.end()
            else:
                self._stored.close()

    def _now(self) -> int:
        return int(self._clock()[0].timestamp())
