"""Models as they are served: GGUF files made from bases and adapters.

Order of operations: the files to convert are hashed again, a confined worker converts and compares with the original, what
it made is adopted under the original's label. Invariants: a GGUF's parents say what it was made from; what does not give the
original's token ids and logits never becomes an artefact.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Kind
from holdfast.audit.event import Subject
from holdfast.daemon import admissible, intake, revocations, runs, scratch, workbench
from holdfast.dataset.files import ITEMS_FILE
from holdfast.dataset.messages import question_of
from holdfast.errors import NotFound, WorkerFailed
from holdfast.governance import labels

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import ConvertRequest
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

PROBES = 96  # prompts of the installed suites on which a conversion is compared with its original


async def convert(services: Services, session: Session, request: ConvertRequest) -> Job:
    """Make GGUF files of a base, and of an adapter if one is named.

    Args:
        services: The daemon's parts.
        session: An operator's.
        request: What is wanted.

    Returns:
        The job.
    """
    actor = session.actor("model.convert")
    base, tokenizer = runs.model_parts(services, request.model)
    adapter = find_adapter(services, request.adapter) if request.adapter else None
    label = labels.join_all(found.label for found in (base, tokenizer, *([adapter] if adapter else [])))
    params: dict[str, Json] = {
        "base": base.digest,
        "adapter": adapter.digest if adapter else None,
        "quantizations": list(request.quantizations),
    }

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(
            actor, "model.convert", params, subject=Subject(base.kind.value, base.digest), label=label
        ) as act:
            job = services.jobs.open_job(act.seq, "model.convert")
            opened.set_result(job)
            job.uses = frozenset({base.digest, tokenizer.digest, *([adapter.digest] if adapter else [])})
            try:
                out = job.folder / "out"
                out.mkdir()
                for found in (base, tokenizer):
                    admissible.usable(services, found)
                    await asyncio.to_thread(services.store.verify, found)
                model = workbench.link_view(services, job.folder / "model", base, tokenizer)
                order: dict[str, Json] = {
                    "task": "base",
                    "model": "/in/model",
                    "name": base.name,
                    "probe": list(await asyncio.to_thread(probes, services)),
                    "quantizations": list(request.quantizations),
                    "out": "/out",
                }
                made = await workbench.run_worker(
                    services, job, "convert", order, inputs={"model": model}, output=out
                )
                artefacts = [
                    await intake.adopt(
                        services,
                        Kind.GGUF,
                        base.name,
                        base.version,
                        {f"{quantization}.gguf": out / f"{quantization}.gguf"},
                        label=base.label.join(tokenizer.label),
                        parents=(base.digest, tokenizer.digest),
                        meta={"base": base.digest, "quantization": quantization, "part": "model"},
                    )
                    for quantization in ("f16", *request.quantizations)
                ]
                act.outcome = {"fidelity": _fidelity(made)}
                if adapter is not None:
                    lora, figures = await _convert_adapter(
                        services, job, adapter, (base, tokenizer), model, order
                    )
                    artefacts.append(lora)
                    act.outcome["adapter_fidelity"] = figures
            finally:
                await asyncio.to_thread(scratch.clean, job.folder)
            act.outcome["artefacts"] = [found.to_json() for found in artefacts]
            return act.outcome

    return await services.jobs.start("model.convert", work)


async def _convert_adapter(  # noqa: PLR0917 - one act, its many parts
    services: Services,
    job: Job,
    adapter: Artefact,
    parts: tuple[Artefact, Artefact],
    model: Path,
    order: dict[str, Json],
) -> tuple[Artefact, Json]:
    await asyncio.to_thread(services.store.verify, adapter)
    out = job.folder / "adapter"
    out.mkdir()
    made = await workbench.run_worker(
        services,
        job,
        "convert",
        order | {"task": "adapter", "adapter": "/in/adapter", "gguf": "/in/gguf"},
        inputs={
            "model": model,
            "adapter": services.store.folder(adapter.digest),
            "gguf": job.folder / "out",
        },
        output=out,
    )
    lora = await intake.adopt(
        services,
        Kind.GGUF,
        adapter.name,
        adapter.version,
        {"adapter.gguf": out / "adapter.gguf"},
        label=labels.join_all(found.label for found in (adapter, *parts)),
        parents=(adapter.digest, *(part.digest for part in parts)),
        meta={"base": parts[0].digest, "adapter": adapter.digest, "part": "adapter"},
    )
    return lora, _fidelity(made)


def _fidelity(made: dict[str, Json]) -> Json:
    """Take a conversion's figures from what its worker said."""
    if not isinstance(found := made.get("fidelity"), dict):
        raise WorkerFailed(
            "worker.output",
            "The worker did not say how true its files are.",
            remedy="Start the conversion again.",
        )
    return found


def probes(services: Services) -> list[str]:
    """Take prompts of the active suites: real text of the model's own world.

    Args:
        services: The daemon's parts.

    Returns:
        At most ``PROBES`` texts.
    """
    texts: list[str] = []
    for found in services.state.artefacts.values():
        if (
            found.kind is Kind.SUITE
            and services.state.is_active(found.digest)
            and admissible.revoked(services, found.digest) is None
        ):
            services.store.verify(found)
            lines = (services.store.folder(found.digest) / ITEMS_FILE).read_bytes().splitlines()
            texts += [
                question_of(json.loads(line)) or "" for line in lines[:: max(1, len(lines) * 2 // PROBES)]
            ]
    return texts[:PROBES]


def find_adapter(services: Services, name: str) -> Artefact:
    """Find an adapter by its own name or by its run's.

    Args:
        services: The daemon's parts.
        name: Digest, digits of one, name, or a run's number.

    Returns:
        The adapter, which is active.

    Raises:
        NotFound: If the run made a whole model.
    """
    if runs.is_number(name):
        _, _, result = runs.find_run(services, name)
        found = runs.product(services, result)
        if found.kind is not Kind.ADAPTER:
            raise NotFound(
                "model.no-adapter",
                f"Run {name} made a whole model, and no adapter.",
                remedy="Name the run in the place of the base.",
            )
    else:
        found = services.state.resolve(name, Kind.ADAPTER)
    admissible.usable(services, found)
    return found


def find_gguf(services: Services, base: Artefact, quantization: str) -> Artefact:
    """Find the GGUF of a base.

    Args:
        services: The daemon's parts.
        base: The base.
        quantization: Its type.

    Returns:
        The artefact.

    Raises:
        NotFound: If it was not made yet.
    """
    return _gguf(services, {"base": base.digest, "quantization": quantization, "part": "model"}, base.name)


def find_gguf_adapter(services: Services, adapter: Artefact) -> Artefact:
    """Find the GGUF of an adapter.

    Args:
        services: The daemon's parts.
        adapter: The adapter.

    Returns:
        The artefact.

    Raises:
        NotFound: If it was not made yet.
    """
    return _gguf(services, {"adapter": adapter.digest, "part": "adapter"}, adapter.name)


def _gguf(services: Services, meta: dict[str, Json], name: str) -> Artefact:
    for found in services.state.artefacts.values():
        # A medium could claim anything of what its GGUF was made from; what was made here is known.
        here = found.digest in services.state.made
        if found.kind is Kind.GGUF and here and meta.items() <= found.meta.items():
            admissible.usable(services, found)
            return found
    raise NotFound(
        "model.no-gguf",
        f"There is no {meta.get('quantization', 'GGUF')} file of {name} yet.",
        remedy="Make it with `holdfast model quantize MODEL --adapter RUN`.",
    )


def shown(services: Services, found: Artefact) -> dict[str, Json]:
    """Describe an artefact for a list.

    Args:
        services: The daemon's parts.
        found: The artefact.

    Returns:
        Its record, with ``size``, ``short``, ``active`` and ``revoked`` (why it may not be used, or None).
    """
    return {
        **found.to_json(),
        "size": found.size,
        "short": hashing.short(found.digest),
        "active": services.state.is_active(found.digest),
        "revoked": revocations.shown(services, found.digest),
    }
