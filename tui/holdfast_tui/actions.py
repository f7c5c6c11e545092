"""What is made from the registry of actions: bindings, and what a person may do.

The line of keys, the help screen and the command palette are made from the same registry, so that they can't differ.
Invariant: what a role may not do is shown with its reason; the daemon still decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType

from holdfast.governance.people import GRANTS, Role
from holdfast_tui.registry import (
    AUDIT,
    BUNDLES,
    EVERYWHERE,
    REGISTRY,
    RELEASES,
    REQUESTS,
    SECTIONS,
    SERVING,
    TRAINING,
    WITNESSES,
    Action,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = (
    "AUDIT",
    "BUNDLES",
    "EVERYWHERE",
    "REGISTRY",
    "RELEASES",
    "REQUESTS",
    "SECTIONS",
    "SERVING",
    "TRAINING",
    "WITNESSES",
    "Action",
    "bindings",
    "missing",
    "named",
    "of",
    "refusal",
)


def of(section: str) -> list[Action]:
    """Give what can be done in a section.

    Args:
        section: One of ``SECTIONS``.

    Returns:
        Its own actions and those that can be done everywhere, in the registry's order.
    """
    return [action for action in REGISTRY if action.section in (EVERYWHERE, section)]


def named(name: str, section: str) -> Action:
    """Find an action.

    Args:
        name: Its name.
        section: The section that a person is in.

    Returns:
        The action.
    """
    return next(action for action in of(section) if action.name == name)


def bindings(section: str, names: Collection[str] = ()) -> list[BindingType]:
    """Make the bindings of a section, of the app, or of a dialog over a section.

    Args:
        section: The section, or ``EVERYWHERE``.
        names: Only these actions; all of the section if empty.

    Returns:
        One binding per key. All lead to the app's one dispatcher.
    """
    return [
        Binding(",".join(action.keys), f"app.perform({action.name!r})", action.label, show=False)
        for action in REGISTRY
        if action.section == section and (not names or action.name in names)
    ]


def refusal(action: Action, roles: Iterable[str]) -> str | None:
    """Say why a person may not do something.

    Args:
        action: The action.
        roles: The person's roles.

    Returns:
        The reason, or None if their roles grant it.
    """
    return missing(action.acts, roles)


def missing(acts: Iterable[str], roles: Iterable[str]) -> str | None:
    """Say which role would grant one of some acts.

    Args:
        acts: Actions of the audit log.
        roles: The person's roles.

    Returns:
        The reason, or None if their roles grant one, or none is needed.
    """
    needed = set(acts)
    granting = [role.value for role in Role if needed & GRANTS[role]]
    if not needed or set(granting) & set(roles):
        return None
    return f"needs the role {' or '.join(granting)}"
