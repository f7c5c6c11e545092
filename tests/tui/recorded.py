"""A daemon that answers what was recorded, so that pictures of screens are the same every time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx

from . import learned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from holdfast.canonical import Json

    Entries = Sequence[dict[str, Json] | asyncio.Event]

LABEL: Json = {"level": "internal", "compartments": ["REGISTRY"], "zones": ["site"]}
STEPS = 120
PEOPLE: dict[str, Json] = {
    "alice": ["administrator"],
    "aude": ["auditor"],
    "bob": ["administrator"],
    "olga": ["operator"],
}
GATE: Json = {
    "go": True,
    "reasons": [
        "domain/single: 0.953 on q8_0, at least 0.900 is needed",
        "general/all lost 0.004, at most 0.020 is allowed",
    ],
}


def sha(digits: str) -> str:
    return "sha512:" + digits * 64


BASE, GGUF, ADAPTER, REPLACED = sha("1b"), sha("2c"), sha("c4"), sha("e8")
REASON = "Its tokens leak names of patients."


def status(*, empty: bool, trouble: bool) -> dict[str, Json]:
    return {
        "exceptions": {"open": 1, "in_force": 1} if trouble else {"open": 0, "in_force": 0},
        "revoked": {
            "listed": 3 if trouble else 0,
            "artefacts": 4 if trouble else 0,
            "withdrawn": ["starter"] if trouble else [],
            "excepted": ["starter:authority"] if trouble else [],
        },
        "space": {
            "level": "ample",
            "free": 81_400_000_000,
            "low": 1_000_000_000,
            "reserve": 64_000_000,
            "failure": None,
        },
        "unwitnessed": None,
        "started": {"event": 3, "previous": "none" if empty else "stopped"},
        "sealed": {"open": 0},
        "version": "0.1.0",
        "home": "/var/lib/holdfast",
        "site": "Marren registry",
        "root": None if empty else {"version": 1, "fingerprint": "ab" * 20},
        "generation": None if empty else 2,
        "last_import": None if empty else 41,
        "waiting": [] if empty else [52],
        "log": {"size": 1 if empty else 348, "root": "9f3a2b1c" * 8, "origin": "holdfast.local/marren"},
        "egress": {"walls": {"network": True, "landlock": True, "sink": False}, "denials": 0 if empty else 3},
        "jobs": [] if empty else [{"job": 61, "action": "train.run"}],
        "serving": {"running": not empty, "address": None if empty else "http://127.0.0.1:8080"},
        "sessions": 1,
        "people": PEOPLE,
        "gaps": ["Service keys lie in files of mode 0600, not in a TPM."],
    }


def volume(number: int, count: int) -> dict[str, Json]:
    return {"number": number, "count": count, "digest": sha("77")}


def bundle(
    request: int, state: str, version: str, decided: str | None = None, **changes: Json
) -> dict[str, Json]:
    return {
        "request": request,
        "state": state,
        "requester": "alice",
        "decided_by": decided,
        "reason": None,
        "name": "starter",
        "version": version,
        "publisher": "Holdfast project",
        "manifest": sha("5e"),
        "holders": ["paul", "petra"],
        "role": "targets",
        "bytes": 18_100_000,
        "message": None,
        "volume": volume(1, 1),
        "present": [1],
        "missing": [],
        "findings": [],
        "resumable": False,
        **changes,
    }


FINDINGS: list[Json] = [
    {
        "file": "base/config.json",
        "key": "json.code",
        "sentence": "config.json names code to be fetched and run: auto_map at line 14.",
    },
    {
        "file": "base/model.safetensors",
        "key": "safetensors.gap",
        "sentence": "Bytes 4096 to 8191 of base/model.safetensors belong to no tensor.",
    },
    *(
        {
            "file": f"extras/notes-{number:02}.bin",
            "key": "content.unknown",
            "sentence": f"extras/notes-{number:02}.bin is none of the kinds of file that may come in.",
        }
        for number in range(1, 13)
    ),
]
IMPORTS: list[dict[str, Json]] = [
    bundle(52, "waiting", "1.1.0"),
    bundle(51, "failed", "1.0.9", findings=FINDINGS, message="14 findings.", manifest=sha("51")),
    bundle(
        50,
        "collecting",
        "2.0.0",
        volume=volume(2, 7),
        present=[1, 2],
        missing=[3, 4, 5, 6, 7],
        manifest=sha("50"),
        bytes=28_000_000_000,
    ),
    bundle(49, "collecting", "2.0.0", volume=volume(1, 7), present=[1], missing=[2, 3], manifest=sha("50")),
    bundle(
        48,
        "failed",
        "1.0.8",
        resumable=True,
        message="The medium was taken away while it was read.",
        manifest=sha("48"),
    ),
    bundle(40, "admitted", "1.0.1", "bob"),
    bundle(12, "rejected", "1.0.0", "bob", reason="not ordered"),
]
MEDIUM: Json = {"read_only": True, "device_read_only": None, "filesystem": "udf", "serial": "WX-4471"}


def shown(found: dict[str, Json]) -> dict[str, Json]:
    """Give what the daemon answers about one import."""
    state = found["state"]
    statement: Json = {
        "site": "Marren registry",
        "request": found["request"],
        "action": "bundle.admit",
        "digest": found["manifest"],
        "requester": "alice",
        "expires": "",
    }
    return {
        **found,
        "facts": {
            **found,
            "collection": "health",
            "role": "health",
            "root_version": 3,
            "root_fingerprint": "b7c2 91d0 44fe 0a18",
            "expires": "2026-02-20T00:00:00+00:00",
            "expired": True,
            "floor": "2026-02-01T00:00:00Z",
            "origins": {},
            "delta": [BASE],
            "revocations": {
                "counter": 3,
                "entries": 5,
                "new": [
                    {
                        "digest": BASE,
                        "kind": "base",
                        "name": "starter",
                        "reason": REASON,
                        "since": "2026-02-01T00:00:00Z",
                        "instead": REPLACED,
                    }
                ],
                "concerned": ["base starter@1.0.0", "adapter authority@1"],
            },
            "artefacts": [
                {"kind": "adapter", "name": "intake", "version": "1.1.0", "digest": ADAPTER},
                {"kind": "base", "name": "starter", "version": "1.1.0", "digest": REPLACED},
            ],
        },
        "parts": [{"request": found["request"], "requester": "alice", "medium": MEDIUM, **volume(1, 1)}],
        "approval": statement if state == "waiting" else None,
        "rejection": {**statement, "action": "bundle.reject"} if state == "waiting" else None,
    }


def artefact(kind: str, name: str, digest: str, *, revoked: bool = False, excepted: bool = False) -> Json:
    return {
        "kind": kind,
        "name": name,
        "version": "1.0.0",
        "digest": digest,
        "label": LABEL,
        "revoked": {
            "digest": BASE,
            "kind": "base",
            "name": "starter",
            "reason": REASON,
            "since": "2026-02-01T00:00:00Z",
            "instead": REPLACED,
            "bundle": "news 4",
            "advice": "Use base starter@1.1.0 (e8e8e8e8e8e8) instead.",
            "excepted": excepted,
        }
        if revoked
        else None,
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


def run(number: int, state: str, *, loss: float | None, gate: Json) -> dict[str, Json]:
    return {
        "number": number,
        "state": state,
        "person": "olga",
        "time": "2026-03-01T12:00:00Z",
        "recipe": "authority@1.0.0",
        "base": "starter",
        "method": "sft",
        "tuning": "lora",
        "run": sha("7a") if loss else None,
        "adapter": ADAPTER if loss else None,
        "model": None,
        "steps": STEPS if loss else None,
        "final_loss": loss,
        "tokens_per_second": 5946.0 if loss else None,
        "seconds": 98.4 if loss else None,
        "resumes": None,
        "resumable": state == "paused",
        "gate": gate,
    }


HALTED: dict[str, Json] = {
    "space": {
        "level": "stopped",
        "free": 61_200_000,
        "low": 1_000_000_000,
        "reserve": 64_000_000,
        "failure": None,
    },
    "unwitnessed": "No witness has cosigned the audit log for 9 days (the last is ada, at 212 events): run "
    "`holdfast audit checkpoint --witness NAME` and take it to an auditor.",
    "started": {"event": 301, "previous": "unexplained"},
    "sealed": {"open": 1},
}
HOSTILE = "\x1b[2J\x1b]0;gone\x07[bold red]all well[/] \u202egnp.exe\x9b31m\nnext"


def event(seq: int, person: str, role: str, action: str, sentence: str, **changes: Json) -> dict[str, Json]:
    act, _, ending = action.rpartition(".")
    outcome = ending in ("done", "failed")
    return {
        "seq": seq,
        "time": f"2026-03-01T12:{seq % 60:02d}:00",
        "clock": "host",
        "person": person,
        "uid": 1000,
        "role": role,
        "session": "5f3a9c20d1e4b768",
        "action": action,
        "act": act if outcome else action,
        "phase": "outcome" if outcome else "intent",
        "cause": seq - 1 if outcome else None,
        "subject_kind": "manifest",
        "subject_digest": sha("5e"),
        "level": "internal",
        "compartments": ["REGISTRY"],
        "zones": ["site"],
        "params": {"request": 52},
        "source_name": "daemon",
        "source_run": "0123456789abcdef",
        "source_count": seq - 3,
        "leaf": "ab" * 32,
        "sentence": sentence,
        **changes,
    }


EVENTS: list[dict[str, Json]] = [
    event(
        347,
        "aude",
        "auditor",
        "audit.read",
        "aude read the audit log (events)",
        subject_kind=None,
        phase="fact",
    ),
    event(346, "olga", "operator", "train.run", "olga trains recipe authority@1.0.0 on base starter"),
    event(
        41,
        "bob",
        "administrator",
        "bundle.admit.done",
        "Admitting an inspected bundle (event 40) by bob ended as intended",
        params={"generation": 2, "artefacts": 4, "listing": sha("77")},
    ),
]
ANSWERS: list[dict[str, Json]] = [
    event(
        213,
        "tax-office/key-1",
        "application",
        "answer.done",
        "An answer to tax-office/key-1 was given in 3 ms",
        cause=212,
        params={"tenant": "tax-office", "note": HOSTILE, HOSTILE: {"a": [1, 2]}},
    ),
    event(200, HOSTILE, "service", "no.such", HOSTILE, subject_kind=HOSTILE),
]
WITNESSES: Json = {
    "origin": "holdfast.local/marren",
    "fingerprint": "b7c2 91d0 44fe 0a18 3d5e 77aa 01c9 e2f4",
    "witnesses": [
        {
            "name": "ada",
            "cosigner": "auditor.example/ada",
            "fingerprint": "11aa 22bb 33cc 44dd 55ee 66ff 7788 9900",
            "size": 212,
            "root": "9f3a2b1c" * 8,
            "time": "2026-02-20T09:12:00Z",
            "age_s": 9 * 86_400,
            "since": 136,
        },
        {
            "name": "ministry",
            "cosigner": "ministry.example/log",
            "fingerprint": "99aa 22bb 33cc 44dd 55ee 66ff 7788 1234",
            "size": 0,
            "root": None,
            "time": None,
            "age_s": 10 * 86_400,
            "since": 348,
        },
    ],
    "overdue": HALTED["unwitnessed"],
}
VERIFIED: dict[str, Json] = {
    "verified": True,
    "size": 348,
    "root": "9f3a2b1c" * 8,
    "problems": [],
    "gaps": [
        {
            "seq": 301,
            "what": "unexplained restart: the daemon had not stopped; silent from 2026-02-28 22:10:04+00:00 to"
            " 2026-03-01 06:30:51+00:00",
        },
        {"seq": 302, "what": "the clock was moved by -3600 s"},
    ],
    "notes": [{"seq": None, "what": "the newest 4 events are not signed yet"}],
    "index": {
        "differed": "event 17 is another one than in the log",
        "seconds": 0.4,
        "first": 0,
        "size": 348,
        "built": {"reason": "event 17 is another one than in the log", "events": 348, "seconds": 0.21},
        "fault": None,
    },
}
QUERIES: Json = [
    {
        "name": "acts-of",
        "sql": "SELECT 1",
        "about": "What one person did, the newest first.",
        "parameters": [
            {"name": "person", "type": "text", "default": None, "about": "Whose deeds."},
            {"name": "since", "type": "time", "default": "2000-01-01", "about": "From then on."},
        ],
        "saved_by": None,
        "seq": None,
    },
    {
        "name": "night-work",
        "sql": "SELECT 1",
        "about": f"Acts at night. {HOSTILE}",
        "parameters": [],
        "saved_by": "aude",
        "seq": 300,
    },
]
ROWS: Json = {
    "columns": [
        {"name": "seq", "type": "BIGINT"},
        {"name": "time", "type": "TIMESTAMP"},
        {"name": "action", "type": "VARCHAR"},
        {"name": "meaning", "type": "VARCHAR"},
    ],
    "rows": [
        [
            at,
            f"2026-03-01T12:{at % 60:02d}:00",
            "bundle.admit",
            HOSTILE if at == 119 else "Admitting an inspected bundle",
        ]
        for at in range(119, 0, -1)
    ],
    "truncated": False,
    "origin": "holdfast.local/marren",
    "first": 0,
    "size": 348,
    "root": "9f3a2b1c" * 8,
}


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


class Curve(httpx.AsyncByteStream):
    """A job's stream: a loss that falls in waves; it ends, or stays open as a running job's does."""

    def __init__(self, *, ended: bool) -> None:
        self._ended = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        last = STEPS if self._ended else STEPS * 2 // 3
        for step in range(1, last + 1):
            figures = {
                "step": step,
                "steps": STEPS,
                "loss": round(3.2 / (1 + step / 9) + 0.2 * (step % 7) / 7, 4),
                "tokens_per_second": 5946.0,
                "eta_s": float(STEPS - step),
            }
            yield json.dumps({"n": step, "kind": "metric", **figures}).encode() + b"\n"
        if not self._ended:
            await asyncio.Event().wait()
        yield json.dumps({"n": last + 1, "kind": "result", "result": {}}).encode() + b"\n"


class Said(httpx.AsyncByteStream):
    """A job's stream as a test wrote it; at an event in it the stream waits."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        for entry in self._entries:
            if isinstance(entry, asyncio.Event):
                await entry.wait()
                continue
            count += 1
            yield json.dumps({"n": count, **entry}).encode() + b"\n"


STOPPED: Json = {
    "digest": BASE,
    "reason": REASON,
    "message": "The model starter was stopped: base starter, which it uses, is revoked since"
    f" 2026-02-01T00:00:00Z by news 4: {REASON}",
    "remedy": "Use base starter@1.1.0 (e8e8e8e8e8e8) instead.",
}


def engines(*, trouble: bool) -> list[Json]:
    """Give what the daemon says of the engines; in trouble one of them was taken out."""
    memory: dict[str, Json] = {
        "weights": 301_000_000,
        "cache": 75_500_000,
        "compute": 22_000_000,
        "total": 398_500_000,
    }
    out: dict[str, Json] = {
        "state": "out",
        "pid": None,
        "memory": {},
        "deaths": 3,
        "why": "The engine of wide died 3 times within 600 seconds, the last time by signal 11.",
        "remedy": "See the daemon's log; bring it back with `holdfast serve load wide`.",
    }
    up: dict[str, Json] = {
        "context": 8192,
        "kv": "f16",
        "state": "up",
        "memory": memory,
        "deaths": 0,
        "why": None,
        "remedy": None,
    }
    wide: dict[str, Json] = {
        "engine": "wide-q4_k_m-9a9a9a9a",
        "digest": sha("9a"),
        "models": ["wide"],
        "adapters": [],
        "pid": 4472,
        **up,
    }
    return [
        {
            "engine": "starter-q8_0-99999999",
            "digest": GGUF,
            "models": ["starter", "starter:authority", "authority"],
            "adapters": [ADAPTER],
            "pid": 4471,
            **up,
            "deaths": 1,
        },
        {**wide, **out} if trouble else wide,
    ]


def service_key(key: str, tenant: str, state: str, used: int, **more: Json) -> dict[str, Json]:
    """Give one of the keys that the daemon lists."""
    return {
        "key": key,
        "tenant": tenant,
        "state": state,
        "created": "2026-02-27T09:00:00.000000Z",
        "models": ["*"],
        "clearance": LABEL,
        "scopes": ["inference"],
        "quota": {"requests_per_minute": None, "tokens_per_day": None, "parallel": None},
        "used": {"day": "2026-03-01", "requests": used // 70, "tokens": used},
        **more,
    }


KEYS = (
    service_key("09b7710c", "archive", "revoked", 0),
    service_key(
        "4f21c09e",
        "tax-office",
        "valid",
        18_431,
        models=["starter", "starter:*"],
        quota={"requests_per_minute": 60, "tokens_per_day": 200_000, "parallel": 4},
    ),
    service_key("c1d2e3f4", "monitoring", "valid", 0, scopes=["metrics"], models=["*"]),
    service_key("e09a31b2", "land registry of Marren", "dead", 0),
)
FIGURES: dict[str, Json] = {
    "answered": 261,
    "cached_tokens": 2048,
    "completion_tokens": 6120,
    "milliseconds": 91_000.0,
}
USED: Json = {
    "by": ["tenant", "model"],
    "rows": [
        {
            "tenant": "tax-office",
            "model": model,
            "requests": requests,
            "prompt_tokens": 12_311,
            "processor_ms": 170_000.0,
            "joules": joules,
            "cost": cost,
            **FIGURES,
        }
        for model, requests, joules, cost in (
            ("authority", 212, 2550.0, 0.0002),
            ("starter", 51, 640.0, 0.00005),
        )
    ],
    "total": {"requests": 263, "joules": 3190.0, "cost": 0.00025, **FIGURES},
    "how": "estimated: processor time at 15 W a core",
    "watts_per_core": 15.0,
    "currency": "EUR",
    "truncated": False,
    "size": 400,
}


def answers(*, empty: bool, trouble: bool, halted: bool) -> dict[str, Json]:
    """Give what each route answers."""
    nobody: dict[str, Json] = {
        "origin": "holdfast.local/marren",
        "fingerprint": "b7c2 91d0",
        "witnesses": [],
        "overdue": None,
    }
    served: list[Json] = [
        {
            "id": "starter",
            "digest": GGUF,
            "label": LABEL,
            "release": None,
            "revoked": STOPPED if trouble else None,
        },
        {"id": "starter:authority", "digest": ADAPTER, "label": LABEL, "release": None, "revoked": None},
        {"id": "authority", "digest": ADAPTER, "label": LABEL, "release": 97, "revoked": None},
        {"id": "wide", "digest": sha("9a"), "label": LABEL, "release": None, "revoked": None},
    ]
    held: list[Json] = [
        artefact("base", "starter", BASE, revoked=trouble),
        artefact("adapter", "authority", ADAPTER, revoked=trouble, excepted=True),
    ]
    return {
        "/v1/status": status(empty=empty, trouble=trouble) | (HALTED if halted else {}),
        "/v1/sealed": {"requests": [] if empty else [*SEALED], "retention": {}, "shredded": {}},
        **{
            f"/v1/sealed/{one['request']}": approved(one, f"sealed.{one['kind']}", sha("2b")) | {"held": None}
            for one in SEALED
        },
        "/v1/audit/witnesses": nobody if empty else WITNESSES,
        "/v1/audit/queries": {"queries": QUERIES},
        "POST /v1/audit/sql": ROWS,
        "POST /v1/audit/verify": VERIFIED,
        "/v1/artefacts": {"artefacts": [] if empty else held},
        **{f"/v1/bundles/{one['request']}": shown(one) for one in IMPORTS},
        "/v1/exceptions": {"exceptions": [] if empty else [*EXCEPTIONS]},
        **{
            f"/v1/exceptions/{one['request']}": approved(one, "exception.grant", sha("6d"))
            for one in EXCEPTIONS
        },
        "/v1/releases": {
            "releases": [] if empty else [*RELEASES],
            "aliases": {} if empty else {"authority": 97},
        },
        **{f"/v1/releases/{one['request']}": lineage(one) for one in RELEASES},
        "/v1/requests": {"requests": [] if empty else [*INVENTORIES]},
        **{
            f"/v1/requests/{one['request']}": approved(one, "request.grant", sha("3d")) for one in INVENTORIES
        },
        "/v1/bundles": {
            "imports": [] if empty else [*IMPORTS],
            "generations": []
            if empty
            else [
                {"number": 1, "artefacts": ["a"], "request": 5},
                {"number": 2, "artefacts": ["a", "b"], "request": 40},
            ],
            "active": None if empty else 2,
        },
        **learned.routes(
            [
                run(61, "running", loss=None, gate=None),
                run(44, "done", loss=0.224, gate=learned.GATE),
                run(43, "paused", loss=None, gate=None),
            ],
            empty=empty,
        ),
        "/v1/serving": {
            "running": not empty,
            "address": None if empty else "http://127.0.0.1:8080",
            "models": [] if empty else served,
            "ended": None,
            "engines": [] if empty else engines(trouble=trouble),
            **({} if empty else {"active": 0, "queued": 0, "served": 17}),
        },
        "/v1/serving/keys": {"keys": [] if empty else [*KEYS]},
        "POST /v1/serving/keys": {
            "key": "77aa0d11",
            "secret": "hf-77aa0d11-" + "5e" * 32,
            "tenant": "courts",
        },
        "DELETE /v1/serving/keys/4f21c09e": {"revoked": "4f21c09e"},
        "/v1/serving/usage": USED,
        "/v1/audit/events": {"events": [] if empty else [*EVENTS], "next": None},
    }


class Recorded(httpx.AsyncBaseTransport):
    """The recorded daemon.

    ``gone`` makes it unreachable; ``forgets`` makes it lose its sessions once; ``asked`` lists what it was asked, ``sent`` what
    was sent with it, ``queried`` by which query. ``streams`` are the streams of jobs, by number.
    """

    def __init__(self, *, empty: bool = False, trouble: bool = False, halted: bool = False) -> None:
        self.answers = answers(empty=empty, trouble=trouble, halted=halted)
        self.sent: list[tuple[str, Json]] = []
        self.queried: list[dict[str, str]] = []
        self.streams: dict[int, Entries] = {}
        self.gone = False
        self.forgets = False
        self.asked: list[tuple[str, str]] = []
        self.logins = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        await request.aread()
        self.asked.append((request.method, path))
        if self.gone:
            raise httpx.ConnectError("nobody listens")
        if path == "/v1/session/challenge":
            return httpx.Response(200, json={"site": "Marren registry", "challenge": "c" * 64})
        if path == "/v1/session" and request.method == "POST":
            self.logins += 1
            person = json.loads(request.content)["person"]
            return httpx.Response(200, json={"token": "t", "person": person, "roles": PEOPLE[person]})
        if self.forgets and path != "/v1/status":
            self.forgets = False
            return refused(401, "NotAuthenticated", "No session was found.", "Sign in.")
        if path.endswith("/events") and path.startswith("/v1/jobs/"):
            job = int(path.split("/")[3])
            if job in self.streams:
                return httpx.Response(200, stream=Said(self.streams[job]))
            return httpx.Response(200, stream=Curve(ended="/61/" not in path))
        if request.url.query:
            self.queried.append(dict(request.url.params))
        if request.content and path != "/v1/uploads":
            self.sent.append((path, json.loads(request.content)))
        found = self.answers.get(path if request.method == "GET" else f"{request.method} {path}")
        if found is not None:
            return httpx.Response(200, json=found)
        return refused(404, "NotFound", f"{request.method} {path} was not recorded.", "Record it.")


def refused(code: int, kind: str, message: str, remedy: str) -> httpx.Response:
    error = {"type": kind, "key": "test", "message": message, "remedy": remedy, "fields": {}}
    return httpx.Response(code, json={"error": error})
