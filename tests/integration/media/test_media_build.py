"""What a publisher builds: finished and unfinished media, what is carried over, delegated publishers, revocations."""

from __future__ import annotations

import errno
import json
import os
from datetime import timedelta

import pytest

from holdfast.errors import (
    Conflict,
    HoldfastError,
    NoSpace,
    NotFound,
    OperationFailed,
    UntrustedBundle,
    UntrustedRecipe,
    UsageRefused,
)
from holdfast.keys import person
from holdfast.media import build, claims, manifest, papers, sign
from holdfast.media.draft import Draft, in_parallel
from holdfast.trust import revocation, roots, signing
from holdfast.trust.publisher import Delegation
from holdfast.trust.revocation import Revocation

SOMETHING = "sha512:" + "5" * 128


def tree(folder):
    """Everything beneath a folder, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def finish(folder, pair):
    """Sign what awaits a holder's signature, as `trust sign` does."""
    sign.sign(sign.awaiting(papers.of_medium(folder), pair.public), pair)


def standings(made):
    return {one.role: (one.signed, one.waiting, one.needed) for one in made.standings}


def test_a_medium_is_built_twice_the_same_but_for_its_signatures(desk, kit):
    first, again = (
        desk.build("one"),
        desk.build("two", build.origin(desk.folder / "one/metadata/1.root.json", None)),
    )
    assert first.digest == again.digest
    assert kit.judge(first.folder).digest == kit.judge(again.folder).digest
    chunks = {name for name in tree(first.folder) if name.startswith("chunks")}
    assert chunks == {name for name in tree(again.folder) if name.startswith("chunks")}


def test_a_medium_with_too_few_signatures_is_left_unfinished_and_finished_elsewhere(desk, kit):
    root = desk.build("first").folder / "metadata" / "1.root.json"
    made = desk.build("medium", build.origin(root, None), pairs=[desk.ada])
    assert not made.finished
    assert standings(made)["targets"] == (("Ada",), ("Bo",), 1)
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(made.folder)
    assert caught.value.key in {"trust.threshold", "trust.holders"}
    finish(made.folder, desk.bo)
    verdict = kit.judge(made.folder)
    assert (verdict.digest, verdict.holders) == (made.digest, ("Ada", "Bo"))


def test_a_medium_is_built_without_any_key_and_signed_in_any_order(desk, kit):
    root = desk.build("first").folder / "metadata" / "1.root.json"
    made = desk.build("medium", build.origin(root, None), pairs=[])
    assert standings(made)["timestamp"] == ((), ("Ada", "Bo"), 2)
    finish(made.folder, desk.bo)
    finish(made.folder, desk.ada)
    assert kit.judge(made.folder).holders == ("Ada", "Bo")


@pytest.mark.parametrize("count", [0, 1])
def test_a_root_is_not_founded_by_fewer_than_two(desk, count):
    with pytest.raises(UsageRefused):
        desk.build("medium", pairs=[desk.ada, desk.bo][:count])
    assert not (desk.folder / "medium").exists()


def test_a_key_that_may_sign_nothing_is_refused_before_anything_is_written(desk):
    start = build.origin(None, desk.build("first").folder)
    before = tree(desk.folder)
    with pytest.raises(UsageRefused) as caught:
        desk.build("medium", start, pairs=[desk.ada, desk.bo, person.generate("Cy")])
    assert caught.value.key == "trust.ceremony-stranger"
    assert tree(desk.folder) == before


def test_what_a_medium_brought_is_named_as_the_origin_of_its_children(desk, kit):
    base = desk.build("base")
    digest = base.artefacts[0].digest
    recipe = desk.recipe_of(
        "fine", [{"kind": "adapter", "name": "triage", "files": kit.adapter(), "parents": [digest]}]
    )
    alone = desk.build("alone", build.origin(base.folder / "metadata/1.root.json", None), recipe=recipe)
    assert alone.unknown == (digest,)
    assert alone.manifest.origins == {}
    made = desk.build("fine", build.origin(None, base.folder), recipe=recipe)
    assert made.unknown == ()
    assert made.manifest.origins == {digest: "tiny 1"}
    later = desk.build("later", build.origin(None, made.folder), recipe=recipe)
    assert later.manifest.origins == {digest: "tiny 1"}
    assert kit.judge(later.folder).manifest == later.manifest
    assert later.version == 3


def test_a_rotated_root_follows_the_roots_of_the_previous_medium(desk, kit):
    first = desk.build("first")
    old = first.folder / "metadata" / "1.root.json"
    cy = person.generate("Cy")
    draft = roots.next_root(
        old.read_bytes(),
        expires=kit.NOW + timedelta(days=999),
        add=[cy.public],
        roles=["root", "targets", "snapshot", "timestamp"],
    )
    new = desk.folder / "2.root.json"
    for pair in (desk.ada, desk.bo):
        draft = signing.add_signature(draft, pair)
    new.write_bytes(draft)
    made = desk.build("second", build.origin([new], first.folder), pairs=[desk.ada, cy])
    assert made.finished
    assert (made.root_version, made.founded, made.version) == (2, False, 2)
    verdict = kit.judge(made.folder)
    assert (verdict.root_version, verdict.holders) == (2, ("Ada", "Cy"))
    again = desk.build("third", build.origin([old, new], None), pairs=[cy, desk.bo])
    assert (again.root_version, again.version) == (2, 1)
    with pytest.raises(UsageRefused) as caught:
        build.origin([new], None)
    assert caught.value.key == "media.root-chain"
    other = desk.build("other").folder / "metadata" / "1.root.json"
    with pytest.raises(UsageRefused) as caught:
        build.origin([other], first.folder)
    assert caught.value.key == "media.previous-root"
    with pytest.raises(NotFound):
        build.origin([desk.folder / "3.root.json"], first.folder)
    with pytest.raises(NotFound):
        build.origin(None, desk.folder / "nowhere")


def listed(kit, *digests, counter=1):
    """A revocation list of so many steps."""
    found = None
    for number in range(counter):
        digest = digests[min(number, len(digests) - 1)]
        entry = Revocation(digest, "base", "tiny", "It leaks.", None, kit.NOW)
        found = revocation.extended(found, entry, kit.NOW)
    return found.encode()


def test_a_medium_may_bring_nothing_but_revocations_and_the_next_one_keeps_them(desk, kit):
    first = desk.build("first")
    digest = first.artefacts[0].digest
    recipe = desk.recipe_of("recall", [])
    with pytest.raises(UntrustedRecipe) as caught:
        desk.build("nothing", build.origin(None, first.folder), recipe=recipe)
    assert caught.value.key == "media.recipe-empty"
    made = desk.build(
        "recall", build.origin(None, first.folder), recipe=recipe, revocations=listed(kit, digest)
    )
    assert not any(name.startswith("chunks/") for name in tree(made.folder))
    assert set(kit.judge(made.folder).revocations.entries) == {digest}
    later = desk.build("later", build.origin(None, made.folder))
    assert set(kit.judge(later.folder).revocations.entries) == {digest}
    assert later.revocations.counter == 1


def test_a_revocation_list_that_does_not_follow_the_previous_one_is_refused(desk, kit):
    first = desk.build("first", revocations=listed(kit, SOMETHING, counter=2))
    start = build.origin(None, first.folder)
    for older in (listed(kit, SOMETHING), listed(kit, "sha512:" + "6" * 128, counter=3), b"{}"):
        with pytest.raises(UntrustedBundle):
            desk.build("second", start, revocations=older)
    assert not (desk.folder / "second").exists()


@pytest.fixture
def delegated(desk, kit):
    """A publisher's delegation, on a medium; the publisher's two people; a way to build as them."""
    eva, fay = person.generate("Eva"), person.generate("Fay")
    given = Delegation("health", ("adapters/health/*",), (eva.public, fay.public))
    top = desk.build("top", delegate=[given])
    adapter = {
        "kind": "adapter",
        "name": "triage",
        "files": kit.adapter(),
        "parents": [top.artefacts[0].digest],
    }

    def make(name, *artefacts, pairs=(eva, fay), previous=top.folder, **order):
        recipe = desk.recipe_of(name, artefacts or [adapter])
        order = {"role": "health", "collection": "health"} | order
        return desk.build(name, build.origin(None, previous), recipe=recipe, pairs=list(pairs), **order)

    return make, top, (eva, fay)


def test_a_delegated_publisher_builds_and_the_holders_of_the_snapshot_finish(delegated, desk, kit):
    make, top, people = delegated
    made = make("ours")
    assert not made.finished
    assert standings(made)["health"] == (("Eva", "Fay"), (), 0)
    assert standings(made)["snapshot"] == ((), ("Ada", "Bo"), 2)
    assert (made.folder / "targets/adapters/health/manifest.json").is_file()
    assert not (made.folder / "targets/manifest.json").exists()
    for pair in (desk.bo, desk.ada):
        finish(made.folder, pair)
    verdict = kit.judge(made.folder)
    assert (verdict.role, verdict.holders) == ("health", ("Eva", "Fay"))
    assert verdict.manifest.collection == "health"
    assert verdict.manifest.origins == {top.artefacts[0].digest: "tiny 1"}
    # The next medium of the top-level targets keeps the delegation and what the publisher signed.
    later = desk.build("later", build.origin(None, made.folder))
    assert kit.judge(later.folder).role == "targets"
    assert claims.of_medium(later.folder).delegated.keys() == {"health"}
    again = make("again", pairs=(*people, desk.ada, desk.bo), previous=later.folder)
    assert again.finished
    assert kit.judge(again.folder).role == "health"


def test_a_delegated_publisher_who_claims_more_is_stopped_before_signing(delegated, desk, kit):
    make, top, _ = delegated
    lines = {"kind": "dataset", "name": "notes", "files": {"notes.jsonl": b"{}\n"}}
    adapter = {"kind": "adapter", "name": "triage", "files": kit.adapter()}
    for case in (
        {"collection": "finance"},
        {"artefacts": [lines]},
        {"artefacts": [adapter, lines]},
    ):
        with pytest.raises(UsageRefused) as caught:
            make("more", *case.pop("artefacts", ()), **case)
        assert caught.value.key == "media.not-delegated", case
    with pytest.raises(UsageRefused) as caught:
        make("more", role="finance")
    assert caught.value.key == "media.role"
    for name in ("", "../finance", "Health", "a/b", "*", "x" * 41):
        with pytest.raises(UsageRefused) as caught:
            make("more", collection=name)
        assert caught.value.key == "media.collection"
    with pytest.raises(UsageRefused) as caught:
        desk.build("more", build.origin(None, top.folder), collection="health")
    assert caught.value.key == "media.collection"
    with pytest.raises(UsageRefused) as caught:
        make("more", revocations=listed(kit, SOMETHING))
    assert caught.value.key == "media.revocations-role"
    assert not (desk.folder / "more").exists()


def test_an_ended_delegation_ends(delegated, desk, kit):
    make, _, _ = delegated
    made = make("ours")
    for pair in (desk.bo, desk.ada):
        finish(made.folder, pair)
    ended = desk.build("ended", build.origin(None, made.folder), undelegate=["health"])
    assert ended.finished
    assert kit.judge(ended.folder).role == "targets"
    with pytest.raises(UsageRefused) as caught:
        make("again", previous=ended.folder)
    assert caught.value.key == "media.role"


def test_a_gguf_comes_in_by_a_recipe(desk):
    with pytest.raises(UntrustedRecipe) as caught:
        desk.build(
            "gguf",
            recipe=desk.recipe_of("g", [{"kind": "gguf", "name": "q", "files": {"model.gguf": b"GGUF"}}]),
        )
    assert caught.value.key == "media.recipe-file"
    assert "model.gguf" in caught.value.message


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b"{}"},
        {"config.json": b"{}", "model.safetensors": b"\0" * 16},
        {"model.bin": b"\x80\x04."},
    ],
)
def test_what_a_site_would_refuse_is_refused_here(desk, files):
    recipe = desk.recipe_of("bad", [{"kind": "base", "name": "bad", "files": files}])
    with pytest.raises(UntrustedRecipe) as caught:
        desk.build("bad", recipe=recipe)
    assert caught.value.key == "media.recipe-file"
    assert not (desk.folder / "bad").exists()
    assert not list(desk.folder.glob(".*draft"))


def test_nothing_is_written_over_anything(desk):
    (desk.folder / "medium").mkdir()
    assert desk.build("medium").finished
    with pytest.raises(Conflict):
        desk.build("medium")
    (desk.folder / "link").symlink_to(desk.folder / "nowhere")
    with pytest.raises(Conflict):
        desk.build("link")


@pytest.mark.parametrize("step", ["hashing", "writing", "verifying"])
def test_an_interruption_leaves_nothing(desk, kit, step):
    before = tree(desk.folder)

    def interrupt(at, _done, _total):
        if at.startswith(step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.build(
            desk.recipe,
            desk.folder / "medium",
            [desk.ada, desk.bo],
            build.Origin({}),
            now=kit.NOW,
            progress=interrupt,
        )
    assert tree(desk.folder) == before


def test_a_full_disk_and_a_broken_one_are_said_and_leave_nothing(tmp_path):
    with pytest.raises(NoSpace), Draft(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OperationFailed, match="Input/output error"), Draft(tmp_path / "b"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HoldfastError), Draft(tmp_path / "file" / "c"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_changes_while_it_is_read_is_refused(desk, kit):
    model = desk.folder / "source" / "base" / "model.safetensors"

    def meddle(step, done, total):
        if step == "hashing" and done == total:
            model.write_bytes(model.read_bytes()[:-1] + b"!")

    with pytest.raises(UntrustedRecipe, match="changed while it was read"):
        build.build(
            desk.recipe,
            desk.folder / "m",
            [desk.ada, desk.bo],
            build.Origin({}),
            now=kit.NOW,
            progress=meddle,
        )
    assert not (desk.folder / "m").exists()


def test_work_in_threads_is_bounded_ordered_and_stops_at_the_first_fault():
    handed, results = [], []

    def items():
        for number in range(1000):
            handed.append(number)
            yield number

    def work(number):
        if number == 40:
            raise ValueError
        return number

    with pytest.raises(ValueError):
        in_parallel(work, items(), results.append)
    assert results == list(range(40))
    assert len(handed) < 200


def test_the_manifest_on_the_medium_is_the_one_reported(desk):
    made = desk.build("medium")
    data = (made.folder / "targets" / "manifest.json").read_bytes()
    assert manifest.parse(data) == made.manifest
    assert json.loads(data)["delta"] is None


def test_a_medium_beneath_a_file_is_told_as_such(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for goal in (tmp_path / "file" / "medium", tmp_path / "file" / "deeper" / "medium"):
        with pytest.raises(OperationFailed) as caught, Draft(goal):
            pass
        assert caught.value.key == "store.place"
