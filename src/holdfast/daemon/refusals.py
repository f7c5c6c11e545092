"""What the control socket refused, on the record.

Who has no session is counted: ``access.refused``, one event a second at most, however many knock. A person with a session gets
an event for each denial, ``access.denied``, as long as there is less than one a second in the long run; what is beyond is
counted under their name. So neither can fill the log by being refused.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from holdfast.audit.counted import Counted
from holdfast.audit.refusals import Allowance
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import NoSpace, NotRecorded

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.audit.refusals import Tally
    from holdfast.canonical import Json
    from holdfast.daemon.recorder import Recorder
    from holdfast.daemon.sessions import Session
    from holdfast.errors import HoldfastError

MAX_ROUTE = 200  # characters of the path that was asked for
NOBODY = "unknown"  # local user of a peer without credentials


class Refusals:
    """Counts and records refusals.

    Args:
        recorder: The way to the log.
        monotonic: A clock in seconds.
    """

    def __init__(self, recorder: Recorder, monotonic: Callable[[], float]) -> None:
        self._recorder = recorder
        self._monotonic = monotonic
        self._strangers = Counted(partial(self._record, None), monotonic)
        self._people: dict[
            str, tuple[Allowance, Counted]
        ] = {}  # of people who had a session: the site's, no more

    async def note(self, error: HoldfastError, route: str, uid: int | None, session: Session | None) -> None:
        """Take one refusal.

        Args:
            error: Why it was refused.
            route: What was asked for.
            uid: The local user who asked; None if the kernel did not say.
            session: Their session, if they had one.
        """
        caller = NOBODY if uid is None else str(uid)
        if session is None:
            self._strangers.add(error.key, caller)
            return
        person = session.person.name
        if person not in self._people:
            counted = Counted(partial(self._record, person), self._monotonic)
            self._people[person] = (Allowance(), counted)
        allowance, counted = self._people[person]
        if not allowance.take(self._monotonic()):
            counted.add(error.key, caller)
            return
        told: dict[str, Json] = {
            "reason": error.key,
            "route": route[:MAX_ROUTE],
            "uid": uid,
            "person": person,
        }
        try:
            await self._recorder.fact(DAEMON, "access.denied", told)
        except (NotRecorded, NoSpace):
            counted.add(error.key, caller)  # told when the log takes it

    async def _record(self, person: str | None, tally: Tally, seconds: float) -> None:
        await self._recorder.fact(
            DAEMON,
            "access.refused",
            {
                "count": tally.count,
                "seconds": seconds,
                "reasons": dict(tally.reasons),
                "uids": dict(tally.callers),
                "person": person,
            },
        )

    async def flush(self) -> None:
        """Put on the record what was counted so far."""
        for counted in self._counted():
            await counted.flush()

    async def close(self) -> None:
        """Put the last counts on the record."""
        for counted in self._counted():
            await counted.close()

    def _counted(self) -> list[Counted]:
        return [self._strangers, *(counted for _, counted in self._people.values())]
