"""The registry of everything that may be written into the audit log.

An act is an intent ``X``, recorded before it begins, and exactly one outcome ``X.done``, ``X.failed``, ``X.cancelled`` or
``X.interrupted`` whose cause is the intent's sequence number; everything else is a plain fact. Invariants: what is not
registered is refused; each action belongs to one producer, so that the serve worker can write answers and nothing else.
No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.errors import UntrustedRequest

OUTCOMES = {
    "done": "{} ended as intended.",
    "failed": "{} failed; the parameters say why.",
    "cancelled": "{} was cancelled by a person.",
    "interrupted": "{} was found without an outcome at start; the process that did it had died.",
}


class Phase(StrEnum):
    """What an action is in the life of an act."""

    FACT = "fact"
    INTENT = "intent"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Action:
    """One kind of event.

    Args:
        name: What the event's ``action`` field says.
        sentence: What it means, for people.
        phase: Whether it is a fact, an intent or an outcome.
        producer: Who may write it: ``daemon`` or ``serve``.
        act: The intent's name, for intents and outcomes.
    """

    name: str
    sentence: str
    phase: Phase
    producer: str
    act: str | None = None


_FACTS = {
    "site.founded": "The site was founded: its name, its people and the log's keys.",
    "daemon.started": "The daemon started.",
    "daemon.stopped": "The daemon stopped on request.",
    "trust.pinned": "A root of trust was pinned by a fingerprint received out of band.",
    "session.opened": "A person proved who they are and opened a session.",
    "session.closed": "A session ended.",
    "access.denied": "A person or process asked for what it may not have.",
    "bundle.verified": "A medium's signatures, policy and listing were verified; its copying begins.",
    "store.damaged": "Stored files of an artefact were found not to be what was recorded.",
    "dataset.added": "A data set was added.",
    "recipe.added": "A recipe was added.",
    "gate.decided": "The gate compared two evaluations and decided whether a model may be used.",
    "worker.denied": "A confined worker tried what its walls forbid.",
    "serve.key.created": "A key for applications was created.",
    "serve.key.revoked": "A key for applications was revoked.",
    "exception.asked": "An administrator asked for an exception to a rule, for a time.",
    "exception.refused": "An administrator refused an exception.",
    "revocation.listed": "A revocation list that was admitted named artefacts that may no longer be used.",
    "artefact.revoked": "An artefact that is here was revoked, or was made from one that was.",
    "request.refused": "An administrator refused to let an inventory out.",
    "request.fetched": "An inventory that two administrators let out was handed out.",
    "audit.read": "A person read or queried the audit log.",
    "audit.checkpoint": "A checkpoint of the audit log was handed out.",
}
_ACTS = {
    "bundle.import": "Importing a medium",
    "bundle.admit": "Admitting an inspected bundle",
    "bundle.reject": "Rejecting an inspected bundle",
    "bundle.discard": "Discarding what was collected of a bundle",
    "bundle.rollback": "Rolling back to an earlier generation",
    "store.scrub": "Hashing everything in the store again",
    "store.gc": "Removing generations and artefacts that nothing needs",
    "exception.grant": "Granting an exception to a rule, for a time",
    "request.make": "Making an inventory for a publisher",
    "request.grant": "Letting an inventory out to a publisher",
    "train.run": "A training run",
    "train.replay": "Replaying a training run",
    "eval.run": "An evaluation",
    "model.convert": "Converting or quantizing a model",
    "serve.start": "Starting to serve",
    "serve.stop": "Stopping to serve",
    "audit.rebuild": "Rebuilding the index of the audit log",
    "audit.export": "Exporting evidence",
    "report.residency": "Writing a residency report",
    "report.receipt": "Writing the receipt of an import",
}
_SERVED = {"answer": "Answering an application's request"}


def _register() -> dict[str, Action]:
    found = {name: Action(name, sentence, Phase.FACT, "daemon") for name, sentence in _FACTS.items()}
    for producer, acts in (("daemon", _ACTS), ("serve", _SERVED)):
        for act, words in acts.items():
            found[act] = Action(act, f"{words} is about to begin.", Phase.INTENT, producer, act)
            for ending, sentence in OUTCOMES.items():
                name = f"{act}.{ending}"
                found[name] = Action(name, sentence.format(words), Phase.OUTCOME, producer, act)
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
            remedy="Use an action from the registry in holdfast.audit.actions.",
        )
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
