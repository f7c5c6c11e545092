"""Measure training on the starter's data: ours against a plain TRL script, in one process, in interleaved rounds.

    make bench-training

Four ways to train the starter base on the data of ``bundles/starter/adapt.toml``, each in turn, round after round, from a
fresh copy of the base and for the same number of steps:

    trl        TRL's SFTTrainer as its documentation shows it: conversations, LoRA, bf16, dynamic padding
    unpacked   our recipe without packing, as many examples to a step
    packed     our recipe as it is, with rows of several examples
    loose      the packed recipe without deterministic algorithms, without fixed seeds and with one state hash

Rates count tokens that are no padding, from the first step to the last; set-up is left out. ``determinism_cost`` is what packed
loses against loose. ``gemm_fraction`` is the share of this machine's measured matrix product rate that the packed run's
arithmetic comes to. The last line is JSON: medians of ratios within rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from holdfast.training import environment, spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

STARTER = Path(__file__).resolve().parents[1] / "bundles" / "starter"
PAIR = ("packed", "loose")
EXAMPLES = 16  # of a step without packing; a packed step of the recipe holds about as many


class Silent:
    """A reporter to nobody."""

    cancelled = False

    def progress(self, step: str, done: int, total: int, **fields: object) -> None:
        """Take how far a run is."""

    def metric(self, **fields: object) -> None:
        """Take one step's figures."""


def lay_out(folder: Path, recipe: spec.Recipe) -> dict[str, Path]:
    """Prepare the starter's data sets as the preparation worker does."""
    from holdfast.workers import prepare

    found = {}
    for entry in recipe.data:
        target = found[entry.path] = folder / entry.path.replace("/", "-")
        target.mkdir()
        file: dict[str, Json] = {"shown": entry.path, "path": str(STARTER / entry.path), "format": "jsonl"}
        order: dict[str, Json] = {
            "files": [file],
            "forms": [*recipe.forms()],
            "columns": {},
            "held_out": 0.0,
            "over": None,
            "licence": entry.licence,
            "quarantine": False,
            "suites": {},
            "out": str(target),
        }
        prepare.main(Silent(), order)
    return found


def ours(recipe: spec.Recipe, data: dict[str, Path]) -> dict[str, Any]:
    """Run a recipe as the training worker does; give its result."""
    from holdfast.training import run, setup

    digests: dict[str, Json] = {"base": "b", "tokenizer": "t", "recipe": "r", "data": {}}
    with tempfile.TemporaryDirectory() as out:
        inputs = setup.Inputs(recipe, STARTER / "base", data, digests, Path(out), recipe.precision.threads)
        return run.train(inputs, Silent())


@contextmanager
def undetermined() -> Iterator[None]:
    """Take away what makes a run repeatable."""
    import torch
    import transformers

    torch.use_deterministic_algorithms(False)
    with ExitStack() as stack:
        for module in (transformers.trainer, transformers.trainer_utils):
            if hasattr(module, "enable_full_determinism"):
                stack.enter_context(
                    mock.patch.object(module, "enable_full_determinism", transformers.set_seed)
                )
        yield


def plain(recipe: spec.Recipe, steps: int) -> float:
    """Train with TRL alone, as its documentation shows it.

    Args:
        recipe: Where rank, rate and lengths come from.
        steps: Steps to take.

    Returns:
        Tokens a second, padding excluded.
    """
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]  # it has no type hints
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    class Clock(TrainerCallback):
        """The times of the first step's begin and the last one's end, and the tokens in between."""

        began = ended = 0.0

        def on_train_begin(self, *_: object, **__: object) -> None:
            self.began = time.monotonic()

        def on_step_end(self, *_: object, **__: object) -> None:
            self.ended = time.monotonic()

    rows = [
        json.loads(line)["messages"]
        for entry in recipe.data
        for line in (STARTER / entry.path).read_text(encoding="utf-8").splitlines()
    ]
    tuning = recipe.tuning
    if not isinstance(tuning, spec.AdapterTuning):
        raise SystemExit("the starter's recipe trains no adapter")
    clock = Clock()
    torch.use_deterministic_algorithms(False)
    with tempfile.TemporaryDirectory() as out, environment.without_deprecations():
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(STARTER / "base", dtype=torch.bfloat16),
            args=SFTConfig(
                output_dir=out,
                use_cpu=True,
                bf16=True,
                seed=recipe.seed,
                per_device_train_batch_size=EXAMPLES,
                max_steps=steps,
                max_length=recipe.batch.sequence_length,
                learning_rate=recipe.optimiser.learning_rate,
                activation_checkpointing=False,
                save_strategy="no",
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
            processing_class=AutoTokenizer.from_pretrained(STARTER / "base"),
            peft_config=LoraConfig(
                task_type="CAUSAL_LM",
                r=tuning.rank,
                lora_alpha=tuning.alpha,
                target_modules=list(tuning.targets),
            ),
            callbacks=[clock],
        )
        trainer.train()
    seen = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
    return float(seen[-1]) / (clock.ended - clock.began)


def adapted(steps: int, *, packed: bool) -> spec.Recipe:
    """Read the starter's recipe, for some steps, without checkpoints on the way."""
    recipe = spec.read_recipe((STARTER / "adapt.toml").read_bytes(), file="adapt.toml")
    document: dict[str, Any] = recipe.to_json()
    batch = {**document["batch"], "steps": steps, "packing": packed}
    del batch["epochs"]
    if not packed:
        batch["sequences"] = EXAMPLES
    return spec.from_json({**document, "batch": batch, "checkpoint_every": spec.MAX_STEPS})


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="of each measurement")
    chosen = parser.parse_args()
    packed, unpacked = adapted(chosen.steps, packed=True), adapted(chosen.steps, packed=False)
    loose = spec.from_json({**packed.to_json(), "state_every": spec.MAX_STEPS})
    ratios: dict[str, list[float]] = {"unpacked": [], "packed": [], "cost": [], "gemm": []}
    with tempfile.TemporaryDirectory() as scratch:
        environment.prepare(packed.precision.threads, scratch)
        os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
        import datasets
        import torch

        datasets.disable_progress_bars()
        (Path(scratch) / "data").mkdir()
        data = lay_out(Path(scratch) / "data", packed)
        plain(packed, 2), ours(adapted(12, packed=True), data)  # the first calls set the libraries up
        for number in range(chosen.rounds):
            runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ("trl", "unpacked", *PAIR)}
            # A run that follows one of another shape is slower, so the pair goes there and back, from either end in turn.
            pair = PAIR if number % 2 else PAIR[::-1]
            for way in ("trl", "unpacked", *pair, *pair[::-1]):
                if way == "trl":
                    runs[way].append({"tokens_per_second": plain(packed, chosen.steps)})
                elif way == "loose":
                    with undetermined():
                        runs[way].append(ours(loose, data))
                else:
                    runs[way].append(ours(packed if way == "packed" else unpacked, data))
                if way in PAIR and torch.are_deterministic_algorithms_enabled() is (way == "loose"):
                    raise SystemExit(
                        f"{way} did not run as it should: the libraries set determinism elsewhere"
                    )
            rates = {
                way: statistics.mean(one["tokens_per_second"] for one in found) for way, found in runs.items()
            }
            fraction = statistics.mean(one["gemm_fraction"] for one in runs["packed"])
            peak = runs["packed"][0]["gemm_peak_flops"]
            told = ", ".join(f"{way} {rate:.0f}" for way, rate in rates.items())
            print(f"round {number}: {told} tokens/s; {fraction:.3f} of {peak / 1e9:.0f} GFLOP/s", flush=True)
            ratios["unpacked"].append(rates["unpacked"] / rates["trl"])
            ratios["packed"].append(rates["packed"] / rates["trl"])
            ratios["cost"].append(1 - rates["packed"] / rates["loose"])
            ratios["gemm"].append(fraction)
    print(
        json.dumps(
            {
                "ratio_unpacked": round(statistics.median(ratios["unpacked"]), 3),
                "ratio_packed": round(statistics.median(ratios["packed"]), 3),
                "determinism_cost": round(statistics.median(ratios["cost"]), 3),
                "gemm_fraction": round(statistics.median(ratios["gemm"]), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
