"""Everything a person can do in the console, in one place.

Bindings, the line of keys, the help screen and the command palette are all made from this registry, so that they can't
differ. Invariants: every key can be sent by a serial terminal; an action that needs a role names the acts that the daemon
will check, so that what a role may not do is shown with its reason; the daemon still decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType

from holdfast.governance.people import GRANTS, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

EVERYWHERE = ""
BUNDLES, TRAINING, SERVING, AUDIT, REQUESTS = "bundles", "training", "serving", "audit", "requests"
WITNESSES = "witnesses"
SECTIONS = (BUNDLES, TRAINING, SERVING, AUDIT, REQUESTS, WITNESSES)
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
        acts: The audit actions of which a role must grant one; none if anybody may.
        shown: Whether the line of keys has it.
    """

    name: str
    keys: tuple[str, ...]
    label: str
    help: str
    section: str = EVERYWHERE
    acts: tuple[str, ...] = ()
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
        "Go to Requests: whatever takes a second person: exceptions, inventories, sealed texts.",
        shown=False,
    ),
    Action(
        WITNESSES,
        ("6", "f6"),
        "witnesses",
        "Go to Witnesses: who cosigns the log from outside, and how long ago.",
        shown=False,
    ),
    Action(
        "import",
        ("i",),
        "import",
        "Import a medium by its path, into quarantine.",
        BUNDLES,
        ("bundle.import",),
    ),
    Action(
        "admit",
        ("a",),
        "admit",
        "See what the selected import is, and admit it as the second administrator.",
        BUNDLES,
        ("bundle.admit",),
    ),
    Action(
        "reject",
        ("x",),
        "reject",
        "Reject the selected import; its quarantine is removed.",
        BUNDLES,
        ("bundle.reject",),
    ),
    Action(
        "discard",
        ("d",),
        "discard",
        "Give up an import that is not complete, or your own that waits; what was copied is removed.",
        BUNDLES,
        ("bundle.discard",),
    ),
    Action(
        "receipt",
        ("e",),
        "receipt",
        "Write the signed receipt of the selected import into a folder.",
        BUNDLES,
        ("report.receipt",),
    ),
    Action(
        "rollback", ("b",), "roll back", "Go back to an earlier generation.", BUNDLES, ("bundle.rollback",)
    ),
    Action("train", ("t",), "train", "Start a run by the path of its recipe.", TRAINING, ("train.run",)),
    Action(
        "cancel",
        ("c",),
        "cancel",
        "Stop the selected run at its next step, with a checkpoint.",
        TRAINING,
        ("train.run",),
    ),
    Action("resume", ("s",), "resume", "Go on with the selected stopped run.", TRAINING, ("train.run",)),
    Action(
        "replay",
        ("y",),
        "replay",
        "Run the selected run again; the adapter must be the same.",
        TRAINING,
        ("train.replay",),
    ),
    Action(
        "gate",
        ("g",),
        "gate",
        "Evaluate the selected run before and after, and decide its gate.",
        TRAINING,
        ("eval.run",),
    ),
    Action(
        "quantize",
        ("z",),
        "quantize",
        "Make GGUF files of a base and of a run's adapter.",
        SERVING,
        ("model.convert",),
    ),
    Action("serve", ("s",), "start", "Start serving a base and adapters.", SERVING, ("serve.start",)),
    Action(
        "stop",
        ("o",),
        "stop",
        "Stop serving; answers under way are finished first.",
        SERVING,
        ("serve.stop",),
    ),
    Action(
        "chat",
        ("c",),
        "chat",
        "Ask the selected model; Esc leaves the question.",
        SERVING,
        ("serve.key.created",),
    ),
    Action(
        "filter",
        ("f",),
        "filter",
        "Show only one action, person, role, kind of thing, or what came after a time.",
        AUDIT,
        ("audit.read",),
    ),
    Action("older", ("n",), "older", "Read the next page, of older events.", AUDIT, ("audit.read",)),
    Action(
        "newer",
        ("b",),
        "newer",
        "Go back to the page of newer events.",
        AUDIT,
        ("audit.read",),
        shown=False,
    ),
    Action(
        "verify",
        ("v",),
        "verify",
        "Verify the whole log as it lies on disk, and compare the index with it.",
        AUDIT,
        ("audit.read",),
    ),
    Action("queries", ("s",), "queries", "Ask one of the saved queries.", AUDIT, ("audit.read",)),
    Action(
        "proof",
        ("p",),
        "proof",
        "Write the proof of the selected event to a file.",
        AUDIT,
        ("audit.read",),
    ),
    Action(
        "unseal",
        ("u",),
        "unseal",
        "Ask for the texts of the selected answer to be opened; another person grants it.",
        AUDIT,
        ("sealed.unseal",),
        shown=False,
    ),
    Action(
        "ask",
        ("e",),
        "exception",
        "Ask for a rule to be lifted for a time; another administrator grants it.",
        REQUESTS,
        ("exception.asked",),
    ),
    Action(
        "inventory",
        ("i",),
        "inventory",
        "Make an inventory of what is here for a publisher; another administrator lets it out.",
        REQUESTS,
        ("request.make",),
    ),
    Action(
        "erase",
        ("d",),
        "erase",
        "Ask for the sealed texts of a subject to be erased; another administrator grants it.",
        REQUESTS,
        ("sealed.erase",),
        shown=False,
    ),
    Action(
        "retention",
        ("k",),
        "keep",
        "Ask for prompts or answers to be kept for another time; another administrator grants it.",
        REQUESTS,
        ("sealed.retention",),
        shown=False,
    ),
    Action(
        "grant",
        ("g",),
        "grant",
        "See the selected request, and grant it as the second person.",
        REQUESTS,
        ("exception.grant", "request.grant", "sealed.granted"),
    ),
    Action(
        "refuse",
        ("x",),
        "refuse",
        "Refuse the selected request, or take your own back.",
        REQUESTS,
        ("exception.refused", "request.refused", "sealed.refused"),
    ),
    Action(
        "fetch",
        ("f",),
        "fetch",
        "Write the selected inventory to a file, once it was let out.",
        REQUESTS,
        ("request.fetched",),
    ),
    Action(
        "code",
        ("c",),
        "QR",
        "Show a checkpoint for the selected witness as QR codes, one after the other.",
        WITNESSES,
        ("audit.checkpoint",),
    ),
    Action(
        "carry",
        ("f",),
        "file",
        "Write a checkpoint for the selected witness to a file.",
        WITNESSES,
        ("audit.checkpoint",),
    ),
    Action(
        "cosigned",
        ("t",),
        "take in",
        "Take in the file in which a witness cosigned a checkpoint.",
        WITNESSES,
        ("audit.cosigned",),
    ),
    Action(
        "add",
        ("a",),
        "add",
        "Add a witness by the keys received from it.",
        WITNESSES,
        ("audit.witness.added",),
    ),
    Action(
        "remove",
        ("x",),
        "remove",
        "Remove the selected witness; what it cosigned stays on the record.",
        WITNESSES,
        ("audit.witness.removed",),
    ),
    Action("person", ("w",), "who", "Switch to another person at this terminal."),
    Action("quit", ("q",), "quit", "Leave the console. Jobs and serving go on."),
    Action(
        "health",
        ("h",),
        "more",
        "Show how the home is: space for the log, witnesses, the last start, what is lacking.",
        shown=False,
    ),
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
