"""Actions on sealed payloads, the prompts and answers of people: opened, erased or kept by two persons. Pure."""

from __future__ import annotations

from holdfast.audit.params import COUNT, DIGEST, SEQ, Choice, Document, Hex, ListOf, MapOf, Nullable, Text
from holdfast.audit.registry.declare import Action, act, fact
from holdfast.audit.registry.shared import APPROVAL, PERSON, REASON

_CLASS = Choice(("prompt", "answer"))
_COMMITMENTS = MapOf(DIGEST, 4)  # by class

ACTIONS: tuple[tuple[Action, ...], ...] = (
    fact(
        "sealed.asked",
        "A person asked for sealed payloads to be opened, erased or kept otherwise.",
        "{who} asked for sealed payloads to be opened, erased or kept otherwise[ ({it})]",
        {"request": Document("request to unseal, erase or keep", 8_192)},
        serves="AC-3 AC-5 SI-12",
    ),
    fact(
        "sealed.granted",
        "A second person granted an unsealing.",
        "{who} granted request {request} of {requester}",
        {"request": SEQ, "requester": PERSON, "approval": APPROVAL},
        serves="AC-3(2) AC-5 AU-10",
    ),
    fact(
        "sealed.refused",
        "A second person refused what was asked for sealed payloads.",
        "{who} refused request {request}: {reason}",
        {"request": SEQ, "reason": REASON},
        serves="AC-3 AC-5",
    ),
    fact(
        "sealed.shredded",
        "Keys of sealed payloads were destroyed, as their retention says.",
        "{who} shreds {count} payloads ({class}) from before {before}",
        {"class": _CLASS, "before": Text(10), "count": COUNT},
        serves="AU-11 MP-6 SI-12",
    ),
    act(
        "sealed.unseal",
        "Opening sealed payloads",
        "{who} opens the sealed payloads of answer {answer}, by request {request} of {requester}",
        {"request": SEQ, "requester": PERSON, "answer": SEQ, "commitments": _COMMITMENTS},
        done={"opened": ListOf(_CLASS, 4), "gone": MapOf(Text(1_000), 4)},
        done_says="{who} opened sealed payloads[: {opened}][; gone: {gone}]",
        serves="AC-3 AC-6(9) SC-28",
    ),
    act(
        "sealed.erase",
        "Erasing a person's sealed payloads",
        "{who} erases the sealed payloads of a person of {tenant}, by request {request} of {requester}",
        {
            "request": SEQ,
            "requester": PERSON,
            "tenant": PERSON,
            "subject": Hex(32),
            "generation": COUNT,
            "approval": APPROVAL,
        },
        done={"keys": COUNT, "payloads": COUNT},
        done_says="{who} erased {payloads} payloads by destroying {keys} keys",
        serves="AC-3(2) AC-5 AU-10 MP-6 SC-12 SI-12",
    ),
    act(
        "sealed.retention",
        "Changing how long sealed payloads are kept",
        "{who} has payloads ({class}) kept[ for {days} days], by request {request} of {requester}",
        {"request": SEQ, "requester": PERSON, "class": _CLASS, "days": Nullable(COUNT), "approval": APPROVAL},
        done={"class": _CLASS, "days": Nullable(COUNT)},
        done_says="{who} has payloads ({class}) kept[ for {days} days]",
        serves="AC-3(2) AC-5 AU-10 AU-11 SI-12",
    ),
)
