"""Actions that guard what is used and what leaves: exceptions, revocations, inventories for publishers. Pure."""

from __future__ import annotations

from holdfast.audit.params import (
    COUNT,
    DIGEST,
    SEQ,
    TIME,
    Choice,
    ListOf,
    Nullable,
    Record,
    Text,
)
from holdfast.audit.registry.declare import Action, act, fact
from holdfast.audit.registry.shared import (
    APPROVAL,
    CALLED,
    LABEL,
    PERSON,
    REASON,
    REVOKED,
)

_EXCEPTION = Record(
    {
        "schema": Text(64),
        "kind": Choice(("expired", "revoked", "floor")),
        "subject": Text(256),
        "until": TIME,
        "reason": REASON,
    },
    "exception",
)

ACTIONS: tuple[tuple[Action, ...], ...] = (
    fact(
        "revocation.listed",
        "A revocation list that was admitted named artefacts that may no longer be used.",
        "{who} took {entries#} revocations from {bundle} (list {counter})",
        {"counter": COUNT, "bundle": CALLED, "entries": ListOf(REVOKED, 16)},
        serves="CM-3 IR-4 SR-11",
    ),
    fact(
        "artefact.revoked",
        "An artefact that is here was revoked, or was made from one that was.",
        "{who} withdraws {name}, revoked since {since} by {bundle}: {reason}",
        {
            "name": CALLED,
            "revoked": DIGEST,
            "reason": Text(500),
            "since": TIME,
            "instead": Nullable(DIGEST),
            "bundle": CALLED,
        },
        serves="CM-3 IR-4 IR-5 SR-11",
    ),
    act(
        "request.make",
        "Making an inventory for a publisher",
        "{who} makes an inventory of {artefacts} artefacts",
        {"artefacts": COUNT, "listed": ListOf(Text(12), 100)},
        done={"statement": DIGEST, "artefacts": COUNT, "bytes": COUNT, "label": LABEL},
        done_says="{who} made the inventory {statement} of {artefacts} artefacts",
        serves="AC-21 CM-8",
    ),
    act(
        "request.grant",
        "Letting an inventory out to a publisher",
        "{who} lets the inventory {request} of {requester} out",
        {"request": SEQ, "requester": PERSON, "approval": APPROVAL},
        done={"request": SEQ, "document": DIGEST, "statement": DIGEST, "bytes": COUNT},
        done_says="{who} let the inventory {request} out as document {document}",
        serves="AC-3(2) AC-4 AC-5 AC-21 AU-10",
    ),
    fact(
        "request.refused",
        "An administrator refused to let an inventory out.",
        "{who} refused to let the inventory {request} out: {reason}",
        {"request": SEQ, "reason": REASON},
        serves="AC-4 AC-5 AC-21",
    ),
    fact(
        "request.fetched",
        "An inventory that two administrators let out was handed out.",
        "{who} was handed the inventory {request} (document {document})",
        {"request": SEQ, "document": DIGEST},
        serves="AC-4 AC-21",
    ),
    fact(
        "exception.asked",
        "An administrator asked for an exception to a rule, for a time.",
        "{who} asked that {exception.subject} be excepted ({exception.kind}) until {exception.until}: {exception.reason}",
        {"exception": _EXCEPTION},
        serves="AC-5 CM-3",
    ),
    act(
        "exception.grant",
        "Granting an exception to a rule, for a time",
        "{who} grants the exception {request} of {requester}",
        {"request": SEQ, "requester": PERSON, "approval": APPROVAL},
        done={
            "request": SEQ,
            "exception": _EXCEPTION,
        },
        done_says="{who} granted the exception {request}: {exception.subject} ({exception.kind}) until {exception.until}",
        serves="AC-3(2) AC-5 AC-6(9) AU-10 CM-3 CM-5",
    ),
    fact(
        "exception.refused",
        "An administrator refused an exception.",
        "{who} refused the exception {request}: {reason}",
        {"request": SEQ, "reason": REASON},
        serves="AC-5 CM-3",
    ),
)
