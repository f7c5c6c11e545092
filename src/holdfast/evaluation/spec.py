"""Suites: what a model is asked, and what counts as right.

A suite is a hand-written ``suite.toml`` and a file of items, one JSON object per line. Invariants: answers are generated
(never forced) and scored by a stated metric; sections marked primary make the headline score, the others are reported
beside it. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from holdfast.dataset import messages
from holdfast.formats import written
from holdfast.training.spec import LabelSpec, Name, Text

if TYPE_CHECKING:
    from collections.abc import Container

    from holdfast.errors import UntrustedRecipe

SCHEMA = "holdfast.suite/1"
ALL = "all"  # reserved: every item
PRIMARY = "primary"  # reserved: the items of primary sections

MAX_ITEMS_FILE = 64 * 2**20  # bytes of the items, which are held in memory
MAX_ITEM = 2**20  # bytes of one item
MAX_ITEMS = 20_000  # items of one suite; their outcomes travel in one message
MAX_SECTIONS = 64  # sections of one suite
MAX_ANSWERS = 64  # right answers of one item
MAX_NEW_TOKENS = 4096  # tokens generated per item
MAX_MISTAKES = 20  # malformed items listed


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GenerationSpec(_Strict):
    """How answers are generated: greedily, up to the end mark or this many tokens."""

    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]


class SectionSpec(_Strict):
    """A part of a suite that is scored by itself."""

    name: Name
    metric: Literal["exact"]  # equal to one of the answers, white space at the ends aside
    primary: bool  # whether it counts for the headline score


class SuiteSpec(_Strict):
    """The hand-written head of a suite."""

    schema_: Annotated[Literal["holdfast.suite/1"], Field(alias="schema")]
    name: Name
    version: Annotated[str, Field(min_length=1, max_length=64)]
    description: Text
    licence: Text
    items: Literal["items.jsonl"]
    label: LabelSpec
    generation: GenerationSpec
    section: Annotated[list[SectionSpec], Field(min_length=1, max_length=MAX_SECTIONS)]

    @model_validator(mode="after")
    def _sections(self) -> SuiteSpec:
        names = [one.name for one in self.section]
        if len(set(names)) != len(names) or {ALL, PRIMARY} & set(names):
            raise ValueError("expected sections with distinct names, none of them 'all' or 'primary'")
        if not any(one.primary for one in self.section):
            raise ValueError("expected at least one section with primary = true")
        return self


@dataclass(frozen=True)
class Item:
    """One question.

    Args:
        id: Its name within the suite.
        section: The section it belongs to.
        messages: What the model is asked; the last message is the user's.
        answers: The texts that count as right.
    """

    id: str
    section: str
    messages: tuple[messages.Message, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """A whole suite.

    Args:
        spec: Its head.
        items: Its questions, in order.
    """

    spec: SuiteSpec
    items: tuple[Item, ...]


def read_suite(head: bytes, items: bytes, *, file: str, items_file: str = "items.jsonl") -> Suite:
    """Read a suite.

    Args:
        head: The bytes of ``suite.toml``.
        items: The bytes of the items.
        file: The head's name, for messages.
        items_file: The items' name, for messages.

    Returns:
        The suite.

    Raises:
        UntrustedRecipe: With every mistake, its line and what was expected.
    """
    spec = written.read(head, SuiteSpec, file=file, key="suite.form")
    if len(items) > MAX_ITEMS_FILE:
        raise _refused(items_file, [(1, f"the file has {len(items)} bytes and {MAX_ITEMS_FILE} are allowed")])
    sections = {one.name for one in spec.section}
    found: dict[str, Item] = {}
    mistakes: list[tuple[int, str]] = []
    for line, text in enumerate(items.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            item = _item(text, sections, found)
            found[item.id] = item
        except ValueError as error:
            mistakes.append((line, str(error)))
        if len(mistakes) == MAX_MISTAKES or len(found) > MAX_ITEMS:
            break
    if len(found) > MAX_ITEMS:
        mistakes.append((1, f"there are more than {MAX_ITEMS} items"))
    if empty := sections - {item.section for item in found.values()}:
        mistakes.append((1, f"expected an item in every section, found none in {min(empty)!r}"))
    if mistakes:
        raise _refused(items_file, mistakes)
    return Suite(spec, tuple(found.values()))


def _item(text: bytes, sections: set[str], before: Container[str]) -> Item:
    if len(text) > MAX_ITEM:
        raise ValueError(f"the line has {len(text)} bytes and {MAX_ITEM} are allowed")
    row = messages.load_object(text)
    if set(row) != {"id", "section", "messages", "answers"}:
        raise ValueError("expected exactly the keys 'id', 'section', 'messages' and 'answers'")
    name = messages.text_of(row["id"], "'id'")
    if len(name) > messages.MAX_ID:
        raise ValueError(f"'id': expected at most {messages.MAX_ID} characters")
    if name in before:
        raise ValueError(f"expected each id once, found {name!r} again")
    section = messages.text_of(row["section"], "'section'")
    if section not in sections:
        raise ValueError(f"'section': expected one of {', '.join(sorted(sections))}, found {section[:60]!r}")
    asked = messages.messages_of(row["messages"])
    if asked[-1].role != "user":
        raise ValueError(f"expected the last message to be the user's, found {asked[-1].role!r}")
    answers = row["answers"]
    if not isinstance(answers, list) or not 0 < len(answers) <= MAX_ANSWERS:
        raise ValueError(f"'answers': expected a list of 1 to {MAX_ANSWERS} texts")
    return Item(name, section, asked, tuple(messages.text_of(one, "'answers'") for one in answers))


def _refused(file: str, mistakes: list[tuple[int, str]]) -> UntrustedRecipe:
    return written.refusal(file, "suite.item", mistakes)
