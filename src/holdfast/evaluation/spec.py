"""Suites: what a model is asked, and what counts as right.

A suite is a hand-written ``suite.toml`` and a file of items, one JSON object per line: data alone, with nothing in it that
is run here. Invariants: each section has one stated metric (``metrics``); sections marked primary make the headline score,
the others are reported beside it; every mistake is reported at once, with its line. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from holdfast.dataset.files import ITEMS_FILE, MAX_ITEMS, MAX_ITEMS_FILE
from holdfast.evaluation.items import Item, read_item
from holdfast.evaluation.metrics import GENERATING, SectionSpec
from holdfast.formats import written
from holdfast.training.spec import LabelSpec, Name, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.errors import UntrustedRecipe

SCHEMA = "holdfast.suite/1"
HEAD_FILE = "suite.toml"
ALL = "all"  # reserved: every item
PRIMARY = "primary"  # reserved: the items of primary sections

MAX_ITEM = 2**20  # bytes of one item
MAX_SECTIONS = 64  # sections of one suite
MAX_NEW_TOKENS = 4096  # tokens generated per item
MAX_MISTAKES = 20  # malformed items listed


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GenerationSpec(_Strict):
    """How answers are generated: greedily, up to the end mark or this many tokens."""

    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]


class SuiteSpec(_Strict):
    """The hand-written head of a suite."""

    schema_: Annotated[Literal["holdfast.suite/1"], Field(alias="schema")]
    name: Name
    version: Annotated[str, Field(min_length=1, max_length=64)]
    description: Text
    licence: Text
    items: Literal["items.jsonl"]
    label: LabelSpec
    generation: GenerationSpec | None = None  # needed where a section judges generated text
    section: Annotated[list[SectionSpec], Field(min_length=1, max_length=MAX_SECTIONS)]

    @model_validator(mode="after")
    def _sections(self) -> SuiteSpec:
        names = [one.name for one in self.section]
        if len(set(names)) != len(names) or {ALL, PRIMARY} & set(names):
            raise ValueError("expected sections with distinct names, none of them 'all' or 'primary'")
        primary = {one.metric == "bits_per_byte" for one in self.section if one.primary}
        if not primary:
            raise ValueError("expected at least one section with primary = true")
        if len(primary) > 1:
            raise ValueError(
                "expected primary sections that can be summed up: all of them with metric 'bits_per_byte', or none"
            )
        if self.generation is None and any(one.metric in GENERATING for one in self.section):
            raise ValueError("key 'generation' is missing: a section judges generated text")
        return self


@dataclass(frozen=True)
class Suite:
    """A whole suite.

    Args:
        spec: Its head.
        items: Its questions, in order.
    """

    spec: SuiteSpec
    items: tuple[Item, ...]

    def section(self, name: str) -> SectionSpec:
        """Give a section.

        Args:
            name: Its name, which an item has.

        Returns:
            The section.
        """
        return next(one for one in self.spec.section if one.name == name)

    @property
    def most(self) -> int:
        """Tokens that are generated for one item at most; 0 where nothing is generated."""
        return self.spec.generation.max_new_tokens if self.spec.generation else 0

    def members(self, name: str) -> tuple[str, ...]:
        """Give the sections that a name stands for.

        Args:
            name: ``all``, ``primary`` or a section's name.

        Returns:
            Names of sections; none if there is no such section.
        """
        return tuple(
            one.name
            for one in self.spec.section
            if name in {ALL, one.name} or (name == PRIMARY and one.primary)
        )

    def only(self, sections: Sequence[str]) -> Suite:
        """Give the part of a suite that belongs to some of its sections.

        Args:
            sections: Their names.

        Returns:
            A suite with the same head and fewer items.
        """
        return replace(self, items=tuple(one for one in self.items if one.section in sections))


def read_suite(head: bytes, items: bytes, *, file: str, items_file: str = ITEMS_FILE) -> Suite:
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
    found, mistakes = _read_items(items, {one.name: one for one in spec.section})
    if mistakes:
        raise _refused(items_file, mistakes)
    return Suite(spec, tuple(found.values()))


def _read_items(
    items: bytes, sections: dict[str, SectionSpec]
) -> tuple[dict[str, Item], list[tuple[int, str]]]:
    found: dict[str, Item] = {}
    mistakes: list[tuple[int, str]] = []
    for line, text in enumerate(items.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            item = _read_line(text, sections, found)
            found[item.id] = item
        except ValueError as error:
            mistakes.append((line, str(error)))
        if len(mistakes) == MAX_MISTAKES or len(found) > MAX_ITEMS:
            break
    if len(found) > MAX_ITEMS:
        mistakes.append((1, f"there are more than {MAX_ITEMS} items"))
    if not mistakes and (empty := set(sections) - {item.section for item in found.values()}):
        mistakes.append((1, f"expected an item in every section, found none in {min(empty)!r}"))
    return found, mistakes


def _read_line(text: bytes, sections: dict[str, SectionSpec], before: dict[str, Item]) -> Item:
    if len(text) > MAX_ITEM:
        raise ValueError(f"the line has {len(text)} bytes and {MAX_ITEM} are allowed")
    item = read_item(text, sections)
    if item.id in before:
        raise ValueError(f"expected each id once, found {item.id!r} again")
    return item


def _refused(file: str, mistakes: list[tuple[int, str]]) -> UntrustedRecipe:
    return written.refusal(file, "suite.item", mistakes)
