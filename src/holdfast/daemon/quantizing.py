"""Models as llama.cpp serves them: converted, quantized, measured, and kept.

Order of operations: what is named is found and hashed again; unless an f16 file of the model is here, a confined worker converts
it and compares it with the original; an adapter likewise; then another worker makes one type after the other, measures each
against f16 and leaves what is to be kept; the table and the importance matrix become a report, the files GGUF artefacts.
Invariants: a GGUF's parents say what it was made from, calibration data among them, and its label is joined from theirs; the
table of every attempt is on the record, also of one that kept nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.artefact import Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, intake, models, runs, scratch, workbench
from holdfast.daemon.recorder import Cancelled
from holdfast.errors import UntrustedRequest, WorkerFailed
from holdfast.formats import pooling
from holdfast.gguf import choice, quantizations
from holdfast.governance import labels

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import QuantizeRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.recorder import Act
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.labels import Label

ACT = "model.quantize"
F16 = "f16"
TABLE, IMPORTANCE = "table.json", "importance.gguf"
_FIGURES = ("kl", "top1", "cosine", "tokens", "within_floor")


@dataclass(frozen=True)
class _Plan:
    """What was asked for, found and checked."""

    base: Artefact
    tokenizer: Artefact
    adapter: Artefact | None
    calibration: Artefact | None
    suite: Artefact | None
    types: tuple[str, ...]
    overrides: tuple[str, ...]
    floor: choice.Floor
    memory: int | None
    keep: str

    @property
    def model(self) -> tuple[Artefact, Artefact]:
        """Base and tokenizer."""
        return self.base, self.tokenizer

    @property
    def used(self) -> tuple[Artefact, ...]:
        """Everything that is read."""
        others = (self.adapter, self.calibration, self.suite)
        return (*self.model, *(one for one in others if one is not None))

    @property
    def sources(self) -> tuple[Artefact, ...]:
        """What the quantized files are made from."""
        return self.model if self.calibration is None else (*self.model, self.calibration)

    @property
    def label(self) -> Label:
        """The label of all that is made."""
        return labels.join_all(found.label for found in self.used)

    @property
    def embeds(self) -> bool:
        """Whether the model embeds."""
        return any(file.path == pooling.CONFIG for file in self.base.files)

    def params(self) -> dict[str, Json]:
        """Give the parameters of the intent."""
        found: dict[str, Json] = {
            "base": self.base.digest,
            "adapter": None if self.adapter is None else self.adapter.digest,
            "quantizations": list(self.types),
            "keep": self.keep,
            "floor": self.floor.to_json(),
        }
        for name, one in (("calibration", self.calibration), ("suite", self.suite)):
            if one is not None:
                found[name] = one.digest
        if self.overrides:
            found["overrides"] = list(self.overrides)
        return found if self.memory is None else found | {"memory": self.memory}


async def quantize(services: Services, session: Session, request: QuantizeRequest) -> Job:
    """Make GGUF files of a model, and of an adapter if one is named; or only the table of what they would be like.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: What is wanted.

    Returns:
        The job; its result holds ``fidelity`` (the table), ``chosen``, ``report`` and ``artefacts``.
    """
    actor = session.actor(ACT)
    plan = _plan(services, request)

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor,
            ACT,
            plan.params(),
            subject=Subject(plan.base.kind.value, plan.base.digest),
            label=plan.label,
        ) as act:
            job = services.jobs.open_job(act.seq, ACT)
            opened.set_result(job)
            job.uses = frozenset(found.digest for found in plan.used)
            try:
                for found in plan.used:
                    admissible.usable(services, found)
                    await asyncio.to_thread(services.store.verify, found)
                made = await _Making(services, job, act, plan).make()
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            act.outcome["artefacts"] = [found.to_json() for found in made]
            return act.outcome

    return await services.jobs.start(ACT, work)


def _plan(services: Services, request: QuantizeRequest) -> _Plan:
    base, tokenizer = runs.model_parts(services, request.model)
    resolve = services.state.resolve
    calibration = (
        None if request.calibration is None else resolve(request.calibration, Kind.DATASET, Kind.SUITE)
    )
    named = [quantizations.find(name) for name in dict.fromkeys(request.types)]
    asked = request.floor_kl, request.floor_top1, request.floor_cosine
    bounded = request.memory is not None or any(one is not None for one in asked)
    default = choice.Floor()
    if not named:
        extra = choice.CALIBRATED if calibration is not None else ()
        named = [quantizations.find(name) for name in (*choice.CANDIDATES, *extra)]
    for one in named:
        if one.calibrated and calibration is None:
            raise UntrustedRequest(
                "quantize.uncalibrated",
                f"llama.cpp makes {one.name} with an importance matrix alone.",
                remedy="Name a data set or a suite with --calibration.",
            )
    quantizations.parse_overrides(request.overrides)
    return _Plan(
        base,
        tokenizer,
        models.find_adapter(services, request.adapter) if request.adapter else None,
        calibration,
        None if request.suite is None else resolve(request.suite, Kind.SUITE),
        tuple(one.name for one in named if one.name != F16),
        tuple(request.overrides),
        choice.Floor(
            kl=default.kl if asked[0] is None else asked[0],
            top1=default.top1 if asked[1] is None else asked[1],
            cosine=default.cosine if asked[2] is None else asked[2],
        ),
        request.memory,
        "none" if request.table else "chosen" if bounded or not request.types else "all",
    )


@dataclass
class _Making:
    """One act, being carried out."""

    services: Services
    job: Job
    act: Act
    plan: _Plan
    dimensions: Json = None  # length of an embedding, of a model that embeds

    async def make(self) -> list[Artefact]:
        """Convert, quantize and keep.

        Returns:
            The artefacts that were made.
        """
        services, job, plan = self.services, self.job, self.plan
        made: list[Artefact] = []
        model = workbench.link_view(services, job.folder / "model", *plan.model)
        probe: list[Json] = [*await asyncio.to_thread(models.probes, services)]
        whole = models.find_f16(services, *plan.model)
        if whole is None:
            source, fidelity = await self._convert(model, probe)
            self.dimensions = fidelity.get("dimensions")
            if plan.keep != "none":
                whole = await self._adopt(F16, source, plan.model, {"fidelity": fidelity})
                made.append(whole)
        else:
            await asyncio.to_thread(services.store.verify, whole)
            source = services.store.folder(whole.digest)
            kept = whole.meta.get("fidelity")
            fidelity = dict(kept) if isinstance(kept, dict) else {}
            self.dimensions = fidelity.get("dimensions")
        self.act.outcome["fidelity"] = fidelity
        if plan.adapter is not None and plan.keep != "none":
            lora, figures = await self._adapter(plan.adapter, model, source, probe)
            made.append(lora)
            self.act.outcome["adapter_fidelity"] = figures
        if plan.types:
            made += await self._quantize(model, source, probe, fidelity)
        return made

    async def _convert(self, model: Path, probe: list[Json]) -> tuple[Path, dict[str, Json]]:
        out = self.job.folder / F16
        out.mkdir()
        order: dict[str, Json] = {
            "task": "base", "model": "/in/model", "name": self.plan.base.name, "probe": probe, "out": "/out",
            "threads": self.services.site.threads,
        }  # fmt: skip
        said = await workbench.run_worker(
            self.services, self.job, "convert", order, inputs={"model": model}, output=out
        )
        return out, _fidelity(said)

    async def _adapter(
        self, adapter: Artefact, model: Path, source: Path, probe: list[Json]
    ) -> tuple[Artefact, Json]:
        out = self.job.folder / "adapter"
        out.mkdir()
        order: dict[str, Json] = {
            "task": "adapter", "model": "/in/model", "adapter": "/in/adapter", "gguf": "/in/gguf", "probe": probe, "out": "/out",
        }  # fmt: skip
        folders = {"model": model, "adapter": self.services.store.folder(adapter.digest), "gguf": source}
        said = await workbench.run_worker(
            self.services, self.job, "convert", order, inputs=folders, output=out
        )
        parts = (adapter, *self.plan.model)
        lora = await intake.adopt(
            self.services,
            Kind.GGUF,
            adapter.name,
            adapter.version,
            {"adapter.gguf": out / "adapter.gguf"},
            label=labels.join_all(found.label for found in parts),
            parents=tuple(found.digest for found in parts),
            meta={"base": self.plan.base.digest, "adapter": adapter.digest, "part": "adapter"},
        )
        return lora, _fidelity(said)

    async def _quantize(
        self, model: Path, source: Path, probe: list[Json], fidelity: dict[str, Json]
    ) -> list[Artefact]:
        plan, folder = self.plan, self.services.store.folder
        out = self.job.folder / "out"
        out.mkdir()
        order: dict[str, Json] = {
            "f16": f"/in/gguf/{F16}.gguf",
            "out": "/out",
            "types": list(plan.types),
            "overrides": list(plan.overrides),
            "probe": probe,
            "embeds": plan.embeds,
            "floor": plan.floor.to_json(),
            "memory": plan.memory,
            "keep": plan.keep,
            "threads": self.services.site.threads,
        }
        inputs = {"gguf": source}
        if plan.calibration is not None:
            inputs["calibration"] = folder(plan.calibration.digest)
            order |= {"calibration": "/in/calibration", "source": plan.calibration.digest}
        if plan.suite is not None:
            inputs |= {"suite": folder(plan.suite.digest), "model": model}
            order |= {"suite": "/in/suite", "model": "/in/model"}
        said = await workbench.run_worker(
            self.services, self.job, "quantize", order, inputs=inputs, output=out
        )
        table, kept = _said(said, plan.types)
        self.act.outcome["fidelity"] = {**fidelity, **table}
        if plan.keep == "chosen" and not kept:
            raise choice.refusal({name: table[name] for name in plan.types}, plan.floor, plan.memory)
        report = await self._report(out, table, said.get("chosen"))
        self.act.outcome |= {"chosen": said.get("chosen"), "report": report.digest}
        made = [report]
        for name in kept:
            figures = table[name]
            meta = {key: figures[key] for key in _FIGURES if key in figures}
            made.append(await self._adopt(name, out, plan.sources, meta))
        return made

    async def _adopt(
        self, name: str, folder: Path, sources: tuple[Artefact, ...], figures: dict[str, Json]
    ) -> Artefact:
        plan = self.plan
        meta: dict[str, Json] = {"base": plan.base.digest, "quantization": name, "part": "model", **figures}
        if plan.embeds:
            meta["embeds"] = self.dimensions
        if plan.calibration is not None and name != F16:
            meta["calibration"] = plan.calibration.digest
        if plan.overrides and name != F16:
            meta["overrides"] = list(plan.overrides)
        return await intake.adopt(
            self.services,
            Kind.GGUF,
            plan.base.name,
            plan.base.version,
            {f"{name}.gguf": scratch.plain(folder, f"{name}.gguf")},
            label=labels.join_all(found.label for found in sources),
            parents=tuple(found.digest for found in sources),
            meta=meta,
        )

    async def _report(self, out: Path, table: dict[str, dict[str, Json]], chosen: Json) -> Artefact:
        plan = self.plan
        told: dict[str, Json] = {
            "schema": "holdfast.quantization/1",
            **plan.params(),
            "table": {**table},
            "chosen": chosen,
        }
        path = self.job.folder / TABLE
        await asyncio.to_thread(path.write_bytes, canonical.encode(told))
        files = {TABLE: path}
        if plan.calibration is not None:
            files[IMPORTANCE] = scratch.plain(out, IMPORTANCE)
        used = plan.sources if plan.suite is None else (*plan.sources, plan.suite)
        return await intake.adopt(
            self.services,
            Kind.REPORT,
            plan.base.name,
            plan.base.version,
            files,
            label=labels.join_all(found.label for found in used),
            parents=tuple(dict.fromkeys(found.digest for found in used)),
            meta={"base": plan.base.digest, "about": "quantization"},
        )


def _said(said: dict[str, Json], types: tuple[str, ...]) -> tuple[dict[str, dict[str, Json]], list[str]]:
    """Take the table and the kept types from what the worker said, trusting nothing about it."""
    if not said.get("finished"):
        raise Cancelled("quantize.cancelled", "The quantization was stopped.", remedy="Start it again.")
    table, kept = said.get("table"), said.get("kept")
    rows = (
        {name: row for name, row in table.items() if isinstance(row, dict)} if isinstance(table, dict) else {}
    )
    names = [str(name) for name in kept] if isinstance(kept, list) else []
    if set(rows) != {F16, *types} or not set(names) <= set(types) or said.get("chosen") not in (None, *types):
        raise WorkerFailed(
            "worker.output", "The worker did not say what it made.", remedy="Start the quantization again."
        )
    return rows, names


def _fidelity(said: dict[str, Json]) -> dict[str, Json]:
    """Take a conversion's figures from what its worker said."""
    if not isinstance(found := said.get("fidelity"), dict):
        raise WorkerFailed(
            "worker.output",
            "The worker did not say how true its files are.",
            remedy="Start the conversion again.",
        )
    return found
