"""Tenants with secrets, through a real daemon: adapters alternate, caches are on, many ask at once, some go away.

Nobody's secret is in anything that another is told, and every answer is that of an engine that has seen nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import random

import httpx
import pytest
from tests.integration.daemon.releasing import gguf, serve, train

pytestmark = pytest.mark.model
__all__ = ["gguf"]

TENANTS = ("clinic", "ministry", "tax-office")
MODELS = ("tiny", "tiny:lesson", "tiny:letters")
HOW = ({"temperature": 0, "echo": True}, {"temperature": 1.3, "seed": 7, "logprobs": 2})
AT_ONCE = 10


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


def secret(tenant):
    """A canary that fills more than a chunk of a prompt, and that no other tenant's prompt begins with."""
    return f"{tenant} keeps the word {tenant[::-1]}-{len(tenant) * 7919}. " * 5


async def client(daemon, address, tenant, **more):
    async with daemon.session("olga") as person:
        body = {"tenant": tenant, "level": "internal", **more}
        key = (await person.call("POST", "/v1/serving/keys", body))["secret"]
    return httpx.AsyncClient(base_url=address, headers={"authorization": f"Bearer {key}"}, timeout=120)


def answered(reply):
    """What an application is told, but for what is another's at every asking: numbers of events, the cache's share."""
    assert reply.status_code == 200, reply.text
    (choice,) = reply.json()["choices"]
    return choice


def cached(reply):
    return reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


async def test_no_tenants_secret_is_told_to_another_and_every_answer_is_a_fresh_engines(daemon, gguf):
    runs = [await train(daemon, gguf, name, seed) for name, seed in (("lesson", 1), ("letters", 2))]
    adapters = [run.adapter.digest for run in runs]
    address = (await serve(daemon, adapters=adapters, parallel=3))["address"]
    questions = [
        {"model": model, "prompt": secret(tenant) + "Say it.", "max_tokens": 10, **how}
        for tenant, model, how in itertools.product(TENANTS, MODELS, HOW)
    ]
    owners = [tenant for tenant, _, _ in itertools.product(TENANTS, MODELS, HOW)]
    clients = {tenant: await client(daemon, address, tenant) for tenant in TENANTS}
    watcher = await client(daemon, address, "monitoring", scopes=["metrics"])
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(at):
        async with room:
            return at, await clients[owners[at]].post("/v1/completions", json=questions[at])

    async def leave(at):
        """Begin a stream, and go away in the middle."""
        body = questions[at] | {"stream": True, "max_tokens": 60}
        async with room, clients[owners[at]].stream("POST", "/v1/completions", json=body) as stream:
            await anext(stream.aiter_lines())

    order = [*range(len(questions))] * 2
    random.Random(3).shuffle(order)  # noqa: S311 - an order, not a secret
    work = [ask(at) for at in order] + [leave(at) for at in order[:6]]
    random.Random(5).shuffle(work)  # noqa: S311 - an order, not a secret
    heard = [found for found in await asyncio.gather(*work) if found is not None]
    assert any(cached(reply) for _, reply in heard)
    for at, reply in heard:
        others = set(TENANTS) - {owners[at]}
        whole = reply.text + str(reply.headers)
        assert not [tenant for tenant in others if tenant in whole or tenant[::-1] in whole]
        assert (secret(owners[at]) in whole) is bool(questions[at].get("echo"))
    # What another has made warm is cold to whoever asks for the same.
    for tenant, other in itertools.permutations(TENANTS, 2):
        stolen = questions[owners.index(other)]
        assert cached(await clients[tenant].post("/v1/completions", json=stolen | {"max_tokens": 1})) == 0
    shown = (await watcher.get("/metrics")).text
    assert not [tenant for tenant in TENANTS if tenant in shown]
    for one in (*clients.values(), watcher):
        await one.aclose()
    async with daemon.session("olga") as person:
        await person.call("POST", "/v1/serving/stop")
    # Another process, of which each tenant asks one question, alone.
    address = (await serve(daemon, adapters=adapters, parallel=3))["address"]
    fresh = []
    for at, question in enumerate(questions):
        async with await client(daemon, address, f"fresh-{at}") as one:
            reply = await one.post("/v1/completions", json=question)
            assert cached(reply) == 0
            fresh.append(answered(reply))
    for at, reply in heard:
        assert answered(reply) == fresh[at]
    begun = daemon.events("answer")
    ended = [
        event.cause for name in ("done", "cancelled", "failed") for event in daemon.events(f"answer.{name}")
    ]
    assert sorted(ended) == [event.seq for event in begun]
    assert not daemon.events("answer.failed")
