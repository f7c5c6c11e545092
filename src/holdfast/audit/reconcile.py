"""Reconciliation: what to record at start about acts that have an intent and no outcome.

Invariant: after the drafts given here are recorded, every intent has exactly one outcome. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.audit.event import Actor, Draft, Event

if TYPE_CHECKING:
    from collections.abc import Iterable

WORDLESS = "the process that did it ended without a word"


def unfinished(events: Iterable[Event]) -> list[Event]:
    """Find the intents without an outcome.

    Args:
        events: All events, in order.

    Returns:
        The open intents, in order.
    """
    found: dict[int, Event] = {}
    for event in events:
        action = actions.get(event.action)
        if action.phase is Phase.INTENT:
            found[event.seq] = event
        elif action.phase is Phase.OUTCOME and event.cause is not None:
            found.pop(event.cause, None)
    return list(found.values())


def interrupted(intents: Iterable[Event], actor: Actor) -> list[Draft]:
    """Write the outcomes of acts that nobody can finish any more.

    Args:
        intents: Intents without an outcome.
        actor: Who records it: the daemon.

    Returns:
        One ``X.interrupted`` per intent, about the same subject under the same label.
    """
    return [
        Draft(
            action=actions.outcome(intent.action, "interrupted"),
            actor=actor,
            subject=intent.subject,
            label=intent.label,
            params={"reason": WORDLESS, "started": intent.time, "person": intent.actor.person},
            cause=intent.seq,
        )
        for intent in intents
    ]
