"""Authenticated requests, each of which leaves exactly one pair of events: an answer's, or ``serve.request`` and what came of it.

What a model is asked is put on the record by its life. Everything else (lists of models, the document, and whatever is refused,
wherever it is) is recorded here, at the edge, once it is known what will be said and before its first byte. Order of operations:
has the request an answer's pair → does the log take acts → the key's requests in a minute → the intent → the outcome. Invariants:
nothing that a client wrote is in these events; they are bounded for each key and minute; what can't be recorded, or is beyond that
bound, is not said: the client is told so instead, and it is counted; a pair that was begun is ended, whoever goes away meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, NotRecorded
from holdfast.serving.api.stream import GONE
from holdfast.serving.front import acts
from holdfast.serving.front.faults import paused

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from holdfast.serving.front.record import Recorder
    from holdfast.serving.front.refused import Refused
    from holdfast.serving.keys import ApiKey
    from holdfast.serving.quota import Quotas

LOGGER = logging.getLogger("holdfast.serving")
VISIT = "holdfast.visit"  # under which a request's scope holds what follows
OTHER = "other"  # of routes and methods
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
WENT = "serve.gone"  # the client went away before anything could be said
STOPPED = "serve.stopped"
_UNAVAILABLE = 503


@dataclass(eq=False)
class Visit:
    """One authenticated request.

    Args:
        key: Who asks.
        route: A path of the table, or ``OTHER``.
        method: One of ``METHODS``, or ``OTHER``.
        error: The key of the error that it is refused with.
        unrecorded: Whether that error is that the log did not take it.
        charged: Whether the key's requests in a minute hold it already.
        answered: Whether the intent of its answer is on the record, once that is settled; None if no model was asked.
        ended: Whether its pair was begun here, or is not due.
    """

    key: ApiKey
    route: str
    method: str
    error: str | None = None
    unrecorded: bool = False
    charged: bool = False
    answered: asyncio.Future[bool] | None = None
    ended: bool = False

    def refuse(self, error: HoldfastError) -> None:
        """Take that the request is refused.

        Args:
            error: With what.
        """
        self.error, self.unrecorded = error.key, isinstance(error, NotRecorded)


class Visits:
    """Puts requests that are no answers on the record. Belongs to one event loop.

    Args:
        recorder: Records.
        quotas: What keys have taken.
        refused: Counts what leaves no pair.
    """

    def __init__(self, recorder: Recorder, quotas: Quotas, refused: Refused) -> None:
        self._recorder, self._quotas, self._refused = recorder, quotas, refused
        self._paused = False
        self._tasks: set[asyncio.Task[HoldfastError | None]] = set()

    def pause(self, *, paused: bool) -> None:
        """Record nothing, because the log takes no acts, or record again.

        Args:
            paused: Whether to record nothing.
        """
        self._paused = paused

    async def end(self, visit: Visit, status: int) -> HoldfastError | None:
        """Put a request on the record before its response begins; from the second time on, do nothing.

        Args:
            visit: The request.
            status: The HTTP status of what is about to be said.

        Returns:
            What is to be said instead; None if that may be said.
        """
        return None if visit.ended else await asyncio.shield(self._begin(visit, status))

    def leave(self, visit: Visit) -> None:
        """Put a request on the record to which nothing was said, because serving ends; nobody waits for it.

        Args:
            visit: The request.
        """
        if not visit.ended:
            visit.error = visit.error or STOPPED
            self._begin(visit, _UNAVAILABLE)

    async def close(self) -> None:
        """Wait until every pair is on the record."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _begin(self, visit: Visit, status: int) -> asyncio.Task[HoldfastError | None]:
        visit.ended = True
        task = asyncio.create_task(self._end(visit, status), name="visit")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[HoldfastError | None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            LOGGER.error("a request could not be recorded", exc_info=fault)

    async def _end(self, visit: Visit, status: int) -> HoldfastError | None:
        if visit.answered is not None and await visit.answered:
            return None
        if visit.unrecorded:  # what is about to be said is that
            self._refused.note(visit.error or "", visit.key.id)
            return None
        if status == GONE:
            visit.error = visit.error or WENT
        try:
            if self._paused:
                raise paused()
            if not visit.charged:
                self._quotas.count(visit.key.id, visit.key.quota)
            begun = await self._recorder.record(acts.request(visit))
            await self._recorder.record(acts.requested(visit, begun, status))
        except HoldfastError as error:
            self._refused.note(error.key, visit.key.id)
            return error
        return None


def visit_of(scope: MutableMapping[str, object]) -> Visit:
    """Give the visit that a request is.

    Args:
        scope: The request's, past the gate, on a path that asks for something.

    Returns:
        It.

    Raises:
        RuntimeError: If the gate made none.
    """
    found = scope[VISIT]
    if not isinstance(found, Visit):
        raise RuntimeError("the gate made no visit of a request")  # noqa: TRY004 - not a matter of types but of order
    return found
