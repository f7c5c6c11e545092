"""Everything a person can do in the console, in one place.

Bindings, the line of keys, the help screen and the command palette are all made from this registry, so that they can't
differ. Invariants: every key can be sent by a serial terminal; an action that needs a role names the act that the daemon
will check, so that what a role may not do is shown with its reason; the daemon still decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType

from holdfast.governance.people import GRANTS, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYWHERE = ""
BUNDLES, TRAINING, SERVING, AUDIT, REQUESTS = "bundles", "training", "serving", "audit", "requests"
SECTIONS = (BUNDLES, TRAINING, SERVING, AUDIT, REQUESTS)
_NAMES = {"question_mark": "?", "ctrl+p": "^p", "escape": "Esc", "enter": "Enter"}


@dataclass(frozen=True)
class Action:
    """One thing to do.

    Args:
        name: Stable name; sections handle it.
        keys: The keys that do it, the one that is shown first.
        label: One or two words for the line of keys.
        help: One sentence for the help screen and the palette.
        section: Where it can be done; ``EVERYWHERE`` for all.
        act: The audit action that a role must grant, if any.
        shown: Whether the line of keys has it.
    """

    name: str
    keys: tuple[str, ...]
    label: str
    help: str
    section: str = EVERYWHERE
    act: str | None = None
    shown: bool = True

    @property
    def key(self) -> str:
        """The first key, as people read it."""
        return _NAMES.get(self.keys[0], self.keys[0])


REGISTRY: tuple[Action, ...] = (
    Action("help", ("question_mark",), "help", "Show every key of this screen."),
    Action(BUNDLES, ("1", "f1"), "bundles", "Go to Bundles: what comes in, and who lets it.", shown=False),
    Action(
        TRAINING, ("2", "f2"), "training", "Go to Training: runs, their loss and their gates.", shown=False
    ),
    Action(SERVING, ("3", "f3"), "serving", "Go to Serving: models, and a chat with receipts.", shown=False),
    Action(AUDIT, ("4", "f4"), "audit", "Go to Audit: the log, proofs, verification.", shown=False),
    Action(
        REQUESTS,
        ("5", "f5"),
        "requests",
        "Go to Requests: exceptions to rules, and inventories that leave the site.",
        shown=False,
    ),
    Action(
        "import", ("i",), "import", "Import a medium by its path, into quarantine.", BUNDLES, "bundle.import"
    ),
    Action(
        "admit",
        ("a",),
        "admit",
        "See what the selected import is, and admit it as the second administrator.",
        BUNDLES,
        "bundle.admit",
    ),
    Action(
        "reject",
        ("x",),
        "reject",
        "Reject the selected import; its quarantine is removed.",
        BUNDLES,
        "bundle.reject",
    ),
    Action(
        "discard",
        ("d",),
        "discard",
        "Give up an import that is not complete, or your own that waits; what was copied is removed.",
        BUNDLES,
        "bundle.discard",
    ),
    Action(
        "receipt",
        ("e",),
        "receipt",
        "Write the signed receipt of the selected import into a folder.",
        BUNDLES,
        "report.receipt",
    ),
    Action("rollback", ("b",), "roll back", "Go back to an earlier generation.", BUNDLES, "bundle.rollback"),
    Action("train", ("t",), "train", "Start a run by the path of its recipe.", TRAINING, "train.run"),
    Action(
        "cancel",
        ("c",),
        "cancel",
        "Stop the selected run at its next step, with a checkpoint.",
        TRAINING,
        "train.run",
    ),
    Action("resume", ("s",), "resume", "Go on with the selected stopped run.", TRAINING, "train.run"),
    Action(
        "replay",
        ("y",),
        "replay",
        "Run the selected run again; the adapter must be the same.",
        TRAINING,
        "train.replay",
    ),
    Action(
        "gate",
        ("g",),
        "gate",
        "Evaluate the selected run before and after, and decide its gate.",
        TRAINING,
        "eval.run",
    ),
    Action(
        "quantize",
        ("z",),
        "quantize",
        "Make GGUF files of a base and of a run's adapter.",
        SERVING,
        "model.convert",
    ),
    Action("serve", ("s",), "start", "Start serving a base and adapters.", SERVING, "serve.start"),
    Action(
        "stop", ("o",), "stop", "Stop serving; answers under way are finished first.", SERVING, "serve.stop"
    ),
    Action(
        "chat",
        ("c",),
        "chat",
        "Ask the selected model; Esc leaves the question.",
        SERVING,
        "serve.key.created",
    ),
    Action("filter", ("f",), "filter", "Show only one action or one person.", AUDIT, "audit.read"),
    Action("older", ("n",), "older", "Read the next page, of older events.", AUDIT, "audit.read"),
    Action("newer", ("b",), "newer", "Go back to the page of newer events.", AUDIT, "audit.read"),
    Action("verify", ("v",), "verify", "Verify the whole log as it lies on disk.", AUDIT, "audit.read"),
    Action(
        "ask",
        ("e",),
        "exception",
        "Ask for a rule to be lifted for a time; another administrator grants it.",
        REQUESTS,
        "exception.asked",
    ),
    Action(
        "inventory",
        ("i",),
        "inventory",
        "Make an inventory of what is here for a publisher; another administrator lets it out.",
        REQUESTS,
        "request.make",
    ),
    Action(
        "grant",
        ("g",),
        "grant",
        "See the selected request, and grant it as the second administrator.",
        REQUESTS,
        "exception.grant",
    ),
    Action(
        "refuse",
        ("x",),
        "refuse",
        "Refuse the selected request, or take your own back.",
        REQUESTS,
        "exception.refused",
    ),
    Action(
        "fetch",
        ("f",),
        "fetch",
        "Write the selected inventory to a file, once it was let out.",
        REQUESTS,
        "request.fetched",
    ),
    Action("person", ("w",), "who", "Switch to another person at this terminal."),
    Action("quit", ("q",), "quit", "Leave the console. Jobs and serving go on."),
    Action("refresh", ("r",), "refresh", "Read everything on this screen again.", shown=False),
    Action("palette", ("ctrl+p",), "palette", "Find an action by its name.", shown=False),
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


def bindings(section: str) -> list[BindingType]:
    """Make the bindings of a section, or of the app.

    Args:
        section: The section, or ``EVERYWHERE``.

    Returns:
        One binding per key. All lead to the app's one dispatcher.
    """
    return [
        Binding(",".join(action.keys), f"app.perform({action.name!r})", action.label, show=False)
        for action in REGISTRY
        if action.section == section
    ]


def refusal(action: Action, roles: Iterable[str]) -> str | None:
    """Say why a person may not do something.

    Args:
        action: The action.
        roles: The person's roles.

    Returns:
        The reason, or None if their roles grant it.
    """
    if action.act is None:
        return None
    granting = [role for role in Role if action.act in GRANTS[role]]
    if any(role.value in set(roles) for role in granting):
        return None
    return f"needs the role {' or '.join(role.value for role in granting)}"
