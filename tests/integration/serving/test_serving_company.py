"""An answer is the same alone, in any company, after any history, and in a fresh engine; and it is nobody else's."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from tests.integration.serving.talk import Talk, ask

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.serving import link
from holdfast.serving.engine import widths
from holdfast.serving.engine.llama import Adapter, Row, Weights
from holdfast.serving.engine.prefix import CHUNK
from holdfast.serving.engine.threads import Threads

pytestmark = pytest.mark.model

# Short, exactly one chunk, just over one and just over two, so that chunk boundaries and the flash kernels' are crossed.
PROMPTS = ["What?", "y" * (CHUNK - 3), "z" * CHUNK, "The fee is due. " * 17, "q" * (2 * CHUNK + 1)]
LANES = ["", "one", "two"]
SEEDED = link.Sampling(temperature=1.0, top_p=0.9, seed=3)
FRESH = """
import json, sys
from pathlib import Path
from tests.integration.serving.test_serving_company import Talk, questions
engine = Talk(Path(sys.argv[1]), queue=64)
print(json.dumps([repr(engine.all(question)[0].answer) for question in questions()]))
engine.close()
"""


@pytest.fixture
def talk(models):
    """Starts engines and closes them."""
    started = []

    def start(**given):
        started.append(Talk(models, **({"queue": 64} | given)))
        return started[-1]

    yield start
    for one in started:
        one.close()


def questions(tenant="a"):
    """Every prompt in every lane, greedy and seeded, some with log-probabilities."""
    return [
        ask(prompt, lane, tenant, logprobs=at % 3 or None, **({} if at % 2 else {"sampling": SEEDED}))
        for lane in LANES
        for at, prompt in enumerate(PROMPTS)
    ]


@pytest.mark.parametrize("kv", ["f16", "q8_0"])
def test_an_answer_does_not_depend_on_company_history_or_what_was_kept(talk, kv):
    engine = talk(spec={"kv": kv})
    alone = [engine.all(question)[0].answer for question in questions()]
    assert len({str(answer) for answer in alone}) == len(alone)
    together = engine.all(*questions(), *questions("b"))
    assert [heard.answer for heard in together] == [*alone, *alone]
    again = [engine.all(question)[0] for question in questions()[::-1]]
    assert [heard.answer for heard in again[::-1]] == alone
    fresh = talk(spec={"kv": kv})
    for at in (0, 8, 14):
        assert fresh.all(questions()[at])[0].answer == alone[at]


def test_an_answer_after_any_history_is_that_of_a_fresh_process(talk, models):
    engine = talk()
    engine.all(*questions("b"), *questions())
    told = [repr(engine.all(question)[0].answer) for question in questions()]
    fresh = subprocess.run(
        [sys.executable, "-c", FRESH, str(models)], capture_output=True, check=True, timeout=120
    )
    assert json.loads(fresh.stdout) == told


def test_long_sequences_that_two_threads_share_give_the_same_alone_and_in_company(talk):
    engine = talk(threads=2, lanes=())
    asked = [
        (PROMPTS[4], 3),
        ("The fee. " * 55, 3),
        ("r" * 252, 8),
    ]  # the last grows beyond SOLO while it is answered
    alone = [engine.one(prompt, most=most, logprobs=0).answer for prompt, most in asked]
    together = engine.all(*(ask(prompt, tenant="b", most=most, logprobs=0) for prompt, most in asked))
    assert [heard.answer for heard in together] == alone


def test_what_is_kept_of_a_prompt_speeds_the_next_and_changes_nothing(talk):
    engine = talk()
    first = engine.one(PROMPTS[4])
    second = engine.one(PROMPTS[4])
    assert (first.done.cached_tokens, second.done.cached_tokens) == (0, 2 * CHUNK)
    assert second.answer == first.answer
    longer = engine.one(PROMPTS[4] + "and so on", logprobs=2)
    assert longer.done.cached_tokens == 2 * CHUNK
    assert longer.answer == talk().one(PROMPTS[4] + "and so on", logprobs=2).answer
    assert engine.one(PROMPTS[4], lane="one").done.cached_tokens == 0
    assert engine.one(PROMPTS[4], tenant="b").done.cached_tokens == 0


def test_choices_share_a_prompt_and_equal_those_of_a_fresh_engine(talk):
    engine = talk()
    given = {"choices": 6, "sampling": SEEDED, "logprobs": 1}
    many = engine.one(PROMPTS[3], **given)
    assert len(set(many.texts.values())) == 6
    engine.all(*questions("b"))
    assert engine.one(PROMPTS[3], **given).answer == many.answer
    fewer = talk(parallel=1).one(PROMPTS[3], **given)  # one after the other, each with its own sequence
    assert fewer.answer == many.answer
    assert many.done.prompt_tokens == fewer.done.prompt_tokens
    assert many.done.completion_tokens == 6 * 12


def test_no_canary_is_ever_seen_elsewhere(talk):
    """Two tenants with secrets alternate adapters under load, caches on; every answer is a fresh engine's."""
    engine = talk(parallel=3)
    shuffled = random.Random(5)  # noqa: S311 - an order, not a secret
    secrets = {tenant: f"The password of {tenant} is {tenant * 9}. " * 9 for tenant in "kq"}
    asked = [
        ask(secrets[tenant] + tail, lane, tenant, sampling=sampling)
        for tenant in secrets
        for lane in LANES
        for tail, sampling in (("Say it.", SEEDED), ("Go on.", link.Sampling(temperature=0.0)))
    ] * 2
    order = shuffled.sample(range(len(asked)), len(asked))
    renewed = [
        ask(asked[at].prompt.text, asked[at].lane, asked[at].tenant, sampling=asked[at].sampling)
        for at in order
    ]
    heard = engine.all(*renewed)
    fresh = talk(parallel=1)
    expected = {}
    for at, one in zip(order, heard, strict=True):
        key = (asked[at].prompt.text, asked[at].lane, asked[at].sampling.temperature)
        if key not in expected:
            expected[key] = fresh.all(
                ask(key[0], key[1], f"fresh-{len(expected)}", sampling=asked[at].sampling)
            )[0]
            assert expected[key].done.cached_tokens == 0
        assert one.answer == expected[key].answer
    assert any(one.done.cached_tokens for one in heard)
    for tenant, other in ("kq", "qk"):
        assert engine.one(secrets[other] + "Say it.", tenant=tenant).done.cached_tokens == 0
    assert all(
        secret[30:60] not in text
        for secret in secrets.values()
        for one in heard
        for text in one.texts.values()
    )


@pytest.mark.parametrize("adapter", [None, "one"])
def test_every_step_width_in_use_gives_the_same_scores(settings, models, adapter):
    weights = Weights(settings.models[0])
    threads = Threads(weights.llama, 1)
    opened = None if adapter is None else Adapter(weights, str(models / f"{adapter}.gguf"), adapter, 1.0)
    alone = weights.context(None, 6, threads)
    size = weights.vocabulary.size
    used = widths.measure(alone, size)
    alone.close()
    if opened is not None:
        used = used.with_adapter()
    context = weights.context(opened, 6, threads)

    def scores(company, position):
        found = {}
        for step in widths.steps(company, used):
            rows = [
                Row(at, (31 * at + 7 * position) % size, position if at in company else 0, scored=True)
                for at in step
            ]
            computed = context.compute(rows)
            found |= {row.sequence: np.array(one) for row, one in zip(rows, computed, strict=True)}
            for at in set(step) - set(company):
                context.trim(at, 0)
        return found

    expected = {at: [scores([at], position)[at] for position in range(30)] for at in range(6)}
    for company in ([0, 1], [1, 2, 3], [0, 2], [0, 1, 3, 4], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]):
        for at in range(6):
            context.trim(at, 0)
        for position in range(30):
            found = scores(company, position)
            assert all(np.array_equal(found[at], expected[at][position]) for at in company)
    context.close()
    if opened is not None:
        opened.close()
    threads.close()
    weights.close()


def test_a_step_that_llama_refuses_is_a_fault_and_not_a_crash(settings):
    weights = Weights(settings.models[0])
    threads = Threads(weights.llama, 1)
    context = weights.context(None, 1, threads)
    with pytest.raises(WorkerFailed):
        context.compute([Row(0, weights.vocabulary.size + 5, 0, scored=True)])
    assert len(context.compute([Row(0, 5, 0, scored=True)])) == 1
    context.close()
    threads.close()
    weights.close()


def test_a_damaged_model_and_a_strange_adapter_are_refused(talk, settings, models, tmp_path):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes((models / "base.gguf").read_bytes()[:5000])
    with pytest.raises(UntrustedBundle, match="base"):
        Weights(settings.models[0].model_copy(update={"path": str(damaged)}))
    engine = talk(lanes=())
    with pytest.raises(UntrustedBundle, match="strange"):
        engine.host.attach("strange", 1.0, models / "base.gguf")
    assert engine.one("Hello").done
