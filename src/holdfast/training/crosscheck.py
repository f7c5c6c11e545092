"""What the keys of a recipe mean to one another: checks that no key can make alone.

Invariants: they are made on the document as it was parsed, so that they are told together with the mistakes of single
keys; what a single key gets wrong is passed over here. Each mistake names the key that a person would change. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from holdfast.dataset import forms
from holdfast.dataset.files import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.dataset.forms import Form

Loc = tuple[int | str, ...]
Mistake = tuple[Loc, str]

FORMS: dict[str, tuple[Form, ...]] = {  # of data set, that each method takes
    "sft": ("messages", "completion"),
    "cpt": ("text",),
    "dpo": ("preference",),
}
FIELDS = {
    method: tuple(name for form in taken for name in forms.FIELDS[form]) for method, taken in FORMS.items()
}


def mistakes(value: object) -> list[Mistake]:
    """Check a recipe's keys against one another.

    Args:
        value: The document as parsed, or anything else.

    Returns:
        Place and sentence of each mistake.
    """
    if not isinstance(value, dict):
        return []
    tree = cast("dict[str, object]", value)
    return [*_method(tree), *_data(tree), *_schedule(tree)]


def joined(error: ValidationError | None, found: list[Mistake]) -> ValidationError:
    """Put the mistakes of single keys and those between keys together.

    Args:
        error: What pydantic found, if anything.
        found: What ``mistakes`` gave.

    Returns:
        One error with all of them, not raised.
    """
    single = cast("list[InitErrorDetails]", error.errors(include_url=False) if error else [])
    lines = [
        InitErrorDetails(type=one["type"], loc=one["loc"], input=one["input"], ctx=one.get("ctx", {}))
        for one in single
    ]
    lines += [
        # The sentence stands for itself: the value that it speaks of may be another key's.
        InitErrorDetails(
            type=PydanticCustomError("between_keys", "{told}", {"told": told}), loc=loc, input={}
        )
        for loc, told in found
    ]
    return ValidationError.from_exception_data("Recipe", lines)


def _method(tree: dict[str, object]) -> Iterator[Mistake]:
    method = tree.get("method")
    if not isinstance(method, str) or method not in FORMS:
        return
    if method != "sft" and "loss" in tree:
        yield (
            ("loss",),
            f"it is for method 'sft' alone, and {method!r} learns what its data say; leave it out",
        )
    if method == "dpo" and "dpo" not in tree:
        yield ("method",), "method 'dpo' needs a table [dpo] with 'beta'"
    if method != "dpo" and "dpo" in tree:
        yield ("dpo",), f"it is for method 'dpo' alone, and the method is {method!r}; leave it out"
    if method == "dpo" and _part(tree, "batch").get("packing") is True:
        yield ("batch", "packing"), "preference pairs are not packed; expected false with method 'dpo'"


def _data(tree: dict[str, object]) -> Iterator[Mistake]:
    entries = tree.get("data")
    seen: dict[object, int] = {}
    for at, one in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(one, dict):
            continue
        path = one.get("path")
        if isinstance(path, str) and seen.setdefault(path, at) != at:
            yield (
                ("data", at, "path"),
                f"entry {seen[path] + 1} of [[data]] names the same path; use 'repeat'",
            )
        yield from _source(at, one, tree.get("method"))


def _source(at: int, one: dict[str, object], method: object) -> Iterator[Mistake]:
    path, kind, columns = one.get("path"), one.get("format"), one.get("columns")
    text = kind == "text" or (
        kind is None and isinstance(path, str) and path.lower().endswith(SUFFIXES["text"])
    )
    if text and method in ("sft", "dpo"):
        place = "format" if kind else "path"
        yield ("data", at, place), f"plain text is for method 'cpt', and the method is {method!r}"
    if not isinstance(columns, dict):
        return
    if text and columns:
        yield ("data", at, "columns"), "plain text has no columns; leave it out"
    elif isinstance(method, str) and method in FIELDS:
        for name in columns:
            if name not in FIELDS[method]:
                known = ", ".join(FIELDS[method])
                yield (
                    ("data", at, "columns", name),
                    f"method {method!r} has no field of that name; its fields: {known}",
                )


def _schedule(tree: dict[str, object]) -> Iterator[Mistake]:
    batch, optimiser = _part(tree, "batch"), _part(tree, "optimiser")
    if "batch" in tree and ("epochs" in batch) == ("steps" in batch):
        yield ("batch",), "expected exactly one of 'epochs' and 'steps'"
    schedule, share = optimiser.get("schedule"), optimiser.get("decay_share")
    if schedule == "wsd" and share is None:
        yield (
            ("optimiser", "schedule"),
            "'wsd' needs 'decay_share', the share of all steps in which the rate falls",
        )
    if schedule in ("constant", "linear", "cosine") and share is not None:
        yield (
            ("optimiser", "decay_share"),
            f"it is for schedule 'wsd' alone, and the schedule is {schedule!r}",
        )
    steps, warmup = batch.get("steps"), optimiser.get("warmup_steps")
    if type(steps) is int and type(warmup) is int and warmup >= steps > 0:
        yield (
            ("optimiser", "warmup_steps"),
            f"expected fewer than the {steps} steps of [batch], found {warmup}",
        )
    every = _part(tree, "stop").get("every")
    if type(steps) is int and type(every) is int and every > steps > 0:
        yield ("stop", "every"), f"expected at most the {steps} steps of [batch], found {every}"


def _part(tree: dict[str, object], name: str) -> dict[str, object]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}
