"""Backups, homes restored from them, archives and what is forgotten."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from unittest import mock

import pytest

from holdfast import canonical
from holdfast.audit import checkpoint, event, segment, verify
from holdfast.audit.log import Log
from holdfast.client import copies, operations
from holdfast.custody import folding, form, kept, listing
from holdfast.custody.restore import restore
from holdfast.daemon import custody
from holdfast.errors import (
    Conflict,
    HoldfastError,
    NotFound,
    NotPermitted,
    UntrustedInput,
    VerificationFailed,
)
from holdfast.governance.state import State
from holdfast.paths import Home
from holdfast.report import folder
from holdfast.report.verify import verify as verify_report


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


async def fetched(daemon, who, route, body, out):
    """Have a copy made, and fetch it."""
    async with daemon.session(who) as client:
        job = (await client.call("POST", route, body))["job"]
        result = await client.finish(job)
        await copies.save(client, job, out, quiet)
        assert not (daemon.place.home.jobs / str(job) / "copy").exists()
        return job, result


def keys_of(home):
    return verify.parse_keys((home.log / "log.pub").read_bytes())


def again(backup, root, keys, **options):
    told = {"salvaged": None, "now": lambda: datetime.now(UTC), "progress": quiet, **options}
    return restore(backup, Home(root), keys, **told)


@pytest.fixture
async def backed_up(stocked, tmp_path):
    """A home that was backed up and has gone on since, closed; its backup; its keys."""
    out = tmp_path / "backup"
    async with stocked.open() as daemon:
        (daemon.place.home.keys / "subjects").mkdir(exist_ok=True)
        _, result = await fetched(daemon, "alice", "/v1/audit/backup", {}, out)
        async with daemon.session("aude") as client:
            await client.call("POST", "/v1/audit/checkpoint", {})
        state = daemon.state
    return stocked, out, keys_of(stocked.home), result, state


async def test_a_backup_verifies_by_itself_and_holds_no_private_key(backed_up):
    place, out, keys, result, _ = backed_up
    verdict = verify.verify_log(out / "log", keys)
    assert verdict.ok
    assert (verdict.size, verdict.signed, verdict.root) == (result["size"], result["size"], result["root"])
    told = form.parse((out / "backup.json").read_bytes())
    assert (told.size, told.origin) == (result["size"], verdict.origin)
    secrets = [path.read_bytes() for path in place.home.keys.iterdir() if path.suffix == ".key"]
    assert len(secrets) == 2
    for path in listing.paths_in(out):
        data = path.read_bytes()
        assert not any(secret in data for secret in secrets), path
    assert not (out / "index").exists()


async def test_a_restored_home_continues_the_old_log_under_a_new_origin(backed_up, tmp_path):
    place, out, keys, result, state = backed_up
    made = again(out, tmp_path / "new", keys)
    home = Home(tmp_path / "new")
    assert made.origin != made.old.origin
    verdict = verify.verify_log(home.log, keys_of(home))
    assert verdict.ok, verdict
    assert not verify.verify_log(home.log, keys).ok  # the old keys speak for the old log only
    # The old head is a head of the new tree: its root at the old size is the old root.
    assert folding.root_at(home.log, result["size"]).hex() == result["root"]
    place.folder.joinpath("home").rename(tmp_path / "lost")
    home.root.rename(place.home.root)
    async with place.open() as daemon:
        told = daemon.events("home.restored")[0]
        assert told.seq == result["size"] == made.seq
        assert (told.params["origin"], told.params["root"]) == (made.old.origin, made.old.root)
        assert any(one.startswith("Everything after event") for one in told.params["lost"])
        assert daemon.state.active == state.active == 1
        assert daemon.state.artefacts.keys() == state.artefacts.keys()
        for one in daemon.state.artefacts.values():
            daemon.services.store.verify(one)
        assert [one.size for one in daemon.state.custody.restorations] == [result["size"]]
        backup = next(one for one in daemon.services.log.events() if one.action == "audit.backup")
        assert daemon.state.acts[backup.seq].state == "interrupted"  # it was open when the log was copied
        daemon.at_rest()


async def test_a_salvaged_log_brings_what_came_after_the_backup(backed_up, tmp_path):
    place, out, keys, result, _ = backed_up
    salvaged = tmp_path / "salvaged"
    shutil.copytree(place.home.log, salvaged)
    made = again(out, tmp_path / "new", keys, salvaged=salvaged)
    assert made.old.size > result["size"]
    assert made.old.size == checkpoint.parse((salvaged / "checkpoint").read_bytes()).size


async def test_a_salvaged_log_that_does_not_go_on_from_the_backup_is_refused(backed_up, tmp_path, template):
    _, out, keys, _, _ = backed_up
    earlier = template / "home" / "log"  # the same origin and keys, shorter
    with pytest.raises(VerificationFailed, match="does not go on") as caught:
        again(out, tmp_path / "new", keys, salvaged=earlier)
    assert caught.value.key == "restore.salvaged"
    assert not (tmp_path / "new").exists()


async def test_a_missing_artefact_is_named_as_lost_and_the_home_starts(backed_up, tmp_path):
    place, out, keys, _, state = backed_up
    base = next(one for one in state.artefacts.values() if one.kind == "base")
    shutil.rmtree(out / "store" / base.digest.removeprefix("sha512:"))
    made = again(out, tmp_path / "new", keys)
    assert any("base tiny" in one and "not in the backup" in one for one in made.lost)
    assert any(one.startswith("Generation 1") for one in made.lost)
    shutil.rmtree(place.home.root)
    (tmp_path / "new").rename(place.home.root)
    async with place.open() as daemon:
        with pytest.raises(NotFound, match="not in the store"):
            daemon.services.store.folder(base.digest)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("log/checkpoint", VerificationFailed),
        ("home/site.toml", VerificationFailed),
        ("home/keys/alice.pub", HoldfastError),
    ],
)
async def test_a_changed_document_is_refused_and_nothing_is_left(backed_up, tmp_path, path, error):
    _, out, keys, _, _ = backed_up
    data = bytearray((out / path).read_bytes())
    data[len(data) // 2] ^= 1
    (out / path).unlink()  # it may be a hard link
    (out / path).write_bytes(bytes(data))
    with pytest.raises(error):
        again(out, tmp_path / "new", keys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("field", ["origin", "root", "size", "site"])
async def test_what_a_backup_says_of_itself_must_be_what_its_log_says(backed_up, tmp_path, field):
    _, out, keys, _, _ = backed_up
    told = json.loads((out / "backup.json").read_bytes())
    told[field] = (
        told[field] + 1 if field == "size" else told[field][:-1] + ("1" if told[field].endswith("0") else "0")
    )
    (out / "backup.json").write_bytes(canonical.encode(told))
    with pytest.raises(UntrustedInput) as caught:
        again(out, tmp_path / "new", keys)
    assert caught.value.key == "backup.form"
    assert not (tmp_path / "new").exists()


async def test_a_changed_artefact_is_lost_and_never_adopted(backed_up, tmp_path):
    _, out, keys, _, state = backed_up
    base = next(one for one in state.artefacts.values() if one.kind == "base")
    path = out / "store" / base.digest.removeprefix("sha512:") / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(bytes(data))
    made = again(out, tmp_path / "new", keys)
    assert any("base tiny" in one for one in made.lost)
    assert base.digest.removeprefix("sha512:") not in {
        entry.name for entry in (tmp_path / "new" / "store" / "artefacts").iterdir()
    }


async def test_another_trust_state_is_left_out_and_named(backed_up, tmp_path):
    _, out, keys, _, _ = backed_up
    (out / "home" / "trust" / "state.json").write_bytes(b"{}")
    made = again(out, tmp_path / "new", keys)
    assert any("pin the root of trust again" in one for one in made.lost)
    assert not (tmp_path / "new" / "trust" / "state.json").exists()


async def test_a_home_that_is_there_is_not_touched(backed_up):
    place, out, keys, _, _ = backed_up
    before = sorted(place.home.root.rglob("*"))
    with pytest.raises(Conflict, match="not empty"):
        again(out, place.home.root, keys)
    assert sorted(place.home.root.rglob("*")) == before


async def test_keys_of_another_log_are_refused(backed_up, tmp_path):
    _, out, keys, _, _ = backed_up
    other = tmp_path / "other"
    made = again(out, other, keys)
    with pytest.raises(VerificationFailed):
        again(out, tmp_path / "new", keys_of(Home(other)))
    assert made.seq


async def test_only_who_had_a_copy_made_may_fetch_it(stocked):
    async with stocked.open() as daemon:
        async with daemon.session("alice") as client:
            job = (await client.call("POST", "/v1/audit/backup", {}))["job"]
            await client.finish(job)
        for who, error in (("bob", NotFound), ("olga", NotPermitted), ("aude", NotPermitted)):
            async with daemon.session(who) as client:
                with pytest.raises(error):
                    await client.call("GET", f"/v1/audit/copies/{job}")
        async with daemon.session("alice") as client:
            for path in (
                "../../keys/log.key",
                "..%2f..%2fkeys%2flog.key",
                "log/../../../keys/log.key",
                "absent",
            ):
                with pytest.raises(HoldfastError):
                    await client.call("GET", f"/v1/audit/copies/{job}/{path}")


def test_the_command_line_backs_up_and_restores(stocked, tmp_path):
    stocked.told("up")
    told = stocked.told("audit", "backup", "--out", str(tmp_path / "backup"), who="alice")
    assert told["artefacts"] == 3
    stocked.run("down", who=None)
    keys = stocked.home.log / "log.pub"
    out, _ = stocked.call(
        "--home",
        str(tmp_path / "new"),
        "audit",
        "restore",
        str(tmp_path / "backup"),
        "--keys",
        str(keys),
        "--json",
    )
    found = json.loads(out)
    assert found["old"]["size"] == told["size"]
    assert found["lost"]
    error = stocked.refused(
        "--home",
        str(tmp_path / "new"),
        "audit",
        "restore",
        str(tmp_path / "backup"),
        "--keys",
        str(keys),
        code=6,
    )
    assert error["key"] == "restore.home"


async def test_what_a_hostile_backup_holds_is_taken_only_where_it_belongs(backed_up, tmp_path):
    _, out, keys, _, state = backed_up
    secret = tmp_path / "secret"
    secret.write_text("of the machine that restores")
    sealed, store = out / "sealed", out / "store"
    (sealed / "prompt").mkdir(parents=True, exist_ok=True)
    (sealed / "answer").unlink(missing_ok=True) if (sealed / "answer").is_file() else None
    day = sealed / "prompt" / "2026-01-01"
    day.mkdir()
    name = f"{'0' * 64}.0.{'1' * 64}"
    (day / name).symlink_to(secret)
    (day / "other").write_text("x")
    os.mkfifo(day / f"{'0' * 64}.0.{'2' * 64}")
    (sealed / "days").symlink_to(tmp_path)
    lost, *_ = (folder for folder in store.iterdir() if any(folder.iterdir()))
    victim = next(path for path in lost.rglob("*") if path.is_file())
    victim.unlink()
    victim.symlink_to(secret)
    made = again(out, tmp_path / "new", keys)
    assert made.artefacts == len(state.artefacts) - 1
    assert any("can't be taken" in one for one in made.lost)
    assert any(one.startswith("3 things beside the sealed payloads") for one in made.lost)
    held = [path.read_bytes() for path in listing.paths_in(tmp_path / "new")]
    assert not any(b"of the machine that restores" in data for data in held)


async def test_a_link_in_a_copy_is_never_followed(stocked):
    async with stocked.open() as daemon, daemon.session("alice") as client:
        job = (await client.call("POST", "/v1/audit/backup", {}))["job"]
        await client.finish(job)
        copy = daemon.place.home.jobs / str(job) / "copy"
        (copy / "key").symlink_to(stocked.home.keys / "log.key")
        (copy / "keys").symlink_to(stocked.home.keys)
        for path in ("key", "keys/log.key"):
            with pytest.raises(NotFound) as caught:
                await client.download(f"/v1/audit/copies/{job}/{path}")
            assert caught.value.key == "copy.file"
        with pytest.raises(VerificationFailed):
            await client.call("GET", f"/v1/audit/copies/{job}")


@pytest.fixture
def short_segments():
    """Close a segment after 4 KiB, so that a small log has many."""
    with mock.patch.dict(Log.open.__func__.__kwdefaults__, segment_bytes=4096):
        yield


async def archived(daemon, out, who="aude"):
    until = daemon.services.log.boundaries()[-1]
    job, result = await fetched(daemon, who, "/v1/audit/archive", {"until": until}, out)
    return job, result, until


async def let_go(daemon, job, out, who="bob"):
    manifest = listing.digest_of(listing.files_in(out))
    async with daemon.session(who) as client:
        return await client.call("POST", f"/v1/audit/archives/{job}/forget", {"manifest": manifest})


@pytest.mark.usefixtures("short_segments")
async def test_what_was_archived_is_forgotten_and_the_home_goes_on(stocked, tmp_path):
    out = tmp_path / "archive"
    async with stocked.open() as daemon:
        log, keys = daemon.services.log, keys_of(stocked.home)
        old = log.prove(2)
        job, result, until = await archived(daemon, out)
        assert verify.verify_log(out, keys).ok
        assert verify.verify_log(out, keys).size == until == result["until"]
        before, chronicle = [*log.read(until, log.size)], [*log.read(0, until)]
        assert (await let_go(daemon, job, out))["until"] == until
        assert log.first == until
        assert [*log.read(until, until + len(before))] == before
        passing = next(seq for seq in range(until) if json.loads(chronicle[seq])["action"] in kept.PASSING)
        with pytest.raises(NotFound):
            log.prove(passing)
        whole = folding.fold_until(log, stocked.home.log, log.size)
        assert whole == daemon.state
        size = log.size
    assert verify.verify_proof(old, keys).ok
    verdict = verify.verify_log(stocked.home.log, keys)
    assert verdict.ok, verdict
    assert verdict.size > size
    async with stocked.open() as daemon:
        assert daemon.services.log.first == until
        # Folding the archive and then what is here gives what the snapshot and what is here gave.
        state = State()
        for path in verify.segments(out):
            _, _, data, begin = verify.read_segment(path)
            for record in verify.records(data, begin):
                state.apply(event.parse(record.body))
        for one in daemon.services.log.events():
            state.apply(one)
        assert state == daemon.state
        async with daemon.session("aude") as client:
            found = await client.call("POST", "/v1/audit/verify")
            assert found["verified"], found
            rows = await client.call(
                "POST", "/v1/audit/sql", {"sql": "SELECT min(seq) FROM events", "limit": 1}
            )
            assert rows["rows"] == [[until]]
        daemon.at_rest()


@pytest.mark.usefixtures("short_segments")
async def test_reports_receipts_and_proofs_of_what_stays_are_made_after_an_archive(stocked, tmp_path):
    out = tmp_path / "archive"
    async with stocked.open() as daemon:
        whole = [*daemon.services.log.read(0, daemon.services.log.size)]
        job, _, until = await archived(daemon, out)
        await let_go(daemon, job, out)
        request = next(iter(daemon.state.imports))
        assert request < until
        async with daemon.session("aude") as client:
            proved = await client.call("GET", f"/v1/audit/proofs/{request}")
            assert proved["event"].encode() == whole[request]
            assert verify.verify_proof(proved["proof"].encode(), keys_of(stocked.home)).ok
            number = (await client.call("POST", "/v1/reports/residency"))["job"]
            await client.finish(number)
            facts = json.loads(await client.download(f"/v1/reports/{number}/residency.json"))
            assert {row["name"] for row in facts["artefacts"]} == {"tiny", "quiz"}
            assert any(f"Events before {until} were archived" in gap for gap in facts["gaps"])
            receipt = (await client.call("POST", f"/v1/bundles/{request}/receipt"))["job"]
            await client.finish(receipt)
            await operations.save_report(client, receipt, tmp_path / "receipt")
    assert verify_report(folder.read(tmp_path / "receipt"), fingerprint=None).ok


@pytest.mark.usefixtures("short_segments")
async def test_a_changed_kept_event_is_never_given_out(stocked, tmp_path):
    async with stocked.open() as daemon:
        job, _, until = await archived(daemon, tmp_path / "archive")
        await let_go(daemon, job, tmp_path / "archive")
        path = kept.file(stocked.home.log, until)
        bodies = [*custody.staying(daemon.services).read()]
        forged = bodies[0].replace(b'"Test site"', b'"Best site"')
        records = [segment.record(one, verify.leaf_hash(one), 0) for one in [forged, *bodies[1:]]]
        path.write_bytes(b"".join(records))
        fewer = [
            segment.record(one, verify.leaf_hash(one), 0) for one in bodies if b'"bundle.admit' not in one
        ]
        for changed in (records, fewer, []):
            path.write_bytes(b"".join(changed))
            with pytest.raises(VerificationFailed) as caught:
                custody.staying(daemon.services).get(0)
            assert caught.value.key == "log.kept"
            async with daemon.session("aude") as client:  # a report would be silently poorer
                number = (await client.call("POST", "/v1/reports/residency"))["job"]
                with pytest.raises(HoldfastError):
                    await client.finish(number)


@pytest.mark.usefixtures("short_segments")
async def test_nobody_lets_go_of_their_own_archive_or_without_a_whole_copy(stocked, tmp_path):
    out = tmp_path / "archive"
    async with stocked.open() as daemon:
        job, _, _ = await archived(daemon, out, who="alice")
        with pytest.raises(NotPermitted) as caught:
            await let_go(daemon, job, out, who="alice")
        assert caught.value.key == "archive.own"
        recorded = daemon.events("audit.archive.done")[0].params["manifest"]
        async with daemon.session("bob") as client:  # who only reads the log has not the copy
            with pytest.raises(VerificationFailed):
                await client.call("POST", f"/v1/audit/archives/{job}/forget", {"manifest": recorded})
        (out / "README.txt").write_text("other")
        with pytest.raises(VerificationFailed) as caught:
            await let_go(daemon, job, out)
        assert caught.value.key == "archive.other"
        assert daemon.services.log.first == 0


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("beside", [folding.snapshot_file, kept.file])
async def test_nothing_is_let_go_of_while_what_stands_for_it_is_changed(stocked, tmp_path, beside):
    out = tmp_path / "archive"
    async with stocked.open() as daemon:
        job, _, until = await archived(daemon, out)
        path = beside(stocked.home.log, until)
        good = path.read_bytes()
        path.write_bytes(good[:-1])
        with pytest.raises(VerificationFailed) as caught:
            await let_go(daemon, job, out)
        assert caught.value.key == "archive.beside"
        assert daemon.services.log.first == 0
        path.write_bytes(good)
        await let_go(daemon, job, out)
        assert daemon.services.log.first == until


@pytest.mark.usefixtures("short_segments")
async def test_a_changed_snapshot_is_not_believed(stocked, tmp_path):
    async with stocked.open() as daemon:
        job, _, until = await archived(daemon, tmp_path / "archive")
        await let_go(daemon, job, tmp_path / "archive")
    path = folding.snapshot_file(stocked.home.log, until)
    path.write_bytes(path.read_bytes().replace(b'"Test site"', b'"Best site"'))
    with pytest.raises(VerificationFailed) as caught:
        async with stocked.open():
            pass
    assert caught.value.key == "log.snapshot"


async def test_an_archive_needs_a_whole_segment(stocked):
    async with stocked.open() as daemon, daemon.session("aude") as client:
        with pytest.raises(Conflict) as caught:
            await client.call("POST", "/v1/audit/archive", {"until": 3})
        assert caught.value.key == "archive.nothing"


@pytest.mark.usefixtures("short_segments")
async def test_a_backup_of_an_archived_home_restores(stocked, tmp_path):
    async with stocked.open() as daemon:
        job, _, until = await archived(daemon, tmp_path / "archive")
        await let_go(daemon, job, tmp_path / "archive")
        await fetched(daemon, "alice", "/v1/audit/backup", {}, tmp_path / "backup")
        state = daemon.state
    keys = keys_of(stocked.home)
    again(tmp_path / "backup", tmp_path / "new", keys)
    shutil.rmtree(stocked.home.root)
    (tmp_path / "new").rename(stocked.home.root)
    async with stocked.open() as daemon:
        assert daemon.services.log.first == until
        assert daemon.state.artefacts == state.artefacts
