"""Serving with a real daemon: engines that die, are taken out and come back; loading and unloading; memory; TLS; the front's end."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from functools import partial

import httpx
import psutil
import pytest
from tests.integration.daemon.releasing import application, gguf, quantize, serve, train, train_whole
from tests.integration.serving.certificates import write_certificate

from holdfast.client import operations
from holdfast.config import ServingEntry, TlsEntry
from holdfast.daemon import resident
from holdfast.daemon.serve import deaths, measures
from holdfast.daemon.serve import engine as serveengine
from holdfast.daemon.serve import pool as servepool
from holdfast.daemon.serve.front import Front
from holdfast.errors import Conflict, HoldfastError, NoSpace, NotFound

pytestmark = pytest.mark.model
__all__ = ["gguf"]

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BODY = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 4,
    "temperature": 0,
}
LONG = {  # 28,800 tokens: seconds on the fastest machines, for what must happen in the middle of them
    "model": "tiny",
    "prompt": ["Hello"] * 8,
    "n": 8,
    "max_tokens": 450,
    "temperature": 1.0,
    "stream": True,
}


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def act(daemon, route, who="olga", **body):
    """Give an act of serving, and wait for its end."""
    async with daemon.session(who) as client:
        return await client.finish((await client.call("POST", f"/v1/serving/{route}", body))["job"])


async def refused(daemon, route, **body):
    with pytest.raises(HoldfastError) as caught:
        await act(daemon, route, **body)
    return caught.value


async def status(daemon):
    async with daemon.session("aude") as client:
        return await client.call("GET", "/v1/serving")


async def engine_of(daemon, model):
    """Describe the engine that answers for a model id."""
    return next(one for one in (await status(daemon))["engines"] if model in one["models"])


async def settled(daemon):
    async with asyncio.timeout(120):
        while daemon.services.serving.deployment.retiring:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)


def inner(pid):
    """Find the innermost process beneath a supervisor, which is the worker itself."""
    (found,) = [child for child in psutil.Process(pid).children(recursive=True) if not child.children()]
    return found.pid


def strike(pid):
    """Kill a worker itself, not its supervisor."""
    os.kill(inner(pid), signal.SIGKILL)


async def impatient(ask, request, seconds=resident.REPLY_SECONDS):
    """Ask an engine that is known to hang, and wait for no answer to a ping."""
    return await ask(request, 0.1 if request["op"] == "ping" else seconds)


async def broken_off(client, pid):
    """Have an engine killed in the middle of a stream; gives what the stream said then."""
    victim = inner(pid)
    async with client.stream("POST", TEXT, json=LONG) as stream:
        assert stream.status_code == 200
        lines = stream.aiter_lines()
        await anext(lines)
        os.kill(victim, signal.SIGKILL)
        return [line async for line in lines if line]


async def test_an_engine_that_dies_costs_its_answers_alone_and_one_that_dies_often_is_taken_out(
    daemon, gguf, monkeypatch
):
    monkeypatch.setattr(deaths, "FIRST_PAUSE", 0.01)
    await train(daemon, gguf, "lesson", 1)
    whole = await train_whole(daemon, gguf, "letters")
    address = (await serve(daemon))["address"]
    await act(daemon, "load", model=whole.adapter.digest, quantization="f16")
    kept = daemon.place.home.measured
    written = kept.stat().st_ino
    assert measures.find(kept, (await engine_of(daemon, "tiny"))["digest"]) is not None
    async with await application(daemon, address) as client:
        told = await broken_off(client, (await engine_of(daemon, "tiny"))["pid"])
        assert "ended unexpectedly" in told[-1]
        # The other model goes on; this one waits for its next engine.
        others = [client.post(CHAT, json=BODY | {"model": model}) for model in ("letters", "tiny")]
        assert [reply.status_code for reply in await asyncio.gather(*others)] == [200, 200]
        failed = daemon.events("answer.failed")
        assert [event.params["error"] for event in failed] == ["serve.engine-died"]
        assert (await daemon.until("serve.engine.restarted"))[0].params["models"] == ["tiny"]
        for count in (2, 3):
            strike((await engine_of(daemon, "tiny"))["pid"])
            await daemon.until("serve.engine.died", count)
            if count == 2:
                await daemon.until("serve.engine.restarted", 2)
        gone = (await daemon.until("serve.engine.withdrawn"))[0]
        assert (gone.params["models"], gone.params["deaths"]) == (["tiny"], 3)
        reply = await client.post(CHAT, json=BODY)
        assert reply.status_code == 503
        assert "died 3 times" in reply.text
        assert "the last time" not in reply.text  # how is the site's business
        assert (await client.post(CHAT, json=BODY | {"model": "letters"})).status_code == 200
        out = await engine_of(daemon, "tiny")
        assert (out["state"], out["pid"], out["deaths"]) == ("out", None, 3)
        assert "serve load" in out["remedy"]
        await act(daemon, "load", model="tiny")
        assert (await client.post(CHAT, json=BODY)).status_code == 200
        back = await engine_of(daemon, "tiny")
        assert (back["state"], back["deaths"], back["why"]) == ("up", 0, None)
    assert (
        kept.stat().st_ino == written
    )  # the next engines found what was measured, and measured nothing else
    async with daemon.session("olga") as client:
        await client.call("POST", "/v1/serving/stop")
    daemon.at_rest()
    assert (await status(daemon))["running"] is False


async def test_adapters_and_bases_come_and_go_while_others_are_answered(daemon, gguf):
    runs = [await train(daemon, gguf, "lesson", seed) for seed in (1, 2)]
    whole = await train_whole(daemon, gguf, "letters")
    address = (await serve(daemon, adapters=[runs[0].adapter.digest]))["address"]
    over, seen = asyncio.Event(), []

    async def hammer(client, model):
        while not over.is_set():
            reply = await client.post(CHAT, json=BODY | {"model": model})
            seen.append((model, reply.status_code, reply.headers.get("x-holdfast-adapter-digest")))

    async with await application(daemon, address) as client:
        asking = [asyncio.create_task(hammer(client, model)) for model in ("tiny", "tiny:lesson") * 2]
        # What has the same name and version as what is loaded is not loaded beside it.
        again = await refused(daemon, "load", model="tiny", adapters=[runs[1].adapter.digest])
        assert (again.key, again.exit_code) == ("serve.loaded", 6)
        third = await train(daemon, gguf, "third", 3)
        loaded = await act(daemon, "load", model="tiny", adapters=[third.adapter.digest])
        assert [model["id"] for model in loaded["models"]] == ["tiny", "tiny:lesson", "tiny:third"]
        for name in ("tiny:third", "tiny:third@1"):
            reply = await client.post(CHAT, json=BODY | {"model": name})
            assert reply.headers["x-holdfast-adapter-digest"] == third.lora.digest
        loaded = await act(daemon, "load", model=whole.adapter.digest, quantization="f16")
        assert "letters" in [model["id"] for model in loaded["models"]]
        assert (await client.post(CHAT, json=BODY | {"model": "letters"})).status_code == 200
        pid = (await engine_of(daemon, "letters"))["pid"]
        await act(daemon, "unload", model="letters")
        await act(daemon, "unload", model="tiny:third@1")
        for name in ("letters", "tiny:third"):
            assert (await client.post(CHAT, json=BODY | {"model": name})).status_code == 404
        await settled(daemon)
        async with asyncio.timeout(120):  # it ends by itself once nothing leads to it
            while psutil.pid_exists(pid):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        assert (await engine_of(daemon, "tiny"))["adapters"] == [runs[0].lora.digest]
        over.set()
        await asyncio.gather(*asking)
    assert {status for _, status, _ in seen} == {200}
    assert {(model, digest) for model, _, digest in seen} == {
        ("tiny", None),
        ("tiny:lesson", runs[0].lora.digest),
    }
    assert isinstance(await refused(daemon, "unload", model="tiny:third"), NotFound)
    assert (await refused(daemon, "unload", model="tiny")).key == "serve.last"
    assert (await refused(daemon, "start", model="tiny", quantization="q8_0")).key == "serve.running"
    assert [event.params["change"] for event in daemon.events("serve.change")] == [
        *("load", "load", "unload", "unload")
    ]


async def test_another_quantization_of_what_is_served_takes_over_without_dropping_a_request(daemon, gguf):
    run = await train(daemon, gguf, "lesson", 1)
    wide = await quantize(daemon, gguf, "f16")
    address = (await serve(daemon, adapters=[run.adapter.digest]))["address"]
    over, seen = asyncio.Event(), []

    async def hammer(client, model):
        while not over.is_set():
            reply = await client.post(CHAT, json=BODY | {"model": model})
            seen.append((model, reply.status_code, reply.headers.get("x-holdfast-model-digest")))

    async with await application(daemon, address) as client:
        asking = [asyncio.create_task(hammer(client, model)) for model in ("tiny", "tiny:lesson")]
        for quantization, weights in (("f16", wide), ("q8_0", run.weights)):
            loaded = await act(daemon, "load", model="tiny", quantization=quantization)
            assert [model["id"] for model in loaded["models"]] == ["tiny", "tiny:lesson"]
            assert loaded["models"][0]["digest"] == weights.digest
            for model in ("tiny", "tiny:lesson"):
                reply = await client.post(CHAT, json=BODY | {"model": model})
                assert (reply.status_code, reply.headers["x-holdfast-model-digest"]) == (200, weights.digest)
            await settled(daemon)
            async with asyncio.timeout(120):  # those who ask all the time have heard both, too
                while len({one[0] for one in seen if one[2] == weights.digest}) < 2:  # noqa: ASYNC110 - they tell nobody
                    await asyncio.sleep(0.01)
            (left,) = (await status(daemon))["engines"]
            assert (left["digest"], left["adapters"]) == (weights.digest, [run.lora.digest])
        over.set()
        await asyncio.gather(*asking)
        # What does not fit beside what runs changes nothing.
        daemon.services.serving.deployment.pool.budget = left["memory"]["total"] + 2**20
        assert (await refused(daemon, "load", model="tiny", quantization="f16")).key == "serve.memory"
        assert (await client.post(CHAT, json=BODY)).headers["x-holdfast-model-digest"] == run.weights.digest
    assert {status for _, status, _ in seen} == {200}
    assert {(model, digest) for model, _, digest in seen} == {
        (model, one.digest) for model in ("tiny", "tiny:lesson") for one in (wide, run.weights)
    }


async def test_an_engine_that_hangs_is_ended_and_what_the_next_one_can_not_be_given_is_told(
    daemon, gguf, monkeypatch
):
    monkeypatch.setattr(deaths, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(resident, "PROBE_SECONDS", 0.1)
    run = await train(daemon, gguf, "lesson", 1)
    address = (await serve(daemon, adapters=[run.adapter.digest]))["address"]
    (seat,) = daemon.services.serving.deployment.pool.seats.values()
    (file,) = (lane.path for lane in seat.lanes.values())
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(whole[:-1])
    asked = BODY | {"model": "tiny:lesson"}
    async with await application(daemon, address) as client:
        victim = inner((await engine_of(daemon, "tiny"))["pid"])
        async with client.stream("POST", TEXT, json=LONG) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            os.kill(victim, signal.SIGSTOP)
            seat.engine.ask = partial(impatient, seat.engine.ask)
            told = [line async for line in lines if line]
        assert "ended unexpectedly" in told[-1]
        (died,) = await daemon.until("serve.engine.died")
        assert died.params["how"] == "It answered none of 3 pings, and was ended."
        (back,) = await daemon.until("serve.engine.restarted")
        assert back.params["without"] == [run.lora.digest]
        found = await engine_of(daemon, "tiny")
        assert (found["state"], found["adapters"]) == ("up", [])
        assert (found["lacking"][0]["adapter"], found["why"]) == (run.lora.digest, None)
        refusal = await client.post(CHAT, json=asked)
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "60")
        assert "could not be loaded" in refusal.text
        assert (await client.post(CHAT, json=BODY)).status_code == 200
        assert (await refused(daemon, "load", model="tiny")).key == "serve.adapter-size"
        file.write_bytes(whole)
        await act(daemon, "load", model="tiny")
        assert (await client.post(CHAT, json=asked)).status_code == 200
        found = await engine_of(daemon, "tiny")
        assert (found["lacking"], found["adapters"]) == ([], [run.lora.digest])
        monkeypatch.setattr(serveengine, "STEP_SECONDS", -1.0)
        died = (await daemon.until("serve.engine.died", 2))[1]
        assert "A step took more than" in died.params["how"]


async def test_what_does_not_fit_is_refused_with_the_numbers_before_anything_is_served(daemon, gguf):
    await train(daemon, gguf, "lesson", 1)
    whole = await train_whole(daemon, gguf, "letters")
    with pytest.raises(NoSpace) as caught:
        await serve(daemon, memory_gb=0.001)
    assert caught.value.key == "serve.memory"
    assert "MiB, and 1 MiB are allowed" in caught.value.message
    assert (await status(daemon))["running"] is False
    await serve(daemon, context=64, parallel=1)
    (one,) = (await status(daemon))["engines"]
    need = one["memory"]["total"]
    async with daemon.session("olga") as client:
        await client.call("POST", "/v1/serving/stop")
    # A second engine is granted what the first one left.
    await serve(daemon, context=64, parallel=1, memory_gb=need * 1.2 / 1e9)
    found = await refused(daemon, "load", model=whole.adapter.digest, quantization="f16")
    assert (found.key, found.exit_code) == ("serve.memory", 7)
    assert "Other engines take" in found.message
    assert [model["id"] for model in (await status(daemon))["models"]] == ["tiny"]


async def test_weights_that_can_not_be_locked_in_memory_are_refused(daemon, gguf, monkeypatch):
    await train(daemon, gguf, "lesson", 1)
    site = daemon.services.site
    daemon.services.site = site.model_copy(update={"serving": ServingEntry(port=0, mlock=True)})
    monkeypatch.setattr(serveengine.resource, "getrlimit", lambda _: (4096, 4096))
    found = await refused(daemon, "start", model="tiny", quantization="q8_0")
    assert (found.key, found.fields["allowed_bytes"]) == ("serve.mlock", 4096)


async def test_a_front_that_dies_is_there_again_and_counts_on(daemon, gguf, monkeypatch):
    monkeypatch.setattr(deaths, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(servepool, "LOOK_SECONDS", 0.01)
    looks, over, ended = [], Front.over, Front._ended

    async def look(front):
        looks.append(front)
        await over(front)

    async def late(front):  # on a busy machine its engines are found ended long before it is itself
        while len(looks) < 5:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await ended(front)

    monkeypatch.setattr(Front, "over", look)
    monkeypatch.setattr(Front, "_ended", late)
    await train(daemon, gguf, "lesson", 1)
    address = (await serve(daemon))["address"]
    async with daemon.session("olga") as client:
        made = await client.call(
            "POST", "/v1/serving/keys", {"tenant": "desk", "level": "internal", "tokens_per_day": 100}
        )
    headers = {"authorization": f"Bearer {made['secret']}"}
    async with await application(daemon, address) as other:
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120) as client:
            small = BODY | {"max_tokens": 2}
            assert (await client.post(CHAT, json=small)).status_code == 200
            while (await client.post(CHAT, json=small)).status_code == 200:
                pass
        strike((await status(daemon))["front"]["pid"])
        await daemon.until("serve.front.restarted")
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120) as client:
            assert (await client.post(CHAT, json=small)).status_code == 429
        assert (await other.post(CHAT, json=BODY)).status_code == 200
    assert not daemon.events("serve.engine.died")
    for count in (2, 3):
        strike((await status(daemon))["front"]["pid"])
        await daemon.until("serve.front.died", count)
        if count == 2:
            await daemon.until("serve.front.restarted", 2)
    async with asyncio.timeout(120):
        while daemon.services.serving.running:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
    assert "ended 3 times" in (await status(daemon))["ended"]
    assert (await serve(daemon))["address"]


async def test_over_tls_only_who_has_a_certificate_and_a_key_is_answered(daemon, gguf, tmp_path):
    await train(daemon, gguf, "lesson", 1)
    folder = daemon.place.home.root / "tls"
    folder.mkdir()
    root = write_certificate(folder, "clients")
    write_certificate(tmp_path, "client", root)
    write_certificate(tmp_path, "stranger")
    named = TlsEntry(certificate="tls/server.pem", key="tls/server.key", clients="tls/clients.pem")
    services = daemon.services
    services.site = services.site.model_copy(update={"serving": ServingEntry(port=0, tls=named)})
    missing = await refused(daemon, "start", model="tiny", quantization="q8_0")
    assert missing.key == "serve.tls-missing"
    assert "tls/server.pem" in missing.message
    assert str(folder / "server.pem") in missing.remedy
    write_certificate(folder, "server", root)
    secrets = [(folder / "server.key").read_bytes()]
    (folder / "server.key").chmod(0o640)
    assert (await refused(daemon, "start", model="tiny", quantization="q8_0")).key == "serve.tls-open"
    (folder / "server.key").chmod(0o600)
    (folder / "server.pem").rename(folder / "aside")
    (folder / "server.pem").symlink_to(folder / "aside")
    assert (await refused(daemon, "start", model="tiny", quantization="q8_0")).key == "serve.tls-missing"
    (folder / "aside").rename(folder / "server.pem")
    address = (await serve(daemon))["address"]
    assert address.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(folder / "clients.pem"))
    async with await application(daemon, address) as plain:
        headers = dict(plain.headers)

    async def ask(context, url=address):
        async with httpx.AsyncClient(base_url=url, headers=headers, verify=context, timeout=120) as client:
            return await client.post(CHAT, json=BODY)

    with pytest.raises(httpx.TransportError):  # TLS 1.3 tells of the missing certificate with the first read
        await ask(trusting)
    shown = ssl.create_default_context(cafile=str(folder / "clients.pem"))
    shown.load_cert_chain(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    with pytest.raises(httpx.TransportError):
        await ask(shown)
    shown = ssl.create_default_context(cafile=str(folder / "clients.pem"))
    shown.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    assert (await ask(shown)).status_code == 200
    del headers["authorization"]
    assert (await ask(shown)).status_code == 401
    with pytest.raises(httpx.TransportError):
        await ask(shown, address.replace("https", "http"))
    await renew_while_somebody_is_connected(daemon, folder, tmp_path, shown, headers)
    secrets.append((folder / "server.key").read_bytes())
    kept = [path for path in services.home.root.rglob("*") if path.is_file() and path.parent != folder]
    told = b"".join(path.read_bytes() for path in kept)
    assert not any(secret.splitlines()[1] in told for secret in secrets)


async def renew_while_somebody_is_connected(daemon, folder, tmp_path, shown, headers):
    """Put another certificate in the place of the one that is shown; first some that no application would accept."""

    async def renew():
        async with daemon.session("olga") as client:
            return await client.call("POST", "/v1/serving/renew")

    async def unchanged(key, still=None):
        with pytest.raises(HoldfastError) as caught:
            await renew()
        assert caught.value.key == key
        found = (await status(daemon))["certificate"]
        assert found == {name: (still or first)[name] for name in ("certificate", "until")}

    first, address = (await status(daemon))["certificate"], (await status(daemon))["address"]
    async with httpx.AsyncClient(base_url=address, headers=headers, verify=shown, timeout=120) as before:
        assert (await before.get("/v1/models")).status_code == 401
        key = (folder / "server.key").read_bytes()
        write_certificate(folder, "server", ends=-0.5)
        await unchanged("serve.tls-expired")
        write_certificate(folder, "server", begins=0.5)
        await unchanged("serve.tls-early")
        write_certificate(folder, "server")
        fitting = (folder / "server.key").read_bytes()
        (folder / "server.key").write_bytes(key)
        await unchanged("serve.tls-fit")
        assert not daemon.events("serve.change")
        (folder / "server.key").write_bytes(fitting)
        told = await renew()
        assert told["certificate"] != first["certificate"]
        assert (await status(daemon))["certificate"] == {
            name: told[name] for name in ("certificate", "until")
        }
        assert (await before.get("/v1/models")).status_code == 401
    begun, ended = daemon.events("serve.change")[-1], daemon.events("serve.change.done")[-1]
    assert (begun.params["change"], begun.params["certificate"]) == ("renew", told["certificate"])
    assert (ended.cause, len(ended.params["models"])) == (begun.seq, 1)
    again = ssl.create_default_context(cadata=(folder / "server.pem").read_text())
    again.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    (folder / "server.pem").write_text("nothing of the kind")  # it is not read again before somebody says so
    strike(daemon.services.serving.deployment.front.pid)
    await daemon.until("serve.front.restarted")
    async with httpx.AsyncClient(base_url=address, headers=headers, verify=again, timeout=120) as after:
        assert (await after.get("/v1/models")).status_code == 401
    await unchanged("serve.tls-form", told)
    async with daemon.session("olga") as client:
        await client.call("POST", "/v1/serving/stop")
    with pytest.raises(Conflict, match="Nothing is served"):
        await renew()


async def test_what_engines_keep_of_a_tenants_prompts_is_wiped_when_it_is_erased(daemon, gguf):
    await train(daemon, gguf, "lesson", 1)
    address = (await serve(daemon))["address"]
    long = BODY | {"user": "ann", "messages": [{"role": "user", "content": "Where do I apply for it? " * 12}]}

    async def cached(client):
        usage = (await client.post(CHAT, json=long)).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    async with await application(daemon, address) as client:
        assert await cached(client) == 0
        assert await cached(client) > 0
        assert await daemon.services.serving.forget("somebody else")
        assert await cached(client) > 0
        body = {"tenant": "clinic", "subject": "ann", "reason": "They asked for it."}
        async with daemon.session("alice") as person:
            request = (await person.call("POST", "/v1/sealed/erase", body))["request"]
        async with daemon.session("bob") as person:
            await operations.grant_sealed(person, daemon.place.pairs["bob"], request)
        assert await cached(client) == 0


def test_the_command_line_from_the_start_to_the_stop(stocked, gguf):
    async def prepare():
        async with stocked.open() as daemon:
            return (await train(daemon, gguf, "lesson", 1)).adapter.digest

    adapter = asyncio.run(prepare())
    stocked.run("up")
    rules = ("--type", "q8_0", "--context", "256", "--parallel", "2", "--kv", "q8_0")
    out, _ = stocked.call("serve", "start", "--model", "tiny", *rules, who="olga")
    assert "  tiny\n" in out
    out, _ = stocked.call("serve", "load", "tiny", "--adapter", adapter, who="olga")
    assert "  tiny:lesson\n" in out
    found = stocked.told("serve", "status", who="aude")
    (engine,) = found["engines"]
    assert (engine["state"], engine["deaths"], engine["why"]) == ("up", 0, None)
    assert engine["models"] == ["tiny", "tiny:lesson", "tiny:lesson@1"]
    assert psutil.pid_exists(engine["pid"])
    assert 0 < engine["memory"]["total"] <= found["budget"]
    out, _ = stocked.call("serve", "status", who="aude")
    row = next(line for line in out.splitlines() if str(engine["pid"]) in line)
    assert row.split()[:3] == ["tiny", "q8_0", "up"]
    assert engine["quantization"] == "q8_0"
    assert row.split()[-4:-2] == [str(engine["context"]), engine["kv"]]
    assert (engine["context"], engine["kv"]) == (256, "q8_0")
    assert f"each computes {found['parallel']} sequences" in out
    assert "Engines may take" in out
    assert max(map(len, out.splitlines())) <= 80
    assert stocked.refused("serve", "unload", "tiny", who="olga", code=6)["key"] == "serve.last"
    assert stocked.refused("serve", "renew", who="olga", code=6)["key"] == "serve.no-tls"
    assert stocked.refused("serve", "unload", "tiny:lesson", who="aude", code=4)["key"] == "role.missing"
    assert stocked.told("serve", "unload", "tiny:lesson@1", who="olga")["models"][0]["id"] == "tiny"
    assert (
        stocked.refused("serve", "start", "--model", "tiny", *rules, who="olga", code=6)["key"]
        == "serve.running"
    )
    listed = stocked.told("audit", "log", "--action", "serve.start", who="aude")["events"]
    begun = next(one["params"] for one in listed if one["action"] == "serve.start")
    assert (begun["context"], begun["parallel"], begun["kv"]) == (256, 2, "q8_0")
    stocked.run("serve", "stop", who="olga")
    out, _ = stocked.call("serve", "status", who="aude")
    assert out.splitlines()[0] == "Nothing is served."
