"""Two people for one admission: who may, with what signature, when; and going back."""

from __future__ import annotations

import asyncio
import struct

import pytest
from tests import recorded

from holdfast import canonical
from holdfast.cli import service
from holdfast.client import operations
from holdfast.errors import Conflict, NotFound, NotPermitted, VerificationFailed
from holdfast.keys import person
from holdfast.keys.person import KeyPair
from holdfast.media import trusthome
from holdfast.store.generations import Generations


@pytest.fixture
async def waiting(daemon, media):
    """A request that waits to be admitted."""
    return await daemon.take_in(daemon.place.insert(media.first))


async def refused(daemon, request, body, who="bob"):
    async with daemon.session(who) as client:
        with pytest.raises(NotPermitted) as caught:
            await client.call("POST", f"/v1/bundles/{request}/admit", body)
    assert daemon.state.imports[request].state == "waiting"
    assert daemon.state.active == 0
    assert daemon.events("access.denied")[-1].params["reason"] == caught.value.key
    return caught.value


async def shown(daemon, request):
    async with daemon.session("bob") as client:
        return await client.call("GET", f"/v1/bundles/{request}")


async def test_an_import_waits_until_a_second_administrator_admits_it(daemon, waiting):
    assert daemon.state.active == 0
    before = trusthome.load(daemon.place.home.trust)
    assert before.timestamp is None
    async with daemon.session("bob") as client:
        pair = daemon.place.pairs["bob"]
        outcome = await operations.admit(client, pair, waiting, "It is the ordered one.")
    assert (outcome["generation"], daemon.state.imports[waiting].reason) == (1, "It is the ordered one.")
    assert {one["kind"] for one in outcome["artefacts"]} == {"base", "tokenizer", "suite"}
    assert all(daemon.state.is_active(one["digest"]) for one in outcome["artefacts"])
    assert trusthome.load(daemon.place.home.trust).timestamp is not None
    imported, admitted = daemon.events("bundle.import")[0], daemon.events("bundle.admit.done")[0]
    assert (imported.actor.person, admitted.actor.person) == ("alice", "bob")
    daemon.at_rest()


async def test_the_requester_cannot_admit_their_own_request(daemon, waiting):
    with pytest.raises(NotPermitted) as caught:
        await daemon.admit(waiting, "alice")
    assert (caught.value.key, caught.value.exit_code) == ("approval.own-request", 4)
    assert daemon.state.active == 0


@pytest.mark.parametrize("who", ["olga", "aude"])
async def test_no_other_role_admits(daemon, waiting, who):
    with pytest.raises(NotPermitted) as caught:
        await daemon.admit(waiting, who)
    assert (caught.value.key, caught.value.exit_code) == ("role.missing", 4)
    assert daemon.events("access.denied")[-1].params["person"] == who


async def test_an_auditor_changes_nothing(daemon, media):
    path = str(daemon.place.insert(media.first))
    async with daemon.session("aude") as client:
        for method, route, body in (
            ("POST", "/v1/bundles/import", {"path": path}),
            ("POST", "/v1/bundles/1/reject", {"reason": "no", "statement": {}, "signatures": []}),
            ("POST", "/v1/bundles/discard", {"named": "1"}),
            ("POST", "/v1/store/gc", {}),
            ("POST", "/v1/store/scrub", None),
            ("POST", "/v1/bundles/rollback", {"generation": 1}),
            ("POST", "/v1/serving/renew", None),
            ("POST", "/v1/serving/stop", None),
            ("POST", "/v1/serving/keys", {"tenant": "me"}),
        ):
            with pytest.raises(NotPermitted) as caught:
                await client.call(method, route, body)
            assert caught.value.key == "role.missing"
    assert not daemon.state.acts


async def test_an_approval_is_for_one_request_at_one_site(daemon, waiting, signed):
    asked = await shown(daemon, waiting)
    for change in (
        {"request": waiting + 1},
        {"site": "Elsewhere"},
        {"action": "bundle.reject"},
        {"digest": "sha512:" + "0" * 128},
        {"requester": "olga"},
    ):
        error = await refused(daemon, waiting, signed(asked, "bob", **change))
        assert error.key == "approval.other-request"


async def test_an_approval_expires_and_cannot_be_signed_for_long(daemon, waiting, signed):
    asked = await shown(daemon, waiting)
    assert (await refused(daemon, waiting, signed(asked, "bob", hours=-0.1))).key == "approval.expired"
    assert (await refused(daemon, waiting, signed(asked, "bob", hours=24 * 8))).key == "approval.too-long"
    assert (await refused(daemon, waiting, signed(asked, "bob", expires="soon"))).key == "approval.expiry"


async def test_an_approval_counts_only_with_its_signers_own_signature(daemon, waiting, signed):
    asked = await shown(daemon, waiting)
    assert (await refused(daemon, waiting, signed(asked, "alice"))).key == "keys.signature"
    changed = signed(asked, "bob")
    changed["statement"]["expires"] = signed(asked, "bob", hours=2)["statement"]["expires"]
    assert (await refused(daemon, waiting, changed)).key == "keys.signature"
    assert (
        await refused(daemon, waiting, signed(asked, "bob") | {"signatures": []})
    ).key == "keys.signature-form"


async def test_an_approval_is_used_once(daemon, waiting, signed):
    body = signed(await shown(daemon, waiting), "bob")
    async with daemon.session("bob") as client:
        await client.call("POST", f"/v1/bundles/{waiting}/admit", body)
        with pytest.raises(Conflict) as caught:
            await client.call("POST", f"/v1/bundles/{waiting}/admit", body)
    assert (caught.value.key, caught.value.exit_code) == ("bundle.decided", 6)
    assert len(daemon.state.generations) == 1


async def test_of_two_decisions_at_once_one_counts(daemon, waiting, signed):
    asked = await shown(daemon, waiting)
    body = signed(asked, "bob")
    turned_down = signed(asked, "bob", what="rejection") | {"reason": "changed my mind"}
    async with daemon.session("bob") as client:
        ended = await asyncio.gather(
            client.call("POST", f"/v1/bundles/{waiting}/admit", body),
            client.call("POST", f"/v1/bundles/{waiting}/reject", turned_down),
            client.call("POST", f"/v1/bundles/{waiting}/admit", body),
            return_exceptions=True,
        )
    assert [isinstance(one, Conflict) for one in ended] == [False, True, True]
    assert daemon.state.imports[waiting].state == "admitted"
    daemon.at_rest()


async def test_a_rejected_import_leaves_nothing_but_its_record(daemon, waiting):
    await daemon.reject(waiting, reason="not ordered")
    with pytest.raises(Conflict):
        await daemon.admit(waiting)
    found = daemon.state.imports[waiting]
    assert (found.state, found.decided_by, found.reason) == ("rejected", "bob", "not ordered")
    event = daemon.events("bundle.reject")[0]
    assert event.params["approval"]["statement"]["action"] == "bundle.reject"
    assert not [*daemon.place.home.quarantine.iterdir()]
    daemon.at_rest()


async def test_a_rejection_takes_a_second_persons_signature_over_it(daemon, waiting, signed):
    asked = await shown(daemon, waiting)
    admission = signed(asked, "bob") | {"reason": "no"}
    with pytest.raises(NotPermitted) as caught:
        await daemon.reject(waiting, "alice")
    assert caught.value.key == "approval.own-request"
    async with daemon.session("bob") as client:
        with pytest.raises(NotPermitted) as caught:
            await client.call("POST", f"/v1/bundles/{waiting}/reject", admission)
    assert caught.value.key == "approval.other-request"
    assert daemon.state.imports[waiting].state == "waiting"


async def test_one_person_under_two_names_is_not_two(place, media, pairs):
    """Carol is in the site's document with alice's keys under her own name."""
    twin = KeyPair("carol", pairs["alice"].ed25519_seed, pairs["alice"].ml_dsa_87_seed)
    place.pairs = {**pairs, "carol": twin}
    place.site_document(alice=["administrator"], bob=["administrator"], carol=["administrator"])
    (place.folder / "keys" / "carol.pub").write_bytes(canonical.encode(twin.public.to_json()))
    service.found_home(place.home, place.folder / "site.toml")
    place.media_root.mkdir()
    place.pin(media.first)
    async with place.open() as daemon:
        request = await daemon.take_in(place.insert(media.first))
        with pytest.raises(NotPermitted) as caught:
            await daemon.admit(request, "carol")
        assert caught.value.key == "approval.same-key"
        await daemon.admit(request)
        assert daemon.state.active == 1


async def test_a_requester_takes_back_what_waits_and_nobody_else_does(daemon, waiting):
    async with daemon.session("bob") as client:
        with pytest.raises(NotPermitted) as caught:
            await client.call("POST", "/v1/bundles/discard", {"named": str(waiting)})
    assert caught.value.key == "bundle.not-yours"
    with pytest.raises(Conflict) as caught:
        await daemon.take_in(daemon.place.media_root / "medium")
    assert (caught.value.key, caught.value.fields["request"]) == ("bundle.waiting", waiting)
    manifest = daemon.state.imports[waiting].manifest
    async with daemon.session("alice") as client:
        done = await client.call("POST", "/v1/bundles/discard", {"named": manifest[7:20]})
        assert done["request"] == waiting
        with pytest.raises(NotFound):
            await client.call("POST", "/v1/bundles/discard", {"named": manifest})
    assert daemon.state.imports[waiting].state == "discarded"
    assert not [*daemon.place.home.quarantine.iterdir()]
    await daemon.admit(await daemon.take_in(daemon.place.media_root / "medium"))
    daemon.at_rest()


async def test_what_changed_in_quarantine_is_not_admitted(daemon, waiting):
    weights = next(daemon.place.home.quarantine.glob("*/stage/*/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o600)
    weights.write_bytes(bytes(data))
    with pytest.raises(VerificationFailed) as caught:
        await daemon.admit(waiting)
    assert caught.value.key == "bundle.quarantine"
    assert daemon.state.active == 0
    assert Generations(daemon.services.store).active() is None
    assert daemon.events("bundle.admit.failed")[0].params["error"] == "bundle.quarantine"


async def test_a_bundle_that_another_overtook_is_not_admitted(daemon, waiting, media):
    again = await daemon.take_in(daemon.place.insert(media.second, "second"))
    await daemon.admit(again)
    with pytest.raises(Conflict) as caught:
        await daemon.admit(waiting)
    assert caught.value.key == "bundle.overtaken"
    assert daemon.state.active == 1


async def test_going_back_makes_local_products_inactive_and_forth_active_again(stocked, media):
    async with stocked.open() as daemon:
        await daemon.admit(await daemon.take_in(stocked.insert(media.second, "second")))
        assert daemon.state.active == 2
        base, older = daemon.state.resolve("tiny@22"), daemon.state.generations[0].artefacts
        # A product of generation 2, as a conversion would record it.
        product = await _product(daemon, base)
        assert daemon.state.is_active(product.digest)
        async with daemon.session("alice") as client:
            back = await client.call("POST", "/v1/bundles/rollback", {"generation": None})
            assert back == {"generation": 1, "from": 2}
            assert not daemon.state.is_active(product.digest)
            assert not daemon.state.is_active(base.digest)
            assert all(daemon.state.is_active(one) for one in older)
            listed = await client.call("GET", "/v1/artefacts", kind="gguf")
            assert [one["active"] for one in listed["artefacts"]] == [False]
            for goal, error in ((1, Conflict), (7, NotFound), (None, NotFound)):
                with pytest.raises(error):
                    await client.call("POST", "/v1/bundles/rollback", {"generation": goal})
            await client.call("POST", "/v1/bundles/rollback", {"generation": 2})
        assert daemon.state.is_active(product.digest)
        daemon.at_rest()
    async with stocked.open() as daemon:
        assert daemon.state.active == 2
        daemon.at_rest()


async def _product(daemon, base):
    from holdfast.artefact import Kind
    from holdfast.audit.event import Actor
    from holdfast.daemon import intake

    made = daemon.place.folder / "made.gguf"
    table = b"GGUF" + struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"w", 1, 8, 0, 0)
    made.write_bytes(table + bytes(-len(table) % 32 + 32))
    found = await intake.adopt(
        daemon.services,
        Kind.GGUF,
        "tiny",
        "1",
        {"f16.gguf": made},
        label=base.label,
        parents=(base.digest,),
        meta={"base": base.digest, "quantization": "q8_0", "part": "model"},
    )
    olga = Actor(person="olga", uid=0, role="operator", session="s")
    async with daemon.services.recorder.act(olga, "model.quantize", recorded.sample("model.quantize")) as act:
        act.outcome = recorded.sample("model.quantize.done", artefacts=[found.to_json()])
    return found


async def test_a_root_that_was_exchanged_behind_the_logs_back_is_not_used(daemon, press):
    other = type(press)(press.folder / "other", [person.generate("ada"), person.generate("bo")])
    forged = other.publish("forged", version="1")
    root = (forged / "metadata" / "1.root.json").read_bytes()
    trust = daemon.place.home.trust / trusthome.FILE
    trust.write_bytes(trusthome._encode(trusthome.TrustState(root)))
    with pytest.raises(VerificationFailed) as caught:
        await daemon.take_in(daemon.place.insert(forged, "forged"))
    assert caught.value.key == "trust.not-recorded"
    daemon.at_rest()
