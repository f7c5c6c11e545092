"""Sections of a suite: how the answers to their items are judged, with each metric's options.

Invariants: a section has one metric; an option that belongs to another metric is a mistake with its line; every number has
bounds with their reasons. Records only. No I/O.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast.training.spec import Name

MAX_UNITS = 32  # names of units of one section
MAX_UNIT = 32  # characters of a unit's name
MAX_WINDOW = 131_072  # tokens that one token is predicted from; no supported base holds more
MIN_WINDOW = 16  # tokens; with fewer, most of a text is predicted from nothing
MAX_CPU_SECONDS = 60  # processor time of one test; a suite has thousands of them
MAX_MEMORY_MB = 4096  # MiB of one test

GENERATING = (
    "exact",
    "normalised",
    "numeric",
    "regex",
    "json_schema",
    "code",
)  # metrics that judge generated text

Unit = Annotated[str, Field(min_length=1, max_length=MAX_UNIT, pattern=r"^[^\s\d.,+\-][^\d]*$")]
Tolerance = Annotated[float, Field(ge=0.0, le=1e300)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    name: Name
    primary: bool  # whether it counts for the headline score


class ExactSection(_Section):
    """Equal to one of the answers, white space at the ends aside."""

    metric: Literal["exact"]


class NormalisedSection(_Section):
    """Equal to one of the answers once both are normalised: NFKC, then the options, in this order."""

    metric: Literal["normalised"]
    casefold: bool = True  # Unicode's full case folding
    punctuation: Literal["drop", "keep"] = "drop"  # Unicode's categories P and S
    white_space: Literal["collapse", "drop"] = "collapse"  # runs become one space; none at the ends


class NumericSection(_Section):
    """A number within a tolerance of the item's: |found - wanted| <= max(absolute, relative * |wanted|)."""

    metric: Literal["numeric"]
    absolute: Tolerance = 0.0
    relative: Tolerance = 0.0
    take: Literal["whole", "first", "last"] = "whole"  # which number of the answer; whole: it is nothing else
    units: Annotated[
        list[Unit], Field(max_length=MAX_UNITS)
    ] = []  # that may follow a number; no other is read
    unit: Literal["optional", "required"] = "optional"  # whether an item's unit has to be said


class RegexSection(_Section):
    """Matched by the item's pattern, in RE2's syntax."""

    metric: Literal["regex"]
    match: Literal["full", "search"] = "full"  # the whole answer, white space at the ends aside, or a part
    ignore_case: bool = False


class JsonSchemaSection(_Section):
    """JSON that the item's schema accepts, in draft 2020-12."""

    metric: Literal["json_schema"]
    extract: Literal["whole", "fenced"] = "whole"  # fenced: within the first ``` block, if there is one


class ChoiceSection(_Section):
    """The likeliest of the item's choices is the right one; nothing is generated."""

    metric: Literal["choice"]
    normalise: Literal["none", "characters", "bytes"] = "none"  # what a log-likelihood is divided by


class BitsSection(_Section):
    """How many bits the model needs for each byte of a text: a value, and no verdict; lower is better."""

    metric: Literal["bits_per_byte"]
    window: Annotated[int, Field(ge=MIN_WINDOW, le=MAX_WINDOW)] = (
        1024  # tokens, and no more than the base holds
    )


class CodeSection(_Section):
    """A Python program that passes every test of its item, run without network, files or other processes."""

    metric: Literal["code"]
    cpu_seconds: Annotated[int, Field(ge=1, le=MAX_CPU_SECONDS)] = 5  # processor time of one test
    memory_mb: Annotated[int, Field(ge=64, le=MAX_MEMORY_MB)] = 256  # MiB of one test


SectionSpec = Annotated[
    ExactSection
    | NormalisedSection
    | NumericSection
    | RegexSection
    | JsonSchemaSection
    | ChoiceSection
    | BitsSection
    | CodeSection,
    Field(discriminator="metric"),
]
