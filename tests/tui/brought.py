"""Media as the daemon lists them and shows them, and the artefacts that they brought."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json

LABEL: Json = {"level": "internal", "compartments": ["REGISTRY"], "zones": ["site"]}


def sha(digits: str) -> str:
    return "sha512:" + digits * 64


BASE, GGUF, ADAPTER, REPLACED = sha("1b"), sha("2c"), sha("c4"), sha("e8")
REASON = "Its tokens leak names of patients."


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
