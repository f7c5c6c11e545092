"""Everything a person can do in the console, in one place: the registry of actions.

Invariants: every key can be sent by a serial terminal; an action that needs a role names the acts that the daemon will check.
"""

from __future__ import annotations

from dataclasses import dataclass

EVERYWHERE = ""
BUNDLES, TRAINING, SERVING, AUDIT, REQUESTS = "bundles", "training", "serving", "audit", "requests"
WITNESSES, RELEASES = "witnesses", "releases"
SECTIONS = (BUNDLES, TRAINING, SERVING, AUDIT, REQUESTS, WITNESSES, RELEASES)
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
        RELEASES,
        ("7", "f7"),
        "releases",
        "Go to Releases: which run applications get under which name.",
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
        "estimate",
        ("e",),
        "estimate",
        "Say what a run would need: time, memory, disk, energy, cost. Nothing is started.",
        TRAINING,
        ("train.estimate",),
    ),
    Action(
        "cancel",
        ("c",),
        "cancel",
        "Stop the selected run, or else a replay, an estimate or a preparation, at its next step.",
        TRAINING,
        ("train.run",),
        shown=False,
    ),
    Action(
        "resume",
        ("s",),
        "resume",
        "Go on with the selected run that was stopped.",
        TRAINING,
        ("train.run",),
        shown=False,
    ),
    Action(
        "discard",
        ("d",),
        "discard",
        "Give up the checkpoints of the selected run that was stopped.",
        TRAINING,
        ("train.run",),
        shown=False,
    ),
    Action(
        "replay",
        ("y",),
        "replay",
        "Run the selected run again; it must make the same, bit for bit.",
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
    Action("datasets", ("l",), "data", "List the data sets, and what is in each.", TRAINING),
    Action(
        "evaluations",
        ("v",),
        "evals",
        "List the evaluations, with their scores and verdicts.",
        TRAINING,
    ),
    Action(
        "compare",
        ("m",),
        "compare",
        "Show two evaluations side by side: verdicts, then the examples that changed.",
        TRAINING,
        shown=False,
    ),
    Action(
        "quantize",
        ("z",),
        "quantize",
        "Make GGUF files of a base and of a run's adapter.",
        SERVING,
        ("model.quantize",),
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
        "load",
        ("l",),
        "load",
        "Serve one more base, or more adapters; what was taken out is brought back.",
        SERVING,
        ("serve.change",),
        shown=False,
    ),
    Action(
        "unload",
        ("u",),
        "unload",
        "Serve the selected model no more; the others go on.",
        SERVING,
        ("serve.change",),
        shown=False,
    ),
    Action("engines", ("e",), "engines", "Show the engines: memory, deaths, what was taken out.", SERVING),
    Action("keys", ("k",), "keys", "List applications' keys: what each may do, and used today.", SERVING),
    Action("usage", ("y",), "usage", "Sum up what was used today, with energy and cost.", SERVING),
    Action(
        "new-key",
        ("n",),
        "new key",
        "Make a key for an application; its secret is shown once.",
        SERVING,
        ("serve.key.created",),
        shown=False,
    ),
    Action(
        "revoke-key",
        ("x",),
        "revoke",
        "Revoke the key that is selected in the list of keys.",
        SERVING,
        ("serve.key.revoked",),
        shown=False,
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
    Action(
        "propose",
        ("p",),
        "propose",
        "Propose a run whose gate said go, under a name that applications use.",
        RELEASES,
        ("release.proposed",),
    ),
    Action(
        "approve",
        ("a",),
        "approve",
        "See what the selected release is, and approve it as the second person.",
        RELEASES,
        ("release.approve",),
    ),
    Action(
        "decline",
        ("x",),
        "refuse",
        "Refuse the selected release, or take your own back.",
        RELEASES,
        ("release.refused",),
    ),
    Action(
        "withdraw",
        ("b",),
        "roll back",
        "Let the selected release's alias stand for an earlier one again.",
        RELEASES,
        ("release.rollback",),
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
