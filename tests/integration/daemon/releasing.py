"""Runs that were trained and judged, as the record would hold them: tiny files, real GGUFs, no training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest
from tests import recorded
from tests.integration.serving.crafted import write_adapter, write_model

from holdfast.artefact import Artefact, Kind
from holdfast.audit.event import Actor, Subject
from holdfast.client import operations
from holdfast.daemon import intake

if TYPE_CHECKING:
    from pathlib import Path

OLGA = Actor(person="olga", uid=0, role="operator", session="s")


@pytest.fixture(scope="session")
def gguf(tmp_path_factory) -> Path:
    """A folder with q8_0.gguf and adapters 1.gguf to 3.gguf."""
    from holdfast.gguf.quantize import quantize

    folder = tmp_path_factory.mktemp("gguf")
    write_model(folder / "f16.gguf")
    quantize(folder / "f16.gguf", folder / "q8_0.gguf", "q8_0", 1)
    for seed in (1, 2, 3):
        write_adapter(folder / f"{seed}.gguf", seed)
    return folder


@dataclass(frozen=True)
class Run:
    """A run and what came of it."""

    run: Artefact
    adapter: Artefact  # or the whole model
    weights: Artefact
    lora: Artefact | None
    evaluation: Artefact

    @property
    def name(self) -> str:
        return self.run.digest

    async def judge(self, daemon, *, go: bool) -> None:
        """Record a verdict of the gate."""
        reasons = ["quiz/all: 0.9 on q8_0"] if go else ["quiz/all lost 0.3, at most 0.02 is allowed"]
        await daemon.services.recorder.fact(
            OLGA,
            "gate.decided",
            recorded.sample(
                "gate.decided",
                run=self.run.digest,
                **{"model" if self.lora is None else "adapter": self.adapter.digest},
                evaluation=self.evaluation.digest,
                go=go,
                reasons=reasons,
            ),
            subject=Subject("run", self.run.digest),
        )


async def _adopt(daemon, kind, name, files, *parents, **meta):
    label = daemon.state.resolve("tiny", Kind.BASE).label
    return await intake.adopt(
        daemon.services,
        kind,
        name,
        "1",
        files,
        label=label,
        parents=tuple(one.digest for one in parents),
        meta=meta,
    )


async def _made(daemon, act, params, *made, **done):
    """Put what an act made on the record."""
    sample = recorded.sample(f"{act}.done", artefacts=[one.to_json() for one in made], **done)
    async with daemon.services.recorder.act(OLGA, act, recorded.sample(act, **params)) as running:
        running.outcome = sample


async def train(daemon, gguf: Path, name: str, seed: int, *, go: bool = True) -> Run:
    """Record a run of a recipe, its GGUF, its evaluation and its gate."""
    base, tokenizer = (daemon.state.resolve("tiny", kind) for kind in (Kind.BASE, Kind.TOKENIZER))
    folder = daemon.place.folder / f"{name}-{seed}"
    folder.mkdir(exist_ok=True)

    def file(called: str) -> dict[str, Path]:
        (folder / called).write_text(f"{name} {seed} {called}")
        return {called: folder / called}

    recipe = await _adopt(daemon, Kind.RECIPE, name, file("recipe.toml"))
    data = await _adopt(daemon, Kind.DATASET, "rows", file("rows.jsonl"))
    run = await _adopt(daemon, Kind.RUN, name, file("manifest.json"), base, tokenizer, recipe, data)
    adapter = await _adopt(
        daemon,
        Kind.ADAPTER,
        name,
        file("adapter_config.json"),
        base,
        tokenizer,
        run,
        base=base.digest,
        run=run.digest,
    )
    weights = await _adopt(
        daemon,
        Kind.GGUF,
        "tiny",
        {"q8_0.gguf": gguf / "q8_0.gguf"},
        base,
        tokenizer,
        base=base.digest,
        quantization="q8_0",
        part="model",
    )
    lora = await _adopt(
        daemon,
        Kind.GGUF,
        name,
        {"adapter.gguf": gguf / f"{seed}.gguf"},
        adapter,
        base,
        tokenizer,
        base=base.digest,
        adapter=adapter.digest,
        part="adapter",
    )
    used = (base, tokenizer, adapter, weights, lora)
    evaluation = await _adopt(daemon, Kind.EVALUATION, name, file("results.json"), *used)
    await daemon.services.recorder.fact(OLGA, "recipe.added", {"artefacts": [recipe.to_json()]})
    await _made(daemon, "dataset.prepare", {}, data)
    params = {
        "base": base.digest,
        "tokenizer": tokenizer.digest,
        "recipe": recipe.digest,
        "data": {"r": data.digest},
    }
    await _made(daemon, "train.run", params, run, adapter, run=run.digest, adapter=adapter.digest)
    await _made(daemon, "model.quantize", {"base": base.digest}, weights, lora)
    await _made(daemon, "eval.run", {}, evaluation)
    found = Run(run, adapter, weights, lora, evaluation)
    await found.judge(daemon, go=go)
    return found


async def train_whole(daemon, gguf: Path, name: str) -> Run:
    """Record a run that made a whole model, quantized to f16 alone."""
    base, tokenizer = (daemon.state.resolve("tiny", kind) for kind in (Kind.BASE, Kind.TOKENIZER))
    folder = daemon.place.folder / f"{name}-whole"
    folder.mkdir()
    for called in ("recipe.toml", "manifest.json", "config.json", "results.json"):
        told = {"file": called, "of": name, "max_position_embeddings": 512}
        (folder / called).write_text(json.dumps(told))
    recipe = await _adopt(daemon, Kind.RECIPE, name, {"recipe.toml": folder / "recipe.toml"})
    run = await _adopt(
        daemon, Kind.RUN, name, {"manifest.json": folder / "manifest.json"}, base, tokenizer, recipe
    )
    made_of = {"base": base.digest, "tokenizer": tokenizer.digest, "run": run.digest}
    model = await _adopt(
        daemon, Kind.MERGED, name, {"config.json": folder / "config.json"}, base, run, **made_of
    )
    facts = {"base": model.digest, "quantization": "f16", "part": "model"}
    weights = await _adopt(
        daemon, Kind.GGUF, name, {"f16.gguf": gguf / "f16.gguf"}, model, tokenizer, **facts
    )
    files = {"results.json": folder / "results.json"}
    evaluation = await _adopt(daemon, Kind.EVALUATION, name, files, base, tokenizer, model, weights)
    await daemon.services.recorder.fact(OLGA, "recipe.added", {"artefacts": [recipe.to_json()]})
    params = {"base": base.digest, "tokenizer": tokenizer.digest, "recipe": recipe.digest}
    await _made(daemon, "train.run", params, run, model, run=run.digest, model=model.digest)
    await _made(daemon, "model.quantize", {"base": model.digest}, weights)
    await _made(daemon, "eval.run", {}, evaluation)
    found = Run(run, model, weights, None, evaluation)
    await found.judge(daemon, go=True)
    return found


async def quantize(daemon, gguf: Path, kind: str) -> Artefact:
    """Record one more file of the tiny base."""
    base, tokenizer = (daemon.state.resolve("tiny", part) for part in (Kind.BASE, Kind.TOKENIZER))
    name = f"{kind}.gguf"
    facts = {"base": base.digest, "quantization": kind, "part": "model"}
    weights = await _adopt(daemon, Kind.GGUF, "tiny", {name: gguf / name}, base, tokenizer, **facts)
    await _made(daemon, "model.quantize", {"base": base.digest}, weights)
    return weights


async def propose(daemon, run: Run, **body):
    """Propose a run as olga."""
    async with daemon.session("olga") as client:
        return await client.call("POST", "/v1/releases", {"run": run.name, **body})


async def approve(daemon, release, who: str = "bob"):
    """Approve a release as the second person."""
    async with daemon.session(who) as client:
        job = await operations.approve_release(client, daemon.place.pairs[who], release["request"])
        return await client.finish(job)


async def serve(daemon, **more):
    """Serve the tiny base as olga."""
    body = {"model": "tiny", "quantization": "q8_0", **more}
    async with daemon.session("olga") as client:
        job = (await client.call("POST", "/v1/serving/start", body))["job"]
        return await client.finish(job)


async def application(daemon, address: str) -> httpx.AsyncClient:
    """Open a client of an application."""
    async with daemon.session("olga") as client:
        body = {"tenant": "clinic", "level": "internal"}
        secret = (await client.call("POST", "/v1/serving/keys", body))["secret"]
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=120)
