"""Actions on media, bundles and the store: what comes in, what is kept, what goes. Pure."""

from __future__ import annotations

from holdfast.artefact import Kind
from holdfast.audit.params import (
    COUNT,
    DIGEST,
    FLAG,
    SEQ,
    TIME,
    Choice,
    ListOf,
    MapOf,
    Nullable,
    Optional,
    Record,
    Text,
)
from holdfast.audit.registry.declare import Action, act, fact
from holdfast.audit.registry.shared import (
    APPROVAL,
    CALLED,
    FINGERPRINT,
    FOLDER,
    LISTED,
    MESSAGE,
    NAME,
    PERSON,
    REASON,
    REVOKED,
)

_PUBLISHER = Text(2_000)
_HOLDERS = ListOf(Text(256), 64)
_FINDING = Record({"file": Nullable(Text(240)), "key": Text(80), "sentence": Text(400)})
_FINDINGS = ListOf(_FINDING, 60)
_MEDIUM = Record(
    {
        "read_only": Nullable(FLAG),
        "device_read_only": Nullable(FLAG),
        **{
            name: Nullable(FOLDER)
            for name in ("filesystem", "source", "device", "uuid", "vendor", "model", "serial")
        },
    },
    "medium",
)
_KIND = Choice(tuple(kind.value for kind in Kind))

ACTIONS: tuple[tuple[Action, ...], ...] = (
    act(
        "bundle.import",
        "Importing a medium",
        "{who} imports the medium {path}",
        {"path": FOLDER},
        done={
            "name": NAME,
            "version": NAME,
            "manifest": DIGEST,
            "bytes": COUNT,
            "volumes": COUNT,
            "present": ListOf(COUNT, 1_000),
            "missing": ListOf(COUNT, 1_000),
            "holders": _HOLDERS,
            "publisher": _PUBLISHER,
            "root_version": COUNT,
            "artefacts": Optional(COUNT),
            "files": Optional(COUNT),
            "listing": Optional(DIGEST),
            "findings": Optional(_FINDINGS),
        },
        done_says="{who} imported {name} {version} of {publisher} into quarantine[: {artefacts} artefacts]"
        "[; volumes {missing} are missing]",
        short={"kept": FLAG, "findings": _FINDINGS},
        serves="AC-4 AC-6(9) CM-3 CM-14 MP-7 SI-7 SR-11",
    ),
    fact(
        "bundle.verified",
        "A medium's signatures, policy and listing were verified; its copying begins.",
        "{who} has {name} {version} of {publisher} verified, signed by {holders#} holders[: {holders}]",
        {
            "name": NAME,
            "version": NAME,
            "publisher": _PUBLISHER,
            "manifest": DIGEST,
            "collection": Text(2_000),
            "role": Text(256),
            "root_version": COUNT,
            "root_fingerprint": FINGERPRINT,
            "holders": _HOLDERS,
            "bytes": COUNT,
            "expires": TIME,
            "expired": FLAG,
            "timestamp": DIGEST,
            "floor": Nullable(TIME),
            "delta": Nullable(ListOf(DIGEST, 300)),
            "volume": Record({"number": COUNT, "count": COUNT, "digest": DIGEST, "medium": _MEDIUM}),
            "trusted_before": DIGEST,
            "revocations": Nullable(
                Record(
                    {
                        "counter": COUNT,
                        "entries": COUNT,
                        "new": ListOf(REVOKED, 16),
                        "concerned": ListOf(Text(512), 16),
                    }
                )
            ),
        },
        serves="CM-14 MP-7 SI-7 SR-4 SR-11",
    ),
    fact(
        "bundle.delta",
        "Further artefacts that a delta builds upon were named, beside those that its verification names.",
        "{who} names {bases#} more artefacts that the delta of event[ {cause}] builds upon",
        {"bases": ListOf(DIGEST, 400)},
        serves="SR-4 SR-11",
    ),
    fact(
        "artefact.listed",
        "An artefact was listed in a bundle that is being imported.",
        "{who} lists {artefact.kind} {artefact.name}@{artefact.version}, part {part} of {parts}[, for event {cause}]",
        {
            "artefact": LISTED,
            "bytes": COUNT,
            "files": COUNT,
            "origins": MapOf(Text(512), 1_000),
            "part": COUNT,
            "parts": COUNT,
        },
        serves="CM-8 SR-4",
    ),
    act(
        "bundle.admit",
        "Admitting an inspected bundle",
        "{who} admits request {request} of {requester}",
        {"request": SEQ, "requester": PERSON, "approval": APPROVAL},
        done={
            "request": SEQ,
            "requester": PERSON,
            "reason": Nullable(REASON),
            "generation": COUNT,
            "artefacts": COUNT,
            "listing": DIGEST,
            "floor": Nullable(TIME),
            "root": Record({"version": COUNT, "fingerprint": FINGERPRINT}),
        },
        done_says="{who} admitted request {request} of {requester}: generation {generation} is active[, because {reason}]",
        serves="AC-3(2) AC-5 AU-10 CM-3 CM-5 CM-8",
    ),
    act(
        "bundle.reject",
        "Rejecting an inspected bundle",
        "{who} rejects request {request} of {requester}: {reason}",
        {"request": SEQ, "requester": PERSON, "reason": REASON, "approval": APPROVAL},
        done={"request": SEQ, "reason": REASON},
        done_says="{who} rejected request {request}: {reason}",
        serves="AC-3(2) AC-5 AU-10 CM-3 CM-5 IR-4",
    ),
    act(
        "bundle.discard",
        "Discarding what was collected of a bundle",
        "{who} gives up request {request} (manifest {manifest})",
        {"request": SEQ, "manifest": DIGEST},
        done={"request": SEQ, "manifest": DIGEST},
        done_says="{who} gave up request {request}; it is removed from quarantine",
        serves="CM-3",
        essential=True,
    ),
    act(
        "bundle.rollback",
        "Rolling back to an earlier generation",
        "{who} goes from generation {from} back to generation {to}",
        {"from": COUNT, "to": COUNT},
        done={"generation": COUNT, "from": COUNT},
        done_says="{who} went back to generation {generation}",
        serves="AC-6(9) CM-3 IR-4",
    ),
    act(
        "store.scrub",
        "Hashing everything in the store again",
        "{who} has everything in the store hashed again",
        done={
            "checked": COUNT,
            "bytes": COUNT,
            "unnamed": ListOf(MESSAGE, 40),
            "damaged": ListOf(DIGEST, 300),
        },
        done_says="{who} had {checked} artefacts ({bytes} bytes) hashed again; {damaged#} are damaged",
        serves="SI-7",
    ),
    fact(
        "store.damaged",
        "Stored files of an artefact were found not to be what was recorded.",
        "{who} found {kind} {name}@{version} damaged: {count} faults[; the medium {medium} brings it again]",
        {
            "artefact": DIGEST,
            "kind": _KIND,
            "name": NAME,
            "version": NAME,
            "medium": Nullable(CALLED),
            "faults": ListOf(
                Record(
                    {
                        "file": Nullable(FOLDER),
                        "message": MESSAGE,
                        "recorded": Nullable(Text(256)),
                        "found": Nullable(Text(256)),
                    }
                ),
                40,
            ),
            "count": COUNT,
        },
        serves="IR-4 IR-5 SI-7",
    ),
    act(
        "store.gc",
        "Removing generations and artefacts that nothing needs",
        "{who} removes {generations#} generations and {artefacts#} artefacts, keeping {keep} generations",
        {"keep": COUNT, "generations": ListOf(COUNT, 4_000), "artefacts": ListOf(DIGEST, 300)},
        done={"spared": ListOf(DIGEST, 300), "freed": COUNT},
        done_says="{who} freed {freed} bytes of the store; {spared#} artefacts were spared",
        short={"spared": ListOf(DIGEST, 300)},
        serves="AC-6(9) CM-3 CM-8",
        essential=True,
    ),
)
