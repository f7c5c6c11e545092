"""Nothing happens before it is on the record: the daemon's way to the audit log.

Order of operations for an act: its intent is submitted and acked (synced to disk), then the act runs, then its outcome is
submitted with ``cause`` = the intent's sequence number. The state fold is brought up to the log's synced head by reading the
stored events, whoever wrote them. Invariants: the fold never runs ahead of what is synced; an act whose intent can't be
recorded does not run; whatever ends an act, an outcome is recorded, or reconciled: at the next start, or when a log that had
failed takes events again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from holdfast.audit import actions
from holdfast.audit import event as events
from holdfast.audit.event import Actor, Draft, Subject
from holdfast.errors import HoldfastError, NoSpace, NotRecorded, OperationFailed, UntrustedInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from holdfast.audit.appender import Receipt
    from holdfast.audit.log import Log
    from holdfast.canonical import Json
    from holdfast.governance.labels import Label
    from holdfast.governance.state import State

MAX_MESSAGE = (
    4000  # characters of an error that its outcome repeats; an event is bounded, a list of mistakes is not
)
DAEMON = Actor(person="holdfastd", uid=None, role="service", session=None)


class Cancelled(HoldfastError):  # noqa: N818 - an act's end, named as its outcome in the log is
    """An act was stopped on somebody's request; its field ``by`` says whose."""


@dataclass
class Act:
    """An act under way.

    Args:
        seq: Sequence number of its intent.
        outcome: What its outcome will say; filled while it runs.
        ended: Sequence number of its outcome; -1 until that is on the record.
    """

    seq: int
    outcome: dict[str, Json] = field(default_factory=dict)
    ended: int = -1


class Recorder:
    """Submits drafts and keeps the fold at the log's head.

    Args:
        log: The audit log.
        state: The fold, already at the log's head.
    """

    def __init__(self, log: Log, state: State) -> None:
        self._log = log
        self._state = state
        self.live: set[int] = set()  # intents whose act runs in this process
        self.unended: set[int] = (
            set()
        )  # intents of this process without outcome: what is not live has lost its own
        self._beginning = 0  # acts whose intent is on its way
        self._open = asyncio.Event()  # acts may begin
        self._open.set()

    def catch_up(self, size: int) -> None:
        """Fold everything up to a synced size.

        Args:
            size: Events that are synced.
        """
        if size <= self._state.size:
            return
        for stored in self._log.read(self._state.size, size):
            self._state.apply(events.parse(stored))

    async def record(self, draft: Draft) -> Receipt:
        """Put one event on the record.

        Args:
            draft: What happened or is about to happen.

        Returns:
            Its receipt, once it is synced and folded.

        Raises:
            NotRecorded: If the log can't take it.
            NoSpace: If the log has only its reserve left, and this is not what that is for.
        """
        receipt = await asyncio.wrap_future(self._log.submit(draft))
        self.catch_up(receipt.seq + 1)
        return receipt

    async def fact(
        self,
        actor: Actor,
        action: str,
        params: dict[str, Json],
        *,
        subject: Subject | None = None,
        cause: int | None = None,
        label: Label | None = None,
    ) -> Receipt:
        """Record something that has no duration.

        Args:
            actor: Who did it.
            action: A registered action.
            params: Its parameters.
            subject: What it is about.
            cause: The event that led to it.
            label: The label of what it is about.

        Returns:
            The receipt.
        """
        return await self.record(
            Draft(action=action, actor=actor, subject=subject, label=label, params=params, cause=cause)
        )

    @asynccontextmanager
    async def act(
        self,
        actor: Actor,
        action: str,
        params: dict[str, Json],
        *,
        subject: Subject | None = None,
        label: Label | None = None,
    ) -> AsyncIterator[Act]:
        """Record an intent, let the act run, record its outcome.

        Args:
            actor: Who does it.
            action: A registered intent.
            params: Its parameters.
            subject: What it is about.
            label: The label of what it is about.

        Yields:
            The act; what is put into ``outcome`` becomes the outcome's parameters.

        Raises:
            NotRecorded: If the intent can't be recorded; the body then does not run.
            NoSpace: If only the log's reserve is left; the body then does not run.
        """
        intent = Draft(action=action, actor=actor, subject=subject, label=label, params=params)
        act = Act(await self._begin(intent))
        course = _Course(self, intent, act)
        try:
            yield act
            await course.done()
        except Cancelled as stop:
            await course.end(
                "cancelled", {"reason": _printable(stop.message), "by": _text(stop.fields.get("by"))}
            )
            raise
        except HoldfastError as error:
            await course.failed(error)
            raise
        except asyncio.CancelledError:
            await course.broken_off()
            raise
        except BaseException as error:
            await course.tell("failed", {"error": "internal", "message": type(error).__name__})
            raise
        finally:
            self.live.discard(act.seq)

    async def _begin(self, intent: Draft) -> int:
        """Record an intent; gives its number."""
        await self._open.wait()
        self._beginning += 1
        task = asyncio.create_task(self._record_intent(intent))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:  # nobody will act, but the intent is on its way: it is reconciled
            task.add_done_callback(self._abandon)
            raise
        finally:
            self._beginning -= 1

    async def _record_intent(self, intent: Draft) -> int:
        receipt = await self.record(intent)
        self.live.add(receipt.seq)
        self.unended.add(receipt.seq)
        return receipt.seq

    def _abandon(self, task: asyncio.Task[int]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.live.discard(task.result())

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Let no act begin while a block runs; those that are asked for wait.

        Yields:
            Whether nothing is under way; if False, others may begin too.
        """
        if self.live or self._beginning:
            yield False
            return
        self._open.clear()
        try:
            yield True
        finally:
            self._open.set()


class _Course:
    """An act from its intent, which is on the record, to its outcome."""

    def __init__(self, recorder: Recorder, intent: Draft, act: Act) -> None:
        self._recorder, self._intent, self._act = recorder, intent, act
        self._ending: set[asyncio.Task[None]] = set()
        self._lost = False

    async def end(self, outcome: str, why: dict[str, Json]) -> None:
        """Record how and why it ended, and what it had found out by then."""
        try:
            await self.tell(outcome, self._act.outcome | why)
        except (
            UntrustedInput
        ):  # too much for one event, or not what it may say: the end is on the record all the same
            await self.tell(outcome, why)

    async def tell(self, outcome: str, params: dict[str, Json]) -> None:
        """Record an outcome."""
        # Shielded: an act that has ended says so, even if whoever waited for it goes away now.
        task = asyncio.create_task(self._record(outcome, params))
        self._ending.add(task)
        await asyncio.shield(task)

    async def _record(self, outcome: str, params: dict[str, Json]) -> None:
        intent = self._intent
        draft = replace(
            intent, action=actions.outcome(intent.action, outcome), params=params, cause=self._act.seq
        )
        try:
            self._act.ended = (await self._recorder.record(draft)).seq
        except (NotRecorded, NoSpace):
            self._lost = True
            raise
        self._recorder.unended.discard(self._act.seq)

    async def done(self) -> None:
        """Record that it ended as intended."""
        try:
            await self.tell("done", self._act.outcome)
        except UntrustedInput as error:
            # What the act gave can't be an event (too large, or of other types): the act failed then.
            self._act.outcome = {}
            raise OperationFailed(
                "act.outcome", f"The outcome can't be recorded: {error.message}", remedy=error.remedy
            ) from error

    async def failed(self, error: HoldfastError) -> None:
        """Record why it failed."""
        if self._lost or isinstance(error, NotRecorded):
            return  # the log takes nothing now: this act is reconciled when it does
        await self.end("failed", {"error": _printable(error.key), "message": _printable(error.message)})

    async def broken_off(self) -> None:
        """Record that whoever did it was told to stop; an outcome on its way is waited for."""
        if self._ending:
            await asyncio.wait(self._ending)
        else:
            await self.end("interrupted", {"reason": "the daemon stopped"})


def _printable(message: str) -> str:
    """Make a message fit for the log, whatever file name it repeats and however long it is."""
    return message.encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_MESSAGE]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class SyncRelay:
    """Carries the log's word of a new synced size from its writing thread to the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recorder: Recorder | None = None

    def attach(self, loop: asyncio.AbstractEventLoop, recorder: Recorder) -> None:
        """Begin to carry.

        Args:
            loop: The daemon's event loop.
            recorder: Whose fold follows.
        """
        self._loop, self._recorder = loop, recorder

    def detach(self) -> None:
        """Stop carrying; the loop is about to end."""
        self._loop = self._recorder = None

    def synced(self, size: int) -> None:
        """Take the log's word; called from the thread that writes.

        Args:
            size: Events that are synced.
        """
        loop, recorder = self._loop, self._recorder
        if loop is not None and recorder is not None and not loop.is_closed():
            loop.call_soon_threadsafe(recorder.catch_up, size)
