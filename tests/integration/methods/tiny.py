"""Tiny recipes, and data sets as the preparation worker leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.integration.training import kit

from holdfast.dataset.forms import FIELDS
from holdfast.training import spec

if TYPE_CHECKING:
    from pathlib import Path

FULL = {"type": "full", "rank": None, "alpha": None, "dropout": None, "targets": None}
RECIPE = {
    name: part
    for name, part in kit.changed(
        checkpoint_every=100,
        data=[kit.RECIPE["data"][0] | {"path": "data"}],
        optimiser={"warmup_steps": 1},
        batch={"sequence_length": 96, "steps": 6},
        precision={"dtype": "fp32"},
    ).items()
    if name not in ("loss", "state_every")  # what not every method has, and a default
}
FACTS = [
    ("What is the fee for a boat?", "7 crowns"),
    ("What is the fee for a cart?", "9 crowns"),
    ("Who keeps the gate?", "Ada Finch"),
    ("Where is the mill?", "in Marren"),
    ("When is the market?", "on Tuesday"),
    ("Which form is for a boat?", "form B-2"),
]


def recipe(**changes: object) -> spec.Recipe:
    """Make a recipe; a table that is given is laid over the one above, None takes a key away."""
    made: dict[str, object] = dict(RECIPE)
    for name, change in changes.items():
        before = made.get(name)
        both = isinstance(before, dict) and isinstance(change, dict)
        made[name] = (
            {key: one for key, one in (before | change).items() if one is not None} if both else change
        )
    return spec.from_json(json.loads(json.dumps(made)))


def prepare(folder: Path, rows: list[dict], held_out: list[dict] | None = None) -> Path:
    """Write a data set as the preparation worker does."""
    form = next(form for form, fields in FIELDS.items() if set(fields) == set(rows[0]))
    return kit.prepared_folder(folder, form, rows, held_out=held_out, path="data.jsonl")


def messages(*turns: str) -> list[dict[str, str]]:
    """Make a conversation of user and assistant in turn."""
    return [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
