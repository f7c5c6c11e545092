"""The evaluation worker: several models, several suites, one process (importing the libraries costs seconds)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast import frames
from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import responses, score, suitefolder
from holdfast.training import environment
from holdfast.workers.channel import Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.evaluation.generate import Engine
    from holdfast.evaluation.responses import Response
    from holdfast.evaluation.spec import Suite
    from holdfast.training.reporting import Reporter

RunId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]

# Of one item in a result, beside its id (thrice, where it has a value) and its section's name.
RESULT_BYTES = 48
MAX_RESULTS = frames.MAX_FRAME - 2**20  # bytes of all results, which travel in one message with some figures
# Below this size one thread answers as fast as several: a step is shorter than llama.cpp's threads wait for one another,
# and beside any other work their waiting makes it many times slower. The answers are the same.
ONE_THREAD_BYTES = 256 * 2**20


class Run(BaseModel):
    """One model to evaluate: the base in ``model``, with ``adapter``; or ``gguf``, with ``lora``, rendered by ``model``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: RunId
    engine: Literal["transformers", "gguf"]
    model: Path
    adapter: Path | None = None
    gguf: Path | None = None
    lora: Path | None = None


class EvaluateOrder(BaseModel):
    """What the daemon asks for: ``suites`` gives each suite's folder, ``out`` receives one file of outcomes per result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: list[Run]
    suites: dict[RunId, Path]
    threads: int
    out: Path


def main(channel: Reporter, order: dict[str, Json]) -> dict[str, Json]:
    """Evaluate models.

    Args:
        channel: Whom to report to.
        order: An ``EvaluateOrder`` as plain data.

    Returns:
        ``results`` (run id → suite → what ``score.result`` gives), ``outcomes`` (the names of the files with every answer),
        ``pending`` (run id and suite of each result with programs that ``execute`` has to run first) and ``finished`` (False
        if it was cancelled; what was done until then is kept).

    Raises:
        UntrustedRecipe: If the suites are too large together, or an item does not fit into a model's context.
    """
    asked = EvaluateOrder.model_validate(order)
    suites = {name: suitefolder.read(folder) for name, folder in asked.suites.items()}
    _check_size(asked, suites)
    channel.progress("loading the model libraries", 0, 0)
    environment.prepare(asked.threads, tempfile.gettempdir())
    results: dict[str, dict[str, Json]] = {}
    files: list[Json] = []
    pending: list[Json] = []
    finished = True
    try:
        for run in asked.runs:
            results[run.id] = {}
            engine = _open(run, asked.threads)
            try:
                for name, suite in suites.items():
                    judged = score.outcomes(suite, _responses(channel, engine, run.id, suite))
                    results[run.id][name] = score.result(suite, judged)
                    files.append(_write(asked.out / f"{run.id}-{name}.jsonl", judged))
                    pending += [[run.id, name]] if score.is_open(judged) else []
            finally:
                engine.close()
    except Stopped:
        finished = False
    return {"results": {**results}, "outcomes": files, "pending": pending, "finished": finished}


def _check_size(asked: EvaluateOrder, suites: dict[str, Suite]) -> None:
    """Refuse, before any model is loaded, what gives more results than a message can carry."""
    size = len(asked.runs) * sum(
        RESULT_BYTES + 3 * len(item.id.encode()) + len(item.section)
        for suite in suites.values()
        for item in suite.items
    )
    if size > MAX_RESULTS:
        raise UntrustedRecipe(
            "eval.too-large",
            f"The results of {len(asked.runs)} models on these suites would have about {size} bytes; "
            f"{MAX_RESULTS} are allowed.",
            remedy="Evaluate fewer suites at once, or split them into smaller ones.",
            bytes=size,
        )


def _open(run: Run, threads: int) -> Engine:
    if run.engine == "transformers" or run.gguf is None:
        from holdfast.evaluation.generate_transformers import TransformersEngine

        return TransformersEngine.open(run.model, run.adapter)
    from holdfast.evaluation.generate_gguf import GgufEngine
    from holdfast.evaluation.words import open_words

    small = run.gguf.stat().st_size < ONE_THREAD_BYTES
    return GgufEngine(run.gguf, run.lora, open_words(run.model), 1 if small else threads)


def _responses(channel: Reporter, engine: Engine, run: str, suite: Suite) -> list[Response]:
    def progress(done: int) -> None:
        channel.progress(f"{run}: {suite.spec.name}", done, len(suite.items))
        if channel.cancelled:
            raise Stopped

    progress(0)
    return responses.respond(engine, suite, progress)


def _write(path: Path, judged: Sequence[score.Outcome]) -> str:
    path.write_text(score.lines([one.to_json() for one in judged]), encoding="utf-8")
    return path.name
