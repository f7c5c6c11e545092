"""Train the starter tokenizer and base model from scratch.

Order: read the recipe, train the tokenizer on its own stream of the corpus, then train the model on documents
laid end to end in rows, and save in the Hugging Face layout. Weights are computed in bf16 while the optimiser
keeps fp32 masters. Every step is logged as a line of JSON.

The run follows from the seed, but its last bits also depend on the processor, the thread count and the torch
version: repeating it elsewhere gives a model as good, not the same file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from scripts.starter import corpus
from scripts.starter import tokenizer as tok
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

_MATRIX = 2
Table = dict[str, Any]  # a table of the recipe: values of several types


def model_config(recipe: Table) -> LlamaConfig:
    """Build the model's configuration.

    Args:
        recipe: The whole recipe.

    Returns:
        A Llama configuration.
    """
    shape = recipe["shape"]
    return LlamaConfig(
        vocab_size=recipe["tokenizer"]["vocabulary"],
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers"],
        intermediate_size=shape["intermediate_size"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_value_heads"],
        max_position_embeddings=shape["context"],
        rope_parameters={"rope_type": "default", "rope_theta": shape["rope_theta"]},
        tie_word_embeddings=shape["tie_embeddings"],
        bos_token_id=None,
        eos_token_id=tok.SPECIAL_TOKENS.index(tok.END),
        pad_token_id=tok.SPECIAL_TOKENS.index(tok.PAD),
    )


def encode(tokenizer: Tokenizer, document: list[corpus.Piece]) -> tuple[list[int], list[float]]:
    """Turn a document into tokens with loss weights.

    Args:
        tokenizer: The starter tokenizer.
        document: Pieces in order.

    Returns:
        Token ids, and for each the weight of predicting it.
    """
    end = tok.SPECIAL_TOKENS.index(tok.END)
    ids: list[int] = []
    weights: list[float] = []
    for piece in document:
        words = tokenizer.encode(piece.text).ids
        if piece.role == "text":
            ids += [*words, end]
            weights += [piece.weight] * (len(words) + 1)
            continue
        ids += [tok.SPECIAL_TOKENS.index(f"<|{piece.role}|>"), *words, end]
        weights += [0.0] + [piece.weight] * (len(words) + 1)
    return ids, weights


def rows(tokenizer: Tokenizer, seed: int, stage: Table) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Lay documents end to end in rows.

    Args:
        tokenizer: The starter tokenizer.
        seed: Seed of the corpus.
        stage: The stage of the recipe.

    Yields:
        For each step token ids and loss weights, both (rows, row length).
    """
    stream = corpus.documents(seed, stage["stream"], stage["mixture"])
    ids: list[int] = []
    weights: list[float] = []
    for length in itertools.cycle(stage["row_lengths"]):
        need = stage["tokens_per_step"]
        while len(ids) < need:
            more, heavy = encode(tokenizer, next(stream))
            ids += more
            weights += heavy
        yield torch.tensor(ids[:need]).view(-1, length), torch.tensor(weights[:need]).view(-1, length)
        ids, weights = ids[need:], weights[need:]


def learning_factor(step: int, stage: Table) -> float:
    """Give the fraction of the learning rate at a step: linear warm-up, then linear decay.

    Args:
        step: Step of the stage, from 0.
        stage: The stage of the recipe.

    Returns:
        A factor from 0 to 1.
    """
    warm, last = stage["warmup_steps"], stage["decay_until"]
    if step < warm:
        return float((step + 1) / warm)
    left = (last - step) / (last - warm)
    return float(stage["final_fraction"] + (1 - stage["final_fraction"]) * left)


def optimisers(masters: dict[str, torch.Tensor], stage: Table) -> list[torch.optim.Optimizer]:
    """Build the optimisers over the fp32 masters: Muon on matrices, AdamW on embeddings and norms.

    Args:
        masters: Name to fp32 weight.
        stage: The stage of the recipe.

    Returns:
        Optimisers whose groups carry their full rate as `peak`.
    """
    matrices = [value for name, value in masters.items() if value.ndim == _MATRIX and "embed" not in name]
    others = [value for name, value in masters.items() if value.ndim != _MATRIX or "embed" in name]
    rate = stage["learning_rate"]
    built: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices, lr=rate, weight_decay=stage["weight_decay"], adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimiser in built:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return built


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Save model and tokenizer in the Hugging Face layout.

    Args:
        model: The bf16 model.
        tokenizer: The starter tokenizer.
        folder: Where to.
        context: Longest input in tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # it has no type hints
        eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id, do_sample=False
    )
    model.save_pretrained(folder)
    tok.save_tokenizer(tokenizer, folder, context)


@dataclass
class Run:
    """A training run: the model, its tokenizer, and how far it has come.

    Attributes:
        recipe: The whole recipe.
        model: The bf16 model.
        tokenizer: The starter tokenizer.
        log: Where a line of JSON goes for each step.
        out: Where the model is saved.
        save_every: Save every so many steps too; 0 for never.
        tokens: Tokens seen in all stages of this process.
        started: Monotonic time of the start, in seconds.
    """

    recipe: Table
    model: LlamaForCausalLM
    tokenizer: Tokenizer
    log: TextIO
    out: Path
    save_every: int
    tokens: int
    started: float

    def step_done(self, stage: Table, step: int, figures: Table) -> None:
        """Log a step.

        Args:
            stage: The stage of the recipe.
            step: Steps done in the stage.
            figures: What was measured.
        """
        seconds = time.monotonic() - self.started
        record = {
            "stage": stage["name"],
            "step": step,
            "tokens": self.tokens,
            **figures,
            "seconds": round(seconds, 1),
            "tokens_per_second": round(self.tokens / seconds),
        }
        self.log.write(json.dumps(record) + "\n")
        self.log.flush()
        if self.save_every and step % self.save_every == 0:
            self.save()

    def save(self) -> None:
        """Save model and tokenizer as they are now."""
        save(self.model, self.tokenizer, self.out, self.recipe["shape"]["context"])


def train_stage(run: Run, stage: Table) -> None:
    """Train one stage; the optimisers start afresh from the bf16 weights.

    Args:
        run: The run so far; its model is trained further.
        stage: The stage of the recipe.
    """
    model = run.model
    masters = {name: value.detach().float().clone() for name, value in model.named_parameters()}
    steppers = optimisers(masters, stage)

    @torch.compile(dynamic=False)
    def loss_of(ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        each = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        heavy = weights[:, 1:].flatten()
        return (each * heavy).sum() / heavy.sum()

    for step, (ids, weights) in enumerate(rows(run.tokenizer, run.recipe["seed"], stage)):
        if step == stage["steps"]:
            break
        loss = loss_of(ids, weights)
        loss.backward()  # type: ignore[no-untyped-call]  # it has no type hints
        for name, parameter in model.named_parameters():
            masters[name].grad = parameter.grad.float()  # type: ignore[union-attr]  # backward has set it
            parameter.grad = None
        norm = torch.nn.utils.clip_grad_norm_(list(masters.values()), stage["max_grad_norm"])
        factor = learning_factor(step, stage)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = group["peak"] * factor
            stepper.step()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(masters[name])
        run.tokens += ids.numel()
        figures = {
            "row_length": ids.shape[1],
            "loss": round(loss.item(), 4),
            "gradient_norm": round(float(norm), 3),
            "learning_rate": round(stage["learning_rate"] * factor, 7),
        }
        run.step_done(stage, step + 1, figures)


def train(
    recipe: Table, out: Path, log: Path, *, skip: list[str], start: Path | None, save_every: int
) -> None:
    """Train the tokenizer and every stage, saving after each.

    Args:
        recipe: The whole recipe.
        out: Folder for the model and tokenizer.
        log: Where the training log is appended, one JSON object a line.
        skip: Stages that `start` has been through already.
        start: Go on from this saved model; None to begin from scratch.
        save_every: Save every so many steps too; 0 for never.
    """
    torch.manual_seed(recipe["seed"])
    torch.set_num_threads(recipe["threads"])
    texts = itertools.islice(corpus.documents(recipe["seed"], "tokenizer"), recipe["tokenizer"]["documents"])
    tokenizer = tok.train_tokenizer((p.text for doc in texts for p in doc), recipe["tokenizer"]["vocabulary"])
    model = LlamaForCausalLM.from_pretrained(start) if start else LlamaForCausalLM(model_config(recipe))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as lines:
        run = Run(recipe, model.bfloat16().train(), tokenizer, lines, out, save_every, 0, time.monotonic())
        for stage in recipe["stage"]:
            if stage["name"] not in skip:
                train_stage(run, stage)
                run.save()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from this saved model")
    parser.add_argument(
        "--skip", nargs="*", default=[], metavar="STAGE", help="stages that it has been through"
    )
    parser.add_argument("--save-every", type=int, default=0, metavar="STEPS")
    options = parser.parse_args()
    recipe = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
    train(
        recipe,
        options.out,
        options.log,
        skip=options.skip,
        start=options.start,
        save_every=options.save_every,
    )


if __name__ == "__main__":
    main()
