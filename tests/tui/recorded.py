"""A daemon that answers what was recorded, so that pictures of screens are the same every time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx

from . import learned
from .brought import ADAPTER, BASE, GGUF, IMPORTS, LABEL, artefact, sha, shown
from .decided import EXCEPTIONS, INVENTORIES, RELEASES, SEALED, approved, lineage
from .logged import EVENTS, HALTED, QUERIES, ROWS, VERIFIED, WITNESSES
from .served import KEYS, STOPPED, USED, engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from holdfast.canonical import Json

    Entries = Sequence[dict[str, Json] | asyncio.Event]

STEPS = 120
PEOPLE: dict[str, Json] = {
    "alice": ["administrator"],
    "aude": ["auditor"],
    "bob": ["administrator"],
    "olga": ["operator"],
}


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
