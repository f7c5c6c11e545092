"""The registry of everything that may be written into the audit log.

An act is an intent ``X``, recorded before it begins, and exactly one outcome ``X.done``, ``X.failed``, ``X.cancelled`` or
``X.interrupted`` whose cause is the intent's sequence number; everything else is a plain fact. Invariants: what is not
registered is refused, and so is a parameter that the registry does not name or type; each action belongs to one producer, so
that the front of serving can write answers and nothing else. The declarations are in ``holdfast.audit.registry``, by room. Pure.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from holdfast.audit.registry import evidence, media, releases, safeguards, sealed, serving, site, work
from holdfast.audit.registry.declare import OUTCOMES, Action, Phase
from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.audit.event import Draft
    from holdfast.canonical import Json

__all__ = ["OUTCOMES", "REGISTRY", "Action", "Phase", "admit", "describe", "get", "outcome", "rows"]


def _register() -> dict[str, Action]:
    rooms = (site, media, safeguards, work, serving, releases, evidence, sealed)
    listed = [*chain.from_iterable(chain.from_iterable(room.ACTIONS for room in rooms))]
    found = {one.name: one for one in listed}
    if len(found) != len(listed):
        raise ValueError("an action is declared twice")
    return found


REGISTRY = _register()


def get(name: str) -> Action:
    """Look an action up.

    Args:
        name: What an event's ``action`` field says.

    Returns:
        The registered action.

    Raises:
        UntrustedRequest: If it is not registered.
    """
    found = REGISTRY.get(name)
    if found is None:
        raise UntrustedRequest(
            "audit.action",
            f"{name[:80]!r} is no registered action of the audit log.",
            remedy="See `holdfast audit events` for those that are.",
        )
    return found


def admit(draft: Draft) -> Action:
    """Decide whether a draft may become an event: its action is registered, and its parameters are that action's.

    Args:
        draft: What a producer submitted.

    Returns:
        Its action.

    Raises:
        UntrustedRequest: If the action is not registered, or a parameter is unknown, missing or of the wrong type.
    """
    found = get(draft.action)
    found.check(draft.params)
    return found


def outcome(act: str, ending: str) -> str:
    """Name an outcome.

    Args:
        act: The intent's name.
        ending: One of ``OUTCOMES``.

    Returns:
        The outcome's name.

    Raises:
        UntrustedRequest: If there is no such outcome.
    """
    return get(f"{act}.{ending}").name


def describe(event: Mapping[str, Json]) -> str:
    """Tell an event in one sentence.

    Args:
        event: The event as plain data: ``action``, ``actor``, ``subject``, ``params`` and ``cause`` are read; any of them may be
            missing or malformed.

    Returns:
        One line of printable characters: who did what to what. For an unknown action the empty text.
    """
    found = REGISTRY.get(str(event.get("action")))
    return "" if found is None else found.says.fill(event)


def rows() -> list[dict[str, Json]]:
    """Give the registry as plain rows, for a table.

    Returns:
        One object per action, by name: ``action``, ``phase``, ``act``, ``producer``, ``essential``, ``meaning`` (what it means),
        ``sentence`` (the template of its sentence), ``controls`` (their names) and ``params`` (types by name).
    """
    return [
        {
            "action": one.name,
            "phase": one.phase.value,
            "act": one.act,
            "producer": one.producer,
            "essential": one.essential,
            "meaning": one.sentence,
            "sentence": one.says.text,
            "controls": list(one.controls),
            "params": one.params.described(),
        }
        for one in sorted(REGISTRY.values(), key=lambda one: one.name)
    ]
