"""Training runs: started, cancelled, resumed, replayed.

Order of operations of a run: recipe and data are checked and become artefacts, the intent is recorded with the digests of
everything that determines the outcome, a confined worker trains, what it made becomes artefacts (run and adapter) under the
join of all labels, the outcome is recorded. A replay is the same order given again from the recorded digests; it must end
with the same adapter. Invariants: nothing is half imported; a run that was stopped keeps its checkpoints and can be resumed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from holdfast import canonical, hashing
from holdfast.artefact import Artefact, Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, intake, workbench
from holdfast.daemon.recorder import Cancelled
from holdfast.dataset import messages
from holdfast.errors import Conflict, NotFound, UntrustedRecipe, VerificationFailed
from holdfast.formats import written
from holdfast.governance import labels
from holdfast.training import spec

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import TrainRequest
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.recorder import Act
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.training.spec import Recipe

RUN_FILE = "manifest.json"
MAX_DIGITS = 15  # of a run's number; more would not be exact in JSON
RECIPE_FILE = "recipe.toml"


@dataclass(frozen=True)
class Inputs:
    """Everything that determines a run's outcome on one host.

    Args:
        recipe: The recipe artefact.
        base: The base model.
        tokenizer: Its tokenizer and chat template.
        data: The recipe's data paths and the data sets that stand for them.
    """

    recipe: Artefact
    base: Artefact
    tokenizer: Artefact
    data: dict[str, Artefact]

    @property
    def parents(self) -> tuple[str, ...]:
        """Digests of all inputs."""
        return tuple(found.digest for found in self.all)

    @property
    def all(self) -> tuple[Artefact, ...]:
        """All inputs."""
        return (self.base, self.tokenizer, self.recipe, *self.data.values())

    def params(self) -> dict[str, Json]:
        """Give the intent's parameters.

        Returns:
            The digests, by what they are for.
        """
        return {
            "recipe": self.recipe.digest,
            "recipe_name": f"{self.recipe.name}@{self.recipe.version}",
            "base": self.base.digest,
            "base_name": self.base.name,
            "tokenizer": self.tokenizer.digest,
            "data": {path: found.digest for path, found in self.data.items()},
            "datasets": [found.digest for found in self.data.values()],
        }


def inputs_of(services: Services, params: dict[str, Json]) -> Inputs:
    """Find the inputs that a recorded intent names.

    Args:
        services: The daemon's parts.
        params: The intent's parameters.

    Returns:
        The inputs.

    Raises:
        NotFound: If one is no longer known.
    """

    def known(digest: Json) -> Artefact:
        found = services.state.artefacts.get(str(digest))
        if found is None:
            raise NotFound(
                "run.input-gone",
                f"The run needs {hashing.short(str(digest))}, which is no longer here.",
                remedy="Import the bundle or send the data again.",
            )
        return found

    data = params["data"]
    return Inputs(
        recipe=known(params["recipe"]),
        base=known(params["base"]),
        tokenizer=known(params["tokenizer"]),
        data={path: known(digest) for path, digest in data.items()} if isinstance(data, dict) else {},
    )


async def submit(services: Services, session: Session, request: TrainRequest) -> Job:
    """Take a recipe and its data in, and start the run.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: Names the uploads.

    Returns:
        The job.

    Raises:
        UntrustedRecipe: If the recipe or a data file is wrong; then nothing was taken in.
    """
    session.actor("train.run")
    base, tokenizer = model_parts(services, request.model)
    recipe_path = services.uploads.path(session.name, request.recipe)
    recipe = spec.read_recipe(_bounded(recipe_path, written.MAX_DOCUMENT), file=request.file)
    wanted = {entry.path for entry in recipe.data}
    if wanted != set(request.data):
        raise UntrustedRecipe(
            "recipe.data",
            f"{request.file} names {sorted(wanted)}, but {sorted(request.data)} were sent.",
            remedy="Send exactly the files that the recipe names.",
        )
    uploads = {path: services.uploads.path(session.name, name) for path, name in request.data.items()}
    rows = {}
    for path, upload in uploads.items():
        rows[path] = await asyncio.to_thread(_count_rows, upload, path)

    _check_labels(services, [base.label, tokenizer.label, recipe.label()])

    taken: dict[str, Artefact] = {}
    for entry in recipe.data:
        taken[entry.path] = await intake.adopt(
            services,
            Kind.DATASET,
            entry.path.rsplit("/", 1)[-1].removesuffix(".jsonl"),
            recipe.version,
            {"rows.jsonl": uploads[entry.path]},
            label=entry.label.label(),
            meta={"rows": rows[entry.path], "licence": entry.licence, "role": entry.role},
        )
    document = await intake.adopt(
        services,
        Kind.RECIPE,
        recipe.name,
        recipe.version,
        {RECIPE_FILE: recipe_path},
        label=recipe.label(),
        meta={"method": recipe.method},
    )
    for found, action in (*((one, "dataset.added") for one in taken.values()), (document, "recipe.added")):
        await _record_once(services, session, action, found)
    return await start(services, session, Inputs(document, base, tokenizer, taken), resumes=None)


def _check_labels(services: Services, found: list[labels.Label]) -> None:
    """Refuse, before anything is taken in, what could not be derived or may not live here."""
    label = labels.join_all(found)
    if not label.zones & set(services.state.zones):
        raise UntrustedRecipe(
            "recipe.zone",
            f"What is derived may live in {sorted(label.zones)}, this site is {list(services.state.zones)}.",
            remedy="Use data that may live at this site.",
        )


async def start(services: Services, session: Session, inputs: Inputs, *, resumes: int | None) -> Job:
    """Start a run, or take a stopped one up again.

    Args:
        services: The daemon's parts.
        session: An operator's.
        inputs: What determines the outcome.
        resumes: The stopped run whose checkpoints are used.

    Returns:
        The job.
    """
    actor = session.actor("train.run")
    for found in inputs.all:
        admissible.usable(services, found)
    label = labels.join_all(found.label for found in inputs.all)

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        params = inputs.params() | {"resumes": resumes}
        async with services.recorder.act(
            actor,
            "train.run",
            params,
            subject=Subject("recipe", inputs.recipe.digest),
            label=label,
        ) as act:
            job = services.jobs.open_job(act.seq, "train.run")
            opened.set_result(job)
            out = _output(services, act.seq, resumes)
            result = await _train(services, job, inputs, out, resume=resumes is not None)
            if not result["finished"]:
                act.outcome = {"steps": result["steps"]}
                raise Cancelled(
                    "train.cancelled",
                    f"Run {act.seq} stopped after {result['steps']} steps, with a checkpoint.",
                    remedy=f"Go on with `holdfast train resume {act.seq}`.",
                    job=act.seq,
                    by=job.cancelled_by,
                )
            await _keep(services, act, inputs, label, out, result)
            return act.outcome

    return await services.jobs.start("train.run", work)


def _output(services: Services, number: int, resumes: int | None) -> Path:
    """Give the folder that a run writes to; a resumed run takes over the stopped one's."""
    out = services.jobs.folder(number) / "out"
    if resumes is not None:
        stopped = services.jobs.folder(resumes) / "out"
        if not stopped.is_dir():
            raise Conflict(
                "train.nothing-to-resume",
                f"Run {resumes} left no checkpoint, or was already resumed.",
                remedy="Start it anew with `holdfast train run`.",
            )
        stopped.rename(out)
    out.mkdir(exist_ok=True)
    return out


async def _train(services: Services, job: Job, inputs: Inputs, out: Path, *, resume: bool) -> dict[str, Json]:
    job.uses = frozenset(inputs.parents)
    for found in inputs.all:
        await asyncio.to_thread(services.store.verify, found)
    recipe = read(services, inputs.recipe)
    model = workbench.link_view(services, job.folder / "model", inputs.base, inputs.tokenizer)
    seen: dict[str, Path] = {"model": model}
    data: dict[str, Json] = {}
    for at, (path, found) in enumerate(inputs.data.items()):
        seen[f"data{at}"] = services.store.folder(found.digest)
        data[path] = f"/in/data{at}/rows.jsonl"
    order: dict[str, Json] = {
        "recipe": cast("Json", recipe.to_json()),
        "model": "/in/model",
        "data": data,
        "digests": {
            "base": inputs.base.digest,
            "tokenizer": inputs.tokenizer.digest,
            "recipe": inputs.recipe.digest,
            "data": {path: found.digest for path, found in inputs.data.items()},
        },
        "out": "/out",
        "resume": resume,
        "threads": recipe.precision.threads,
    }
    return await workbench.run_worker(services, job, "train", order, inputs=seen, output=out)


async def _keep(  # noqa: PLR0917 - one act, its many parts
    services: Services,
    act: Act,
    inputs: Inputs,
    label: labels.Label,
    out: Path,
    result: dict[str, Json],
) -> None:
    """Make artefacts of what a finished run left, and fill the act's outcome."""
    manifest = result["manifest"]
    document = services.jobs.folder(act.seq) / RUN_FILE  # beside the worker's folder, never in it
    document.write_bytes(canonical.encode(manifest))
    name, version = inputs.recipe.name, inputs.recipe.version
    run = await intake.adopt(
        services, Kind.RUN, name, version, {RUN_FILE: document}, label=label, parents=inputs.parents
    )
    adapter = await intake.adopt(
        services,
        Kind.ADAPTER,
        name,
        version,
        adapter_files(out, result),
        label=label,
        parents=(*inputs.parents, run.digest),
        meta={"base": inputs.base.digest, "tokenizer": inputs.tokenizer.digest, "run": run.digest},
    )
    act.outcome = {
        "run": run.digest,
        "adapter": adapter.digest,
        "artefacts": [run.to_json(), adapter.to_json()],
        "steps": result["steps"],
        "tokens": result["tokens"],
        "tokens_per_second": result["tokens_per_second"],
        "seconds": result["seconds"],
        "final_loss": result["final_loss"],
        "telemetry": hashing.sha512(await asyncio.to_thread(intake.read_output, out / "telemetry.jsonl")),
    }


def adapter_files(out: Path, result: dict[str, Json]) -> dict[str, Path]:
    """Find the adapter that a training worker wrote.

    Args:
        out: The worker's output folder.
        result: What it reported.

    Returns:
        Names and files.
    """
    names = result["adapter"]
    return {str(name): out / "adapter" / str(name) for name in names} if isinstance(names, list) else {}


async def replay(services: Services, session: Session, name: str) -> Job:
    """Run a recorded run again and compare the adapters.

    Args:
        services: The daemon's parts.
        session: An operator's.
        name: The run: its digest, digits of it, its number, or its recipe's name.

    Returns:
        The job. It fails with ``VerificationFailed`` if the adapters differ.
    """
    actor = session.actor("train.replay")
    run, params, result = find_run(services, name)
    inputs = inputs_of(services, params)
    expected = str(result["adapter"])
    for found in inputs.all:
        admissible.usable(services, found)

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor,
            "train.replay",
            {"run": run.digest},
            subject=Subject("run", run.digest),
            label=run.label,
        ) as act:
            job = services.jobs.open_job(act.seq, "train.replay")
            opened.set_result(job)
            out = _output(services, act.seq, None)
            result = await _train(services, job, inputs, out, resume=False)
            if not result["finished"]:
                raise Cancelled(
                    "train.cancelled",
                    "The replay was stopped.",
                    remedy="Start it again.",
                    by=job.cancelled_by,
                )
            files = adapter_files(out, result)
            found = await intake.adopt(services, Kind.ADAPTER, run.name, run.version, files, label=run.label)
            act.outcome = {
                "run": run.digest,
                "adapter_digest": expected,
                "replayed_digest": found.digest,
                "equal": found.digest == expected,
                "seconds": result["seconds"],
            }
            if found.digest != expected:
                raise VerificationFailed(
                    "train.replay-differs",
                    f"The replay made adapter {hashing.short(found.digest)}, the run {hashing.short(expected)}.",
                    remedy="Compare the two manifests: software, threads or processor differ.",
                    adapter=expected,
                    replayed=found.digest,
                )
            return act.outcome

    return await services.jobs.start("train.replay", work)


async def resume(services: Services, session: Session, number: int) -> Job:
    """Take a stopped run up again from its last checkpoint.

    Args:
        services: The daemon's parts.
        session: An operator's.
        number: The stopped run's number.

    Returns:
        The job of the run that goes on.

    Raises:
        NotFound: If there is no such run.
        Conflict: If it was not stopped.
    """
    stopped = services.state.acts.get(number)
    if stopped is None or stopped.action != "train.run":
        raise NotFound("train.unknown", f"There is no run {number}.", remedy="See `holdfast train list`.")
    if stopped.state not in ("cancelled", "interrupted", "failed"):
        raise Conflict(
            "train.not-stopped",
            f"Run {number} is {stopped.state}; only a stopped run can be resumed.",
            remedy="See `holdfast train list`.",
        )
    inputs = inputs_of(services, stopped.params)
    return await start(services, session, inputs, resumes=number)


def find_run(services: Services, name: str) -> tuple[Artefact, dict[str, Json], dict[str, Json]]:
    """Find a finished run.

    Args:
        services: The daemon's parts.
        name: Its digest, digits of it, its number, or its recipe's name (the newest of that name).

    Returns:
        The run's artefact, its intent's parameters and its outcome's.

    Raises:
        NotFound: If there is none.
    """
    state = services.state
    act = state.acts.get(int(name)) if is_number(name) else None
    if act is not None and act.action == "train.run":
        run = state.artefacts.get(str(act.result.get("run")))
        if run is None:
            raise NotFound(
                "train.unfinished",
                f"Run {name} is {act.state}; it made nothing.",
                remedy="See `holdfast train list`.",
            )
    else:
        run = state.resolve(name, Kind.RUN)
        act = state.acts.get(state.runs.get(run.digest, -1))
        if act is None:
            raise NotFound(
                "train.elsewhere",
                f"Run {name} was not made here.",
                remedy="See `holdfast train list` for those that were.",
            )
    return run, act.params, act.result


def is_number(name: str) -> bool:
    """Tell whether a name is the number of a run.

    Args:
        name: What a person calls it.

    Returns:
        True for up to 15 ASCII digits, which are below 2**53.
    """
    return name.isascii() and name.isdigit() and len(name) <= MAX_DIGITS


def read(services: Services, found: Artefact) -> Recipe:
    """Read a stored recipe.

    Args:
        services: The daemon's parts.
        found: The recipe artefact.

    Returns:
        The recipe.
    """
    data = _bounded(services.store.folder(found.digest) / RECIPE_FILE, written.MAX_DOCUMENT)
    return spec.read_recipe(data, file=f"{found.name}@{found.version}")


def model_parts(services: Services, name: str) -> tuple[Artefact, Artefact]:
    """Find a base and the tokenizer that came with it.

    Args:
        services: The daemon's parts.
        name: The base, by name or digest.

    Returns:
        Base and tokenizer.

    Raises:
        NotFound: If one is missing or not active.
    """
    base = services.state.resolve(name, Kind.BASE)
    tokenizer = services.state.resolve(base.name, Kind.TOKENIZER)
    for found in (base, tokenizer):
        admissible.usable(services, found)
    return base, tokenizer


async def _record_once(services: Services, session: Session, action: str, found: Artefact) -> None:
    if found.digest not in services.state.artefacts:
        await services.recorder.fact(
            session.actor("train.run"),
            action,
            {"artefacts": [found.to_json()]},
            subject=Subject(found.kind.value, found.digest),
            label=found.label,
        )


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _count_rows(upload: Path, path: str) -> int:
    return len(messages.read_rows(_bounded(upload, messages.MAX_FILE), file=path))


def summaries(services: Services) -> list[dict[str, Json]]:
    """List all runs.

    Args:
        services: The daemon's parts.

    Returns:
        One object per run, newest first: number, state, recipe, person, time, figures, gate.
    """
    found: list[dict[str, Json]] = []
    for act in sorted(services.state.acts.values(), key=lambda act: -act.seq):
        if act.action != "train.run":
            continue
        run = act.result.get("run")
        found.append(
            {
                "number": act.seq,
                "state": act.state,
                "person": act.person,
                "time": act.time,
                "recipe": act.params.get("recipe_name"),
                "base": act.params.get("base_name"),
                "run": run,
                "adapter": act.result.get("adapter"),
                "steps": act.result.get("steps"),
                "final_loss": act.result.get("final_loss"),
                "tokens_per_second": act.result.get("tokens_per_second"),
                "gate": services.state.gates.get(str(run)),
            }
        )
    return found
