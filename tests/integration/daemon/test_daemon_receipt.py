"""Receipts: made of admitted, rejected and refused imports, and verified on a machine that knows nothing but a fingerprint."""

from __future__ import annotations

import copy
import json

import pytest
from tests import recorded

from holdfast import canonical
from holdfast.audit.event import Actor
from holdfast.client import operations
from holdfast.errors import Conflict, NotPermitted, UntrustedBundle
from holdfast.report import folder, receipt, sign
from holdfast.report.sign import RECEIPT
from holdfast.report.verify import verify


@pytest.fixture
async def daemon(stocked):
    async with stocked.open() as opened:
        yield opened


async def written(daemon, request, who="aude"):
    out = daemon.place.folder / f"receipt-{request}"
    async with daemon.session(who) as client:
        job = (await client.call("POST", f"/v1/bundles/{request}/receipt"))["job"]
        await client.finish(job)
        await operations.save_report(client, job, out)
    return folder.read(out)


def told(files):
    return json.loads(files[RECEIPT.facts])


def resigned(daemon, files, facts):
    """Make what an appliance that lies could make: everything but the events' proofs is its own."""
    changed = {**files, RECEIPT.facts: canonical.encode(facts)}
    unsigned = {name: data for name, data in changed.items() if name != RECEIPT.signature}
    return {**unsigned, RECEIPT.signature: sign.sign(RECEIPT, unsigned, pair=daemon.services.appliance)}


def faults(verdict):
    return [problem.text for problem in verdict.problems if problem.file == RECEIPT.facts]


async def test_the_receipt_of_several_volumes_names_media_people_and_proofs(daemon, volumes):
    count = len(volumes)
    for number, medium in enumerate(volumes):
        who = "olga" if number == 1 else "alice"
        request = await daemon.take_in(daemon.place.insert(medium, f"v{number}"), who)
    await daemon.admit(request)
    files = await written(daemon, request)
    verdict = verify(files, fingerprint=daemon.services.appliance.public.fingerprint)
    assert (verdict.ok, verdict.form, verdict.site, verdict.compared) == (
        True,
        "import receipt",
        "Test site",
        True,
    )
    facts = told(files)
    assert facts["request"]["state"] == "admitted"
    assert facts["request"]["generation"] == 2
    assert [one["number"] for one in facts["volumes"]] == [*range(1, count + 1)]
    assert [one["requester"] for one in facts["volumes"]][:3] == ["alice", "olga", "alice"]
    assert all(
        one["medium"]["read_only"] is False and one["medium"]["filesystem"] for one in facts["volumes"]
    )
    assert facts["trust"]["holders"] == ["ada", "bo"]
    assert facts["trust"]["role"] == "targets"
    people = facts["people"]
    known = daemon.state.people
    assert people["requester"]["fingerprint"] == known["alice"].fingerprint
    assert people["approver"]["fingerprint"] == known["bob"].fingerprint
    assert people["approver"]["statement"]["request"] == str(request)
    assert len(people["approver"]["signatures"]) == 2
    assert len(facts["proofs"]) == 1 + 3 * count + 3 + 2
    assert len(facts["checkpoints"]) == 1
    assert {one["kind"] for one in facts["artefacts"]} == {"base", "tokenizer", "suite"}


async def test_a_rejection_and_a_refusal_have_receipts_too(daemon, media, monkeypatch):
    request = await daemon.take_in(daemon.place.insert(media.second, "second"))
    async with daemon.session("alice") as client:
        with pytest.raises(Conflict) as caught:
            await client.call("POST", f"/v1/bundles/{request}/receipt")
    assert caught.value.key == "receipt.undecided"
    await daemon.reject(request, reason="It was not ordered.")
    files = await written(daemon, request, "bob")
    assert verify(files).ok
    assert told(files)["request"]["reason"] == "It was not ordered."
    assert told(files)["people"]["approver"]["name"] == "bob"

    refused = await refuse(daemon, monkeypatch)
    files = await written(daemon, refused)
    assert verify(files).ok
    facts = told(files)
    assert facts["request"]["state"] == "refused"
    assert facts["people"]["approver"] is None
    assert [one["file"] for one in facts["findings"]] == ["model.safetensors", None]


async def refuse(daemon, monkeypatch):
    """Import a medium whose inspection finds two faults."""
    from holdfast.daemon import imports

    async def finding(*_, **__):
        raise UntrustedBundle(
            "inspect.refused",
            "Two faults.",
            remedy="Ask for another one.",
            findings=["base/tiny: gaps between tensors.", "adapter/x: no base."],
            keys=["formats.safetensors", "inspect.base"],
            files=["model.safetensors", ""],
        )

    with monkeypatch.context() as patch:
        patch.setattr(imports.workbench, "run_worker", finding)
        with pytest.raises(UntrustedBundle):
            await daemon.take_in(daemon.place.media_root / "second")
    return max(daemon.state.imports)


async def test_who_may_not_make_reports_makes_no_receipt(daemon):
    request = min(daemon.state.imports)
    async with daemon.session("olga") as client:
        with pytest.raises(NotPermitted):
            await client.call("POST", f"/v1/bundles/{request}/receipt")


async def test_even_its_own_appliance_cannot_make_a_receipt_say_what_the_log_does_not(daemon):
    request = min(daemon.state.imports)
    files = await written(daemon, request)
    facts = told(files)

    def lie(change):
        changed = copy.deepcopy(facts)
        change(changed)
        return faults(verify(resigned(daemon, files, changed)))

    assert lie(dict) == []  # a copy that nobody looks at
    for section, change in (
        ("people", lambda one: one["people"]["approver"].update(name="aude")),
        ("volumes", lambda one: one["volumes"][0]["medium"].update(read_only=True)),
        ("request", lambda one: one["request"].update(state="rejected")),
        ("findings", lambda one: one["findings"].append({"file": None, "key": "x", "sentence": "y"})),
        ("artefacts", lambda one: one["artefacts"].pop()),
        ("bundle", lambda one: one["bundle"].update(version="2")),
    ):
        assert f"what it says under {section!r} does not follow from its events" in lie(change)
    forged = facts["proofs"][1]["event"].replace("alice", "olgaa")
    assert "is not proven" in lie(lambda one: one["proofs"][1].update(event=forged))[0]
    assert lie(lambda one: one["proofs"].pop())
    listed = next(at for at, one in enumerate(facts["proofs"]) if "artefact.listed" in one["event"])

    def leave_out(one):
        del one["proofs"][listed], one["artefacts"][0]

    unlisted = "the artefacts that it carries are not the list that the import's outcome names"
    assert unlisted in lie(leave_out)
    assert lie(lambda one: one["checkpoints"].clear())
    assert lie(lambda one: one.update(checkpoints="x")) == ["its checkpoints are not a list of at most 16"]
    assert lie(lambda one: one["proofs"].reverse())
    assert lie(lambda one: one.pop("trust")) == ["its sections are not those of a receipt"]
    assert lie(lambda one: one.update(proofs=[])) == ["it carries 0 events; 1 to 4096 are allowed"]
    assert lie(lambda one: one.update(proofs=[{"seq": 1}])) == ["event 1 or its proof is missing"]


async def test_a_decision_without_the_second_persons_signature_is_seen(daemon, media, signed):
    """The log says that bob admitted, with a signature that alice made: whoever could write such a log is found out."""
    request = await daemon.take_in(daemon.place.insert(media.second, "second"))
    async with daemon.session("bob") as client:
        asked = await client.call("GET", f"/v1/bundles/{request}")
    body = signed(asked, "alice")
    bob = Actor(person="bob", uid=0, role="administrator", session="s")
    approval = {"statement": body["statement"], "signatures": body["signatures"]}
    params = {"request": request, "requester": "alice", "approval": approval}
    async with daemon.services.recorder.act(bob, "bundle.admit", params) as act:
        act.outcome = recorded.sample("bundle.admit.done", request=request, generation=2, artefacts=0)
    verdict = verify(await written(daemon, request))
    assert any("signature does not hold" in text for text in faults(verdict))


async def test_a_receipt_made_of_anything_is_refused_without_a_fault(daemon):
    files = await written(daemon, min(daemon.state.imports))
    for facts in ({}, [], None, 7, {"schema": receipt.SCHEMA}, dict.fromkeys(told(files)), {"proofs": [[]]}):
        assert not verify(resigned(daemon, files, facts)).ok
    assert not verify({RECEIPT.facts: b"\xff"}).ok


def test_the_command_line_writes_and_verifies_it(stocked, tmp_path):
    stocked.run("up")
    request = stocked.told("bundle", "list", who="alice")["imports"][0]["request"]
    out = tmp_path / "receipt"
    stocked.call("bundle", "receipt", str(request), "--out", str(out), who="alice")
    stocked.run("down")
    verified, _ = stocked.call("report", "verify", str(out))
    assert "verified: import receipt of Test site" in verified
    pdf = out / "receipt.pdf"
    pdf.write_bytes(pdf.read_bytes() + b" ")
    said, why = stocked.call("report", "verify", str(out), code=3)
    assert "NOT VERIFIED" in said
    assert "receipt.pdf: it was changed after it was signed" in why
