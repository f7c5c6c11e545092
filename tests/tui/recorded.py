"""A daemon that answers what was recorded, so that pictures of screens are the same every time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.canonical import Json

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


def status(*, empty: bool) -> dict[str, Json]:
    return {
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


def bundle(request: int, state: str, version: str, decided: str | None) -> Json:
    return {
        "request": request,
        "state": state,
        "requester": "alice",
        "decided_by": decided,
        "name": "starter",
        "version": version,
        "publisher": "Holdfast project",
        "manifest": "sha512:" + "5e" * 64,
        "holders": ["paul", "petra"],
        "bytes": 18_100_000,
        "message": None,
    }


def run(number: int, state: str, *, loss: float | None, gate: Json) -> Json:
    return {
        "number": number,
        "state": state,
        "person": "olga",
        "time": "2026-03-01T12:00:00Z",
        "recipe": "authority@1.0.0",
        "base": "starter",
        "run": "sha512:" + "7a" * 64 if loss else None,
        "adapter": "sha512:" + "c4" * 64 if loss else None,
        "steps": STEPS if loss else None,
        "final_loss": loss,
        "tokens_per_second": 5946.0 if loss else None,
        "gate": gate,
    }


def event(seq: int, person: str, role: str, action: str, sentence: str) -> Json:
    return {
        "seq": seq,
        "time": f"2026-03-01T12:{seq % 60:02d}:00",
        "person": person,
        "role": role,
        "action": action,
        "cause": seq - 1 if action.endswith(".done") else None,
        "subject_kind": "manifest",
        "subject_digest": "sha512:" + "5e" * 64,
        "params": {"request": 52},
        "sentence": sentence,
    }


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


def answers(*, empty: bool) -> dict[str, Json]:
    """Give what each route answers."""
    served: list[Json] = [
        {"id": "starter", "digest": "sha512:" + "1b" * 64, "label": LABEL},
        {"id": "starter:authority", "digest": "sha512:" + "c4" * 64, "label": LABEL},
    ]
    return {
        "/v1/status": status(empty=empty),
        "/v1/artefacts": {"artefacts": [] if empty else [{"label": LABEL}]},
        "/v1/bundles": {
            "imports": []
            if empty
            else [
                bundle(52, "waiting", "1.1.0", None),
                bundle(40, "admitted", "1.0.1", "bob"),
                bundle(12, "rejected", "1.0.0", "bob"),
            ],
            "generations": []
            if empty
            else [
                {"number": 1, "artefacts": ["a"], "request": 5},
                {"number": 2, "artefacts": ["a", "b"], "request": 40},
            ],
            "active": None if empty else 2,
        },
        "/v1/runs": {
            "runs": []
            if empty
            else [
                run(61, "running", loss=None, gate=None),
                run(44, "done", loss=0.224, gate=GATE),
                run(43, "cancelled", loss=None, gate=None),
            ]
        },
        "/v1/serving": {
            "running": not empty,
            "address": None if empty else "http://127.0.0.1:8080",
            "models": [] if empty else served,
            "ended": None,
            **({} if empty else {"active": 0, "queued": 0, "served": 17}),
        },
        "/v1/audit/events": {
            "events": []
            if empty
            else [
                event(347, "aude", "auditor", "audit.read", "A person read or queried the audit log."),
                event(346, "olga", "operator", "train.run", "A training run began."),
                event(
                    41,
                    "bob",
                    "administrator",
                    "bundle.admit.done",
                    "Admitting an inspected bundle ended as intended.",
                ),
            ],
            "next": None,
        },
    }


class Recorded(httpx.AsyncBaseTransport):
    """The recorded daemon.

    ``gone`` makes it unreachable; ``forgets`` makes it lose its sessions once; ``asked`` lists what it was asked.
    """

    def __init__(self, *, empty: bool = False) -> None:
        self.answers = answers(empty=empty)
        self.gone = False
        self.forgets = False
        self.asked: list[tuple[str, str]] = []
        self.logins = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
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
            return httpx.Response(200, stream=Curve(ended="/61/" not in path))
        if path in self.answers and request.method == "GET":
            return httpx.Response(200, json=self.answers[path])
        return refused(404, "NotFound", f"{request.method} {path} was not recorded.", "Record it.")


def refused(code: int, kind: str, message: str, remedy: str) -> httpx.Response:
    error = {"type": kind, "key": "test", "message": message, "remedy": remedy, "fields": {}}
    return httpx.Response(code, json={"error": error})
