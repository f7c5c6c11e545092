"""Both engines, over a suite with every metric that a model alone answers: alike, repeatable, and alone in their batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.integration.training import mixed
from tests.integration.training.kit import FACTS

from holdfast.errors import UntrustedBundle, UntrustedRecipe
from holdfast.evaluation import live, score
from holdfast.evaluation.generate import Words
from holdfast.evaluation.responses import Cost, Logs, Response, respond

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.evaluation.generate import Engine

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("libraries")]

CLOSE = 5e-3  # nats, relative: the tiny base is in f16 there and in f32 here


@pytest.fixture(scope="module")
def gguf(base, tmp_path_factory) -> Path:
    from holdfast.gguf.convert import convert_base

    path = tmp_path_factory.mktemp("gguf") / "f16.gguf"
    convert_base(base, path, "tiny")
    return path


@pytest.fixture(scope="module")
def original(base) -> Iterator[Engine]:
    from holdfast.evaluation.generate_transformers import TransformersEngine

    with TransformersEngine.open(base, None) as engine:
        yield engine


@pytest.fixture(scope="module")
def converted(base, gguf) -> Iterator[Engine]:
    from holdfast.evaluation.generate_gguf import GgufEngine
    from holdfast.evaluation.words import open_words

    engine = GgufEngine(gguf, None, open_words(base), 1)
    yield engine
    engine.close()


@pytest.fixture(params=["original", "converted"])
def engine(request) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


def quiet(_: int) -> None:
    pass


def test_responses_are_the_same_every_time_and_in_any_company(engine):
    whole = mixed.suite()
    together = respond(engine, whole, quiet)
    assert respond(engine, whole, quiet) == together
    for at, name in enumerate(mixed.SECTIONS):
        place = next(place for place, item in enumerate(whole.items) if item.section == name) + len(
            mixed.SECTIONS
        ) * (at % len(FACTS))
        assert respond(engine, replace(whole, items=(whole.items[place],)), quiet) == [together[place]]


def test_progress_counts_items_to_the_end(engine):
    seen: list[int] = []
    whole = mixed.suite()
    respond(engine, whole, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(whole.items)


def test_a_gguf_finds_texts_as_likely_as_the_original(original, converted):
    whole = mixed.suite(sections=("pick", "text"))
    for one, other in zip(respond(original, whole, quiet), respond(converted, whole, quiet), strict=True):
        assert _nats(one) == pytest.approx(_nats(other), rel=CLOSE)


@pytest.mark.filterwarnings("ignore")  # other makers' libraries warn as they like
@pytest.mark.parametrize(("family", "tied"), [("gemma3", True), ("mistral", False), ("phi3", False)])
def test_other_families_are_read_alike_by_both_engines(family, tied, tmp_path):
    from scripts import tinymodels

    from holdfast.dataset.messages import Message
    from holdfast.evaluation.generate_gguf import GgufEngine
    from holdfast.evaluation.generate_transformers import TransformersEngine
    from holdfast.evaluation.words import open_words
    from holdfast.gguf.convert import convert_base

    texts = [f"{question} {answer}" for question, answer in FACTS] * 20
    tinymodels.make(tmp_path / "base", family, texts, tied=tied, steps=4)
    convert_base(tmp_path / "base", tmp_path / "f16.gguf", family)
    engines: list[Engine] = [
        TransformersEngine.open(tmp_path / "base", None),
        GgufEngine(tmp_path / "f16.gguf", None, open_words(tmp_path / "base"), 1),
    ]
    passages = [" ".join(texts)[:3000], "  two  spaces\n\nand lines\t", "Ünïcödé 漢字 🙂"]
    # A window within the context, and one that the context limits.
    for window in (64, 100_000):
        one, other = (engine.costs(passages, window, quiet) for engine in engines)
        assert one == pytest.approx(other, rel=CLOSE)
    asked = engines[0].render([Message("user", "Who keeps the gate?")])
    one, other = (engine.loglikelihoods([(asked, "Ada Finch"), (asked, " nö")]) for engine in engines)
    assert one == pytest.approx(other, rel=CLOSE)
    engines[1].close()


def _nats(response: Response) -> tuple[float, ...]:
    assert isinstance(response, Logs | Cost)
    return response.nats if isinstance(response, Logs) else (response.nats,)


def test_a_likelihood_is_what_the_logits_say(original, base):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    text, asked = "The fee for a boat is 7 crowns.", "<|user|>Who?<|end|><|assistant|>"
    tokens = [tokenizer.eos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
    with torch.inference_mode():
        logs = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    wanted = sum(logs[at, token].item() for at, token in enumerate(tokens[1:]))
    assert original.costs([text], 256, quiet) == [pytest.approx(wanted, rel=1e-5)]
    given, chosen = tokenizer.encode(asked), tokenizer.encode(asked + "Ada Finch")
    with torch.inference_mode():
        logs = model(torch.tensor([chosen])).logits[0].log_softmax(-1)
    wanted = sum(logs[at - 1, chosen[at]].item() for at in range(len(given), len(chosen)))
    assert original.loglikelihoods([(asked, "Ada Finch")]) == [pytest.approx(wanted, rel=1e-5)]


def test_a_text_that_the_gguf_reads_in_other_tokens_is_refused(base, gguf):
    from holdfast.evaluation.generate_gguf import GgufEngine
    from holdfast.evaluation.words import open_words

    true = open_words(base)
    engine = GgufEngine(gguf, None, Words(true.render, lambda text: [*true.encode(text), 7], true.begin), 1)
    for ask in (
        lambda: engine.costs(["text"], 16, quiet),
        lambda: engine.loglikelihoods([("a", "b")]),
        lambda: engine.answers(mixed.suite(sections=("said",)).items, 4, quiet),
    ):
        with pytest.raises(UntrustedBundle) as caught:
            ask()
        assert caught.value.key == "evaluation.tokens"
    engine.close()


def test_a_choice_that_does_not_fit_is_refused(engine):
    rows = mixed.items()
    next(row for row in rows if row["id"] == "pick0")["messages"][-1]["content"] = "What? " * 300
    with pytest.raises(UntrustedRecipe) as caught:
        respond(engine, mixed.suite(rows, ("pick",)), quiet)
    assert caught.value.key == "suite.too-long"


def test_an_open_model_is_left_as_it_was_found(base):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from holdfast.evaluation.generate_transformers import TransformersEngine
    from holdfast.training.environment import without_deprecations

    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with without_deprecations():
        model = get_peft_model(plain, LoraConfig(r=4, lora_dropout=0.5, target_modules="all-linear"))
    model.train()
    model.get_submodule("base_model.model.model.layers.1").eval()  # a state that train() would not bring back
    model.config.use_cache = False
    modes = {name: one.training for name, one in model.named_modules()}
    buffers = {name: one.clone() for name, one in model.named_buffers()}
    random = torch.random.get_rng_state()
    with TransformersEngine.over(model, tokenizer) as engine:
        values = [live.value(engine, mixed.suite(), section) for section in ("text", "all")]
    # An adapter that has learnt nothing changes nothing; dropout would.
    opened = TransformersEngine.open(base, None)
    assert values == [pytest.approx(live.value(opened, mixed.suite(), one)) for one in ("text", "all")]
    assert values[0] < 0 < values[1]
    assert {name: one.training for name, one in model.named_modules()} == modes
    assert all(torch.equal(one, buffers[name]) for name, one in model.named_buffers())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert model.config.use_cache is False
    # The next step of training goes through: nothing that stayed was made for inference.
    model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()


def test_what_can_not_be_looked_at_while_training_is_refused(original):
    with pytest.raises(UntrustedRecipe, match="no section 'other'"):
        live.value(original, mixed.suite(), "other")


def test_the_harness_gets_the_same_numbers(original, base, tmp_path):
    """EleutherAI's lm-evaluation-harness on the exported task files, in this process, without a network."""
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from holdfast.evaluation import harness

    # Some of what the model says is made right, so that there is something to count.
    texts = original.answers(mixed.suite(sections=("said",)).items, 16, quiet)
    whole = mixed.suite(mixed.items({at: texts[at] for at in range(0, len(FACTS), 2)}))
    sections = score.result(whole, score.outcomes(whole, respond(original, whole, quiet)))["sections"]
    assert isinstance(sections, dict)
    for name, data in harness.export(whole, ("said", "like", "pick", "norm", "text")).items():
        (tmp_path / name).write_bytes(data)
    model = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(base),
        add_bos_token=False,
        batch_size=4,
        device="cpu",
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found: dict[str, float] = {}
    for tasks, window in (
        (["mixed_said", "mixed_like", "mixed_pick", "mixed_norm"], None),
        (["mixed_text"], 16),
    ):
        model._max_length = window
        ran = lm_eval.simple_evaluate(
            model, tasks=tasks, task_manager=manager, apply_chat_template=True, fewshot_as_multiturn=True,
            bootstrap_iters=0,
        )  # fmt: skip
        metrics = {
            "said": "exact_match",
            "like": "exact_match",
            "pick": "acc",
            "norm": "acc_norm",
            "text": "bits_per_byte",
        }
        for task, one in ran["results"].items():
            section = task.removeprefix("mixed_")
            found[section] = one[f"{metrics[section]},none"]
    assert found == {
        name: pytest.approx(sections[name]["score"], abs=2e-6)
        for name in ("said", "like", "pick", "norm", "text")
    }
    assert 0 < found["said"] < 1
    assert found["pick"] > 0
