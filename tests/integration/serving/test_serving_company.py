"""An answer is the same alone, in any company, after any history, and in a fresh engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.serving import widths
from holdfast.serving.engine import Engine
from holdfast.serving.llama import CHUNK, Row, Weights

pytestmark = pytest.mark.model

# Short, exactly one chunk, just over one and just over two, so that chunk boundaries are crossed.
PROMPTS = ["What?", "y" * (CHUNK - 3), "z" * CHUNK, "The fee is due. " * 17]
NAMES = ["base", "base:one", "base:two"]


def answer(client, name, prompt, **options):
    reply = client.chat.completions.create(
        model=name,
        messages=[{"role": "user", "content": prompt}],
        **({"temperature": 0, "max_tokens": 30} | options),
    )
    return reply.choices[0].message.content


@pytest.fixture
def fresh(settings, tmp_path, new_server):
    """Gives a client of a server that has answered nothing yet."""

    @contextmanager
    def start():
        running = new_server(settings, tmp_path / "fresh")
        try:
            with running.openai(running.cleared_text) as opened:
                yield opened
        finally:
            running.close()

    return start


@pytest.fixture
def client(server):
    with server.openai(server.cleared_text) as opened:
        yield opened


def together(client, asked):
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda one: answer(client, one[0], one[1], **one[2]), asked))


def test_side_by_side_answers_equal_those_alone_and_those_of_a_fresh_engine(client, fresh):
    greedy, seeded = {}, {"temperature": 1.0, "seed": 3}
    asked = [(name, prompt, (greedy, seeded)[at % 2]) for name in NAMES for at, prompt in enumerate(PROMPTS)]
    alone = [answer(client, name, prompt, **options) for name, prompt, options in asked]
    assert len(set(alone)) == len(alone)
    assert together(client, asked) == alone
    assert together(client, asked[::-1]) == alone[::-1]
    assert [answer(client, name, prompt, **options) for name, prompt, options in asked[::-1]] == alone[::-1]
    for at in (1, 4, 11):
        with fresh() as new:
            name, prompt, options = asked[at]
            assert answer(new, name, prompt, **options) == alone[at]


@pytest.mark.parametrize("adapter", [None, 0, 1])
def test_every_step_width_in_use_gives_the_same_scores(settings, adapter):
    model = settings.models[0]
    weights = Weights(model)
    alone = weights.context(None, 6, 1)
    used = widths.measure(alone, weights.size)
    alone.close()
    if adapter is not None:
        used = used.with_adapter()
    context = weights.context(None if adapter is None else model.adapters[adapter], 6, 1)

    def scores(company, position):
        found = {}
        for step in widths.steps(company, used):
            rows = [
                Row(
                    at, (31 * at + 7 * position) % weights.size, position if at in company else 0, scored=True
                )
                for at in step
            ]
            found |= {
                row.sequence: np.array(row_scores)
                for row, row_scores in zip(rows, context.compute(rows), strict=True)
            }
            for at in set(step) - set(company):
                context.clear(at)
        return found

    expected = {at: [scores([at], position)[at] for position in range(30)] for at in range(6)}
    for company in ([0, 1], [1, 2, 3], [0, 2], [0, 1, 3, 4], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]):
        for at in range(6):
            context.clear(at)
        for position in range(30):
            found = scores(company, position)
            assert all(np.array_equal(found[at], expected[at][position]) for at in company)
    context.close()
    weights.close()


def test_a_step_that_llama_refuses_is_a_fault_and_not_a_crash(settings):
    weights = Weights(settings.models[0])
    context = weights.context(None, 1, 1)
    with pytest.raises(WorkerFailed):
        context.compute([Row(0, weights.size + 5, 0, scored=True)])
    assert len(context.compute([Row(0, 5, 0, scored=True)])) == 1
    context.close()
    weights.close()


def test_a_damaged_model_and_a_strange_adapter_are_refused(settings, models, tmp_path):
    model = settings.models[0]
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes((models / "base.gguf").read_bytes()[:5000])
    with pytest.raises(UntrustedBundle, match="base"):
        Weights(model.model_copy(update={"path": str(damaged)}))
    strange = model.adapters[0].model_copy(update={"path": str(models / "base.gguf")})
    with pytest.raises(UntrustedBundle, match="one"):
        Engine(
            settings.model_copy(update={"models": (model.model_copy(update={"adapters": (strange,)}),)}), 1
        )
