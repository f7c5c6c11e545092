"""Applications' keys: on the record without anything by which they are known again, which only one file of the home holds."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from tests.integration.daemon import seeking

from holdfast.audit import verify
from holdfast.audit.event import Actor, Draft, Subject
from holdfast.client import copies
from holdfast.custody.restore import restore
from holdfast.daemon.serve import keys as servekeys
from holdfast.errors import (
    Conflict,
    NoSpace,
    NotFound,
    NotPermitted,
    UntrustedRequest,
    VerificationFailed,
)
from holdfast.governance.labels import Label
from holdfast.paths import Home
from holdfast.serving import keys

KEYS = "/v1/serving/keys"
LIMITED = {
    "tenant": "tax-office",
    "models": ["tiny:*", "tiny"],
    "level": "internal",
    "scopes": ["inference", "metrics"],
    "requests_per_minute": 60,
    "tokens_per_day": 1000,
    "parallel": 2,
}


def hash_of(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


def traces(secret):
    """Give every text by which a key could be known again."""
    return [secret, secret.split("-")[2], hash_of(secret)]


async def made(daemon, body=LIMITED, who="olga"):
    async with daemon.session(who) as client:
        return await client.call("POST", KEYS, body)


async def listed(daemon, who="aude"):
    async with daemon.session(who) as client:
        return {one["key"]: one for one in (await client.call("GET", KEYS))["keys"]}


def ring(daemon):
    return keys.KeyRing(keys.parse_all(servekeys.counting(daemon.services)))


async def test_a_key_is_made_listed_matched_and_revoked(daemon):
    told = await made(daemon)
    assert told.keys() == {"key", "secret", "tenant"}
    found = ring(daemon).match(told["secret"])
    assert (found.id, found.tenant, found.scopes) == (told["key"], "tax-office", ("inference", "metrics"))
    assert (found.quota.requests_per_minute, found.quota.tokens_per_day, found.quota.parallel) == (
        60,
        1000,
        2,
    )
    one = (await listed(daemon))[told["key"]]
    assert (one["state"], one["scopes"], one["models"]) == (
        "valid",
        ["inference", "metrics"],
        LIMITED["models"],
    )
    assert (one["quota"]["parallel"], one["used"]["tokens"], one["clearance"]["level"]) == (2, 0, "internal")
    assert not [text for text in traces(told["secret"]) if text in json.dumps(one)]
    async with daemon.session("alice") as client:
        await client.call("DELETE", f"{KEYS}/{told['key']}")
        with pytest.raises(NotFound):
            await client.call("DELETE", f"{KEYS}/ffffffff")
    assert ring(daemon).match(told["secret"]) is None
    assert (await listed(daemon))[told["key"]]["state"] == "revoked"
    assert told["key"] not in daemon.place.home.key_hashes.read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "a/b"}, {"models": ["a*"]}, {"scopes": ["root"]}, {"scopes": ["metrics", "metrics"]},
        {"requests_per_minute": 0}, {"requests_per_minute": 10**6}, {"tokens_per_day": 2**45}, {"parallel": -1}, {"parallel": True},
    ],
)  # fmt: skip
async def test_a_key_that_no_key_can_be_is_refused_and_leaves_nothing(daemon, change):
    with pytest.raises(UntrustedRequest):
        await made(daemon, LIMITED | change)
    assert not daemon.events("serve.key.created")
    assert not daemon.place.home.key_hashes.exists()


async def test_who_may_not_make_keys_makes_none(daemon):
    with pytest.raises(NotPermitted):
        await made(daemon, who="aude")
    assert not daemon.place.home.key_hashes.exists()


async def test_nothing_of_a_secret_or_its_hash_lies_anywhere_but_in_the_key_store(stocked, tmp_path):
    """The log, the index, a backup and the rest of the home are searched in every form a text may be written in."""
    out = tmp_path / "backup"
    async with stocked.open() as daemon:
        secret = (await made(daemon))["secret"]
        wanted = traces(secret)
        async with daemon.session(
            "aude"
        ) as client:  # the index compresses what it holds, so it is asked by its own means
            for text in wanted:
                half = len(text) // 2
                like = f"'%{text[:half]}' || '{text[half:]}%'"
                sql = f"SELECT count(*) FROM events WHERE events::VARCHAR LIKE {like}"  # noqa: S608 - our own texts
                answer = await client.call("POST", "/v1/audit/sql", {"sql": sql})
                assert answer["rows"] == [[0]]
            answer = await client.call("POST", "/v1/audit/sql", {"sql": "SELECT * FROM service_keys"})
            assert len(answer["rows"]) == 1
            assert not [text for text in wanted if text in json.dumps(answer)]
        async with daemon.session("alice") as client:
            job = (await client.call("POST", "/v1/audit/backup", {}))["job"]
            await client.finish(job)
            await copies.save(client, job, out, lambda *_: None)
    found = seeking.seek([stocked.home.root, out], wanted)
    assert found.keys() == {str(stocked.home.key_hashes)}
    assert secret.split("-")[2] not in stocked.home.key_hashes.read_text()
    assert hash_of(secret) in stocked.home.key_hashes.read_text()
    assert stocked.home.key_hashes.stat().st_mode & 0o777 == 0o600


async def test_a_restored_home_lists_its_keys_as_dead_and_makes_new_ones(stocked, tmp_path):
    out, new = tmp_path / "backup", Home(tmp_path / "new")
    async with stocked.open() as daemon:
        old, gone = await made(daemon), await made(daemon)
        async with daemon.session("alice") as client:
            await client.call("DELETE", f"{KEYS}/{gone['key']}")
            job = (await client.call("POST", "/v1/audit/backup", {}))["job"]
            await client.finish(job)
            await copies.save(client, job, out, lambda *_: None)
    verifiers = verify.parse_keys((stocked.home.log / "log.pub").read_bytes())
    told = restore(
        out, new, verifiers, salvaged=None, now=lambda: datetime.now(UTC), progress=lambda *_: None
    )
    assert [one for one in told.lost if "hashes of 1 applications' keys" in one]
    stocked.home.root.rename(tmp_path / "lost")
    new.root.rename(stocked.home.root)
    async with stocked.open() as daemon:
        states = {key: one["state"] for key, one in (await listed(daemon)).items()}
        assert states == {old["key"]: "dead", gone["key"]: "revoked"}
        assert ring(daemon).match(old["secret"]) is None
        again = await made(daemon)
        assert ring(daemon).match(again["secret"]).id == again["key"]
        async with daemon.session("alice") as client:
            await client.call("DELETE", f"{KEYS}/{old['key']}")  # a dead key can be put away
        assert (await listed(daemon))[old["key"]]["state"] == "revoked"


async def test_a_start_drops_hashes_that_the_log_does_not_know_and_keeps_the_others(founded):
    async with founded.open() as daemon:
        kept, revoked = await made(daemon), await made(daemon)
        store = daemon.services.key_hashes
        # As if the daemon had died: between hash and event of one key, between event and removal of another.
        store.put("ffffffff", "1" * 64)
        held = store.get(revoked["key"])
        async with daemon.session("alice") as client:
            await client.call("DELETE", f"{KEYS}/{revoked['key']}")
        store.put(revoked["key"], held)
    draft = founded.home.keys / ".applications.json.0.draft"
    draft.write_bytes(b"half")
    async with founded.open() as daemon:
        assert not draft.exists()
        text = founded.home.key_hashes.read_text()
        assert kept["key"] in text
        assert "ffffffff" not in text
        assert revoked["key"] not in text
        assert ring(daemon).match(kept["secret"]).id == kept["key"]


async def test_a_damaged_store_keeps_the_daemon_from_starting_until_it_is_moved_away(founded):
    async with founded.open() as daemon:
        told = await made(daemon)
    founded.home.key_hashes.write_text("{")
    with pytest.raises(VerificationFailed):
        async with founded.open():
            pass
    founded.home.key_hashes.rename(founded.home.root / "aside")
    async with founded.open() as daemon:
        assert (await listed(daemon))[told["key"]]["state"] == "dead"


async def test_a_key_whose_event_can_not_be_recorded_leaves_no_hash(daemon):
    recorder = daemon.services.recorder
    record = recorder.fact

    async def full(actor, action, params, **more):
        if action == "serve.key.created":
            assert params["key"] in daemon.place.home.key_hashes.read_text()  # the hash is there first
            raise NoSpace("audit.space", "The log is full.", remedy="Free space.")
        return await record(actor, action, params, **more)

    with mock.patch.object(recorder, "fact", full), pytest.raises(NoSpace):
        await made(daemon)
    assert servekeys.counting(daemon.services) == []
    assert json.loads(daemon.place.home.key_hashes.read_text())["hashes"] == {}


async def test_keys_that_are_made_at_once_are_all_kept(daemon):
    told = await asyncio.gather(*(made(daemon) for _ in range(8)))
    accepted = ring(daemon)
    assert all(accepted.match(one["secret"]).id == one["key"] for one in told)
    assert len(json.loads(daemon.place.home.key_hashes.read_text())["hashes"]) == 8


@pytest.mark.parametrize(("module", "bound"), [(keys, "MAX_KEYS"), (servekeys, "MAX_RING")])
async def test_there_are_no_more_keys_than_a_worker_takes(daemon, module, bound):
    await made(daemon)
    with mock.patch.object(module, bound, 1), pytest.raises(Conflict):
        await made(daemon)
    assert len(servekeys.counting(daemon.services)) == 1


async def answer(daemon, key, tokens, *, kind="chat", tenant="tax-office"):
    """Put a request and its answer on the record, as the front does."""
    log = daemon.services.log
    actor = Actor(f"{tenant}/{key}", None, "application")
    subject, label = (
        Subject("gguf", "sha512:" + "6" * 128),
        Label("internal", frozenset(), frozenset({"site"})),
    )
    sealed = {"commitments": {}, "sealed_for": "0" * 64}
    named = {"model": "tiny", "tenant": tenant, **sealed}
    asked = {
        **named,
        "model_digest": subject.digest,
        "adapter_digest": None,
        "key": key,
        "kind": kind,
        "prompt_tokens": 10,
    }
    came = {
        **named,
        "completion_tokens": tokens,
        "cached_tokens": 4,
        "milliseconds": 5.5,
        "first_ms": None,
        "processor_ms": 1000.0,
        "finish_reason": "stop",
    }
    begun = await daemon.services.recorder.record(Draft("answer", actor, subject, label, asked))
    await daemon.services.recorder.record(Draft("answer.done", actor, subject, label, came, begun.seq))
    assert log.size > begun.seq


async def test_usage_is_counted_for_keys_and_summed_up_with_energy_and_cost(place):
    place.energy = {"watts_per_core": 20.0, "price_per_kwh": 0.36}
    place.found()
    async with place.open() as daemon:
        told = await made(daemon)
        await answer(daemon, told["key"], 7)
        await answer(daemon, told["key"], 3, kind="tokenize")
        await answer(daemon, "0000000b", 1, tenant="law")
        one = (await listed(daemon))[told["key"]]
        assert (one["used"]["requests"], one["used"]["tokens"]) == (2, 20)
        day = datetime.now(UTC).date()
        assert servekeys.used(daemon.services)["tokens"][told["key"]] == 20
        async with daemon.session("alice") as client:
            route = "/v1/serving/usage"
            every = await client.call("GET", route, by="tenant,day")
            alone = await client.call("GET", route, tenant="law")
            none = await client.call("GET", route, by="model", until=day.isoformat())
            later = await client.call("GET", route, by="key", since=(day + timedelta(days=2)).isoformat())
            for query in ({"by": "person"}, {"since": "noon"}, {"until": "1"}):
                with pytest.raises(UntrustedRequest):
                    await client.call("GET", route, **query)
    assert every["by"] == ["day", "tenant"]
    assert [(row["tenant"], row["requests"], row["completion_tokens"]) for row in every["rows"]] == [
        ("law", 1, 1),
        ("tax-office", 2, 10),
    ]
    assert every["total"]["joules"] == 60.0  # three times one second at 20 W
    assert every["total"]["cost"] == pytest.approx(60 / 3.6e6 * 0.36)
    assert (every["currency"], every["how"]) == ("EUR", "estimated: processor time at 20 W a core")
    assert [row["requests"] for row in alone["rows"]] == [1]
    assert none["rows"] == later["rows"] == []
    assert none["total"]["requests"] == 0


async def test_a_restart_does_not_forget_what_was_used_today(founded):
    async with founded.open() as daemon:
        told = await made(daemon)
        await answer(daemon, told["key"], 7)
    async with founded.open() as daemon:
        assert servekeys.used(daemon.services)["tokens"] == {told["key"]: 17}


def test_the_commands_make_list_and_revoke_keys_and_show_usage(founded):
    founded.told("up")
    words = ("--model", "tiny:*", "--scope", "metrics", "--requests-per-minute", "60", "--parallel", "2")
    made_ = founded.told("serve", "keys", "create", "--tenant", "tax", *words, who="olga")
    assert keys.is_id(made_["key"])
    out, _ = founded.call("serve", "keys", "list", who="olga")
    row = next(line for line in out.splitlines() if made_["key"] in line)
    for word in ("tax", "valid", "metrics", "60/min, 2 at once", "tiny:*"):
        assert word in row
    assert founded.told("serve", "keys", "list", who="aude")["keys"][0]["quota"]["tokens_per_day"] is None
    assert made_["key"] in founded.call("serve", "keys", "revoke", made_["key"], who="olga")[0]
    assert founded.call("serve", "usage", who="aude")[0] == "Nothing was used.\n"
    assert founded.told("serve", "usage", "--by", "day", "--since", "2026-01-01", who="aude")["by"] == ["day"]
    assert founded.refused("serve", "usage", "--since", "noon", who="aude", code=2)["key"] == "usage.time"
    backwards = ("--since", "2026-02-01", "--until", "2026-01-31T23:00:00Z")
    assert founded.refused("serve", "usage", *backwards, who="aude", code=2)["key"] == "usage.time"
    odd = ("serve", "keys", "create", "--tenant", "tax", "--model")
    assert "BASE:*" in founded.refused(*odd, "tiny*", who="olga", code=1)["remedy"]
    founded.call(*odd, "tiny", "--requests-per-minute", "9" * 20, who="olga", code=2)
    out, err = founded.call(
        "serve", "keys", "create", "--tenant", "tax", "--level", "internal", "--compartment", "hr", who="olga"
    )
    assert keys.is_id(out.split("-")[1])  # the secret is alone on stdout, for a script
    assert len(out.splitlines()) == 1
    assert "shown this once" in err
    assert "internal +hr" in founded.call("serve", "keys", "list", who="olga")[0]
    founded.call("serve", "usage", "--by", "person", who="aude", code=2)
