"""Try the starter adaptation with several seeds and print what it does to both suites.

This is how the settings in `bundles/starter/adapt.toml` were chosen: the product's own trainer, greedy answers,
exact match.

    python -m scripts.starter.try_adapt bundles/starter --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.preparation.order import PrepareFile, PrepareOrder
from holdfast.training import environment
from holdfast.training.spec import Recipe, read_recipe
from holdfast.workers import prepare

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from holdfast.canonical import Json

_EVALUATION_BATCH = 64


def score(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, items: Path, show: int
) -> dict[str, float]:
    """Answer a suite greedily and score it by exact match.

    Args:
        model: The model, with or without an adapter.
        tokenizer: Its tokenizer.
        items: The suite's items.
        show: Print so many wrong answers.

    Returns:
        Section to score, and "all".
    """
    import torch

    records = [json.loads(line) for line in items.read_text(encoding="utf-8").splitlines()]
    prompts = [
        tokenizer.apply_chat_template(record["messages"], tokenize=False, add_generation_prompt=True)
        for record in records
    ]
    tokenizer.padding_side = "left"
    model.eval()
    right: dict[str, list[bool]] = defaultdict(list)
    order = sorted(range(len(records)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), _EVALUATION_BATCH):
        chosen = order[start : start + _EVALUATION_BATCH]
        batch = tokenizer(
            [prompts[index] for index in chosen],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        with torch.no_grad():
            made = model.generate(**batch, max_new_tokens=32, do_sample=False)  # type: ignore[operator]  # a causal model has it
        for row, index in enumerate(chosen):
            answer = made[row, batch["input_ids"].shape[1] :]
            text = str(tokenizer.decode(answer, skip_special_tokens=True)).strip()
            record = records[index]
            right[record["section"]].append(text in record["answers"])
            if show and text not in record["answers"]:
                show -= 1
                print(
                    "  wrong:", record["messages"][0]["content"][-140:], "|", record["answers"][0], "|", text
                )
    scores = {section: round(sum(marks) / len(marks), 4) for section, marks in right.items()}
    scores["all"] = round(sum(map(sum, right.values())) / len(records), 4)
    return scores


class _Quiet:
    """A reporter that keeps the run's course to itself."""

    cancelled = False

    def progress(self, step: str, done: int, total: int, **fields: Json) -> None:
        """Take how far the run is."""

    def metric(self, **fields: Json) -> None:
        """Take one step's figures."""


def adapt(bundle: Path, base: Path, recipe: Recipe, out: Path) -> dict[str, Json]:
    """Train one adapter with the product's trainer.

    Args:
        bundle: The starter bundle, which data paths are relative to.
        base: The base model's folder.
        recipe: The adaptation recipe.
        out: An empty folder; the adapter is in its `adapter`.

    Returns:
        What the trainer says about the run.
    """
    from holdfast.training import run, setup

    threads = recipe.precision.threads
    data = {}
    for at, one in enumerate(recipe.data):
        data[one.path] = out / f"data{at}"
        data[one.path].mkdir()
        order = PrepareOrder(
            files=[PrepareFile(shown=one.path, path=bundle / one.path, format="jsonl")],
            forms=recipe.forms(),
            columns=one.columns,
            held_out=one.heldout,
            over=None,
            quarantine=False,
            licence=one.licence,
            suites={},
            out=data[one.path],
        )
        prepare.main(_Quiet(), order.model_dump())
    digests: dict[str, Json] = {"base": "sha512:" + "0" * 128}
    return run.train(setup.Inputs(recipe, base, data, digests, out, threads), _Quiet())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--recipe", type=Path, default=None, help="default: adapt.toml of the bundle")
    parser.add_argument("--base", type=Path, default=None, help="default: base/ of the bundle")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--show", type=int, default=0, help="print so many wrong answers of each suite")
    options = parser.parse_args()
    base = options.base or options.bundle / "base"
    path = options.recipe or options.bundle / "adapt.toml"
    recipe = read_recipe(path.read_bytes(), file=path.name)
    environment.prepare(recipe.precision.threads, tempfile.gettempdir())
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    suites = {name: options.bundle / "suites" / name / "items.jsonl" for name in ("general", "domain")}
    tokenizer = AutoTokenizer.from_pretrained(base)

    def judge(model: PreTrainedModel | PeftModel, **about: Json) -> None:
        for name, items in suites.items():
            print(
                json.dumps({**about, "suite": name, **score(model, tokenizer, items, options.show)}),
                flush=True,
            )

    judge(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), when="before")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            made = adapt(options.bundle, base, recipe.model_copy(update={"seed": seed}), Path(scratch))
            fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
            adapted = PeftModel.from_pretrained(fresh, str(Path(scratch) / "adapter"))
        figures = {
            key: made[key] for key in ("steps", "tokens", "seconds", "tokens_per_second", "final_loss")
        }
        judge(adapted, when="after", seed=seed, **figures)


if __name__ == "__main__":
    main()
