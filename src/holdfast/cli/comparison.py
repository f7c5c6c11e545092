"""``holdfast eval compare``: two evaluations side by side, in 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from holdfast import hashing, parts
from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

WIDTH = 79  # characters of a line of an example
NAMED = 10  # characters of the names before its texts
SIDES = ("A", "B")
SMALL_P = 0.001  # below it a p-value is told as such


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--examples",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Examples of each suite that became worse, and as many that became better.",
)
@json_option
@click.pass_context
def compare(ctx: click.Context, first: str, second: str, examples: int, *, as_json: bool) -> None:
    """Show evaluations A and B side by side: every section, what chance explains, the examples that changed.

    A and B are numbers or digests of evaluations, or runs, which stand for what their gates had evaluated. With
    /MODEL one of several models is meant, as in 14/before-transformers; else it is what was customised.
    """
    found = connect.call(ctx, "GET", "/v1/comparison", first=first, second=second, examples=examples)
    emit(found, as_json, lambda: _lines(found))


def _lines(found: dict[str, Json]) -> Iterator[str]:
    for name, key in zip(SIDES, ("first", "second"), strict=True):
        side = parts.record(found[key])
        yield f"{name}  {side['name']}, {side['column']}, evaluation {hashing.short(str(side['evaluation']))}"
    for suite in parts.records(found["suites"]):
        yield ""
        yield f"{suite['name']} ({hashing.short(str(suite['digest']))})"
        yield from table(
            ("section", "items", *SIDES, "B-A", "changed", "p", "verdict"),
            [_row(one) for one in parts.records(suite["sections"])],
        )
        for one in parts.records(suite["examples"]):
            yield ""
            yield from _example(one)
        if found["withheld"]:
            yield "Examples are shown to operators and auditors."
        elif suite["left_out"]:
            yield f"{suite['left_out']} more items changed."


def _row(one: dict[str, Json]) -> tuple[str, ...]:
    before, after, p = (parts.number(one[name]) for name in ("before", "after", "p"))
    unit = "" if one["unit"] == "share" else f", {one['unit']}"
    return (
        f"{one['section']}{unit}",
        str(one["items"]),
        f"{before:.3f}",
        f"{after:.3f}",
        f"{after - before:+.3f}",
        f"+{len(parts.listed(one['fixed']))} -{len(parts.listed(one['broken']))}",
        f"<{SMALL_P}" if p < SMALL_P else f"{p:.3f}",
        str(one["verdict"]),
    )


def _example(one: dict[str, Json]) -> Iterator[str]:
    expected = parts.listed(one["expected"])
    yield f"{'worse' if one['change'] == 'broken' else 'better'}: {one['id']} ({one['section']})"
    yield from _text("asked", str(one["question"]))
    if expected:
        yield from _text("expected", " | ".join(map(str, expected)))
    for name, answer in zip(SIDES, parts.listed(one["answers"]), strict=False):
        yield from _text(name, str(answer))


def _text(name: str, text: str) -> list[str]:
    begin, rest = f"  {name:{NAMED}}", " " * (NAMED + 2)
    shown = text.replace("\n", "\\n")
    return textwrap.wrap(shown, WIDTH, initial_indent=begin, subsequent_indent=rest) or [begin.rstrip()]
