"""Items of a suite: one JSON object per line, and what their section's metric wants of an answer.

Invariants: every item has ``id`` and ``section`` and exactly the keys of its section's metric; what it wants was checked
when it was read (patterns and schemas compile, numbers are numbers), so that judging an answer can't fail for the item's
sake. A mistake is a ``ValueError`` that says what was expected. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.dataset import messages
from holdfast.evaluation import code
from holdfast.evaluation.metrics import NumericSection
from holdfast.evaluation.scorers import json_schema, numeric, regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction

    from holdfast.canonical import Json
    from holdfast.evaluation.metrics import SectionSpec

MAX_ANSWERS = 64  # right answers of one item
MAX_CHOICES = 64  # choices of one item


@dataclass(frozen=True)
class Answers:
    """Texts that count as right: metrics ``exact`` and ``normalised``.

    Args:
        texts: At least one.
    """

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A number: metric ``numeric``.

    Args:
        value: The number.
        unit: Its unit, or the empty text.
    """

    value: Fraction
    unit: str


@dataclass(frozen=True)
class Pattern:
    """A pattern: metric ``regex``.

    Args:
        source: In RE2's syntax.
    """

    source: str


@dataclass(frozen=True)
class Schema:
    """A JSON schema: metric ``json_schema``.

    Args:
        schema: Draft 2020-12, without references to elsewhere.
    """

    schema: dict[str, Json]


@dataclass(frozen=True)
class Choices:
    """Texts to choose from: metric ``choice``.

    Args:
        texts: At least two, all different.
        right: Position of the right one.
    """

    texts: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Passage:
    """A text to predict: metric ``bits_per_byte``.

    Args:
        text: The text.
    """

    text: str

    @property
    def size(self) -> int:
        """UTF-8 bytes of the text."""
        return len(self.text.encode())


@dataclass(frozen=True)
class Tests:
    """Tests of a program: metric ``code``.

    Args:
        tests: At least one.
    """

    tests: tuple[code.Test, ...]


Wanted = Answers | Number | Pattern | Schema | Choices | Passage | Tests


@dataclass(frozen=True)
class Item:
    """One question.

    Args:
        id: Its name within the suite.
        section: The section it belongs to.
        messages: What the model is asked; the last message is the user's. None are asked where a text is predicted.
        wanted: What its metric compares an answer with.
    """

    id: str
    section: str
    messages: tuple[messages.Message, ...]
    wanted: Wanted


def read_item(text: bytes, sections: Mapping[str, SectionSpec]) -> Item:
    """Read one line of a suite's items.

    Args:
        text: The line's bytes, already bounded.
        sections: The suite's sections, by name.

    Returns:
        The item.

    Raises:
        ValueError: With what was expected, if it is anything else.
    """
    row = messages.load_object(text)
    for name in ("id", "section"):
        if name not in row:
            raise ValueError(f"key {name!r} is missing")
    name = messages.text_of(row["id"], "'id'")
    if len(name) > messages.MAX_ID:
        raise ValueError(f"'id': expected at most {messages.MAX_ID} characters")
    of = messages.text_of(row["section"], "'section'")
    section = sections.get(of)
    if section is None:
        raise ValueError(f"'section': expected one of {', '.join(sorted(sections))}, found {of[:60]!r}")
    own, optional, wanted = _KEYS[section.metric]
    asks = {"messages"} if section.metric != "bits_per_byte" else set()
    due = {"id", "section", *asks, *own}
    if missing := sorted(due - set(row)):
        raise ValueError(f"key {missing[0]!r} is missing (metric {section.metric!r})")
    if unknown := sorted(set(row) - due - set(optional)):
        raise ValueError(
            f"expected exactly the keys {', '.join(sorted(due))}, found {unknown[0][:60]!r} (metric {section.metric!r})"
        )
    asked = messages.messages_of(row["messages"]) if asks else ()
    if asked and asked[-1].role != "user":
        raise ValueError(f"expected the last message to be the user's, found {asked[-1].role!r}")
    return Item(name, of, asked, wanted(row, section))


def _answers(row: dict[str, object], _: SectionSpec) -> Answers:
    return Answers(_texts(row["answers"], "'answers'", 1, MAX_ANSWERS))


def _number(row: dict[str, object], section: SectionSpec) -> Number:
    units = section.units if isinstance(section, NumericSection) else []
    unit = "" if "unit" not in row else messages.text_of(row["unit"], "'unit'")
    if unit and unit not in units:
        raise ValueError(f"'unit': expected one of the section's units, found {unit[:40]!r}")
    return Number(numeric.wanted(row["value"]), unit)


def _pattern(row: dict[str, object], _: SectionSpec) -> Pattern:
    source = messages.text_of(row["pattern"], "'pattern'")
    regex.check(source)
    return Pattern(source)


def _schema(row: dict[str, object], _: SectionSpec) -> Schema:
    return Schema(json_schema.check(row["schema"]))


def _choices(row: dict[str, object], _: SectionSpec) -> Choices:
    texts = _texts(row["choices"], "'choices'", 2, MAX_CHOICES)
    if len(set(texts)) != len(texts):
        raise ValueError("'choices': expected texts that all differ")
    answer = messages.text_of(row["answer"], "'answer'")
    if answer not in texts:
        raise ValueError(f"'answer': expected one of the choices, found {answer[:60]!r}")
    return Choices(texts, texts.index(answer))


def _passage(row: dict[str, object], _: SectionSpec) -> Passage:
    return Passage(messages.text_of(row["text"], "'text'"))


def _tests(row: dict[str, object], _: SectionSpec) -> Tests:
    return Tests(code.read_tests(row["tests"]))


def _texts(value: object, name: str, fewest: int, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not fewest <= len(value) <= most:
        raise ValueError(f"{name}: expected a list of {fewest} to {most} texts")
    return tuple(messages.text_of(one, name) for one in value)


# Metric: the keys that its items must have, those that they may have, and who reads them.
_KEYS: Mapping[
    str, tuple[tuple[str, ...], tuple[str, ...], Callable[[dict[str, object], SectionSpec], Wanted]]
] = {
    "exact": (("answers",), (), _answers),
    "normalised": (("answers",), (), _answers),
    "numeric": (("value",), ("unit",), _number),
    "regex": (("pattern",), (), _pattern),
    "json_schema": (("schema",), (), _schema),
    "choice": (("choices", "answer"), (), _choices),
    "bits_per_byte": (("text",), (), _passage),
    "code": (("tests",), (), _tests),
}
