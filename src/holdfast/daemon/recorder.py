"""Nothing happens before it is on the record: the daemon's way to the audit log.

Order of operations for an act: its intent is submitted and acked (synced to disk), then the act runs, then its outcome is
submitted with ``cause`` = the intent's sequence number. The state fold is brought up to the log's synced head by reading the
stored events, whoever wrote them. Invariants: the fold never runs ahead of what is synced; an act whose intent can't be
recorded does not run; whatever ends an act, an outcome is recorded, or reconciled at the next start.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.audit import event as events
from holdfast.audit.event import Actor, Draft, Subject
from holdfast.errors import HoldfastError, NotRecorded, OperationFailed, UntrustedInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.audit.log import Log, Receipt
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
    """

    seq: int
    outcome: dict[str, Json] = field(default_factory=dict)


class Recorder:
    """Submits drafts and keeps the fold at the log's head.

    Args:
        log: The audit log.
        state: The fold, already at the log's head.
    """

    def __init__(self, log: Log, state: State) -> None:
        self._log = log
        self._state = state

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
        """
        receipt = await self.fact(actor, action, params, subject=subject, label=label)
        act = Act(receipt.seq)

        ending: set[asyncio.Task[Receipt]] = set()

        async def end(outcome: str, params: dict[str, Json]) -> None:
            # Shielded: an act that has ended says so, even if whoever waited for it goes away now.
            task = asyncio.create_task(
                self.fact(actor, f"{action}.{outcome}", params, subject=subject, cause=act.seq, label=label)
            )
            ending.add(task)
            await asyncio.shield(task)

        try:
            yield act
            try:
                await end("done", act.outcome)
            except UntrustedInput as error:
                # What the act gave can't be an event (too large, or no figure of JSON): the act failed then.
                act.outcome = {}
                raise OperationFailed(
                    "act.outcome", f"The outcome can't be recorded: {error.message}", remedy=error.remedy
                ) from error
        except Cancelled as stop:
            await end("cancelled", act.outcome | {"reason": stop.message, "by": _text(stop.fields.get("by"))})
            raise
        except NotRecorded:
            raise  # the log takes nothing more: the next start reconciles this act
        except HoldfastError as error:
            told: dict[str, Json] = {"error": _printable(error.key), "message": _printable(error.message)}
            try:
                await end("failed", act.outcome | told)
            except UntrustedInput:  # too much for one event: that it failed is on the record all the same
                await end("failed", told)
            raise
        except asyncio.CancelledError:
            if ending:
                await asyncio.wait(ending)
            else:
                await end("interrupted", act.outcome | {"reason": "the daemon stopped"})
            raise
        except BaseException as error:
            await end("failed", {"error": "internal", "message": type(error).__name__})
            raise


def _printable(message: str) -> str:
    """Make a message fit for the log, whatever file name it repeats."""
    return message.encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_MESSAGE]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class SyncRelay:
    """Carries the log's word of a new synced size from its committer to the event loop."""

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
        """Take the log's word; called from its committer.

        Args:
            size: Events that are synced.
        """
        loop, recorder = self._loop, self._recorder
        if loop is not None and recorder is not None and not loop.is_closed():
            loop.call_soon_threadsafe(recorder.catch_up, size)
