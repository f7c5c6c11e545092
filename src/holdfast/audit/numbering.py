"""Numbering a group of events: in the log, and among those of their producers.

Invariant: the events of a producer's run that stand in the log are numbered from 0 without a gap. What of them was not taken,
for want of space or because the log had failed, is put on the record as refused, right before what follows it. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.audit import actions, event
from holdfast.audit.appender import Pending
from holdfast.audit.event import Actor, Draft, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.audit.appender import Run

SYSTEM = Actor("holdfastd", None, "system")


def complete(group: Sequence[Pending]) -> list[Pending]:
    """Number the events of a group in their runs, and put in what is missing between them.

    Args:
        group: What was taken, in order.

    Returns:
        The same, each with its number, and before it the refused events of its producer that it follows.
    """
    found: list[Pending] = []
    due: dict[str, int] = {}
    for pending in group:
        run = pending.run
        count = due.get(run.id, run.count)
        number = count if pending.number is None else pending.number
        found += [_refused(run, lost) for lost in range(count, number)]
        found.append(replace(pending, number=number) if pending.number is None else pending)
        due[run.id] = number + 1
    return found


def _refused(run: Run, number: int) -> Pending:
    action, reason = run.refused.get(number, ("", "audit.write-failed"))
    draft = Draft("audit.refused", SYSTEM, params={"action": action, "reason": reason})
    return Pending(actions.get(draft.action), event.write(draft), run, lambda _: None, number)


def stamp(group: Sequence[Pending], start: int, time: str, clock: str) -> list[bytes]:
    """Write a complete group down.

    Args:
        group: As ``complete`` gave it.
        start: Sequence number of the first.
        time: As ``event.timestamp`` gives it.
        clock: What that time is worth.

    Returns:
        The events' bytes.
    """
    return [
        pending.prepared.stamp(
            seq, time, clock, Source(pending.run.name, pending.run.id, pending.number or 0)
        )
        for seq, pending in enumerate(group, start)
    ]


def written(group: Sequence[Pending]) -> None:
    """Count the events of a group that is on disk.

    Args:
        group: As ``complete`` gave it.
    """
    for pending in group:
        pending.run.refused.pop(pending.run.count, None)
        pending.run.count += 1


def found(runs: Sequence[Run], sources: Sequence[Source]) -> None:
    """Count anew after a group of which a part may be on disk.

    Args:
        runs: The runs of that group.
        sources: Those of the events that turned out to be there, in order.
    """
    by_id = {run.id: run for run in runs}
    for source in sources:
        if source.run in by_id:
            by_id[source.run].count = source.count + 1
    for run in by_id.values():
        run.refused = {number: told for number, told in run.refused.items() if number >= run.count}
