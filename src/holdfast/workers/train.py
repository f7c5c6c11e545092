"""The training worker: runs one recipe and leaves a product, or a checkpoint if it is stopped; or only estimates it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from holdfast.training import environment
from holdfast.training.spec import Recipe

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.training.reporting import Reporter

MAX_STATES = 10_000_000  # state hashes of one run: at most one for each step of a recipe


class Digests(BaseModel):
    """What the inputs are, for the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    tokenizer: str
    recipe: str
    data: dict[str, str]
    suite: str | None = None


class ExpectedRun(BaseModel):
    """The run that is repeated: its manifest's environment, its state hashes, and whether to try where it can't hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: dict[str, JsonValue]
    states: Annotated[list[tuple[int, str]], Field(max_length=MAX_STATES)]
    anyway: bool


class TrainOrder(BaseModel):
    """What the daemon asks for.

    ``data`` gives the folder of each of the recipe's data sets, ``digests.data`` the digest; ``suite`` is the folder of the
    suite that may end the run early; ``watts_per_core`` is what the telemetry estimates energy by; ``out`` receives ``adapter/`` or ``model/``, ``checkpoints/``, ``telemetry.jsonl`` and
    ``states.jsonl``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["run", "estimate"] = "run"
    recipe: Recipe
    model: Path
    data: dict[str, Path]
    digests: Digests
    out: Path
    resume: bool = False
    threads: int
    quarantine: bool = False
    suite: Path | None = None
    expected: ExpectedRun | None = None
    watts_per_core: Annotated[float, Field(gt=0)] | None = None


def main(channel: Reporter, order: dict[str, Json]) -> dict[str, Json]:
    """Run a recipe, or estimate what it will take.

    Args:
        channel: Whom to report to.
        order: A ``TrainOrder`` as plain data.

    Returns:
        What ``training.run.train`` or ``training.run.appraise`` returns.
    """
    asked = TrainOrder.model_validate(order)
    environment.require_threads(asked.threads)
    channel.progress("loading the training libraries", 0, 0)
    environment.prepare(asked.threads, tempfile.gettempdir())
    from holdfast.training import run, setup

    expected = None
    if asked.expected is not None:
        expected = setup.Expected(
            environment=asked.expected.environment,
            states=dict(asked.expected.states),
            anyway=asked.expected.anyway,
        )
    inputs = setup.Inputs(
        recipe=asked.recipe,
        model=asked.model,
        data=asked.data,
        digests=asked.digests.model_dump(exclude_none=True),
        out=asked.out,
        threads=asked.threads,
        resume=asked.resume,
        quarantine=asked.quarantine,
        suite=asked.suite,
        expected=expected,
        watts=asked.watts_per_core,
    )
    return run.train(inputs, channel) if asked.task == "run" else run.appraise(inputs, channel)
