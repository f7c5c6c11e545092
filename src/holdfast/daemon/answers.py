"""Having models answer suites: what is evaluated, the confined workers that do it, and what is kept of it.

Order of operations: every artefact is hashed again and shown to a worker under a name that says nothing; it answers all
suites with all models in one process; programs that were answered run in a second worker, which sees no model; results, the
answers themselves and the digests of all that was used become one artefact. Invariants: a worker's result is read as strictly
as anything that comes from outside before it is judged or kept; nothing is kept of an evaluation that was stopped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.artefact import Kind
from holdfast.confine import gpu
from holdfast.confine.spec import Limits
from holdfast.daemon import admissible, intake, workbench
from holdfast.daemon.recorder import Cancelled
from holdfast.dataset.files import ITEMS_FILE
from holdfast.errors import WorkerFailed
from holdfast.evaluation import compare, record
from holdfast.evaluation.spec import ALL, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.governance import labels

SCHEMA = "holdfast.evaluation/1"
RESULTS_FILE = "results.json"
MAX_SCORES = 24_000  # bytes of the scores that an outcome repeats; the evaluation's own file has all
DIGITS = 6  # after the point of a score that is told, as in a result
PROGRAMS = Limits(memory_bytes=2 * 2**30)  # what was written by a model, and is bounded one by one besides

Results = dict[str, dict[str, "Json"]]  # column → suite → what ``score.result`` gives


@dataclass(frozen=True)
class Candidate:
    """One model on one engine: a column of an evaluation.

    Args:
        name: The column's name.
        model: A base, or a whole model that was made here.
        tokenizer: Its tokenizer and chat template.
        adapter: What is laid over it; None for the model alone.
        gguf: The quantized file to answer with instead; None for the model's own weights.
        lora: The adapter's GGUF file, which goes with ``gguf``.
    """

    name: str
    model: Artefact
    tokenizer: Artefact
    adapter: Artefact | None = None
    gguf: Artefact | None = None
    lora: Artefact | None = None

    @property
    def parts(self) -> tuple[Artefact, ...]:
        """All artefacts of it."""
        optional = (self.adapter, self.gguf, self.lora)
        return (self.model, self.tokenizer, *(one for one in optional if one is not None))

    def to_json(self) -> dict[str, Json]:
        """Say what answered, for the stored evaluation.

        Returns:
            ``engine``, and the digest of each part or None.
        """
        return {
            "engine": "transformers" if self.gguf is None else "gguf",
            "model": self.model.digest,
            "adapter": None if self.adapter is None else self.adapter.digest,
            "gguf": None if self.gguf is None else self.gguf.digest,
            "lora": None if self.lora is None else self.lora.digest,
        }


def used(candidates: Sequence[Candidate], suites: dict[str, Artefact]) -> list[Artefact]:
    """List what an evaluation reads.

    Args:
        candidates: The columns.
        suites: The suites, by name.

    Returns:
        Every artefact once, models first.
    """
    found = {part.digest: part for one in candidates for part in one.parts}
    found |= {suite.digest: suite for suite in suites.values()}
    return list(found.values())


async def ask(
    services: Services, job: Job, candidates: Sequence[Candidate], suites: dict[str, Artefact]
) -> Results:
    """Have every model answer every suite.

    Args:
        services: The daemon's parts.
        job: Whose folder takes the answers.
        candidates: The columns.
        suites: The suites, by name.

    Returns:
        The results.

    Raises:
        Cancelled: If somebody stopped it.
        WorkerFailed: If a worker gave something else than results of these suites.
    """
    everything = used(candidates, suites)
    job.uses = frozenset(found.digest for found in everything)
    for found in everything:
        admissible.usable(services, found)
        await asyncio.to_thread(services.store.verify, found)
    seen: dict[str, Path] = {}
    runs: list[Json] = [_run(services, job, one, seen) for one in candidates]
    places: dict[str, Json] = {}
    for at, (name, suite) in enumerate(suites.items()):
        seen[f"suite{at}"] = services.store.folder(suite.digest)
        places[name] = f"/in/suite{at}"
    order: dict[str, Json] = {"runs": runs, "suites": places, "threads": services.site.threads, "out": "/out"}
    weights = any(one.gguf is None for one in candidates)  # llama.cpp answers on the processor
    said = await workbench.run_worker(
        services, job, "evaluate", order, inputs=seen, output=_folder(job, "out"),
        devices=gpu.nodes() if weights else (),
    )  # fmt: skip
    results = _results(said, candidates, suites)
    if pending := said.get("pending"):
        inputs = {name: path for name, path in seen.items() if name.startswith("suite")}
        programs: dict[str, Json] = {
            "pending": pending,
            "suites": places,
            "answers": "/in/answers",
            "out": "/out",
        }
        judged = await workbench.run_worker(
            services,
            job,
            "execute",
            programs,
            inputs=inputs | {"answers": job.folder / "out"},
            output=_folder(job, "executed"),
            limits=PROGRAMS,
        )
        for column, scored in _by_column(judged).items():
            results.setdefault(column, {}).update(scored)  # a column too many is refused below
    await asyncio.to_thread(_check, services, results, candidates, suites)
    return results


async def keep(  # noqa: PLR0917 - one record, its many parts
    services: Services,
    job: Job,
    about: Artefact,
    candidates: Sequence[Candidate],
    suites: dict[str, Artefact],
    results: Results,
    verdicts: dict[str, Json],
    label: labels.Label,
) -> Artefact:
    """Make an artefact of an evaluation.

    Args:
        services: The daemon's parts.
        job: Whose folder has the answers.
        about: What it is named after.
        candidates: The columns.
        suites: The suites, by name.
        results: What ``ask`` gave.
        verdicts: A gate's verdict of each engine; none for an evaluation by itself.
        label: The join of all labels.

    Returns:
        The artefact; its parents are all that was used.
    """
    summary = job.folder / RESULTS_FILE  # beside the workers' folders, never in one
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "suites": {
            name: {"digest": found.digest, "version": found.version} for name, found in suites.items()
        },
        "columns": {one.name: one.to_json() for one in candidates},
        "results": dict(results),
        "verdicts": verdicts,
    }
    summary.write_bytes(canonical.encode(document))
    files: dict[str, Path] = {}
    for name in ("out", "executed"):  # what was executed was judged later, and replaces what waited for it
        for file in (f"{one.name}-{suite}.jsonl" for one in candidates for suite in suites):
            path = job.folder / name / file
            if path.is_file():  # a link is refused when it is taken in
                files[file] = _bounded(path)
    return await intake.adopt(
        services,
        Kind.EVALUATION,
        about.name,
        about.version,
        files | {RESULTS_FILE: summary},
        label=label,
        parents=tuple(found.digest for found in used(candidates, suites)),
    )


def _bounded(path: Path) -> Path:
    size = path.stat().st_size
    if size > intake.MAX_OUTPUT:
        raise _failed(f"{size} bytes of answers where {intake.MAX_OUTPUT} are allowed")
    return path


def told(results: Results) -> dict[str, Json]:
    """Give the scores of every column: of every section, or of whole suites if that is too much, or none.

    Args:
        results: What ``ask`` gave, or the store has.

    Returns:
        Column → suite → section → score, small enough for an event.
    """
    scores: dict[str, Json] = {name: _scores(found) for name, found in results.items()}
    if len(canonical.encode(scores)) > MAX_SCORES:
        scores = {name: _scores(found, only=(ALL, PRIMARY)) for name, found in results.items()}
    return scores if len(canonical.encode(scores)) <= MAX_SCORES else {}


def _scores(found: dict[str, Json], only: tuple[str, ...] = ()) -> dict[str, Json]:
    """Score each suite's sections, from its items and not from the sums that came along; the items stay in the artefact."""
    scores: dict[str, Json] = {}
    for suite, result in found.items():
        read = record.read(result)
        names = [
            one for one in (ALL, PRIMARY, *read.sections) if read.unit(one) and (not only or one in only)
        ]
        scores[suite] = {name: round(float(read.score(name)), DIGITS) for name in names}
    return scores


def _run(services: Services, job: Job, one: Candidate, seen: dict[str, Path]) -> dict[str, Json]:
    """Lay a candidate out for the worker, and write its part of the order."""

    def place(found: Artefact) -> str:
        name = f"part-{found.digest[-16:]}"
        seen[name] = services.store.folder(found.digest)
        return f"/in/{name}"

    model = f"model-{one.model.digest[-16:]}"
    if model not in seen:
        seen[model] = workbench.link_view(services, job.folder / model, one.model, one.tokenizer)
    return {
        "id": one.name,
        "engine": "transformers" if one.gguf is None else "gguf",
        "model": f"/in/{model}",
        "adapter": place(one.adapter) if one.adapter and one.gguf is None else None,
        "gguf": f"{place(one.gguf)}/{one.gguf.files[0].path}" if one.gguf else None,
        "lora": f"{place(one.lora)}/{one.lora.files[0].path}" if one.gguf and one.lora else None,
    }


def _folder(job: Job, name: str) -> Path:
    folder = job.folder / name
    folder.mkdir()
    return folder


def _results(said: dict[str, Json], candidates: Sequence[Candidate], suites: dict[str, Artefact]) -> Results:
    found = _by_column(said)
    if set(found) != {one.name for one in candidates} or any(
        set(one) != set(suites) for one in found.values()
    ):
        raise _failed("results of other models or suites than it was asked for")
    return found


def _by_column(said: dict[str, Json]) -> Results:
    if not said.get("finished"):
        raise Cancelled("eval.cancelled", "The evaluation was stopped.", remedy="Start it again.")
    answered = said.get("results")
    if not isinstance(answered, dict):
        raise _failed("no results")
    return {name: dict(found) for name, found in answered.items() if isinstance(found, dict)}


def _check(
    services: Services, results: Results, candidates: Sequence[Candidate], suites: dict[str, Artefact]
) -> None:
    """Refuse results that are malformed, or of other items than their suite has."""
    if set(results) != {one.name for one in candidates}:
        raise _failed("results of other models than it was asked for")
    for name, suite in suites.items():
        items = compare.rows((services.store.folder(suite.digest) / ITEMS_FILE).read_bytes(), what=name)
        asked = [(known, row.get("section")) for known, row in items.items()]
        for found in results.values():
            read = record.read(found[name])
            if [*zip(read.ids, read.of, strict=True)] != asked:
                raise _failed(f"answers to other items than those of suite {name}")


def _failed(what: str) -> WorkerFailed:
    return WorkerFailed("eval.result", f"The evaluation gave {what}.", remedy="Start it again.")
