"""Evaluations in words: which were made, what one found, and two side by side. Pure.

Invariants: nothing here raises on an answer of another shape; what models and people wrote stands on lines of its own, written
out; no score is called good or bad but by the verdict that was computed from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.parts import record, records
from holdfast_tui.reading import brief, figure, laid, line, minute, number, row, texts, told, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.canonical import Json

    Found = Mapping[str, Json]

HEADS = (("eval", 6), ("made", 16), ("by", 9), ("of", 21), ("suites", 16))
SIDES = ("A", "B")
EXAMPLES = 5  # of each suite that became worse, and as many that became better
SECTION = 17  # columns of a section's name; with the figures it fits a dialog
SMALL_P = 0.001
HEADLINES = ("primary", "all")  # of a suite's sections, the one that stands for it
BEFORE = "before-transformers"  # the column of a gate's evaluation that came before the training


def listed(
    evaluations: list[dict[str, Json]], runs: Mapping[str, Found]
) -> list[tuple[str, tuple[str, ...]]]:
    """Lay evaluations out as rows.

    Args:
        evaluations: As the daemon lists them.
        runs: The runs, by digest.

    Returns:
        Key and cells of each.
    """
    return [
        (
            str(number(one.get("number"))),
            (
                told(one.get("number")),
                minute(one.get("time")),
                told(one.get("person")),
                _of(one, runs),
                ", ".join(record(one.get("suites"))),
            ),
        )
        for one in evaluations
    ]


def _of(one: Found, runs: Mapping[str, Found]) -> str:
    if one.get("run"):
        run = runs.get(str(one["run"]), {})
        return f"run {told(run.get('number'))}, gate {verdict(run.get('gate'))}"
    return f"a model, {', '.join(record(one.get('scores')))}"


def note(one: Found) -> str:
    """Say in a line or two what an evaluation found.

    Args:
        one: As the daemon lists it.

    Returns:
        The score that stands for each suite, of each model.
    """
    found = []
    for column, suites in record(one.get("scores")).items():
        for suite, sections in record(suites).items():
            scores = record(sections)
            name = next((name for name in (*HEADLINES, *scores) if name in scores), "")
            found.append(f"{column} {suite}/{name} {figure(scores.get(name), 3)}")
    return " · ".join(found)


def described(found: Found) -> Iterator[str]:
    """Tell what one evaluation found.

    Args:
        found: What ``GET /v1/evaluations/{name}`` gives.

    Yields:
        Lines.
    """
    yield row("evaluation", line(f"{told(found.get('name'))}  {brief(found.get('evaluation'))}"))
    for name, suite in record(found.get("suites")).items():
        one = record(suite)
        yield row("suite", line(f"{name}@{told(one.get('version'))}  {brief(one.get('digest'))}"))
    rows = [
        (column, suite, section, figure(score, 4))
        for column, suites in record(found.get("scores")).items()
        for suite, sections in record(suites).items()
        for section, score in record(sections).items()
    ]
    if rows:
        yield ""
        yield from laid([("model", "suite", "section", "score"), *rows])
    for column, judged in record(found.get("verdicts")).items():
        yield ""
        yield row(verdict(judged).upper(), line(f"on {column}"))
        for reason in texts(record(judged).get("reasons")):
            yield row("", line(reason), 2)


def comparison(found: Found) -> Iterator[str]:
    """Tell how two evaluations differ: the verdict of every section, then the examples that changed.

    Args:
        found: What ``GET /v1/comparison`` gives.

    Yields:
        Lines.
    """
    for name, key in zip(SIDES, ("first", "second"), strict=True):
        side = record(found.get(key))
        yield row(
            name,
            line(f"{told(side.get('name'))}, {told(side.get('column'))}, {brief(side.get('evaluation'))}"),
            3,
        )
    suites = records(found.get("suites"))
    for suite in suites:
        sections = records(suite.get("sections"))
        yield ""
        yield line(f"{told(suite.get('name'))}  {brief(suite.get('digest'))}")
        yield from _table(sections)
        could = [told_least for one in sections if (told_least := _least(one))]
        if could:
            yield row("could show", line(f"a net change of {', '.join(could)} at best"))
    for suite in suites:
        for one in records(suite.get("examples")):
            yield ""
            yield from _example(one)
        if suite.get("left_out") and not found.get("withheld"):
            yield ""
            yield line(f"{told(suite['left_out'])} more items of {told(suite.get('name'))} changed.")
    if found.get("withheld"):
        yield ""
        yield "Examples are shown to operators and auditors."


def _table(sections: list[dict[str, Json]]) -> list[str]:
    rows = [("section", "items", *SIDES, "changed", "p", "verdict"), *map(_row, sections)]
    widths = [max(len(one[at]) for one in rows) for at in range(len(rows[0]) - 1)]
    return [
        " ".join([*(cell.ljust(width) for cell, width in zip(one, widths, strict=False)), one[-1]])
        for one in rows
    ]


def _row(one: Found) -> tuple[str, ...]:
    p = one.get("p")
    name = line(told(one.get("section")))
    return (
        name if len(name) <= SECTION else f"{name[: SECTION - 3]}...",
        told(one.get("items")),
        figure(one.get("before"), 3),
        figure(one.get("after"), 3),
        f"+{len(texts(one.get('fixed')))} -{len(texts(one.get('broken')))}",
        f"<{SMALL_P}" if isinstance(p, int | float) and p < SMALL_P else figure(p, 3),
        line(told(one.get("verdict"))),
    )


def _least(one: Found) -> str:
    """Say how small a change a section could have shown."""
    best = record(record(one.get("smallest")).get("at_best"))
    return f"{told(best.get('items'))} items of {told(one.get('section'))}" if best else ""


def _example(one: Found) -> Iterator[str]:
    change = "worse" if one.get("change") == "broken" else "better"
    yield row(f"{change}:", line(f"{told(one.get('id'))} ({told(one.get('section'))})"), 8)
    yield row("  asked", line(told(one.get("question"))))
    expected = texts(one.get("expected"))
    if expected:
        yield row("  expected", line(" | ".join(expected)))
    for name, answer in zip(SIDES, texts(one.get("answers")), strict=False):
        yield row(f"  {name}", line(answer))


def beside(chosen: Found, evaluations: list[dict[str, Json]]) -> tuple[str, str]:
    """Say what an evaluation would be compared with.

    Args:
        chosen: The selected evaluation.
        evaluations: All, as the daemon lists them.

    Returns:
        The two sides: of a gate's what was there before and what came after, else the one before of the same suites and it.
    """
    here = told(chosen.get("number"))
    if BEFORE in record(chosen.get("scores")):
        return f"{here}/{BEFORE}", here
    suites = chosen.get("suites")
    earlier = [
        number(one.get("number"))
        for one in evaluations
        if one.get("suites") == suites and number(one.get("number")) < number(chosen.get("number"))
    ]
    return (str(max(earlier)) if earlier else ""), here
