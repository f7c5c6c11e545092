"""Actions on releases: what a name that applications use stands for, proposed by one person and approved by another. Pure."""

from __future__ import annotations

from holdfast.audit.params import DIGEST, FLAG, SEQ, Choice, Fields, MapOf, Nullable, Record, Text
from holdfast.audit.registry.declare import Action, act, fact
from holdfast.audit.registry.shared import APPROVAL, LABEL, PERSON, REASON
from holdfast.governance.releases import MAX_ALIAS, MAX_QUANTIZATIONS, Product

_ALIAS = Text(MAX_ALIAS)
_RELEASE = Record(
    {
        "schema": Text(64),
        "alias": _ALIAS,
        "run": DIGEST,
        "kind": Choice(tuple(kind.value for kind in Product)),
        "product": DIGEST,
        "base": DIGEST,
        "tokenizer": DIGEST,
        "gguf": MapOf(DIGEST, MAX_QUANTIZATIONS),
        "lora": Nullable(DIGEST),
        "evaluation": DIGEST,
        "gate": DIGEST,
        "decided": SEQ,
        "label": LABEL,
    },
    "release",
)
_DECIDED: Fields = {"request": SEQ, "requester": PERSON, "alias": _ALIAS, "product": DIGEST}

ACTIONS: tuple[tuple[Action, ...], ...] = (
    fact(
        "release.proposed",
        "A run that passed its gate was proposed for release under an alias, with its evidence.",
        "{who} proposed that {release.alias} be the {release.kind} {release.product} of the run {release.run}, by the"
        " verdict {release.decided}",
        {"release": _RELEASE},
        serves="AC-5 CM-3 CM-5 SR-4",
    ),
    fact(
        "release.refused",
        "A proposed release was refused by a second person, or taken back.",
        "{who} refused the release {request}: {reason}",
        {"request": SEQ, "reason": REASON},
        serves="AC-5 CM-3 CM-5",
    ),
    act(
        "release.approve",
        "Approving a release",
        "{who} approves the release {request} of {requester}: {alias} is to be {product}",
        {**_DECIDED, "approval": APPROVAL},
        done={"request": SEQ, "alias": _ALIAS, "product": DIGEST, "switched": FLAG},
        done_says="{who} released {product} as {alias} (request {request}); a running server switches: {switched}",
        serves="AC-3(2) AC-5 AU-10 CM-3 CM-5 SR-4",
    ),
    act(
        "release.rollback",
        "Rolling a release back",
        "{who} rolls {alias} back from the release {from} to {to}: {reason}",
        {"alias": _ALIAS, "from": SEQ, "to": SEQ, "product": DIGEST, "reason": REASON},
        done={"alias": _ALIAS, "to": SEQ, "product": DIGEST, "reason": REASON, "switched": FLAG},
        done_says="{who} rolled {alias} back to the release {to}, which is {product}; a running server switches: {switched}",
        serves="CM-3 CM-5 IR-4 SI-7",
    ),
)
