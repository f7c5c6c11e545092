"""The families' tables: every family from training to a served file, and what each step costs in fidelity.

    python scripts/families.py [FAMILY ...]

For each family a tiny base is made and trained on the starter's texts, a LoRA is trained on it by the training worker, merged
into it by the merging worker, and both ways to serve it are converted by the converting worker: the merged model, and the base
with the adapter beside it. The quantizing worker, calibrated on the starter's texts, makes every type of the Llama, and some of
the others. Models that embed (``bert``, ``qwen3-embedding``) are converted and quantized. Prints tables, and the same as one line
of JSON at the end.

Training (bf16) and llama.cpp run in different processes, as on a site.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, only the script's own folder is on the path

from scripts import tinyembedders  # noqa: E402 - as above
from scripts.tinymodels import FAMILIES, make  # noqa: E402 - as above

from holdfast import canonical  # noqa: E402 - after the path
from holdfast.dataset import prepared, profile  # noqa: E402 - as above
from holdfast.gguf import choice, quantizations  # noqa: E402 - as above

DATA = ROOT / "bundles" / "starter" / "data" / "authority.jsonl"
HIDDEN, LAYERS, VOCABULARY, STEPS = 256, 2, 640, 150  # a row of 256 is the least that Q4_K takes
FLOOR = choice.Floor().to_json()
KINDS = ("q8_0", "q4_k_m", "iq4_xs", "iq2_m")  # of every family
ALL = tuple(name for name in quantizations.NAMES if name != "f16")  # of the Llama
EMBEDDERS = ("bert", "qwen3-embedding")


class Quiet:
    """Stands where a worker's channel stands, and keeps the losses."""

    cancelled = False

    def __init__(self) -> None:
        self.losses: list[float] = []

    def progress(self, step: str, done: int, total: int, **fields: object) -> None:
        """Take a worker's progress."""

    def metric(self, **fields: Any) -> None:
        """Take a step's figures."""
        if "loss" in fields:
            self.losses.append(float(fields["loss"]))


def conversations(path: Path = DATA) -> list[dict[str, Any]]:
    """Read conversations.

    Args:
        path: A file of lines with ``messages``.

    Returns:
        The rows.
    """
    return [
        {"messages": json.loads(line)["messages"]} for line in path.read_text(encoding="utf-8").splitlines()
    ]


def texts(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Write conversations out as plain text.

    Args:
        rows: Their rows.

    Returns:
        One text for each.
    """
    return [" ".join(message["content"] for message in row["messages"]) for row in rows]


def write_data(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a data set as its preparation leaves it.

    Args:
        folder: Where to.
        rows: Conversations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        canonical.encode({"at": f"data.jsonl:{at}", **row}) + b"\n" for at, row in enumerate(rows, start=1)
    ]
    (folder / prepared.ROWS).write_bytes(b"".join(lines))
    (folder / prepared.PROFILE).write_bytes(canonical.encode({"schema": profile.SCHEMA, "form": "messages"}))


def recipe(*, tuning: str = "lora", dtype: str = "bf16", steps: int = 30) -> dict[str, Any]:
    """Write the recipe that every family is trained by.

    Args:
        tuning: ``lora``, ``rslora`` or ``dora``.
        dtype: ``bf16`` or ``fp32``.
        steps: Optimiser steps.

    Returns:
        The recipe as plain data.
    """
    return {
        "schema": "holdfast.recipe/1",
        "name": "families",
        "version": "1",
        "description": "Trains a LoRA on a tiny base of any family.",
        "method": "sft",
        "seed": 3,
        "loss": "answers",
        "checkpoint_every": 1000,
        "data": [
            {
                "path": "data.jsonl",
                "role": "domain",
                "repeat": 1,
                "licence": "Apache-2.0",
                "label": {"level": "public", "compartments": [], "zones": ["site"]},
            }
        ],
        "tuning": {"type": tuning, "rank": 8, "alpha": 16, "dropout": 0.0, "targets": ["all-linear"]},
        "optimiser": {
            "learning_rate": 0.005,
            "schedule": "constant",
            "warmup_steps": 2,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
        },
        "batch": {"sequence_length": 256, "sequences": 2, "packing": True, "steps": steps},
        "precision": {"dtype": dtype, "threads": 1},
        "gate": [{"suite": "none", "section": "all", "rule": "minimum", "value": 0.0}],
    }


def train(base: Path, data: Path, out: Path, wanted: dict[str, Any]) -> list[float]:
    """Train an adapter by the training worker, in this process.

    Args:
        base: Folder of the base.
        data: Folder of prepared data.
        out: Where ``adapter/`` is written.
        wanted: The recipe.

    Returns:
        The loss of each step.
    """
    from holdfast.workers import train as worker

    channel = Quiet()
    out.mkdir(parents=True, exist_ok=True)
    digest = "sha512:" + "b" * 128
    worker.main(
        channel,
        {
            "recipe": wanted,
            "model": str(base),
            "data": {"data.jsonl": str(data)},
            "digests": {
                "base": digest,
                "tokenizer": digest,
                "recipe": digest,
                "data": {"data.jsonl": digest},
            },
            "out": str(out),
            "threads": wanted["precision"]["threads"],
        },
    )
    return channel.losses


def serve_ready(
    base: Path,
    adapter: Path,
    out: Path,
    probe: list[str],
    kinds: Sequence[str],
    *,
    calibration: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Merge an adapter and convert both ways to serve it, by the workers, in this process.

    Args:
        base: Folder of the base and its tokenizer.
        adapter: Folder of the adapter.
        out: Where to write.
        probe: Texts that the comparisons use.
        kinds: Quantizations.
        calibration: Folder and digest of what is calibrated on, as the worker's order takes them.

    Returns:
        ``merged`` (its likeness), ``fidelity`` of the merged model's GGUF files and ``adapter`` (largest logit difference of
        base and adapter in GGUF).
    """
    from holdfast.workers import convert, merge, quantize

    merged, whole, beside = out / "merged", out / "whole", out / "beside"
    for folder in (merged, whole, beside, out / "lora"):
        folder.mkdir(parents=True)
    channel: Any = Quiet()
    shared: dict[str, Any] = {"threads": 1, "probe": probe}
    likeness = merge.main(
        channel, shared | {"model": str(base), "adapter": str(adapter), "out": str(merged), "shard": 2**20}
    )["likeness"]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (merged / name).write_bytes((base / name).read_bytes())
    made: Any = convert.main(
        channel,
        shared | {"task": "base", "model": str(merged), "name": "tiny", "out": str(whole)},
    )
    convert.main(channel, shared | {"task": "base", "model": str(base), "name": "tiny", "out": str(beside)})
    order = shared | {"f16": str(whole / "f16.gguf"), "out": str(whole), "types": [*kinds], "keep": "all"}
    measured: Any = quantize.main(channel, order | {"floor": FLOOR, **(calibration or {})})
    lora = convert.main(
        channel,
        shared
        | {
            "task": "adapter",
            "model": str(base),
            "adapter": str(adapter),
            "gguf": str(beside),
            "out": str(out / "lora"),
        },
    )
    fidelity: Any = lora["fidelity"]
    return {
        "merged": likeness,
        "fidelity": {**made["fidelity"], **measured["table"]},
        "adapter": fidelity["max_logit_diff"],
    }


def _in_child(step: str, family: str, work: Path) -> dict[str, Any]:
    """Run one step in a process of its own; its last line is its result."""
    done = subprocess.run(
        [sys.executable, __file__, "--step", step, "--work", str(work), family],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"{family}: the step {step} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _step(step: str, family: str, work: Path) -> dict[str, Any]:
    from holdfast.gguf.spec import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    rows = conversations()
    if step == "embed":
        return _embedder(family, work)
    if step == "train":
        make(
            work / "base", family, texts(rows), hidden=HIDDEN, layers=LAYERS, vocabulary=VOCABULARY, steps=STEPS,
            dtype="bfloat16", shard="1MB",
        )  # fmt: skip
        write_data(work / "data", rows)
        losses = train(work / "base", work / "data", work / "out", recipe())
        return {"loss": [losses[0], losses[-1]], "shards": len([*(work / "base").glob("*.safetensors")])}
    probe = texts(rows[:200])
    kinds = ALL if family == "llama" else KINDS
    data = {"calibration": str(work / "data"), "source": "the starter's texts"}
    return serve_ready(work / "base", work / "out" / "adapter", work / "made", probe, kinds, calibration=data)


def _embedder(family: str, work: Path) -> dict[str, Any]:
    """Make a model that embeds, convert it and quantize it."""
    from holdfast.workers import convert, quantize

    rows = conversations()
    probe, base = texts(rows[:200]), work / "base"
    if family == "bert":
        tinyembedders.make_encoder(base, probe, hidden=HIDDEN, vocabulary=VOCABULARY)
    else:
        tinyembedders.make_decoder(base, probe, hidden=HIDDEN)
    write_data(work / "data", rows)
    made = work / "made"
    made.mkdir()
    channel: Any = Quiet()
    shared: dict[str, Any] = {"threads": 1, "probe": probe, "out": str(made)}
    whole: Any = convert.main(channel, shared | {"task": "base", "model": str(base), "name": "tiny"})
    order = {"f16": str(made / "f16.gguf"), "types": [*KINDS], "keep": "none", "embeds": True, "floor": FLOOR}
    data = {"calibration": str(work / "data"), "source": "the starter's texts"}
    measured: Any = quantize.main(channel, shared | order | data)
    return {"fidelity": {**whole["fidelity"], **measured["table"]}}


def _line(family: str, found: dict[str, Any]) -> list[str]:
    fidelity, merged = found["fidelity"], found["merged"]
    four, eight = fidelity["q4_k_m"], fidelity["q8_0"]
    return [
        family,
        FAMILIES[family].tokenizer,
        f"{found['loss'][0]:.2f} → {found['loss'][1]:.2f}",
        f"{merged['kl']:.1e} of {merged['adapter_kl']:.2f}",
        f"{found['adapter']:.4f}",
        f"{fidelity['f16_max_logit_diff']:.4f}",
        f"{eight['kl']:.5f}",
        f"{four['kl']:.4f}",
        f"{four['top1']:.3f}",
        f"{four['bits_per_weight']:.2f}",
    ]


HEAD = [
    "family", "tokenizer", "loss of the LoRA", "KL merged ↔ adapter", "adapter GGUF: logits", "merged f16: logits",
    "Q8_0 KL", "Q4_K_M KL", "top 1", "bits/weight",
]  # fmt: skip


def _print(row: Sequence[str]) -> None:
    sys.stdout.write("| " + " | ".join(row) + " |\n")
    sys.stdout.flush()


def _print_types(family: str, fidelity: dict[str, Any]) -> None:
    """Print what each type of a family costs."""
    sys.stdout.write(f"\n{family}\n\n")
    figures = ("bits_per_weight", "kl", "top1", "cosine")
    _print(["type", *figures])
    _print(["---"] * (len(figures) + 1))
    for name in quantizations.NAMES:
        if isinstance(row := fidelity.get(name), dict):
            _print([name, *(f"{row[one]:.4f}" if one in row else "" for one in figures)])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", default=[*FAMILIES, *EMBEDDERS])
    parser.add_argument("--step", choices=["train", "serve", "embed"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        found = _step(asked.step, asked.families[0], asked.work)
        sys.stdout.write("\n" + json.dumps(found) + "\n")
        return
    results: dict[str, Any] = {}
    _print(HEAD)
    _print(["---"] * len(HEAD))
    for family in asked.families:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            if family in EMBEDDERS:
                results[family] = _in_child("embed", family, Path(folder))
            else:
                results[family] = _in_child("train", family, Path(folder)) | _in_child(
                    "serve", family, Path(folder)
                )
                _print(_line(family, results[family]))
        results[family]["seconds"] = round(time.monotonic() - begun, 1)
    for family, found in results.items():
        _print_types(family, found["fidelity"])
    sys.stdout.write(json.dumps({"families": results}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
