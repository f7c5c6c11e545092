"""What two persons decide on, as the daemon lists it: exceptions, inventories, sealed texts, releases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .brought import ADAPTER, BASE, GGUF, LABEL, sha

if TYPE_CHECKING:
    from holdfast.canonical import Json

GATE: Json = {
    "go": True,
    "reasons": [
        "domain/single: 0.953 on q8_0, at least 0.900 is needed",
        "general/all lost 0.004, at most 0.020 is allowed",
    ],
}


def exception(request: int, kind: str, subject: str, standing: str, **changes: Json) -> dict[str, Json]:
    return {
        "kind": kind,
        "subject": subject,
        "until": "2026-03-08T12:00:00Z",
        "reason": "The ship comes in June.",
        "request": request,
        "requester": "alice",
        "standing": standing,
        "granted": None,
        "decided_by": None,
        "refusal": None,
        **changes,
    }


def inventory(request: int, state: str, **changes: Json) -> dict[str, Json]:
    return {
        "request": request,
        "requester": "alice",
        "state": state,
        "statement": sha("3d"),
        "artefacts": 3,
        "bytes": 18_000_000,
        "label": LABEL,
        "decided_by": None,
        "document": None,
        "refusal": None,
        **changes,
    }


def approved(found: dict[str, Json], action: str, digest: str) -> dict[str, Json]:
    """Give what the daemon answers about one open request."""
    statement: Json = {
        "site": "Marren registry",
        "request": found["request"],
        "action": action,
        "digest": digest,
        "requester": found["requester"],
        "expires": "",
    }
    return {
        **found,
        "approval": statement,
        "held": [
            {"kind": "base", "name": "starter", "version": "1.0.0", "digest": BASE},
            {"kind": "suite", "name": "registry", "version": "1.0.0", "digest": sha("4f")},
        ],
    }


EXCEPTIONS = [
    exception(71, "expired", sha("9a"), "open"),
    exception(66, "revoked", ADAPTER, "in force", decided_by="bob", granted="2026-03-01T11:00:00Z"),
    exception(
        60, "floor", "2026-02-01T00:00:00Z", "refused", decided_by="bob", refusal="The clock is right."
    ),
]
INVENTORIES = [
    inventory(70, "open"),
    inventory(30, "granted", decided_by="bob", document=sha("8b")),
]


def sealing(request: int, kind: str, standing: str, **changes: Json) -> dict[str, Json]:
    return {
        "kind": kind,
        "reason": "A complaint was made about this answer.",
        "request": request,
        "requester": "aude" if kind == "unseal" else "alice",
        "time": "2026-02-26T08:00:00.000000Z",
        "standing": standing,
        "decided_by": None,
        "expires": None,
        "refusal": None,
        "event": None,
        **changes,
    }


SEALED = [
    sealing(
        90,
        "unseal",
        "open",
        answer=212,
        subject="5b" * 32,
        commitments={"prompt": "sha256:aa", "answer": "sha256:bb"},
    ),
    sealing(88, "erase", "open", tenant="tax-office", subject="6c" * 32, reason="Asked for erasure."),
    sealing(85, "retention", "done", **{"class": "prompt", "days": 90, "decided_by": "bob", "event": 86}),
]


def release(request: int, standing: str, product: str, **changes: Json) -> dict[str, Json]:
    return {
        "request": request,
        "alias": "authority",
        "standing": standing,
        "requester": "olga",
        "time": "2026-03-01T09:30:00.000000Z",
        "decided_by": None,
        "decided_seq": None,
        "reason": None,
        "kind": "adapter",
        "product": product,
        "run": sha("7a"),
        "run_number": 44,
        "recipe_name": "authority@1.0.0",
        "base": BASE,
        "base_name": "starter@1.0.0",
        "tokenizer": sha("3f"),
        "gguf": {"q8_0": GGUF},
        "lora": sha("d5"),
        "evaluation": sha("ea"),
        "gate": sha("9e"),
        "decided": 48,
        "label": LABEL,
        "digest": sha("5d"),
        "hindrance": None,
        **changes,
    }


RELEASES = [
    release(103, "open", ADAPTER),
    release(97, "in force", sha("b7"), decided_by="bob", decided_seq=99, run_number=38),
    release(81, "superseded", sha("a6"), decided_by="alice", decided_seq=83, run_number=22),
    release(76, "refused", sha("96"), decided_by="bob", reason="Ask the registry first.", run_number=20),
]


def lineage(found: dict[str, Json]) -> dict[str, Json]:
    """Give what the daemon answers about one release."""
    parts = [
        {"kind": kind, "name": name, "version": "1.0.0", "digest": sha(digits)}
        for kind, name, digits in (
            ("recipe", "authority", "e1"),
            ("dataset", "authority", "d1"),
            ("dataset", "rehearsal", "d2"),
            ("suite", "registry", "4f"),
        )
    ]
    statement = approved(found, "release.approve", sha("5d"))["approval"]
    verdict: Json = {
        "seq": 48,
        "run": sha("7a"),
        "evaluation": sha("ea"),
        **(GATE if isinstance(GATE, dict) else {}),
    }
    return {**found, "lineage": parts, "verdict": verdict, "approval": statement, "line": [81, 97]}
