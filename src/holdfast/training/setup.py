"""Before a run begins: what it is made from, whether this host can keep to it, what it comes to, and what it will take.

Order of operations: the environment, compared with that of the run that is repeated →
data → plan and manifest, whose digest names the run. Only then is a base loaded (``build``). Invariants: whatever would
make other bits is refused before the base is loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import live, suitefolder
from holdfast.training import (
    calibrate,
    environment,
    estimate,
    heldout,
    manifest,
    material,
    peak,
    trainer,
    tuning,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import TrainerCallback

    from holdfast.canonical import Json
    from holdfast.evaluation.spec import Suite
    from holdfast.hashing import Digest
    from holdfast.training.estimate import Sizes
    from holdfast.training.manifest import Environment, Plan
    from holdfast.training.material import Material
    from holdfast.training.meter import Meter
    from holdfast.training.reporting import Reporter
    from holdfast.training.spec import Recipe
    from holdfast.training.trainer import RunTrainer

SCRATCH = "partial"  # a checkpoint that is being written; never used to go on from
SAMPLE = 4  # held-out examples of a data set that are measured to foresee the time for all


@dataclass(frozen=True)
class Expected:
    """A recorded run that is to be repeated.

    Args:
        environment: Its manifest's environment.
        states: Its state hashes, by step.
        anyway: Whether to try although the environments differ.
    """

    environment: Mapping[str, Json]
    states: Mapping[int, Digest]
    anyway: bool


@dataclass(frozen=True)
class Inputs:
    """What a run is made from.

    Args:
        recipe: The recipe.
        model: Folder of the base and its tokenizer.
        data: Folder of each of the recipe's data sets.
        digests: Digests of base, tokenizer, recipe, data and suite, for the manifest.
        out: A writable folder: checkpoints, telemetry, state hashes, product.
        threads: CPU threads of one operation.
        resume: Whether to go on from the last good checkpoint.
        quarantine: Whether rows that can't be used are set aside.
        suite: Folder of the suite that may end the run early, if the recipe has one.
        expected: The run that is repeated, or None.
        watts: What a core draws at this site, for the telemetry; None if nobody said.
    """

    recipe: Recipe
    model: Path
    data: Mapping[str, Path]
    digests: Mapping[str, Json]
    out: Path
    threads: int
    resume: bool = False
    quarantine: bool = False
    suite: Path | None = None
    expected: Expected | None = None
    watts: float | None = None


@dataclass(frozen=True)
class Ready:
    """A run before its base is loaded.

    Args:
        material: What it trains on.
        plan: What recipe and data come to.
        here: This environment.
        manifest: The run's manifest.
        run: Its digest.
        origin: The digest that its state hashes begin with: its own, or that of the run that is repeated.
        suite: The suite that may end it early, or None.
    """

    material: Material
    plan: Plan
    here: Environment
    manifest: dict[str, Json]
    run: Digest
    origin: Digest
    suite: Suite | None


def prepare(inputs: Inputs, reporter: Reporter) -> Ready:
    """Read a run's data and name the run.

    Args:
        inputs: What the run is made from.
        reporter: Whom to report to.

    Returns:
        The run, ready to begin.

    Raises:
        UntrustedRecipe: If the data don't suit the recipe, or this host can't keep to it.
        VerificationFailed: If a run is to be repeated where it would not come out the same.
    """
    recipe = inputs.recipe
    here = environment.describe(inputs.threads)
    if inputs.expected is not None and not inputs.expected.anyway:
        environment.require_equal(inputs.expected.environment, here)
    reporter.progress("reading the data", 0, 0)
    tokenizer = AutoTokenizer.from_pretrained(inputs.model, local_files_only=True)
    found = material.load(recipe, inputs.data, tokenizer, quarantine=inputs.quarantine)
    rows = len(found.dataset)
    per_epoch = -(-rows // recipe.batch.rows_per_step)
    plan = manifest.Plan(
        examples=found.examples,
        rows=rows,
        rows_per_step=recipe.batch.rows_per_step,
        tokens=found.tokens,
        learnt=found.learnt,
        padding=found.padding,
        held_out=sum(map(len, found.held_out.values())),
        set_aside=len(found.set_aside),
        steps=recipe.batch.steps or per_epoch * (recipe.batch.epochs or 1),
    )
    record = manifest.build(recipe.to_json(), inputs.digests, here, plan)
    run = manifest.digest(record)
    origin = run
    if inputs.expected is not None:
        origin = manifest.digest(record | {"environment": dict(inputs.expected.environment)})
    return Ready(found, plan, here, record, run, origin, _suite(inputs))


def _suite(inputs: Inputs) -> Suite | None:
    if inputs.recipe.stop is None:
        return None
    if inputs.suite is None:
        raise UntrustedRecipe(
            "recipe.stop",
            f"The recipe ends by suite {inputs.recipe.stop.suite!r}, which was not sent.",
            remedy="Import the suite, or remove [stop] from the recipe.",
        )
    found = suitefolder.read(inputs.suite)
    live.check(found, inputs.recipe.stop.section)
    return found


def build(inputs: Inputs, ready: Ready, callbacks: Sequence[TrainerCallback]) -> RunTrainer:
    """Load the base and make its trainer.

    Args:
        inputs: What the run is made from.
        ready: What ``prepare`` gave.
        callbacks: Who watches.

    Returns:
        The trainer, ready to train.
    """
    return trainer.build(
        inputs.recipe,
        ready.material,
        inputs.model,
        ready.material.tokenizer,
        steps=ready.plan.steps,
        scratch=inputs.out / SCRATCH,
        callbacks=callbacks,
        device=ready.here.device["type"],
    )


def best_rate(recipe: Recipe, here: Environment) -> float:
    """Measure how fast this machine multiplies matrices as the recipe asks.

    Args:
        recipe: The recipe.
        here: This environment.

    Returns:
        Floating-point operations per second.
    """
    return peak.measure(tuning.DTYPES[recipe.precision.dtype], here.device["type"], here.threads)


def foresee(inputs: Inputs, ready: Ready, built: RunTrainer, sizes: Sizes, meter: Meter) -> dict[str, Json]:
    """Calibrate and extrapolate; what the set-up has taken is known by then.

    Args:
        inputs: What the run is made from.
        ready: What ``prepare`` gave.
        built: The trainer.
        sizes: The model's.
        meter: What counts time since the set-up began.

    Returns:
        What ``estimate.compute`` gives.
    """
    setup = meter.seconds
    seen = calibrate.measure(built, ready.material, inputs.recipe)
    measuring = 2 * _measuring(built, ready.material)  # before and after
    model_bytes = sum(path.stat().st_size for path in inputs.model.glob("*.safetensors"))
    return estimate.compute(
        inputs.recipe,
        ready.plan,
        sizes,
        seen,
        model_bytes=model_bytes,
        other_seconds=setup + measuring,
    )


def _measuring(built: RunTrainer, found: Material) -> float:
    """Foresee the seconds that all held-out examples take, from a few of each data set."""
    seconds = 0.0
    for path, examples in found.held_out.items():
        sample = examples[:: max(len(examples) // SAMPLE, 1)]
        begun = time.monotonic()
        heldout.bits_per_byte(built, {path: sample}, lambda _: True)
        seconds += (time.monotonic() - begun) * len(examples) / max(len(sample), 1)
    return seconds
