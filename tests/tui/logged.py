"""What the daemon says of its log: events, answers, witnesses, verification, queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .brought import sha

if TYPE_CHECKING:
    from holdfast.canonical import Json

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
