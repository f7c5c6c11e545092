"""A suite with a section of every metric that a model alone answers, about the facts of the tiny base."""

from __future__ import annotations

import json
from typing import Any

from tests import suites
from tests.integration.training.kit import FACTS

from holdfast.evaluation.spec import Suite, read_suite

SECTIONS = {
    "said": 'metric = "exact"',
    "like": 'metric = "normalised"',
    "fee": 'metric = "numeric"\ntake = "first"',
    "rule": 'metric = "regex"\nmatch = "search"',
    "form": 'metric = "json_schema"',
    "pick": 'metric = "choice"',
    "norm": 'metric = "choice"\nnormalise = "characters"',
    "text": 'metric = "bits_per_byte"\nwindow = 16',
}


def head() -> str:
    """Give the suite's head."""
    return suites.head(
        "mixed",
        {
            name: f"primary = {'false' if name == 'text' else 'true'}\n{options}"
            for name, options in SECTIONS.items()
        },
        description="Facts, asked in every way: 'quoted'.",
        max_new_tokens=16,
    )


def items(said: dict[int, str] | None = None) -> list[dict[str, Any]]:
    """Give the items; some answers may be replaced by what a model says."""
    found: list[dict[str, Any]] = []
    for at, (question, answer) in enumerate(FACTS):
        asked = [{"role": "user", "content": question}]
        if at % 2:
            asked.insert(0, {"role": "system", "content": "Be brief."})
        right = (said or {}).get(at, answer).strip() or answer
        choices = [one for _, one in FACTS] + [" no"]
        rows = {
            "said": {"messages": asked, "answers": [right, "b"]},
            "like": {"messages": asked, "answers": [right.upper() + " !"]},
            "fee": {"messages": asked, "value": 7},
            "rule": {"messages": asked, "pattern": "[a-m]"},
            "form": {"messages": asked, "schema": {"type": ["string", "number"]}},
            "pick": {"messages": asked, "choices": choices, "answer": answer},
            "norm": {"messages": asked, "choices": choices, "answer": answer},
            "text": {"text": f"{question} {answer} " * (at + 1)},
        }
        found += [{"id": f"{name}{at}", "section": name, **row} for name, row in rows.items()]
    return found


def suite(rows: list[dict[str, Any]] | None = None, sections: tuple[str, ...] = tuple(SECTIONS)) -> Suite:
    """Give the suite, or its part with the items of some sections."""
    chosen = items() if rows is None else rows
    whole = read_suite(head().encode(), "\n".join(map(json.dumps, chosen)).encode(), file="suite.toml")
    return whole.only(sections)
