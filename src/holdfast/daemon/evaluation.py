"""Evaluations and gates.

A gate's order of operations: the suites that the recipe's gate names are found among the active artefacts; one confined worker
answers them four times (base and customised, on transformers and on the quantized model); the pure judge decides on each
engine; the verdict, with a reason for every rule, is recorded as ``gate.decided``. Invariants: go needs both engines; the
answers themselves are kept as an artefact.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.artefact import Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, bounded, intake, models, training, workbench
from holdfast.daemon.recorder import Cancelled
from holdfast.errors import WorkerFailed
from holdfast.evaluation import gate
from holdfast.evaluation.spec import ALL, PRIMARY
from holdfast.governance import labels

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import EvaluateRequest, GateRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

RESULTS_FILE = "results.json"
MAX_SCORES = (
    24_000  # bytes of the scores that an outcome repeats; all of them are in the evaluation's own file
)
MAX_REASONS = 48_000  # bytes of a decision's reasons, for the same reason


async def decide(services: Services, session: Session, name: str, request: GateRequest) -> Job:
    """Evaluate a run before and after, and decide its gate.

    Args:
        services: The daemon's parts.
        session: An operator's.
        name: The run.
        request: Names the quantization.

    Returns:
        The job; its result holds ``go`` and ``reasons``.
    """
    actor = session.actor("eval.run")
    run, params, result = training.find_run(services, name)
    inputs = training.inputs_of(services, params)
    recipe = training.read(services, inputs.recipe)
    adapter = services.state.artefacts[str(result["adapter"])]
    for found in (*inputs.all, adapter):
        admissible.usable(services, found)
    suites = {
        suite: services.state.resolve(suite, Kind.SUITE)
        for suite in sorted({rule.suite for rule in recipe.gate})
    }
    gguf = models.find_gguf(services, inputs.base, request.quantization)
    lora = models.find_gguf_adapter(services, adapter)
    used = [inputs.base, inputs.tokenizer, adapter, gguf, lora, *suites.values()]
    label = labels.join_all(found.label for found in used)
    engines = {"transformers": "transformers", request.quantization: "gguf"}
    runs: list[Json] = [
        _run(f"{moment}-{column}", engine, request.quantization, adapted=moment == "after")
        for column, engine in engines.items()
        for moment in ("before", "after")
    ]

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor,
            "eval.run",
            {"run": run.digest, "suites": {name: found.digest for name, found in suites.items()}},
            subject=Subject("run", run.digest),
            label=label,
        ) as act:
            job = services.jobs.open_job(act.seq, "eval.run")
            opened.set_result(job)
            results = await _evaluate(
                services, job, used, suites, runs, adapter=adapter, gguf=gguf, lora=lora
            )
            verdicts: dict[str, Json] = {}
            for column in engines:
                verdicts[column] = gate.judge(
                    recipe.gate, _of(results, f"before-{column}"), _of(results, f"after-{column}")
                )
            evaluation = await _keep(services, job, run, results, verdicts, used, label)
            scores = _told(results)
            act.outcome = {"run": run.digest, "scores": scores, "artefacts": [evaluation.to_json()]}
        judged = [verdict for verdict in verdicts.values() if isinstance(verdict, dict)]
        decision: dict[str, Json] = {
            "run": run.digest,
            "adapter": adapter.digest,
            "evaluation": evaluation.digest,
            "go": all(bool(verdict["go"]) for verdict in judged),
            "reasons": _reasons(verdicts),
        }
        await services.recorder.fact(
            actor, "gate.decided", decision, subject=Subject("run", run.digest), cause=act.seq, label=label
        )
        return decision | {"scores": scores}

    return await services.jobs.start("eval.run", work)


async def evaluate(services: Services, session: Session, request: EvaluateRequest) -> Job:
    """Run one suite on one model.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: Suite, model, adapter and engine.

    Returns:
        The job.
    """
    actor = session.actor("eval.run")
    base, tokenizer = training.model_parts(services, request.model)
    suite = services.state.resolve(request.suite, Kind.SUITE)
    admissible.usable(services, suite)
    adapter = models.find_adapter(services, request.adapter) if request.adapter else None
    on_gguf = request.engine == "gguf"
    gguf = models.find_gguf(services, base, request.quantization) if on_gguf else None
    lora = models.find_gguf_adapter(services, adapter) if adapter and on_gguf else None
    used = [base, tokenizer, suite, *(found for found in (adapter, gguf, lora) if found)]
    label = labels.join_all(found.label for found in used)
    column = request.quantization if on_gguf else "transformers"
    runs: list[Json] = [_run(column, request.engine, request.quantization, adapted=adapter is not None)]

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor,
            "eval.run",
            {
                "suites": {suite.name: suite.digest},
                "base": base.digest,
                "adapter": adapter.digest if adapter else None,
                "engine": column,
            },
            subject=Subject("base", base.digest),
            label=label,
        ) as act:
            job = services.jobs.open_job(act.seq, "eval.run")
            opened.set_result(job)
            results = await _evaluate(
                services, job, used, {suite.name: suite}, runs, adapter=adapter, gguf=gguf, lora=lora
            )
            evaluation = await _keep(services, job, base, results, {}, used, label)
            act.outcome = {
                "scores": _told(results),
                "evaluation": evaluation.digest,
                "artefacts": [evaluation.to_json()],
            }
            return act.outcome

    return await services.jobs.start("eval.run", work)


def _run(name: str, engine: str, quantization: str, *, adapted: bool) -> dict[str, Json]:
    gguf = engine == "gguf"
    return {
        "id": name,
        "engine": engine,
        "model": "/in/model",
        "adapter": "/in/adapter" if adapted and not gguf else None,
        "gguf": f"/in/gguf/{quantization}.gguf" if gguf else None,
        "lora": "/in/lora/adapter.gguf" if adapted and gguf else None,
    }


async def _evaluate(
    services: Services,
    job: Job,
    used: list[Artefact],
    suites: dict[str, Artefact],
    runs: list[Json],
    *,
    adapter: Artefact | None,
    gguf: Artefact | None,
    lora: Artefact | None,
) -> dict[str, dict[str, Json]]:
    job.uses = frozenset(found.digest for found in used)
    for found in used:
        admissible.usable(services, found)
        await asyncio.to_thread(services.store.verify, found)
    seen: dict[str, Path] = {"model": workbench.link_view(services, job.folder / "model", *used[:2])}
    for name, part in (("adapter", adapter), ("gguf", gguf), ("lora", lora)):
        if part is not None:
            seen[name] = services.store.folder(part.digest)
    places: dict[str, Json] = {}
    for at, (name, suite) in enumerate(suites.items()):
        seen[f"suite{at}"] = services.store.folder(suite.digest)
        places[name] = f"/in/suite{at}"
    out = job.folder / "out"
    out.mkdir()
    order: dict[str, Json] = {"runs": runs, "suites": places, "threads": services.site.threads, "out": "/out"}
    said = await workbench.run_worker(services, job, "evaluate", order, inputs=seen, output=out)
    if not said["finished"]:
        raise Cancelled("eval.cancelled", "The evaluation was stopped.", remedy="Start it again.")
    answered = said["results"]
    if not isinstance(answered, dict) or not all(isinstance(found, dict) for found in answered.values()):
        raise WorkerFailed("eval.result", "The evaluation gave no results.", remedy="Start it again.")
    return {name: found for name, found in answered.items() if isinstance(found, dict)}


def _of(results: dict[str, dict[str, Json]], name: str) -> dict[str, dict[str, Json]]:
    return {suite: found for suite, found in results[name].items() if isinstance(found, dict)}


def _reasons(verdicts: dict[str, Json]) -> list[Json]:
    """List the reasons of all columns; the last one says how many there is no room for."""
    reasons: list[Json] = [
        f"{column}: {reason}"
        for column, verdict in verdicts.items()
        if isinstance(verdict, dict) and isinstance(verdict["reasons"], list)
        for reason in verdict["reasons"]
    ]
    kept = bounded.fitting(reasons, MAX_REASONS)
    left = len(reasons) - len(kept)
    return [*kept, f"{left} more reasons are in the evaluation's {RESULTS_FILE}."] if left else kept


def _told(results: dict[str, dict[str, Json]]) -> dict[str, Json]:
    """Give the scores of every run: of every section, or of whole suites if that is too much, or none."""
    scores: dict[str, Json] = {name: _scores(found) for name, found in results.items()}
    if len(canonical.encode(scores)) > MAX_SCORES:
        scores = {name: _scores(found, only=(ALL, PRIMARY)) for name, found in results.items()}
    return scores if len(canonical.encode(scores)) <= MAX_SCORES else {}


def _scores(found: dict[str, Json], only: tuple[str, ...] = ()) -> dict[str, Json]:
    """Keep the scores of each suite's sections; the single items stay in the artefact."""
    scores: dict[str, Json] = {}
    for suite, result in found.items():
        sections = result["sections"] if isinstance(result, dict) else None
        if isinstance(sections, dict):
            scores[suite] = {
                name: one["score"]
                for name, one in sections.items()
                if isinstance(one, dict) and (not only or name in only)
            }
    return scores


async def _keep(  # noqa: PLR0917 - one act, its many parts
    services: Services,
    job: Job,
    about: Artefact,
    results: dict[str, dict[str, Json]],
    verdicts: dict[str, Json],
    used: list[Artefact],
    label: labels.Label,
) -> Artefact:
    summary = job.folder / RESULTS_FILE  # beside the worker's folder, never in it
    summary.write_bytes(canonical.encode({"results": dict(results), "verdicts": verdicts}))
    files = {path.name: path for path in sorted((job.folder / "out").iterdir())} | {RESULTS_FILE: summary}
    return await intake.adopt(
        services,
        Kind.EVALUATION,
        about.name,
        about.version,
        files,
        label=label,
        parents=tuple(found.digest for found in used),
    )
