"""What was decided after a backup was made holds in the home made of it, wherever the log that tells of it was saved."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest
from tests.integration.daemon import late

from holdfast.artefact import Kind
from holdfast.audit import verify
from holdfast.audit.event import Actor, Draft
from holdfast.client import copies, operations
from holdfast.custody.restore import restore
from holdfast.daemon import admissible
from holdfast.errors import HoldfastError, NotFound
from holdfast.paths import Home

APP = Actor("tax-office/key-1", None, "application")


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


def sealed(daemon, user):
    """Seal a prompt as an answer's; gives the subject, the commitment and the event that holds it."""
    store = daemon.services.sealed
    subject = store.subject_id("tax-office", user)
    committed = store.seal(subject, "prompt", f"What does {user} owe?".encode())
    params = {
        "model": "tiny",
        "model_digest": "sha512:" + "5" * 128,
        "adapter_digest": None,
        "tenant": "tax-office",
        "key": "key-1",
        "kind": "chat",
        "prompt_tokens": 5,
        "commitments": {"prompt": committed},
        "sealed_for": subject,
    }
    return subject, committed, daemon.services.log.append(Draft("answer", APP, params=params)).seq


async def backed_up(daemon, out):
    async with daemon.session("alice") as client:
        job = (await client.call("POST", "/v1/audit/backup", {}))["job"]
        await client.finish(job)
        await copies.save(client, job, out, quiet)


async def erase(daemon, user):
    body = {"tenant": "tax-office", "subject": user, "reason": "Asked for erasure."}
    async with daemon.session("alice") as client:
        request = (await client.call("POST", "/v1/sealed/erase", body))["request"]
    async with daemon.session("bob") as client:
        await operations.grant_sealed(client, daemon.place.pairs["bob"], request)


def replaced(place, backup, folder, keys, salvaged):
    """Put a home made of the backup and the salvaged log in the place of the one that was lost."""
    made = restore(
        backup,
        Home(folder / "new"),
        keys,
        salvaged=salvaged,
        now=lambda: datetime.now(UTC),
        progress=quiet,
    )
    shutil.rmtree(place.home.root)
    (folder / "new").rename(place.home.root)
    return made


@pytest.fixture(scope="module")
def lists(press, media):
    """Media with two revocation lists: the second revokes more, and says something else of what the first revokes."""
    from holdfast.media import claims

    brought = {one.artefact.kind: one.artefact for one in claims.of_medium(media.first).manifest.entries}
    base, suite = brought[Kind.BASE], brought[Kind.SUITE]
    first = late.revoke(press, "restored1", media.first, suite, reason="It is unfair.")
    second = late.revoke(press, "restored2", first, suite, base, reason="It leaks names.")
    return first, second, base, suite


async def test_revocations_and_erasures_after_the_backup_hold_in_the_restored_home(stocked, tmp_path, lists):
    first, second, base, suite = lists
    async with stocked.open() as daemon:
        ann, _, answered = sealed(daemon, "ann")
        ben, kept, _ = sealed(daemon, "ben")
        elsewhere = shutil.copytree(stocked.home.keys / "subjects", tmp_path / "elsewhere")
        await daemon.admit(await daemon.take_in(stocked.insert(first, "list1")))
        await backed_up(daemon, tmp_path / "backup")
        await daemon.admit(await daemon.take_in(stocked.insert(second, "list2")))
        await erase(daemon, "ann")
        proof = daemon.services.log.prove(answered)
    keys = verify.parse_keys((stocked.home.log / "log.pub").read_bytes())
    salvaged = shutil.copytree(stocked.home.log, tmp_path / "salvaged")
    assert [*(tmp_path / "backup").rglob(f"{ann}.0.*")]  # which the backup can't know to be erased
    made = replaced(stocked, tmp_path / "backup", tmp_path, keys, salvaged)
    assert any(one.startswith("The trust state of after the backup") for one in made.lost)
    shutil.copytree(elsewhere, stocked.home.keys / "subjects")
    assert (stocked.home.keys / "subjects" / f"{ann}.0").exists()
    async with stocked.open() as daemon:
        assert not (stocked.home.keys / "subjects" / f"{ann}.0").exists()
        assert not [*stocked.home.sealed.rglob(f"{ann}.0.*")]
        assert daemon.services.sealed.unseal(ben, "prompt", kept) == b"What does ben owe?"
        assert {one.digest for one in (base, suite)} == daemon.state.revocations.keys()
        assert {one.reason for one in daemon.state.revocations.values()} == {"It leaks names."}
        assert admissible.revoked(daemon.services, base.digest) is not None
        with pytest.raises(HoldfastError) as caught:
            await daemon.take_in(stocked.insert(first, "again"))
        assert caught.value.key == "trust.revocations-rollback"
        assert caught.value.fields["trusted"] == 3
        new = daemon.services.log.prove(answered)
    assert verify.verify_proof(proof, keys).ok  # the old receipt is what it was
    assert verify.verify_proof(new, verify.parse_keys((stocked.home.log / "log.pub").read_bytes())).ok


async def test_what_was_shredded_by_its_age_after_the_backup_is_shredded_again(stocked, tmp_path):
    async with stocked.open() as daemon:
        ann, committed, _ = sealed(daemon, "ann")
        elsewhere = shutil.copytree(stocked.home.keys / "subjects", tmp_path / "elsewhere")
        await backed_up(daemon, tmp_path / "backup")
        day = datetime.now(UTC).date()
        params = {"class": "prompt", "before": day.replace(year=day.year + 1, day=1).isoformat(), "count": 1}
        daemon.services.log.append(
            Draft("sealed.shredded", Actor("holdfastd", None, "service"), params=params)
        )
    keys = verify.parse_keys((stocked.home.log / "log.pub").read_bytes())
    salvaged = shutil.copytree(stocked.home.log, tmp_path / "salvaged")
    replaced(stocked, tmp_path / "backup", tmp_path, keys, salvaged)
    shutil.copytree(elsewhere, stocked.home.keys / "subjects")
    async with stocked.open() as daemon:
        assert not [*stocked.home.sealed.rglob(f"{ann}.0.*")]
        with pytest.raises(NotFound):
            daemon.services.sealed.unseal(ann, "prompt", committed)
