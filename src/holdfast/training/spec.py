"""Recipes: what a customisation is, independent of the base it is run on.

A recipe names data, a method, what of the model is trained, an optimiser, batches, a precision and the gate that judges
the outcome. Invariants: it knows nothing of one base, so that it can be run again on the next one; together with the
digests of its inputs it determines what it makes bit for bit; an unknown key is a mistake, never ignored, and so is a key
that the rest of the recipe gives no meaning. Order of operations: every key by itself, then keys against one another, and
all mistakes are told together. No I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from holdfast.dataset.files import MAX_PATH, Format
from holdfast.errors import UntrustedInput
from holdfast.formats import written
from holdfast.governance import labels
from holdfast.training import crosscheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.canonical import Json
    from holdfast.dataset.forms import Form

SCHEMA = "holdfast.recipe/1"

MAX_DATA = 100  # data sources of one recipe; one event of the log names their paths and digests
MAX_GATES = 64  # rules of one gate
MAX_GATE_VALUE = 64.0  # a share, or bits per byte: a model that knows nothing needs 8 for a byte
MAX_TARGETS = 64  # names or patterns of modules
MAX_STEPS = 10_000_000  # optimiser steps or epochs; far beyond any run on one machine
MAX_SEQUENCE = 2**20  # tokens of one row
MAX_ROWS = 65536  # rows of one step, and passes of one step
MAX_THREADS = 1024  # CPU threads
MAX_BETA = 100.0  # of DPO; published runs use 0.01 to 0.5

ALL_LINEAR = "all-linear"

_TARGET = re.compile(r"[A-Za-z0-9_*?\[][A-Za-z0-9_.*?!\[\]-]{0,127}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Column = Annotated[str, Field(min_length=1, max_length=128)]
Count = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Method = Literal["sft", "cpt", "dpo"]


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
    """One source of training examples: a file, or a folder of text."""

    path: Annotated[str, Field(max_length=MAX_PATH)]
    format: Format | None = None  # left out: by the path's suffix
    role: Literal["domain", "rehearsal"]  # rehearsal: examples of what the base can do, so that it is kept
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1  # copies per epoch
    heldout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # share that is measured, never trained on
    licence: Text
    columns: Annotated[dict[str, Column], Field(max_length=8)] = {}  # our field to their column
    label: LabelSpec

    @field_validator("path")
    @classmethod
    def _beneath(cls, value: str) -> str:
        if not _PATH.fullmatch(value):
            raise ValueError("expected a relative path beneath the recipe, without '..'")
        return value


def _targets(value: list[str]) -> list[str]:
    for name in value:
        if not _TARGET.fullmatch(name):
            raise ValueError(
                f"{name!r} is neither the name of a module such as 'q_proj' nor a pattern such as '*.mlp.*_proj'"
            )
    return value


class AdapterTuning(_Strict):
    """What is trained: an adapter of low rank beside the base's matrices.

    Sources: LoRA (Hu et al., 2021, arXiv:2106.09685), rsLoRA (Kalajdzievski, 2023, arXiv:2312.03732), DoRA (Liu et al.,
    2024, arXiv:2402.09353).
    """

    type: Literal["lora", "rslora", "dora"]
    rank: Annotated[int, Field(ge=1, le=1024)]
    alpha: Annotated[int, Field(ge=1, le=8192)]  # the update's scale is alpha / rank; rslora: / sqrt(rank)
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    targets: Annotated[list[str], Field(min_length=1, max_length=MAX_TARGETS)]  # or ["all-linear"]

    @field_validator("targets")
    @classmethod
    def _linear(cls, value: list[str]) -> list[str]:
        for name in value:
            if "embed" in name or "lm_head" in name:
                raise ValueError(
                    f"{name!r} can't be a target: a GGUF LoRA carries no embedding or output layer"
                )
            if name == ALL_LINEAR and len(value) > 1:
                raise ValueError('expected ["all-linear"] alone, or names and patterns of modules')
        return _targets(value)


class FullTuning(_Strict):
    """What is trained: the base's own weights, all of them or those beneath some modules."""

    type: Literal["full"]
    targets: Annotated[list[str], Field(min_length=1, max_length=MAX_TARGETS)] | None = None

    @field_validator("targets")
    @classmethod
    def _modules(cls, value: list[str] | None) -> list[str] | None:
        if value and ALL_LINEAR in value:
            raise ValueError('"all-linear" is for adapters; leave targets out to train every weight')
        return value and _targets(value)


class OptimiserSpec(_Strict):
    """AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101) and its schedule.

    The schedule follows the warm-up. ``wsd`` (warm-up, stable, decay; Hu et al., 2024, arXiv:2404.06395) stays at the
    learning rate and falls to nothing over the last ``decay_share`` of all steps.
    """

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)]
    schedule: Literal["constant", "linear", "cosine", "wsd"]
    decay_share: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0, le=MAX_STEPS)]
    weight_decay: Share
    max_grad_norm: Annotated[float, Field(ge=0.0, le=1e6)]  # 0: gradients are not clipped


class BatchSpec(_Strict):
    """How examples become steps."""

    sequence_length: Annotated[int, Field(ge=8, le=MAX_SEQUENCE)]  # tokens of one row
    sequences: Annotated[int, Field(ge=1, le=MAX_ROWS)]  # rows of one pass through the model
    accumulation: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 1  # passes of one step
    packing: bool = False  # several examples to a row, with attention kept apart
    gradient_checkpointing: bool = False  # compute activations twice instead of keeping them
    epochs: Count | None = None
    steps: Count | None = None

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step."""
        return self.sequences * self.accumulation


class PrecisionSpec(_Strict):
    """In what numbers, and on how many threads: both change the bits."""

    dtype: Literal["bf16", "fp32"]
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]


class DpoSpec(_Strict):
    """Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290)."""

    beta: Annotated[float, Field(gt=0.0, le=MAX_BETA)]  # how far the model may go from where it began


class StopSpec(_Strict):
    """When to end before the last step: once a suite's score has not risen for a while."""

    suite: Name
    section: Name  # "all", "primary" or the name of a section
    every: Count  # steps between two looks
    patience: Annotated[int, Field(ge=1, le=1000)]  # looks without a rise until the run ends
    min_change: Share  # what counts as a rise


class GateRule(_Strict):
    """One condition for a release; judged by ``evaluation.gate``."""

    suite: Name
    section: Name  # "all", "primary" (the suite's headline) or the name of a section
    rule: Literal["minimum", "improvement", "non_inferiority"]
    value: Annotated[float, Field(ge=0.0, le=MAX_GATE_VALUE)]  # for non_inferiority the margin
    alpha: Annotated[float, Field(ge=1e-6, lt=0.5)] = 0.05  # the chance of error that is accepted


class Recipe(_Strict):
    """A whole recipe."""

    schema_: Annotated[Literal["holdfast.recipe/1"], Field(alias="schema")]
    name: Name
    version: Annotated[str, Field(min_length=1, max_length=64)]
    description: Text
    method: Method
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    loss: Literal["answers", "all"] | None = None  # which tokens sft learns; left out: answers
    checkpoint_every: Count  # steps
    state_every: Count = 10  # steps between two state hashes
    data: Annotated[list[DataSpec], Field(min_length=1, max_length=MAX_DATA)]
    tuning: Annotated[AdapterTuning | FullTuning, Field(discriminator="type")]
    optimiser: OptimiserSpec
    batch: BatchSpec
    precision: PrecisionSpec
    dpo: DpoSpec | None = None
    stop: StopSpec | None = None
    gate: Annotated[list[GateRule], Field(min_length=1, max_length=MAX_GATES)]

    @model_validator(mode="wrap")
    @classmethod
    def _as_a_whole(cls, value: object, handler: ModelWrapValidatorHandler[Recipe]) -> Recipe:
        """Tell what is wrong with single keys and between keys at once."""
        found = crosscheck.mistakes(value)
        try:
            recipe = handler(value)
        except ValidationError as error:
            raise crosscheck.joined(error, found) from error
        if found:
            raise crosscheck.joined(None, found)
        return recipe

    @property
    def answers_only(self) -> bool:
        """Whether only what the assistant says is learnt."""
        return self.method == "sft" and self.loss != "all"

    def forms(self) -> tuple[Form, ...]:
        """Give the forms of data set that the method takes; see ``dataset.forms``.

        Returns:
            Their names.
        """
        return crosscheck.FORMS[self.method]

    def to_json(self) -> dict[str, Json]:
        """Give the recipe as plain data that ``from_json`` takes.

        Returns:
            The keys as a person writes them, with the defaults of those that were left out.
        """
        return self.model_dump(by_alias=True, exclude_none=True)

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
        exists: Tells whether a data file or folder of that path is there; left out, paths are not looked at.

    Returns:
        The recipe.

    Raises:
        UntrustedRecipe: With every mistake, its line and what was expected.
    """

    def missing(paths: Iterable[object]) -> list[tuple[written.Loc, str]]:
        return [
            (("data", at, "path"), f"data {one!r} does not exist; expected it beside {file}")
            for at, one in enumerate(paths)
            if exists is not None and isinstance(one, str) and _PATH.fullmatch(one) and not exists(one)
        ]

    recipe = written.read(
        data, Recipe, file=file, key="recipe.form", besides=lambda tree: missing(_paths(tree))
    )
    if absent := missing(one.path for one in recipe.data):
        lines = written.key_lines(data.decode("utf-8"))
        raise written.refusal(
            file, "recipe.data-missing", [(lines.get(place, 1), told) for place, told in absent]
        )
    return recipe


def _paths(tree: dict[str, object]) -> Iterator[object]:
    """Give what stands as path in each [[data]] entry of a document that may be wrong in any way."""
    entries = tree.get("data")
    for one in entries if isinstance(entries, list) else []:
        yield one.get("path") if isinstance(one, dict) else None
