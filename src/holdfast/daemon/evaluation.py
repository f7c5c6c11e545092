"""Evaluations and gates.

A gate's order of operations: the suites that the recipe's gate names are found among the active artefacts; the base and what
was made of it answer them, on transformers and on the quantized files (``answers``); the pure judge decides on each engine;
the verdict, with a reason for every rule, is recorded as ``gate.decided``. Invariants: go needs both engines; what is judged
quantized is what would be served; suites are named by digest wherever a verdict is kept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, answers, bounded, models, scratch
from holdfast.daemon.answers import RESULTS_FILE, Candidate
from holdfast.daemon.runs import find_run, inputs_of, model_parts, product, read_recipe
from holdfast.errors import NotFound
from holdfast.evaluation import gate
from holdfast.gguf import quantizations
from holdfast.governance import labels

if TYPE_CHECKING:
    from holdfast.api.messages import EvaluateRequest, GateRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

TRANSFORMERS = "transformers"  # the column of a model's own weights; others are called by their quantization
BEFORE, AFTER = "before", "after"
MAX_REASONS = 28_000  # bytes of a decision's reasons; all of them are in the evaluation's own file
MAX_JUDGED = 18_000  # bytes of a decision's verdicts, for the same reason
TOLD = ("suite", "section", "rule", "holds", "verdict")  # what a decision repeats of each rule


async def decide(services: Services, session: Session, name: str, request: GateRequest) -> Job:
    """Evaluate a run before and after, and decide its gate.

    Args:
        services: The daemon's parts.
        session: An operator's.
        name: The run.
        request: Names the quantization.

    Returns:
        The job; its result holds ``go``, ``reasons`` and ``scores``.
    """
    actor = session.actor("eval.run")
    run, params, result = find_run(services, name)
    inputs = inputs_of(services, params)
    recipe = read_recipe(services, inputs.recipe)
    made = product(services, result)
    for found in (*inputs.all, made):
        admissible.usable(services, found)
    suites = {
        suite: services.state.resolve(suite, Kind.SUITE)
        for suite in sorted({rule.suite for rule in recipe.gate})
    }
    base = (inputs.base, inputs.tokenizer)
    served = _type(services, made if made.kind is Kind.MERGED else inputs.base, request.quantization)
    candidates = [
        Candidate(f"{BEFORE}-{TRANSFORMERS}", *base),
        _made(f"{AFTER}-{TRANSFORMERS}", base, made),
        _quantized(services, f"{BEFORE}-{served}", base, None, served),
        _quantized(services, f"{AFTER}-{served}", base, made, served),
    ]
    label = labels.join_all(found.label for found in answers.used(candidates, suites))
    digests = {suite: found.digest for suite, found in suites.items()}

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor,
            "eval.run",
            {"run": run.digest, "suites": {**digests}},
            subject=Subject("run", run.digest),
            label=label,
        ) as act:
            job = services.jobs.open_job(act.seq, "eval.run")
            opened.set_result(job)
            try:
                results = await answers.ask(services, job, candidates, suites)
                verdicts = {
                    column: await asyncio.to_thread(
                        gate.judge,
                        recipe.gate,
                        results[f"{BEFORE}-{column}"],
                        results[f"{AFTER}-{column}"],
                        digests,
                    )
                    for column in (TRANSFORMERS, served)
                }
                evaluation = await answers.keep(
                    services, job, run, candidates, suites, results, {**verdicts}, label
                )
                act.outcome = {
                    "run": run.digest,
                    "evaluation": evaluation.digest,
                    "scores": answers.told(results),
                    "artefacts": [evaluation.to_json()],
                }
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
        decision: dict[str, Json] = {
            "run": run.digest,
            "model" if made.kind is Kind.MERGED else "adapter": made.digest,
            "evaluation": evaluation.digest,
            "suites": {**digests},
            "go": all(bool(verdict["go"]) for verdict in verdicts.values()),
            "reasons": _reasons(verdicts),
            "judged": _judged(verdicts),
        }
        await services.recorder.fact(
            actor, "gate.decided", decision, subject=Subject("run", run.digest), cause=act.seq, label=label
        )
        return decision | {"scores": act.outcome["scores"]}

    return await services.jobs.start("eval.run", work)


async def evaluate(services: Services, session: Session, request: EvaluateRequest) -> Job:
    """Run one suite on one model.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: Suite, model, adapter and engine.

    Returns:
        The job; its result holds ``scores`` and ``evaluation``.
    """
    actor = session.actor("eval.run")
    parts = model_parts(services, request.model)
    suite = services.state.resolve(request.suite, Kind.SUITE)
    admissible.usable(services, suite)
    adapter = models.find_adapter(services, request.adapter) if request.adapter else None
    if request.engine == "gguf":
        served = _type(services, parts[0], request.quantization)
        candidate = _quantized(services, served, parts, adapter, served)
    else:
        candidate = Candidate(TRANSFORMERS, *parts, adapter)
    suites = {suite.name: suite}
    label = labels.join_all(found.label for found in answers.used([candidate], suites))
    model = parts[0]

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor,
            "eval.run",
            {
                "suites": {suite.name: suite.digest},
                "model" if model.kind is Kind.MERGED else "base": model.digest,
                "adapter": adapter.digest if adapter else None,
                "engine": candidate.name,
            },
            subject=Subject(model.kind.value, model.digest),
            label=label,
        ) as act:
            job = services.jobs.open_job(act.seq, "eval.run")
            opened.set_result(job)
            try:
                results = await answers.ask(services, job, [candidate], suites)
                evaluation = await answers.keep(services, job, model, [candidate], suites, results, {}, label)
                act.outcome = {
                    "scores": answers.told(results),
                    "evaluation": evaluation.digest,
                    "artefacts": [evaluation.to_json()],
                }
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            return act.outcome

    return await services.jobs.start("eval.run", work)


def _made(name: str, base: tuple[Artefact, Artefact], made: Artefact) -> Candidate:
    """Give what a run made, on its own weights: an adapter over its base, or a model that stands alone."""
    if made.kind is Kind.MERGED:
        return Candidate(name, made, base[1])
    return Candidate(name, *base, made)


def _type(services: Services, model: Artefact, named: str | None) -> str:
    """Give the type of the file that is judged: the one named, or the one that would be served."""
    if named is not None:
        return quantizations.find(named).name
    return str(models.find_gguf(services, model, None).meta["quantization"])


def _quantized(
    services: Services, name: str, base: tuple[Artefact, Artefact], made: Artefact | None, quantization: str
) -> Candidate:
    """Give a model on its quantized file, as it would be served.

    An adapter that GGUF can't express was merged into its base; then the merged model's file stands for both.
    """
    model, tokenizer = base
    if made is not None and made.kind is Kind.MERGED:
        return Candidate(name, made, tokenizer, gguf=models.find_gguf(services, made, quantization))
    if made is None:
        return Candidate(name, model, tokenizer, gguf=models.find_gguf(services, model, quantization))
    try:
        lora = models.find_gguf_adapter(services, made)
    except NotFound:
        merged = _merged(services, made)
        if merged is None:
            raise
        return Candidate(name, merged, tokenizer, gguf=models.find_gguf(services, merged, quantization))
    return Candidate(name, model, tokenizer, made, models.find_gguf(services, model, quantization), lora)


def _merged(services: Services, adapter: Artefact) -> Artefact | None:
    """Find the model that an adapter was merged into here."""
    state = services.state
    return next(
        (
            found
            for found in state.artefacts.values()
            if found.kind is Kind.MERGED and found.digest in state.made and adapter.digest in found.parents
        ),
        None,
    )


def _reasons(verdicts: dict[str, dict[str, Json]]) -> list[Json]:
    """List the reasons of all columns; the last one says how many there is no room for."""
    reasons: list[Json] = []
    for column, verdict in verdicts.items():
        told = verdict["reasons"]
        reasons += [f"{column}: {reason}" for reason in (told if isinstance(told, list) else [])]
    kept = bounded.fitting(reasons, MAX_REASONS)
    left = len(reasons) - len(kept)
    return [*kept, f"{left} more reasons are in the evaluation's {RESULTS_FILE}."] if left else kept


def _judged(verdicts: dict[str, dict[str, Json]]) -> list[Json]:
    """List what was decided on each rule of each column, as far as there is room."""
    rows: list[Json] = []
    for column, verdict in verdicts.items():
        rules = verdict["rules"]
        told = [one for one in (rules if isinstance(rules, list) else []) if isinstance(one, dict)]
        rows += [{"on": column, **{name: one[name] for name in TOLD}} for one in told]
    return bounded.fitting(rows, MAX_JUDGED)
