"""Recipes: what a customisation is, independent of the base it is run on.

A recipe names data, an adapter, an optimiser, batches, a precision and the gate that judges the outcome. Invariants: it
knows nothing of one base, so that it can be run again on the next one; together with the digests of its inputs it
determines the adapter bit for bit; an unknown key is a mistake, never ignored. No I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from holdfast.errors import UntrustedInput
from holdfast.formats import written
from holdfast.governance import labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json

SCHEMA = "holdfast.recipe/1"

MAX_DATA = 100  # data files of one recipe; one event of the log names their paths and digests
MAX_GATES = 64  # rules of one gate
MAX_TARGETS = 64  # module names of one adapter
MAX_STEPS = 10_000_000  # optimiser steps or epochs; far beyond any run on one machine
MAX_SEQUENCE = 2**20  # tokens of one row
MAX_THREADS = 1024  # CPU threads

_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,127}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Count = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class LabelSpec(_Strict):
    """A label as written in a document; see ``governance.labels``."""

    level: str
    compartments: list[str]
    zones: list[str]

    @model_validator(mode="after")
    def _known(self) -> LabelSpec:
        try:
            self.label()
        except UntrustedInput as error:
            raise ValueError(f"{error.message} {error.remedy}") from error
        return self

    def label(self) -> labels.Label:
        """Give the label itself.

        Returns:
            The point of the lattice.
        """
        return labels.parse(self.model_dump())


class DataSpec(_Strict):
    """One file of training examples."""

    path: Annotated[str, Field(max_length=240)]
    role: Literal["domain", "rehearsal"]  # rehearsal: examples of what the base can do, so that it is kept
    repeat: Annotated[int, Field(ge=1, le=1000)]  # copies per epoch
    licence: Text
    label: LabelSpec

    @field_validator("path")
    @classmethod
    def _beneath(cls, value: str) -> str:
        if not _PATH.fullmatch(value):
            raise ValueError("expected a relative path beneath the recipe, without '..'")
        return value


class AdapterSpec(_Strict):
    """What is trained: a LoRA adapter (Hu et al., 2021, arXiv:2106.09685)."""

    type: Literal["lora"]
    rank: Annotated[int, Field(ge=1, le=1024)]
    alpha: Annotated[int, Field(ge=1, le=8192)]  # the update is scaled by alpha / rank
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    targets: Annotated[
        list[str], Field(min_length=1, max_length=MAX_TARGETS)
    ]  # module names, or "all-linear" alone

    @field_validator("targets")
    @classmethod
    def _carried_by_gguf(cls, value: list[str]) -> list[str]:
        for name in value:
            if "embed" in name or "lm_head" in name:
                raise ValueError(
                    f"{name!r} can't be a target: a GGUF LoRA carries no embedding or output layer"
                )
            if name == "all-linear" and len(value) > 1:
                raise ValueError('expected ["all-linear"] alone, or names of modules')
            if name != "all-linear" and not _MODULE.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a module such as 'q_proj'")
        return value


class OptimiserSpec(_Strict):
    """AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101) and its schedule."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    schedule: Literal["constant", "linear", "cosine"]  # after the warm-up
    warmup_steps: Annotated[int, Field(ge=0, le=MAX_STEPS)]
    weight_decay: Share
    max_grad_norm: Annotated[float, Field(ge=0.0, le=1e6)]  # 0: gradients are not clipped


class BatchSpec(_Strict):
    """How examples become steps."""

    sequence_length: Annotated[
        int, Field(ge=8, le=MAX_SEQUENCE)
    ]  # tokens of one row; longer examples are refused
    sequences: Annotated[int, Field(ge=1, le=65536)]  # rows per step
    packing: bool  # several examples to a row, with attention kept apart
    epochs: Count | None = None
    steps: Count | None = None

    @model_validator(mode="after")
    def _one_length(self) -> BatchSpec:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("expected exactly one of 'epochs' and 'steps'")
        return self


class PrecisionSpec(_Strict):
    """In what numbers, and on how many threads: both change the bits."""

    dtype: Literal["bf16", "fp32"]
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]


class GateRule(_Strict):
    """One condition for a release; judged by ``evaluation.gate``."""

    suite: Name
    section: Name  # "all", "primary" (the suite's headline) or the name of a section
    rule: Literal["minimum", "improvement", "max_loss"]
    value: Share


class Recipe(_Strict):
    """A whole recipe."""

    schema_: Annotated[Literal["holdfast.recipe/1"], Field(alias="schema")]
    name: Name
    version: Annotated[str, Field(min_length=1, max_length=64)]
    description: Text
    method: Literal["sft"]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    loss: Literal["answers", "all"]  # which tokens are learnt: the assistant's, or every one
    checkpoint_every: Count  # steps
    data: Annotated[list[DataSpec], Field(min_length=1, max_length=MAX_DATA)]
    adapter: AdapterSpec
    optimiser: OptimiserSpec
    batch: BatchSpec
    precision: PrecisionSpec
    gate: Annotated[list[GateRule], Field(min_length=1, max_length=MAX_GATES)]

    @model_validator(mode="after")
    def _distinct(self) -> Recipe:
        paths = [one.path for one in self.data]
        if len(set(paths)) != len(paths):
            raise ValueError("two [[data]] entries name the same path; use 'repeat'")
        return self

    def to_json(self) -> dict[str, Json]:
        """Give the recipe as plain data that ``from_json`` takes.

        Returns:
            The keys as a person writes them.
        """
        return self.model_dump(by_alias=True)

    def label(self) -> labels.Label:
        """Give the label that the data's labels join to.

        Returns:
            The join; the base's label is joined to it elsewhere.
        """
        return labels.join_all(one.label.label() for one in self.data)


def from_json(value: object) -> Recipe:
    """Read a recipe that crossed a process boundary.

    Args:
        value: What ``Recipe.to_json`` gave.

    Returns:
        The recipe.
    """
    return Recipe.model_validate(value)


def read_recipe(data: bytes, *, file: str, exists: Callable[[str], bool] | None = None) -> Recipe:
    """Read a recipe from its TOML bytes.

    Args:
        data: The bytes as received.
        file: The recipe's name, for messages.
        exists: Tells whether a data file of that path is there; left out, paths are not looked at.

    Returns:
        The recipe.

    Raises:
        UntrustedRecipe: With every mistake, its line and what was expected.
    """
    recipe = written.read(data, Recipe, file=file, key="recipe.form")
    if exists is not None:
        lines = written.key_lines(data.decode("utf-8"))
        missing = [
            (
                lines.get(("data", at, "path"), 1),
                f"data file {one.path!r} does not exist; expected it beside {file}",
            )
            for at, one in enumerate(recipe.data)
            if not exists(one.path)
        ]
        if missing:
            raise written.refusal(file, "recipe.data-missing", missing)
    return recipe
