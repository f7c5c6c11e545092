"""What one person, one medium or one worker alone might try: names, clocks, findings and damage, with a real daemon."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from tests import recorded
from tests.integration.daemon import late

from holdfast import canonical, errors
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.audit.event import Actor
from holdfast.audit.verify import MAX_EVENT
from holdfast.cli import keyfiles, output, service
from holdfast.client import operations
from holdfast.daemon import admissible, imports, intake, models, quarantine, workbench
from holdfast.daemon.recorder import Recorder
from holdfast.errors import (
    Conflict,
    NoSpace,
    NotFound,
    OperationFailed,
    UntrustedBundle,
    VerificationFailed,
    WorkerFailed,
)
from holdfast.governance import listing
from holdfast.keys import person
from holdfast.media import claims, trusthome
from holdfast.report import folder
from holdfast.report.sign import RECEIPT
from holdfast.report.verify import verify

OLGA = Actor(person="olga", uid=0, role="operator", session="s")


def later(daemon, **passed):
    """Move the daemon's clock."""
    daemon.services.now = lambda: datetime.now(UTC) + timedelta(**passed)


def base_of(medium):
    records = [one.artefact for one in claims.of_medium(medium).manifest.entries]
    return next(one for one in records if one.kind is Kind.BASE)


async def excepted(daemon, kind, subject, days):
    body = {"kind": kind, "subject": subject, "days": days, "reason": "There is no other."}
    async with daemon.session("alice") as client:
        request = (await client.call("POST", "/v1/exceptions", body))["request"]
    async with daemon.session("bob") as client:
        await operations.grant_exception(client, daemon.place.pairs["bob"], request)


async def test_what_expires_while_it_waits_is_admitted_only_under_an_exception(
    stocked, press, media, monkeypatch
):
    monkeypatch.setattr(operations, "APPROVAL_HOURS", 96)  # the client's clock stays where it is
    medium = late.revoke(
        press, "soon", media.first, base_of(media.first), reason="It leaks.", age=28, days=30
    )
    path = stocked.insert(medium, "soon")
    async with stocked.open() as daemon:
        request = await daemon.take_in(path)
        later(daemon, days=3)
        with pytest.raises(Conflict) as caught:
            await daemon.admit(request)
        assert caught.value.key == "bundle.expired"
        await excepted(daemon, "expired", caught.value.fields["medium"], 1)
        await daemon.admit(request)


async def test_what_came_in_under_an_exception_is_not_admitted_when_that_is_over(
    stocked, press, media, monkeypatch
):
    monkeypatch.setattr(operations, "APPROVAL_HOURS", 96)  # the client's clock stays where it is
    base = base_of(media.first)
    medium = late.revoke(press, "overdue", media.first, base, reason="It leaks.", age=60, days=30)
    path = stocked.insert(medium, "overdue")
    async with stocked.open() as daemon:
        with pytest.raises(UntrustedBundle) as caught:
            await daemon.take_in(path)
        subject = caught.value.fields["medium"]
        await excepted(daemon, "expired", subject, 2)
        request = await daemon.take_in(path)
        later(daemon, days=3)
        with pytest.raises(Conflict) as caught:
            await daemon.admit(request)
        assert caught.value.key == "bundle.expired"
        assert subject in caught.value.remedy
        assert daemon.state.imports[request].state == "waiting"
        await excepted(daemon, "expired", subject, 2)
        await daemon.admit(request)
        assert daemon.state.revocations.keys() == {base.digest}
        daemon.at_rest()


async def test_what_was_made_here_and_damaged_is_whole_once_it_was_made_again(stocked, tmp_path):
    source = tmp_path / "rows.jsonl"

    async def make(daemon):
        source.unlink(missing_ok=True)  # the store made it read-only, and holds it by another name
        source.write_text('{"question": "?"}\n')
        label = daemon.state.resolve("tiny", Kind.BASE).label
        found = await intake.adopt(
            daemon.services, Kind.DATASET, "rows", "1", {"rows.jsonl": source}, label=label
        )
        async with daemon.services.recorder.act(
            OLGA, "model.quantize", recorded.sample("model.quantize")
        ) as act:
            act.outcome = recorded.sample("model.quantize.done", artefacts=[found.to_json()])
        return found

    async with stocked.open() as daemon:
        found = await make(daemon)
        path = daemon.services.store.folder(found.digest) / "rows.jsonl"
        path.chmod(0o600)
        path.write_text('{"question": "!"}\n')
        async with daemon.session("bob") as client:
            await client.finish((await client.call("POST", "/v1/store/scrub"))["job"])
        assert found.digest in daemon.state.damaged
        await make(daemon)
        admissible.usable(daemon.services, found)
        daemon.services.store.verify(found)


async def test_a_media_s_gguf_is_not_taken_for_one_that_was_made_here(stocked):
    """A publisher writes the facts of what they publish; only a conversion on site says what a GGUF was made from."""
    async with stocked.open() as daemon:
        base = daemon.state.resolve("tiny", Kind.BASE)
        forged = Artefact(
            Kind.GGUF,
            "tiny",
            "1",
            (FileRef("q8_0.gguf", 1, base.files[0].digest),),
            base.label,
            parents=(base.digest,),
            meta={"base": base.digest, "quantization": "q8_0", "part": "model"},
        )
        recorder = daemon.services.recorder
        async with recorder.act(OLGA, "bundle.import", {"path": "/m"}) as act:
            for told in listing.divide(forged, {}):
                await recorder.fact(OLGA, listing.LISTED, told, cause=act.seq)
            told = {"artefacts": 1, "listing": listing.digest_of([forged.digest])}
            act.outcome = recorded.sample("bundle.import.done", **told)
        request = act.seq
        async with recorder.act(OLGA, "bundle.admit", recorded.sample("bundle.admit")) as act:
            act.outcome = recorded.sample("bundle.admit.done", request=request, generation=2)
        assert daemon.state.is_active(forged.digest)
        with pytest.raises(NotFound) as caught:
            models.find_gguf(daemon.services, base, "q8_0")
        assert caught.value.key == "model.no-gguf"


async def test_a_revocation_whose_admission_was_cut_short_by_the_disk_counts_from_the_next_import(
    stocked, press, media, monkeypatch
):
    base = base_of(media.first)
    news = late.revoke(press, "short", media.first, base, reason="It leaks.")

    def full(*_arguments):
        raise NoSpace("disk.full", "The disk is full.", remedy="Make room.")

    async with stocked.open() as daemon:
        request = await daemon.take_in(stocked.insert(news, "short"))
        with monkeypatch.context() as patch:
            patch.setattr(trusthome, "copy_trust", full)
            with pytest.raises(NoSpace):
                await daemon.admit(request)
        assert daemon.state.imports[request].state == "admitted"
        with pytest.raises(UntrustedBundle):  # the medium before it is older than what is trusted now
            await daemon.take_in(stocked.media_root / "medium")
        assert daemon.state.revocations.keys() == {base.digest}


async def test_of_an_import_that_is_just_ending_no_other_takes_the_place(stocked, media):
    verified = SimpleNamespace(digest=base_of(media.second).digest)
    async with (
        stocked.open() as daemon,
        daemon.services.recorder.act(OLGA, "bundle.import", {"path": "/m"}) as act,
    ):
        facts = recorded.sample("bundle.verified", manifest=verified.digest)
        await daemon.services.recorder.fact(OLGA, "bundle.verified", facts, cause=act.seq)
        with pytest.raises(Conflict) as caught:
            imports._check_open(daemon.services, verified)
        assert (caught.value.key, caught.value.fields["job"]) == ("bundle.importing", act.seq)
        act.outcome = recorded.sample("bundle.import.done")


async def test_a_decision_and_an_import_of_one_medium_exclude_each_other(stocked, media):
    async with stocked.open() as daemon:
        request = await daemon.take_in(stocked.insert(media.second, "second"))
        manifest = daemon.state.imports[request].manifest
        with quarantine.working(daemon.services, manifest, 4711):
            for decide in (daemon.admit, daemon.reject):
                with pytest.raises(Conflict) as caught:
                    await decide(request)
                assert caught.value.fields["job"] == 4711
        await daemon.admit(request)


def test_what_a_worker_finds_is_bounded_and_tells_no_terminal_anything():
    text = "\x1b[2J\U0001f600\u202e" * 4000
    error = UntrustedBundle(
        "x" * 9000, text, remedy="", findings=[text] * 500, keys=[text] * 500, files=[text] * 500
    )
    found = imports.findings_of(error)
    assert len(canonical.encode(found)) < MAX_EVENT * 3 // 4
    assert all(value is None or value.isprintable() for one in found for value in one.values())
    assert "more findings are left out" in found[-1]["sentence"]


@pytest.mark.parametrize("kind", ["NotRecorded", "NotPermitted", "NotAuthenticated"])
async def test_a_worker_has_no_word_on_the_log_or_on_permissions(kind):
    """An act that fails as if the log had stopped would have no outcome until the next start."""

    async def receive():
        return {"error": {"type": kind, "key": "log.stopped", "message": "The log has stopped."}}

    with pytest.raises(WorkerFailed) as caught:
        await workbench._listen(None, SimpleNamespace(receive=receive))
    assert (type(caught.value), caught.value.key) == (WorkerFailed, "worker.error")
    assert kind in errors._BY_NAME


async def test_an_act_whose_failure_says_too_much_has_failed_all_the_same(stocked):
    async def fail(daemon):
        async with daemon.services.recorder.act(OLGA, "bundle.import", {"path": "/m"}) as act:
            act.outcome = {"findings": ["x" * MAX_EVENT]}
            raise OperationFailed("disk.broken", "The disk broke.", remedy="Mend it.")

    async with stocked.open() as daemon:
        with pytest.raises(OperationFailed):
            await fail(daemon)
        ended = daemon.state.imports[max(daemon.state.imports)]
        assert (ended.state, ended.facts["message"]) == ("failed", "The disk broke.")
        assert not daemon.services.log.unfinished()


@pytest.mark.parametrize(
    "case",
    [
        ("bob", {"site": "Another site"}, "signed for another site, request"),
        ("bob", {"hours": -1}, "had expired when it was used"),
        ("aude", {}, "aude (auditor) may not do bundle.admit"),
    ],
)
async def test_a_receipt_shows_an_approval_that_the_daemon_should_not_have_taken(
    stocked, media, signed, case
):
    """Whoever could write such a log, with a signature from elsewhere, is found out by the receipt's verifier."""
    who, changes, fault = case
    async with stocked.open() as daemon:
        request = await daemon.take_in(daemon.place.insert(media.second, "second"))
        async with daemon.session("bob") as client:
            body = signed(await client.call("GET", f"/v1/bundles/{request}"), who, **changes)
        role = "administrator" if who == "bob" else "auditor"
        actor = Actor(person=who, uid=0, role=role, session="s")
        approval = {"statement": body["statement"], "signatures": body["signatures"]}
        params = {"request": request, "requester": "alice", "approval": approval}
        async with daemon.services.recorder.act(actor, "bundle.admit", params) as act:
            act.outcome = recorded.sample("bundle.admit.done", request=request, generation=2, artefacts=0)
        out = stocked.folder / "receipt"
        async with daemon.session("aude") as client:
            job = (await client.call("POST", f"/v1/bundles/{request}/receipt"))["job"]
            await client.finish(job)
            await operations.save_report(client, job, out)
    files = folder.read(out)
    (found,) = verify(files).problems
    assert fault in found.text
    people = canonical.decode(files[RECEIPT.facts], limit=2**22, what="facts", error=UntrustedBundle)[
        "people"
    ]
    assert people["one_local_user"] is (people["requester"]["uid"] == 0)


async def test_a_person_signs_the_act_that_they_named_and_no_other(stocked, media):
    """A daemon in wrong hands might hand out another statement for the second person's key to sign."""
    async with stocked.open() as daemon:
        request = await daemon.take_in(daemon.place.insert(media.second, "second"))
        pair = daemon.place.pairs["bob"]
        async with daemon.session("bob") as client:
            shown = await client.call("GET", f"/v1/bundles/{request}")
        for action, number in (("bundle.reject", request), ("bundle.admit", request + 1)):
            with pytest.raises(VerificationFailed) as caught:
                operations.sign_statement(pair, shown["approval"], "It waits", action, number)
            assert caught.value.key == "approval.other"
        await daemon.admit(request)
        with pytest.raises(Conflict) as conflict:
            await daemon.admit(request)
        assert conflict.value.exit_code == 6


def test_an_error_tells_a_terminal_nothing_but_text(capsys):
    output.show_error(UntrustedBundle("x.y", "Bad \x1b]0;verified\x07\u202e name.", remedy="Look\x1b[2J."))
    told = capsys.readouterr().err
    assert "\x1b]0" not in told
    assert "\x1b[2J" not in told
    assert "\\x1b]0;verified\\x07\\u202e name." in told


async def test_a_site_of_many_people_is_founded_in_several_events(place, media, monkeypatch, tmp_path):
    """A record has 5.5 KB with its keys; what a start was cut short in, the next one brings to its end."""
    names = [f"person{at:02}" for at in range(20)]
    place.pairs = {**place.pairs, **{name: person.generate(name) for name in names}}
    shutil.copytree(place.keys, tmp_path / "keys")
    for name in names:
        keyfiles.public(tmp_path / "keys", name).write_bytes(
            canonical.encode(place.pairs[name].public.to_json())
        )
    place.keys = tmp_path / "keys"
    founded = {"alice": ["administrator"], "aude": ["auditor"], **{name: ["administrator"] for name in names}}
    service.found_home(place.home, place.site_document(**founded))
    place.media_root.mkdir()
    place.pin(media.first)

    fact, said = Recorder.fact, []

    async def cut(self, actor, action, params, **named):
        said.append(action)
        if said.count("people.listed") == 2:
            raise NoSpace("disk.full", "The disk is full.", remedy="Make room.")
        return await fact(self, actor, action, params, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "fact", cut)
        with pytest.raises(NoSpace):
            async with place.open():
                pass
    medium = place.insert(media.first)
    async with place.open() as daemon:
        assert [*daemon.state.people] == [*founded]
        assert daemon.state.awaited == 0
        assert len(daemon.events("people.listed")) == 4
        assert all(len(found.params["people"]) == 5 for found in daemon.events("people.listed")[:-1])
        request = await daemon.take_in(medium)
        await daemon.admit(request, "person19")
        out = place.folder / "receipt"
        async with daemon.session("aude") as client:
            job = (await client.call("POST", f"/v1/bundles/{request}/receipt"))["job"]
            await client.finish(job)
            await operations.save_report(client, job, out)
        files = folder.read(out)
        assert verify(files).ok
        approver = json.loads(files[RECEIPT.facts])["people"]["approver"]
        assert approver["fingerprint"] == place.pairs["person19"].public.fingerprint
    async with place.open() as daemon:
        assert len(daemon.events("people.listed")) == 4
