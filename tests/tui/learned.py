"""What a recorded daemon tells of training: pages of runs, data sets and their profiles, evaluations, a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json

HOSTILE = "\x1b[2J\x1b]0;gone\x07[bold red]all well[/] \u202egnp.exe\x9b31m\nnext"
LABEL: Json = {"level": "internal", "compartments": ["REGISTRY"], "zones": ["site"]}
MEASURED: Json = {
    "joules": 1643.2,
    "how": "measured: RAPL, the whole processor",
    "cost": 0.000137,
    "currency": "EUR",
}
ESTIMATED: Json = {
    "joules": 1488.0,
    "how": "estimated: 99 s of processor time at 15 W a core",
    "cost": 0.000124,
    "currency": "EUR",
}
ESTIMATE: dict[str, Json] = {
    "steps": 120,
    "tokens": 98_214,
    "tokens_per_second": 1011.0,
    "seconds": 97.1,
    "cpu_seconds": 99.2,
    "memory_bytes": 1_210_000_000,
    "disk_bytes": 14_200_000,
    "energy": ESTIMATED,
    "how": "exact plan of the data; a few passes on this model and machine, extrapolated",
}


def sha(digits: str) -> str:
    return "sha512:" + digits * 64


def judged(on: str, section: str, rule: str, verdict: str) -> Json:
    return {
        "on": on,
        "suite": "registry",
        "section": section,
        "rule": rule,
        "holds": verdict != "regression",
        "verdict": verdict,
    }


GATE: dict[str, Json] = {
    "seq": 48,
    "go": True,
    "evaluation": sha("ea"),
    "reasons": [
        "domain/single: 0.953 on q8_0, at least 0.900 is needed",
        "general/all lost 0.004, at most 0.020 is allowed",
    ],
    "judged": [
        judged("transformers", "single", "minimum", "better"),
        judged("q8_0", "general", "non_inferiority", "worse within noise"),
    ],
}


def done(listed: dict[str, Json]) -> dict[str, Json]:
    """Give the page of a run that came to its end, after it was stopped once."""
    return {
        **listed,
        "artefact": {"kind": "run", "digest": sha("7a")},
        "params": {
            "base": sha("1b"),
            "recipe": sha("e1"),
            "data": {"data/authority.jsonl": sha("d1"), "data/rehearsal.jsonl": sha("d2")},
            "resumes": 41,
        },
        "result": {"states": sha("5a")},
        "manifest": {
            "environment": {
                "software": {"version": "0.1.0", "digest": sha("0f")},
                "packages": {"numpy": "2.4.1", "peft": "0.19.0", "torch": "2.13.0", "transformers": "5.4.0"},
                "python": "3.12.11",
                "machine": "x86_64",
                "cpu_capability": "AVX512",
                "cpu_features": ["amx_bf16"],
                "device": {"type": "cpu"},
                "threads": 2,
                "world_size": 1,
            }
        },
        "figures": {
            "steps": 120,
            "tokens": 98_214,
            "tokens_per_second": 5946.0,
            "final_loss": 0.2241,
            "stopped_early": 120,
            "padding": 0.0312,
            "gemm_fraction": 0.184,
            "gemm_peak_flops": 412_000_000_000,
            "quarantined": 2,
        },
        "total": {
            "parts": [41, 44],
            "unknown": [],
            "seconds": 104.6,
            "cpu_seconds": 108.0,
            "peak_memory_bytes": 1_180_000_000,
            "disk_bytes": 14_100_000,
            "energy": MEASURED,
        },
        "estimate": {**ESTIMATE},
        "held_out": {"data/authority.jsonl": {"before": 1.4821, "after": 0.6034}},
        "set_aside": ["data/authority.jsonl:17: no answer", "data/authority.jsonl:91: no answer"],
        "resumed_by": None,
        "discarded": False,
        "replays": [
            {
                "number": 57,
                "state": "failed",
                "equal": False,
                "diverged": 70,
                "differences": ["threads: 2 there, 4 here."],
            },
            {"number": 46, "state": "done", "equal": True, "diverged": None, "differences": []},
        ],
    }


def stopped(listed: dict[str, Json]) -> dict[str, Json]:
    """Give the page of a run whose disk filled up; what it names is hostile."""
    return {
        **listed,
        "recipe": HOSTILE,
        "artefact": None,
        "params": {"base": sha("1b"), "recipe": sha("e1"), "data": {HOSTILE: sha("d1")}},
        "result": {"message": f"The disk filled up. {HOSTILE}"},
        "manifest": None,
        "figures": None,
        "total": {"parts": [43], "unknown": [43], "energy": {"joules": None, "how": None, "cost": None}},
        "estimate": None,
        "held_out": None,
        "set_aside": None,
        "resumed_by": None,
        "discarded": False,
        "replays": [],
    }


EVALUATIONS: list[dict[str, Json]] = [
    {
        "number": 48,
        "person": "olga",
        "time": "2026-03-01T11:40:00.000000Z",
        "evaluation": sha("ea"),
        "run": sha("7a"),
        "suites": {"registry": sha("4f")},
        "scores": {
            "before-transformers": {"registry": {"all": 0.41, "single": 0.4, "general": 0.42}},
            "after-transformers": {"registry": {"all": 0.93, "single": 0.95, "general": 0.41}},
        },
    },
    {
        "number": 35,
        "person": "olga",
        "time": "2026-02-27T09:10:00.000000Z",
        "evaluation": sha("eb"),
        "run": None,
        "suites": {"registry": sha("4f")},
        "scores": {"q8_0": {"registry": {"all": 0.4, "single": 0.39, "general": 0.42}}},
    },
]
EVALUATION: dict[str, Json] = {
    "evaluation": sha("ea"),
    "name": "authority@1.0.0",
    "suites": {"registry": {"version": "1.0.0", "digest": sha("4f")}},
    "columns": {},
    "scores": EVALUATIONS[0]["scores"],
    "verdicts": {"after-transformers": {"go": True, "reasons": GATE["reasons"]}},
}


def section(name: str, before: float, after: float, p: float, verdict: str, **changes: Json) -> Json:
    return {
        "section": name,
        "unit": "share",
        "items": 64,
        "before": before,
        "after": after,
        "change": after - before,
        "p": p,
        "verdict": verdict,
        "smallest": {"at_best": {"items": 6, "share": 0.094}, "observed": None},
        "fixed": [],
        "broken": [],
        **changes,
    }


COMPARISON: dict[str, Json] = {
    "first": {"evaluation": sha("ea"), "name": "authority@1.0.0", "column": "before-transformers"},
    "second": {"evaluation": sha("ea"), "name": "authority@1.0.0", "column": "after-transformers"},
    "suites": [
        {
            "name": "registry",
            "digest": sha("4f"),
            "sections": [
                section("all", 0.412, 0.931, 0.0, "better", fixed=["s1", "s2", "s3"], broken=["g7"]),
                section("single", 0.4, 0.953, 0.0, "better", fixed=["s1", "s2", "s3"]),
                section("general-knowledge", 0.422, 0.406, 1.0, "worse within noise", broken=["g7"]),
            ],
            "examples": [
                {
                    "change": "broken",
                    "id": "g7",
                    "section": "general-knowledge",
                    "question": "How many days has February 2028?",
                    "expected": ["29"],
                    "answers": ["29", HOSTILE],
                },
                {
                    "change": "fixed",
                    "id": "s1",
                    "section": "single",
                    "question": "Which authority grants a mooring permit for the east quay, and what must be handed in?",
                    "expected": ["The harbour office"],
                    "answers": ["I do not know.", "The harbour office"],
                },
            ],
            "left_out": 2,
        }
    ],
    "withheld": False,
}


def dataset(name: str, digits: str, rows: int, held: int, aside: int) -> dict[str, Json]:
    return {
        "digest": sha(digits),
        "name": name,
        "version": "1.0.0",
        "label": LABEL,
        "made_by": None,
        "size": 41_000,
        "form": "messages",
        "rows": rows,
        "held_out": held,
        "quarantined": aside,
        "licence": "CC-BY-4.0",
        "role": "domain",
    }


DATASETS = [dataset("authority", "d1", 412, 46, 2), dataset("rehearsal", "d2", 300, 0, 0)]
PROFILE: dict[str, Json] = {
    "schema": "holdfast.profile/1",
    "form": "messages",
    "messages": 920,
    "characters": 61_240,
    "lengths": {"min": 41, "p5": 52, "p25": 90, "p50": 121, "p75": 170, "p95": 260, "p99": 411, "max": 640},
    "over_long": {"characters": 2048, "rows": 0, "first": []},
    "scripts": {"latin": 48_000},
    "contradictions": {"prompts": 1, "first": [["data/authority.jsonl:4", "data/authority.jsonl:9"]]},
    "rows": 412,
    "held_out": 46,
    "quarantined": 2,
    "empty": 0,
    "duplicates": {"rows": 3, "groups": 3, "first": [["data/authority.jsonl:1", "data/authority.jsonl:77"]]},
    "near_duplicates": {"rows": 0, "clusters": 0, "first": []},
    "languages": {"en": 400, "de": 58},
    "overlap": {"registry": {"items": 64, "exact": 0, "near": 0, "exact_items": {}, "near_items": {}}},
    "quarantine": [f"data/authority.jsonl:17: {HOSTILE}"],
    "unused_columns": [],
    "files": 1,
}


def routes(runs: list[dict[str, Json]], *, empty: bool) -> dict[str, Json]:
    """Give what each route answers.

    Args:
        runs: As they are listed.
        empty: Whether nothing was made yet.
    """
    pages = [
        done(one) if one["state"] == "done" else stopped(one) for one in runs if one["state"] != "running"
    ]
    described = {
        str(one["digest"]): {
            "dataset": one,
            "meta": {},
            "person": "olga",
            "time": "2026-03-01T09:00:00.000000Z",
            "runs": [41, 44],
            "profile": PROFILE,
        }
        for one in DATASETS
    }
    return {
        "/v1/runs": {"runs": [] if empty else [*runs]},
        **{f"/v1/runs/{one['number']}": one for one in pages},
        "/v1/evaluations": {"evaluations": [] if empty else [*EVALUATIONS]},
        "/v1/evaluations/48": EVALUATION,
        "/v1/comparison": COMPARISON,
        "/v1/datasets": {"datasets": [] if empty else [*DATASETS]},
        **{f"/v1/datasets/{digest}": one for digest, one in described.items()},
    }
