"""Scoring: from a model's responses to a result record.

Invariants: a result is a function of suite and responses alone, as plain data with integer counts and rounded values, so that
equal responses give equal bytes; items keep the suite's order, so that two results of one suite pair up. A section has
either verdicts (0 or 1 for each item) or values (bits per byte), never both. No I/O.

A generated program is judged when it has been run (``workers.execute``): until then its item is open, marked ``?``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.evaluation import metrics
from holdfast.evaluation.items import Answers, Choices, Number, Passage, Pattern, Schema
from holdfast.evaluation.record import RIGHT, VALUED, WRONG
from holdfast.evaluation.responses import Answer, Cost, Logs
from holdfast.evaluation.scorers import Verdict, bits, choice, exact, json_schema, normalised, numeric, regex
from holdfast.evaluation.spec import ALL, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast.evaluation.items import Item
    from holdfast.evaluation.metrics import SectionSpec
    from holdfast.evaluation.responses import Response
    from holdfast.evaluation.spec import Suite

SCHEMA = "holdfast.result/1"
DIGITS = 6  # decimal places of a score, which is for people; the counts are exact
SHARE = "share"  # what the headline is: a share of right answers …
BITS = "bits_per_byte"  # … or bits for each byte, where the primary sections have values
OPEN = "?"  # the mark of an item whose program has not been run; the others are those of a stored result


@dataclass(frozen=True)
class Counted:
    """What of an item counts in a result.

    Args:
        id: The item.
        section: Its section.
        mark: ``RIGHT``, ``WRONG``, ``VALUED`` for a value without a verdict, or ``OPEN`` for a program that has not been run.
        value: Bits per byte, where the mark is ``VALUED``.
        size: UTF-8 bytes of its text, where the mark is ``VALUED``.
    """

    id: str
    section: str
    mark: str
    value: float = 0.0
    size: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Args:
        item: The question.
        section: Its section.
        response: What the model gave.
        verdict: Whether it counts as right; None for a value, and while a program has not been run.
        value: Bits per byte, where the metric gives a value.
    """

    item: Item
    section: SectionSpec
    response: Response
    verdict: Verdict | None
    value: float | None = None

    @property
    def counted(self) -> Counted:
        """What of it counts in a result."""
        if self.verdict is not None:
            return Counted(self.item.id, self.item.section, RIGHT if self.verdict.correct else WRONG)
        if self.value is None or not isinstance(self.item.wanted, Passage):
            return Counted(self.item.id, self.item.section, OPEN)
        return Counted(self.item.id, self.item.section, VALUED, self.value, self.item.wanted.size)

    def to_json(self) -> dict[str, Json]:
        """Give the outcome as plain data, for the file of outcomes.

        Returns:
            ``id``, ``section``, ``correct`` (None without a verdict) and ``told`` (why not, where that is not plain), with
            ``answer`` and ``expected`` as texts; for choices also ``nats``, for texts ``value``, ``nats`` and ``bytes``.
        """
        plain: dict[str, Json] = {
            "id": self.item.id,
            "section": self.item.section,
            "correct": None if self.verdict is None else self.verdict.correct,
            "told": "" if self.verdict is None else self.verdict.told,
        }
        return plain | _said(self)


def outcomes(suite: Suite, responses: Sequence[Response]) -> list[Outcome]:
    """Judge every response, but for programs, which have to be run first.

    Args:
        suite: The suite.
        responses: One per item, in the suite's order.

    Returns:
        One outcome per item.
    """
    sections = {one.name: one for one in suite.spec.section}
    return [
        judge(item, sections[item.section], response)
        for item, response in zip(suite.items, responses, strict=True)
    ]


def judge(item: Item, section: SectionSpec, response: Response) -> Outcome:
    """Judge one response.

    Args:
        item: The question.
        section: Its section.
        response: What the model gave.

    Returns:
        The outcome; open for a program.
    """
    wanted = item.wanted
    if isinstance(wanted, Passage) and isinstance(response, Cost):
        return Outcome(item, section, response, None, bits.value(response.nats, wanted.size))
    if isinstance(section, metrics.CodeSection):
        return Outcome(item, section, response, None)
    return Outcome(item, section, response, _verdict(item, section, response))


def is_open(judged: Sequence[Outcome]) -> bool:
    """Tell whether programs still have to be run.

    Args:
        judged: The outcomes.

    Returns:
        True if one is open.
    """
    return any(one.counted.mark == OPEN for one in judged)


def result(suite: Suite, judged: Sequence[Outcome]) -> dict[str, Json]:
    """Sum up a suite.

    Args:
        suite: The suite.
        judged: What ``outcomes`` gave.

    Returns:
        What ``summed`` gives.
    """
    return summed(suite, [one.counted for one in judged])


def completed(
    suite: Suite, rows: Sequence[dict[str, Json]], verdicts: Mapping[str, Verdict]
) -> tuple[dict[str, Json], list[dict[str, Json]]]:
    """Sum up a suite whose open items have been judged.

    Args:
        suite: The suite.
        rows: What ``Outcome.to_json`` gave for every item, in the suite's order.
        verdicts: The verdict of every open item, by id.

    Returns:
        What ``summed`` gives, and the rows with the verdicts in them.
    """
    filled: list[dict[str, Json]] = []
    counted: list[Counted] = []
    for item, row in zip(suite.items, rows, strict=True):
        verdict = verdicts.get(item.id)
        one = row if verdict is None else row | {"correct": verdict.correct, "told": verdict.told}
        filled.append(one)
        if isinstance(item.wanted, Passage):
            counted.append(Counted(item.id, item.section, VALUED, float(str(row["value"])), item.wanted.size))
        else:
            mark = OPEN if one["correct"] is None else RIGHT if one["correct"] else WRONG
            counted.append(Counted(item.id, item.section, mark))
    return summed(suite, counted), filled


def summed(suite: Suite, counted: Sequence[Counted]) -> dict[str, Json]:
    """Sum up items.

    Args:
        suite: Their suite.
        counted: What of each counts, in the suite's order.

    Returns:
        ``suite`` (name and version), ``score`` (the headline: all primary sections together), ``sections`` (``all``,
        ``primary`` and each section: what ``total`` gives, with the section's metric), ``primary``, ``ids``, ``of`` (each
        item's section), ``outcomes`` (one mark per item), ``values`` and ``bytes`` (by id, where an item has a value).
    """
    primary = {one.name for one in suite.spec.section if one.primary}
    headline = total([one for one in counted if one.section in primary])
    sections: dict[str, Json] = {ALL: total(counted), PRIMARY: headline}
    for section in suite.spec.section:
        members = [one for one in counted if one.section == section.name]
        sections[section.name] = {**total(members), "metric": section.metric}
    valued = [one for one in counted if one.mark == VALUED]
    return {
        "schema": SCHEMA,
        "suite": {"name": suite.spec.name, "version": suite.spec.version},
        "score": headline["score"],
        "sections": sections,
        "primary": [*sorted(primary)],
        "ids": [one.id for one in counted],
        "of": [one.section for one in counted],
        "outcomes": "".join(one.mark for one in counted),
        "values": {one.id: one.value for one in valued},
        "bytes": {one.id: one.size for one in valued},
    }


def total(counted: Sequence[Counted]) -> dict[str, Json]:
    """Sum up items: the share of right ones, or bits per byte where none has a verdict.

    Args:
        counted: What of each counts, at least one.

    Returns:
        ``metric`` (``SHARE`` or ``BITS``), ``items``, ``score`` and ``correct`` or ``bytes``.
    """
    verdicts = [one for one in counted if one.mark != VALUED]
    if verdicts:
        correct = sum(one.mark == RIGHT for one in verdicts)
        return {
            "metric": SHARE,
            "items": len(verdicts),
            "correct": correct,
            "score": round(correct / len(verdicts), DIGITS),
        }
    size = sum(one.size for one in counted)
    score = round(sum(one.value * one.size for one in counted) / size, DIGITS)
    return {"metric": BITS, "items": len(counted), "bytes": size, "score": score}


def lines(rows: Sequence[dict[str, Json]]) -> str:
    """Write a file of outcomes.

    Args:
        rows: What ``Outcome.to_json`` or ``completed`` gave.

    Returns:
        One line of JSON for each.
    """
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def _verdict(item: Item, section: SectionSpec, response: Response) -> Verdict:
    match section, item.wanted, response:
        case metrics.ExactSection(), Answers(texts), Answer(text):
            return exact.judge(text, texts)
        case metrics.NormalisedSection(), Answers(texts), Answer(text):
            return normalised.judge(
                text,
                texts,
                casefold=section.casefold,
                punctuation=section.punctuation,
                white_space=section.white_space,
            )
        case metrics.NumericSection(), Number(value, unit), Answer(text):
            return numeric.judge(
                text,
                value,
                unit,
                absolute=section.absolute,
                relative=section.relative,
                take=section.take,
                units=section.units,
                unit_required=section.unit == "required",
            )
        case metrics.RegexSection(), Pattern(source), Answer(text):
            return regex.judge(text, source, match=section.match, ignore_case=section.ignore_case)
        case metrics.JsonSchemaSection(), Schema(schema), Answer(text):
            return json_schema.judge(text, schema, extract=section.extract)
        case metrics.ChoiceSection(), Choices(texts, right), Logs(nats):
            return choice.judge(texts, nats, right, normalise=section.normalise)
    raise TypeError(f"item {item.id} was asked in a way that its metric does not judge")


def _said(one: Outcome) -> dict[str, Json]:
    """Give what was answered and what was expected, as a person reads it."""
    wanted, response = one.item.wanted, one.response
    answer = response.text if isinstance(response, Answer) else ""
    match wanted, response:
        case Answers(texts), _:
            return {"answer": answer, "expected": [*texts]}
        case Number(value, unit), _:
            shown = str(value.numerator) if value.denominator == 1 else f"{float(value)!r}"
            return {"answer": answer, "expected": [f"{shown} {unit}".strip()]}
        case Pattern(source), _:
            return {"answer": answer, "expected": [source]}
        case Schema(schema), _:
            return {"answer": answer, "expected": [json.dumps(schema, sort_keys=True)]}
        case Choices(texts, right), Logs(nats):
            weighed = one.section.normalise if isinstance(one.section, metrics.ChoiceSection) else "none"
            at = choice.chosen(texts, nats, normalise=weighed)
            return {
                "answer": "" if at is None else texts[at],
                "expected": [texts[right]],
                "nats": [round(log, DIGITS) for log in nats],
            }
        case Passage(), Cost(nats):
            return {
                "answer": "",
                "expected": [],
                "value": one.value,
                "nats": round(nats, DIGITS),
                "bytes": wanted.size,
            }
    return {"answer": answer, "expected": []}
