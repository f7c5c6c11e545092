"""What a training worker says of its work, read as strictly as anything that comes from outside.

Order of operations: types and bounds of every figure; then the manifest, which must be the one of this recipe and these inputs,
and bear the digest that the worker names. Invariants: nothing but ``WorkerFailed`` is raised for what a worker said or left; what
passes fits into the run's outcome and its documents, and can be read back from both; a figure is finite.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from holdfast import canonical, hashing
from holdfast.errors import UntrustedInput, WorkerFailed
from holdfast.training import manifest
from holdfast.training.telemetry import MAX_LINE

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.runs.sources import Inputs
    from holdfast.training.spec import Recipe

MAX_MANIFEST = 2**20  # bytes; a recipe's own, its digests and an environment have some thousand
MAX_FIGURE = 2**53 - 1  # of any unit; what is beyond it can't be written as a whole number
MAX_FILES = 200  # of a product: its record and the run's stand in one event
MAX_STATES = 2**28  # bytes of a run's state hashes: a line for every tenth of ten million steps
MAX_TELEMETRY = 2**30  # bytes: some million steps

Figure = Annotated[int | float, Field(ge=0, le=MAX_FIGURE, allow_inf_nan=False)]
Loss = Annotated[int | float, Field(ge=-MAX_FIGURE, le=MAX_FIGURE, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=MAX_FIGURE)]
Short = Annotated[str, Field(max_length=240)]


class _Said(BaseModel):
    """What else a worker says is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


S = TypeVar("S", bound=_Said)


class Spent(_Said):
    """What one process used."""

    seconds: Figure
    cpu_seconds: Figure
    gpu_joules: Figure | None = None


class Measured(_Said):
    """Bits per byte of one held-out text; None where it was not measured."""

    before: Figure | None
    after: Figure | None


class Diverged(_Said):
    """The last step at which a replay was equal, and the first at which it was not."""

    after: Count
    at: Count


class Made(_Said):
    """What was made: its kind, and the names of its files."""

    kind: Short
    files: Annotated[list[Short], Field(min_length=1, max_length=MAX_FILES)]


Foreseen = Annotated[dict[Short, Figure | Short | None], Field(max_length=32)]


class Appraised(_Said):
    """What ``training.run.appraise`` returns, as far as it is used."""

    estimate: Foreseen


class Trained(_Said):
    """What ``training.run.train`` returns."""

    finished: bool
    manifest: dict[str, JsonValue]
    run: str
    product: Made | None
    steps: Count
    tokens: Count
    tokens_per_second: Figure
    seconds: Figure
    final_loss: Loss | None
    paused: Short | None = None
    stopped_early: Count | None = None
    resumed_from: Count = 0
    padding: Figure | None = None
    gemm_fraction: Figure | None = None
    gemm_peak_flops: Figure | None = None
    cpu_seconds: Figure | None = None
    gpu_joules: Figure | None = None
    gpu: Short | None = None
    peak_memory_bytes: Count | None = None
    disk_bytes: Count | None = None
    spent: Spent
    held_out: Annotated[dict[Short, Measured], Field(max_length=128)] = Field(default_factory=dict)
    estimate: Foreseen | None = None
    diverged: Diverged | None = None
    differences: list[str] = Field(default_factory=list)
    quarantined: list[str] = Field(default_factory=list)


def estimate(said: dict[str, Json]) -> dict[str, Json]:
    """Read the result of an estimate.

    Args:
        said: What the worker gave.

    Returns:
        ``estimate``.

    Raises:
        WorkerFailed: If it is malformed.
    """
    return _read(Appraised, said).model_dump()


def run(said: dict[str, Json], recipe: Recipe, inputs: Inputs) -> dict[str, Json]:
    """Read the result of a run or a replay.

    Args:
        said: What the worker gave.
        recipe: What it was to run.
        inputs: What it was to be made from.

    Returns:
        The result, all keys of ``Trained`` in it.

    Raises:
        WorkerFailed: If it is malformed, or not of this recipe and these inputs.
    """
    found = _read(Trained, said)
    named = said["manifest"]
    try:
        written = canonical.encode(named)
        of_these = isinstance(named, dict) and canonical.encode(
            {one: named.get(one) for one in ("schema", "recipe", "digests")}
        ) == canonical.encode(
            {"schema": manifest.SCHEMA, "recipe": recipe.to_json(), "digests": inputs.digests()}
        )
    except UntrustedInput as error:
        raise _failed(error.message) from error
    if len(written) > MAX_MANIFEST:
        raise _failed(f"its manifest has {len(written)} bytes and {MAX_MANIFEST} are allowed")
    if not of_these:
        raise _failed("its manifest is not of the recipe and the inputs that it was given")
    if said["run"] != hashing.sha512(written):
        raise _failed("the run's digest is not that of its manifest")
    if unknown := sorted(found.held_out.keys() - inputs.data.keys()):
        raise _failed(f"it measured {unknown[0][:80]!r}, which is no data of the recipe")
    return found.model_dump()


def _read(schema: type[S], said: dict[str, Json]) -> S:
    try:
        return schema.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:120]
        raise _failed(f"{where}: {first['msg']}") from error


def states(path: Path) -> list[Json]:
    """Read a run's state hashes.

    Args:
        path: A plain file.

    Returns:
        Step and hash of each line.

    Raises:
        WorkerFailed: If a line is none of a state's, steps do not rise, or there is too much.
    """
    require_size(path, MAX_STATES)
    found: list[Json] = []
    before = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE + 1):
            step, state = _state(line)
            if step <= before:
                raise _failed(f"{path.name} does not rise after step {before}")
            before = step
            found.append([step, state])
    return found


def _state(line: bytes) -> tuple[int, str]:
    try:
        one = json.loads(line) if line.endswith(b"\n") else None
        step, state = (one.get("step"), one.get("hash")) if isinstance(one, dict) else (None, None)
        if type(step) is int and 0 < step <= MAX_FIGURE:
            return step, hashing.parse(state)
    except (ValueError, RecursionError, UntrustedInput):
        pass
    raise _failed("a line of its state hashes is not written as one")


def require_size(path: Path, most: int) -> None:
    """Refuse a file that is too large to be kept with a run.

    Args:
        path: A plain file.
        most: Bytes.

    Raises:
        WorkerFailed: If it has more.
    """
    size = path.stat().st_size
    if size > most:
        raise _failed(f"{path.name} has {size} bytes and {most} are allowed")


def _failed(why: str) -> WorkerFailed:
    return WorkerFailed(
        "worker.result",
        f"The training worker's result can't be used: {why}.",
        remedy="Start the run again; if it ends so again, treat what it was given as hostile.",
    )
