"""What the daemon says of what it serves: engines, keys, usage, what was withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .brought import ADAPTER, BASE, GGUF, LABEL, REASON, sha

if TYPE_CHECKING:
    from holdfast.canonical import Json

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
        "quantization": "q8_0",
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
        "quantization": "q4_k_m",
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
