"""The evaluation worker: several models, several suites, one process (importing the libraries costs seconds)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from holdfast.evaluation import score, spec
from holdfast.training import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.dataset.messages import Message
    from holdfast.evaluation.generate import Engine
    from holdfast.training.sft import Reporter

RunId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


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


class _Stopped(Exception):  # noqa: N818 - a way out, not an error
    """The daemon asked to stop."""


def main(channel: Reporter, order: dict[str, Json]) -> dict[str, Json]:
    """Evaluate models.

    Args:
        channel: Whom to report to.
        order: An ``EvaluateOrder`` as plain data.

    Returns:
        ``results`` (run id → suite → what ``score.result`` gives), ``outcomes`` (the names of the files with every answer)
        and ``finished`` (False if it was cancelled; what was done until then is kept).
    """
    asked = EvaluateOrder.model_validate(order)
    suites = {name: _read(folder) for name, folder in asked.suites.items()}
    channel.progress("loading the model libraries", 0, 0)
    environment.prepare(asked.threads, tempfile.gettempdir())
    results: dict[str, dict[str, Json]] = {}
    files: list[Json] = []
    finished = True
    try:
        for run in asked.runs:
            results[run.id] = {}
            engine = _open(run, asked.threads)
            try:
                for name, suite in suites.items():
                    judged = score.outcomes(suite, _answers(channel, engine, run.id, suite))
                    results[run.id][name] = score.result(suite, judged)
                    files.append(_write(asked.out, f"{run.id}-{name}.jsonl", judged))
            finally:
                engine.close()
    except _Stopped:
        finished = False
    return {"results": {**results}, "outcomes": files, "finished": finished}


def _read(folder: Path) -> spec.Suite:
    return spec.read_suite(
        (folder / "suite.toml").read_bytes(), (folder / "items.jsonl").read_bytes(), file="suite.toml"
    )


def _open(run: Run, threads: int) -> Engine:
    if run.engine == "transformers" or run.gguf is None:
        from holdfast.evaluation.generate_transformers import TransformersEngine

        return TransformersEngine(run.model, run.adapter)
    from transformers import AutoTokenizer

    from holdfast.evaluation.generate_gguf import GgufEngine

    tokenizer = AutoTokenizer.from_pretrained(run.model, local_files_only=True, trust_remote_code=False)

    def render(messages: Sequence[Message]) -> str:
        conversation = [{"role": one.role, "content": one.content} for one in messages]
        return str(tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))

    small = run.gguf.stat().st_size < ONE_THREAD_BYTES
    return GgufEngine(run.gguf, run.lora, render, 1 if small else threads)


def _answers(channel: Reporter, engine: Engine, run: str, suite: spec.Suite) -> list[str]:
    def progress(done: int) -> None:
        channel.progress(f"{run}: {suite.spec.name}", done, len(suite.items))
        if channel.cancelled:
            raise _Stopped

    progress(0)
    return engine.answers(suite, progress)


def _write(out: Path, name: str, judged: Sequence[score.Outcome]) -> str:
    lines = [json.dumps(one.to_json(), ensure_ascii=False, sort_keys=True) + "\n" for one in judged]
    (out / name).write_text("".join(lines), encoding="utf-8")
    return name
