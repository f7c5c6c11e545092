"""A tiny base, its data and a recipe, made here; and the training worker run on them in this process."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from holdfast import canonical
from holdfast.dataset import forms, prepared, profile
from holdfast.workers import train

if TYPE_CHECKING:
    from pathlib import Path

FACTS = [
    ("What is the fee for a boat?", "7 crowns"),
    ("What is the fee for a cart?", "9 crowns"),
    ("Who keeps the gate?", "Ada Finch"),
    ("Where is the mill?", "in Marren"),
    ("When is the market?", "on Tuesday"),
    ("Which form is for a boat? Please say only the name of the form.", "form B-2"),
]
TEMPLATE = (
    "{%- for message in messages -%}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
PATH = "data/facts.jsonl"
DIGESTS = {"base": "sha512:" + "b" * 128, "tokenizer": "t", "recipe": "r", "data": {PATH: "d"}}
RECIPE: dict[str, Any] = {
    "schema": "holdfast.recipe/1",
    "name": "tiny",
    "version": "1",
    "description": "A recipe for tests.",
    "method": "sft",
    "seed": 11,
    "loss": "answers",
    "checkpoint_every": 4,
    "state_every": 2,
    "data": [
        {
            "path": PATH,
            "role": "domain",
            "repeat": 2,
            "licence": "Apache-2.0",
            "label": {"level": "public", "compartments": [], "zones": ["site"]},
        }
    ],
    "tuning": {"type": "lora", "rank": 4, "alpha": 8, "dropout": 0.1, "targets": ["all-linear"]},
    "optimiser": {
        "learning_rate": 0.005,
        "schedule": "cosine",
        "warmup_steps": 2,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
    },
    "batch": {"sequence_length": 64, "sequences": 2, "packing": True, "steps": 10},
    "precision": {"dtype": "bf16", "threads": 1},
    "gate": [{"suite": "facts", "section": "all", "rule": "minimum", "value": 0.9}],
}


def changed(recipe: dict[str, Any] = RECIPE, **parts: Any) -> dict[str, Any]:
    """Give a recipe with other tables (merged) or other values."""
    return recipe | {
        name: recipe[name] | part if isinstance(part, dict) and name in recipe else part
        for name, part in parts.items()
    }


def without(name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Give a recipe without one of its keys."""
    return {key: value for key, value in recipe.items() if key != name}


# Runs of other methods that are killed in a pass: form and rows of the data, the recipe, and which pass. The first dies before
# there is a checkpoint.
KILLED: dict[str, tuple[forms.Form, list[dict[str, Any]], dict[str, Any], int]] = {
    "cpt-dora": (
        "text",
        [{"text": f"{asked} It is {answer}. " * 3} for asked, answer in FACTS],
        without("loss", changed(method="cpt", precision={"dtype": "fp32"}, tuning={"type": "dora"})),
        3,
    ),
    "dpo-full": (
        "preference",
        [{"prompt": asked, "chosen": answer, "rejected": "No."} for asked, answer in FACTS],
        without("loss", changed(method="dpo", dpo={"beta": 0.1}, batch={"packing": False}))
        | {"tuning": {"type": "full"}},
        7,
    ),
}


class Recorder:
    """Stands where the channel stands, and asks to stop after a step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.metrics: list[dict[str, Any]] = []
        self.steps: list[tuple[Any, ...]] = []
        self._stop_after = stop_after

    @property
    def cancelled(self) -> bool:
        # The step in progress is one more than the last that was reported.
        return self._stop_after is not None and len(self.metrics) + 1 >= self._stop_after

    def progress(self, step: str, done: int, total: int, **fields: object) -> None:
        self.steps.append((step, done, total, fields))

    def metric(self, **fields: object) -> None:
        self.metrics.append(fields)


def conversations(pairs: list[tuple[str, str]] = FACTS) -> list[dict[str, Any]]:
    """Give questions and answers as prepared rows."""
    return [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in pairs
    ]


def prepared_folder(
    folder: Path,
    form: forms.Form,
    rows: list[dict[str, Any]],
    *,
    held_out: list[dict[str, Any]] | None = None,
    path: str = PATH,
) -> Path:
    """Write a data set as its preparation leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in ((prepared.ROWS, rows), (prepared.HELD_OUT, held_out)):
        if found is not None:
            lines = [canonical.encode({"at": f"{path}:{at}", **row}) for at, row in enumerate(found, start=1)]
            (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / prepared.PROFILE).write_bytes(canonical.encode({"schema": profile.SCHEMA, "form": form}))
    return folder


def make_base(folder: Path) -> Path:
    """Make a Llama of 4 layers of 64 with random weights, and a byte-level tokenizer of 300 tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [" ".join(fact) for fact in FACTS],
        trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=sorted(alphabet)),
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", extra_special_tokens=special[2:]
    )
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(wrapped), hidden_size=64, intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=wrapped.eos_token_id, pad_token_id=wrapped.pad_token_id, dtype="bfloat16",
        initializer_range=0.3,  # random features that differ enough for an adapter to learn from
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


class Site:
    """Runs the training worker on the tiny base."""

    def __init__(self, base: Path, data: Path, out: Path) -> None:
        self.base = base
        self.data = data
        self.out = out
        self.out.mkdir(exist_ok=True)
        self.recorder = Recorder()

    def order(self, recipe: dict[str, Any] = RECIPE, **more: Any) -> dict[str, Any]:
        return {
            "recipe": json.loads(json.dumps(recipe)),
            "model": str(self.base),
            "data": {PATH: str(self.data)},
            "digests": DIGESTS,
            "out": str(self.out),
            "threads": 1,
            **more,
        }

    def train(
        self, recipe: dict[str, Any] = RECIPE, *, stop_after: int | None = None, **more: Any
    ) -> dict[str, Any]:
        self.recorder = Recorder(stop_after)
        return train.main(self.recorder, self.order(recipe, **more))

    def product(self, folder: str = "adapter") -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.out / folder).iterdir()
        }

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / name).read_text().splitlines()]

    def files(self) -> set[str]:
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file()}
