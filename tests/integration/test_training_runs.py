"""Training and evaluation on a tiny base that is made here: repeatable, stoppable, and able to learn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from holdfast.errors import UntrustedBundle, UntrustedRecipe
from holdfast.evaluation.spec import read_suite
from holdfast.training import checkpoints, environment, spec
from holdfast.workers import evaluate, train

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model

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
DIGESTS = {"base": "sha512:" + "b" * 128, "tokenizer": "t", "recipe": "r", "data": {"data/facts.jsonl": "d"}}
RECIPE = {
    "schema": "holdfast.recipe/1",
    "name": "tiny",
    "version": "1",
    "description": "A recipe for tests.",
    "method": "sft",
    "seed": 11,
    "loss": "answers",
    "checkpoint_every": 4,
    "data": [
        {
            "path": "data/facts.jsonl",
            "role": "domain",
            "repeat": 2,
            "licence": "Apache-2.0",
            "label": {"level": "public", "compartments": [], "zones": ["site"]},
        }
    ],
    "adapter": {"type": "lora", "rank": 4, "alpha": 8, "dropout": 0.1, "targets": ["all-linear"]},
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


class Recorder:
    """Stands where the channel stands, and asks to stop after a step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.metrics: list[dict] = []
        self.steps: list[tuple] = []
        self._stop_after = stop_after

    @property
    def cancelled(self) -> bool:
        # The step in progress is one more than the last that was reported.
        return self._stop_after is not None and len(self.metrics) + 1 >= self._stop_after

    def progress(self, step: str, done: int, total: int, **fields: object) -> None:
        self.steps.append((step, done, total, fields))

    def metric(self, **fields: object) -> None:
        self.metrics.append(fields)


@pytest.fixture(scope="module", autouse=True)
def libraries():
    """The model libraries as a worker prepares them; other tests get their environment back."""
    before = dict(os.environ)
    environment.prepare(1, tempfile.gettempdir())
    yield
    import torch

    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory, libraries) -> Path:  # noqa: ARG001 - prepared first
    """A Llama of 4 layers of 64 with random weights, and a byte-level tokenizer of 300 tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
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


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "facts.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in FACTS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "suite.toml").write_text(
        'schema = "holdfast.suite/1"\nname = "facts"\nversion = "1"\ndescription = "Facts."\nlicence = "Apache-2.0"\n'
        'items = "items.jsonl"\n[label]\nlevel = "public"\ncompartments = []\nzones = ["site"]\n'
        '[generation]\nmax_new_tokens = 24\n[[section]]\nname = "facts"\nmetric = "exact"\nprimary = true\n'
    )
    items = [
        {
            "id": f"f{at}",
            "section": "facts",
            "messages": [{"role": "user", "content": asked}],
            "answers": [answer],
        }
        for at, (asked, answer) in enumerate(FACTS)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


class Site:
    """Runs the training worker on the tiny base."""

    def __init__(self, base: Path, data: Path, tmp_path: Path) -> None:
        self.base = base
        self.data = data
        self.out = tmp_path / "out"
        self.out.mkdir()

    def train(self, recipe: dict = RECIPE, *, stop_after: int | None = None, resume: bool = False) -> dict:
        self.recorder = Recorder(stop_after)
        order = {
            "recipe": json.loads(json.dumps(recipe)),
            "model": str(self.base),
            "data": {"data/facts.jsonl": str(self.data)},
            "digests": DIGESTS,
            "out": str(self.out),
            "resume": resume,
            "threads": 1,
        }
        return train.main(self.recorder, order)

    def adapter(self) -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self.out / "adapter").iterdir()
        }

    def files(self) -> set[str]:
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file()}


@pytest.fixture
def site(base, data, tmp_path) -> Site:
    return Site(base, data, tmp_path)


def changed(**parts: dict) -> dict:
    return RECIPE | {name: RECIPE[name] | part for name, part in parts.items()}


@pytest.fixture(scope="module")
def uninterrupted(base, data, tmp_path_factory) -> tuple[dict, dict[str, str]]:
    site = Site(base, data, tmp_path_factory.mktemp("uninterrupted"))
    return site.train(), site.adapter()


def test_a_run_leaves_an_adapter_and_telemetry_and_nothing_else(site, uninterrupted):
    result = site.train()
    assert result["finished"]
    assert result["steps"] == 10
    assert result["adapter"] == ["adapter_model.safetensors", "adapter_config.json"]
    assert site.files() == {
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "telemetry.jsonl",
    }
    # The same manifest gives the same bytes.
    assert result["manifest"] == uninterrupted[0]["manifest"]
    assert site.adapter() == uninterrupted[1]


def test_every_step_is_reported(site):
    result = site.train()
    told = site.recorder.metrics
    assert [one["step"] for one in told] == list(range(1, 11))
    assert {"loss", "learning_rate", "tokens", "tokens_per_second", "eta_s", "steps"} <= told[-1].keys()
    assert told[-1]["tokens"] == result["tokens"]
    assert told[-1]["eta_s"] == 0.0
    written = [json.loads(line) for line in (site.out / "telemetry.jsonl").read_text().splitlines()]
    assert written == told


def test_an_adapter_names_its_base_by_digest_and_no_path(site, base):
    site.train()
    config = (site.out / "adapter" / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == DIGESTS["base"]
    weights = (site.out / "adapter" / "adapter_model.safetensors").read_bytes()
    for place in (str(base), str(site.out)):
        assert place not in config
        assert place.encode() not in weights


@pytest.mark.parametrize("stop", [4, 7])
def test_a_run_that_was_stopped_and_goes_on_ends_with_the_same_adapter(site, uninterrupted, stop):
    stopped = site.train(stop_after=stop)
    assert not stopped["finished"]
    assert stopped["adapter"] == []
    assert stopped["steps"] == stop
    assert checkpoints.latest(site.out / "checkpoints", run=stopped["run"])[1] == stop
    assert not (site.out / "adapter").exists()
    resumed = site.train(resume=True)
    assert (resumed["resumed_from"], resumed["steps"], resumed["finished"]) == (stop, 10, True)
    assert site.adapter() == uninterrupted[1]
    lines = (site.out / "telemetry.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 11))


def test_a_damaged_checkpoint_costs_steps_but_not_the_run(site, uninterrupted):
    site.train(stop_after=6)
    newest = site.out / "checkpoints" / "step-0000000006"
    (newest / "optimizer.pt").write_bytes(b"damaged")
    resumed = site.train(resume=True)
    assert resumed["resumed_from"] == 4
    assert site.adapter() == uninterrupted[1]


def test_a_changed_recipe_does_not_go_on_from_the_old_checkpoint(site):
    site.train(stop_after=6)
    resumed = site.train(changed(adapter={"alpha": 16}), resume=True)
    assert resumed["resumed_from"] == 0


@pytest.mark.parametrize(
    "recipe",
    [changed(batch={"packing": False}), changed(precision={"dtype": "fp32"})],
    ids=["unpacked", "fp32"],
)
def test_other_recipes_repeat_too_and_give_other_adapters(site, uninterrupted, recipe):
    stopped = site.train(recipe, stop_after=3)
    assert stopped["run"] != uninterrupted[0]["run"]
    site.train(recipe, resume=True)
    in_parts = site.adapter()
    shutil.rmtree(site.out / "adapter")
    site.train(recipe)
    assert site.adapter() == in_parts != uninterrupted[1]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("loss", ["answers", "all"])
def test_the_loss_is_the_mean_cross_entropy_of_the_learnt_tokens(site, base, data, packing, loss):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from holdfast.dataset.messages import read_rows
    from holdfast.training.tokens import encode_rows

    recipe = changed(batch={"packing": packing, "sequences": 12, "steps": 1}, precision={"dtype": "fp32"}) | {
        "loss": loss
    }
    site.train(recipe)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    read = read_rows(data.read_bytes(), file="f")
    total, count = 0.0, 0
    for one in encode_rows(read, tokenizer, loss=loss, sequence_length=99, file="f"):
        labels = torch.tensor(one.labels[1:])
        with torch.inference_mode():
            logits = model(torch.tensor([one.input_ids])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        count += int((labels != -100).sum())
    # Before the first step an adapter changes nothing.
    assert site.recorder.metrics[0]["loss"] == pytest.approx(total / count, rel=1e-4)


def test_epochs_come_to_steps(site):
    recipe = RECIPE | {"batch": {"sequence_length": 64, "sequences": 5, "packing": False, "epochs": 3}}
    result = site.train(recipe)
    assert result["manifest"]["plan"] == {
        "examples": 12,
        "rows": 12,
        "tokens": result["tokens"] // 3,
        "steps": 9,
    }


def test_an_example_longer_than_a_row_is_refused_with_its_line(site):
    with pytest.raises(UntrustedRecipe) as caught:
        site.train(changed(batch={"sequence_length": 30}))
    assert caught.value.key == "dataset.too-long"
    assert caught.value.fields["line"] == 6
    assert site.files() == set()


def test_a_loss_that_is_no_number_stops_the_run(site, base, tmp_path):
    from safetensors.torch import load_file, save_file

    site.base = shutil.copytree(base, tmp_path / "poisoned")
    weights = load_file(site.base / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, site.base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UntrustedRecipe) as caught:
        site.train()
    assert caught.value.key == "recipe.diverged"


def test_only_answers_are_learnt(base):
    from transformers import AutoTokenizer

    from holdfast.dataset.messages import Message, Row
    from holdfast.training.tokens import IGNORED, encode_rows

    tokenizer = AutoTokenizer.from_pretrained(base)
    turns = [
        Message("user", "Hm?"),
        Message("assistant", "One."),
        Message("user", "And?"),
        Message("assistant", "Two."),
    ]
    rows = [Row(1, tuple(turns))]
    one = encode_rows(rows, tokenizer, loss="answers", sequence_length=99, file="f")[0]
    learnt = [token for token in one.labels if token != IGNORED]
    assert tokenizer.decode(learnt) == "One.<|end|>Two.<|end|>"
    assert [
        token for token, label in zip(one.input_ids, one.labels, strict=True) if label not in (token, IGNORED)
    ] == []
    assert (
        tokenizer.decode(one.input_ids)
        == "<|user|>Hm?<|end|><|assistant|>One.<|end|><|user|>And?<|end|><|assistant|>Two.<|end|>"
    )
    every = encode_rows(rows, tokenizer, loss="all", sequence_length=99, file="f")[0]
    assert every.labels == every.input_ids == one.input_ids


def test_a_template_that_rewrites_earlier_turns_is_refused(base):
    from transformers import AutoTokenizer

    from holdfast.dataset.messages import Message, Row
    from holdfast.training.tokens import encode_rows

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ messages | length }}" + TEMPLATE
    rows = [Row(3, (Message("user", "Hm?"), Message("assistant", "One.")))]
    with pytest.raises(UntrustedRecipe) as caught:
        encode_rows(rows, tokenizer, loss="answers", sequence_length=99, file="f")
    assert caught.value.key == "dataset.template"


def test_packed_examples_do_not_see_each_other(base):
    import torch
    from transformers import AutoModelForCausalLM

    from holdfast.training.rows import Collator, to_dataset
    from holdfast.training.tokens import Example

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="sdpa").eval()
    examples = [Example(list(range(5, 5 + size)), list(range(5, 5 + size))) for size in (9, 20, 4, 13)]
    rows = list(to_dataset(examples, sequence_length=33, packed=True))
    batch = Collator(0, packed=True)(rows)
    assert [row["seq_lengths"] for row in rows] == [[20, 13], [9, 4]]
    with torch.inference_mode():
        packed = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        apart = [model(input_ids=torch.tensor([examples[at].input_ids])).logits[0] for at in (1, 3, 0, 2)]
    for logits, (row, start) in zip(apart, ((0, 0), (0, 20), (1, 0), (1, 9)), strict=True):
        assert torch.allclose(packed[row, start : start + len(logits)], logits, atol=1e-5)
    # No example is asked to predict the first token of the next.
    assert [batch["labels"][0, at].item() for at in (0, 20)] == [-100, -100]


@pytest.fixture(scope="module")
def learned(base, data, tmp_path_factory) -> Path:
    """An adapter that knows the facts; the base's random weights know none."""
    site = Site(base, data, tmp_path_factory.mktemp("learned"))
    recipe = changed(
        batch={"steps": 50, "packing": False, "sequences": 12},
        adapter={"rank": 16, "alpha": 32, "dropout": 0.0},
        optimiser={"learning_rate": 0.01},
    ) | {"checkpoint_every": 1000}
    result = site.train(recipe)
    assert result["final_loss"] < 0.1
    return site.out / "adapter"


def run_suite(runs: list[dict], base: Path, suite: Path, out: Path, recorder: Recorder | None = None) -> dict:
    order = {
        "runs": [{"engine": "transformers", "model": str(base)} | run for run in runs],
        "suites": {"facts": str(suite)},
        "threads": 1,
        "out": str(out),
    }
    return evaluate.main(recorder or Recorder(), order)


def test_an_adapter_is_judged_beside_its_base(base, suite, learned, tmp_path):
    ran = run_suite([{"id": "before"}, {"id": "after", "adapter": str(learned)}], base, suite, tmp_path)
    assert ran["finished"]
    assert ran["results"]["before"]["facts"]["score"] == 0.0
    assert ran["results"]["after"]["facts"]["score"] == 1.0
    assert ran["outcomes"] == ["before-facts.jsonl", "after-facts.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "after-facts.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in lines] == [answer for _, answer in FACTS]


def test_an_answer_does_not_depend_on_its_company(base, suite, learned):
    from holdfast.evaluation.generate_transformers import TransformersEngine

    for adapter in (None, learned):
        engine = TransformersEngine(base, adapter)
        head = (suite / "suite.toml").read_bytes()
        lines = (suite / "items.jsonl").read_bytes().splitlines()
        together = engine.answers(read_suite(head, b"\n".join(lines), file="s"), lambda _: None)
        alone = [engine.answers(read_suite(head, line, file="s"), lambda _: None)[0] for line in lines]
        assert together == alone


def test_an_evaluation_that_is_cancelled_says_so(base, suite, tmp_path):
    ran = run_suite([{"id": "before"}], base, suite, tmp_path, Recorder(stop_after=0))
    assert not ran["finished"]
    assert ran["results"] == {"before": {}}


def test_recipes_in_this_file_are_what_a_person_may_write():
    assert spec.from_json(RECIPE).name == "tiny"


def test_a_gguf_with_its_adapter_answers_as_the_original_does(base, suite, learned, tmp_path):
    from holdfast.gguf.convert import convert_adapter, convert_base

    convert_base(base, tmp_path / "f16.gguf", "tiny")
    convert_adapter(base, learned, tmp_path / "adapter.gguf")
    gguf = {"engine": "gguf", "gguf": str(tmp_path / "f16.gguf")}
    runs = [
        {"id": "base"},
        {"id": "base-gguf", **gguf},
        {"id": "adapted-gguf", **gguf, "lora": str(tmp_path / "adapter.gguf")},
    ]
    ran = run_suite(runs, base, suite, tmp_path)
    assert ran["results"]["adapted-gguf"]["facts"]["score"] == 1.0
    assert ran["results"]["base-gguf"] == ran["results"]["base"]


def test_a_file_that_is_no_gguf_is_refused(base, suite, tmp_path):
    (tmp_path / "not.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(UntrustedBundle) as caught:
        run_suite([{"id": "x", "engine": "gguf", "gguf": str(tmp_path / "not.gguf")}], base, suite, tmp_path)
    assert caught.value.key == "evaluation.gguf"
