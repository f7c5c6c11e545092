"""Volumes, deltas, revocations and manifests of every size: what is taken in, in which order, and what is refused."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.integration.media import crafted
from tests.integration.media.crafted import PIECE

from holdfast import hashing
from holdfast.artefact import MAX_FILES
from holdfast.errors import NoSpace, UntrustedBundle, VerificationFailed
from holdfast.formats import chunking
from holdfast.media import importer, layout, manifest, volume
from holdfast.media.verify import verify_medium
from holdfast.media.volume import MIN_SIZE
from holdfast.store.files import Store
from holdfast.trust import ceremony
from holdfast.trust.revocation import Revocation, RevocationList

COUNT = 5  # volumes of the files below


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(chunking, "PIECE", PIECE)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def stage(tmp_path):
    return tmp_path / "quarantine" / "stage"


@pytest.fixture
def files():
    return {"one": crafted.random_files(a=10 * PIECE + 7, b=5), "two": crafted.random_files(c=3 * PIECE)}


@pytest.fixture
def split(tmp_path, files):
    made = crafted.medium_of(tmp_path / "volumes", files, size=MIN_SIZE)
    assert len(made.folders) == COUNT
    return made


def bytes_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 2, 4, 0, 1, 2, 3)], ids=str)
def test_volumes_come_in_any_order(split, files, store, stage, order):
    seen = set()
    read = 0
    for at in order:
        taken = crafted.imported(split, store, stage, at)
        seen.add(at)
        read += taken.copied
        assert taken.missing == tuple(one + 1 for one in range(COUNT) if one not in seen)
    assert read == sum(split.manifest.carried.values())
    for record in split.records:
        store.adopt(taken.folders[record.digest], record)
        store.verify(record)
        assert bytes_of(store.folder(record.digest)) == files[record.name]


def test_each_volume_is_judged_by_itself(split):
    for at, folder in enumerate(split.folders):
        verdict = crafted.judged(split, at, contents=True)
        verdict.medium.close()
        assert (verdict.volume.number, verdict.volume.count) == (at + 1, COUNT)
        assert {layout.chunk(digest) for digest in verdict.expected} == {
            name for name in bytes_of(folder) if name.startswith("chunks/")
        }


@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_damaged_volume_is_named_and_the_others_are_taken_in(split, store, stage, harm, at):
    path = next((split.folders[at] / "chunks").rglob("*/*"))
    whole = path.read_bytes()
    if harm == "flip":
        flip(path)
    elif harm == "cut":
        os.truncate(path, len(whole) // 2)
    else:
        path.unlink()
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(split, at, contents=True)
    assert caught.value.message.startswith(f"Volume {at + 1} of {COUNT} is damaged")
    assert caught.value.remedy == f"Make volume {at + 1} again; the other volumes stay as they are."
    assert (caught.value.fields["volume"], caught.value.fields["volumes"]) == (at + 1, COUNT)
    for other in range(COUNT):
        if other != at:
            crafted.imported(split, store, stage, other)
    with pytest.raises(UntrustedBundle) as caught:
        crafted.imported(split, store, stage, at)
    assert caught.value.fields["volume"] == at + 1
    path.write_bytes(whole)
    crafted.adopted(split, store, stage)


def test_a_chunk_of_another_volume_is_too_much(split):
    stray = next((split.folders[0] / "chunks").rglob("*/*"))
    goal = split.folders[1] / stray.relative_to(split.folders[0])
    goal.parent.mkdir(exist_ok=True)
    shutil.copy(stray, goal)
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(split, 1)
    assert caught.value.key == "media.unlisted"


@pytest.mark.parametrize("field", ["number", "count", "size", "manifest"])
def test_a_forged_volume_is_refused(split, field):
    folder = split.folders[1]
    real = volume.parse((folder / layout.VOLUME).read_bytes())
    forged = {"number": 3, "count": 7, "size": 2 * MIN_SIZE, "manifest": hashing.sha512(b"")}[field]
    (folder / layout.VOLUME).write_bytes(replace(real, **{field: forged}).encode())
    with pytest.raises(UntrustedBundle):
        crafted.judged(split, 1)
    (folder / layout.VOLUME).unlink()
    with pytest.raises(UntrustedBundle):
        crafted.judged(split, 1)


def test_a_chunk_that_is_used_often_is_read_once(tmp_path, store, stage):
    same = secrets.token_bytes(PIECE)
    files = {"one": {"a.bin": same * 5, "b.bin": same}, "two": {"c.bin": same * 3 + b"end"}}
    made = crafted.medium_of(tmp_path / "medium", files)
    taken = crafted.imported(made, store, stage)
    assert (taken.copied, taken.reused) == (PIECE + 3, 8 * PIECE)
    crafted.adopted(made, store, stage)
    assert bytes_of(store.folder(made.records[1].digest)) == files["two"]


@pytest.fixture
def delta(tmp_path, store, stage):
    """A base in the store, and the medium of a version that differs from it in one chunk of four."""
    old = {"model.bin": secrets.token_bytes(4 * PIECE)}
    base = crafted.medium_of(tmp_path / "base", {"base": old})
    crafted.adopted(base, store, stage)
    new = {"model.bin": old["model.bin"][: 3 * PIECE] + secrets.token_bytes(PIECE), "more.bin": b"more"}
    full = crafted.manifest_of({"tuned": new})
    offsets = {
        chunk.digest: number * PIECE for number, chunk in enumerate(full.entries[0].chunks["model.bin"][:3])
    }
    found = crafted.delta_of(full, base.records[0], "model.bin", offsets)
    made = crafted.craft(tmp_path / "delta", found, crafted.pieces_of({"tuned": new}), root=base.root)
    return base, made, new


def test_a_delta_reads_only_what_differs(delta, store, stage):
    _, made, new = delta
    crafted.judged(made, contents=True).medium.close()
    taken = crafted.imported(made, store, stage)
    assert (taken.missing, taken.copied, taken.reused) == ((), PIECE + len(b"more"), 3 * PIECE)
    crafted.adopted(made, store, stage)
    assert bytes_of(store.folder(made.records[0].digest)) == new


def test_a_delta_without_its_base_says_what_brings_it(delta, tmp_path, stage):
    base, made, _ = delta
    empty = Store(tmp_path / "empty")
    with pytest.raises(UntrustedBundle) as caught:
        crafted.imported(made, empty, stage)
    assert caught.value.key == "media.delta-base"
    assert caught.value.fields["artefact"] == base.records[0].digest
    assert caught.value.fields["origin"] == "the base 7"
    assert "the base 7" in caught.value.remedy


@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
def test_a_delta_on_other_bytes_is_refused_with_both_digests(delta, store, stage, harm):
    base, made, _ = delta
    path = store.folder(base.records[0].digest) / "model.bin"
    path.chmod(0o600)
    if harm == "flip":
        data = bytearray(path.read_bytes())
        data[5] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        os.truncate(path, 100)
    else:
        path.unlink()
    with pytest.raises(UntrustedBundle) as caught:
        crafted.imported(made, store, stage)
    assert caught.value.key == "media.delta-source"
    if harm != "lose":
        assert caught.value.fields["expected"] == made.manifest.entries[0].chunks["model.bin"][0].digest
        assert caught.value.fields["found"] not in {"", caught.value.fields["expected"]}


def test_what_a_delta_leaves_out_must_not_be_there(delta):
    _, made, new = delta
    digest = made.manifest.entries[0].chunks["model.bin"][0].digest
    place = made.folders[0] / layout.chunk(digest)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(new["model.bin"][:PIECE])
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key == "media.unlisted"


def test_a_damaged_artefact_in_the_store_is_brought_anew(tmp_path, files, store, stage):
    made = crafted.medium_of(tmp_path / "medium", files)
    crafted.adopted(made, store, stage)
    record = made.records[0]
    path = store.folder(record.digest) / "a.bin"
    path.chmod(0o600)
    flip(path)
    taken = crafted.imported(made, store, stage)
    assert taken.copied == record.size
    assert taken.folders[made.records[1].digest] == store.folder(made.records[1].digest)
    store.discard(record)
    store.adopt(taken.folders[record.digest], record)
    store.verify(record)


def test_what_came_into_the_store_meanwhile_leaves_the_stage(split, store, stage, tmp_path, files):
    crafted.imported(split, store, stage, 0)
    whole = crafted.medium_of(tmp_path / "whole", files)
    crafted.adopted(whole, store, tmp_path / "other")
    taken = crafted.imported(split, store, stage, 3)
    assert taken.missing == ()
    assert [path.name for path in stage.iterdir()] == ["journal"]


def revoked(*names, counter=1):
    entries = {
        digest: Revocation(digest, "base", name, "It leaks.", None, crafted.NOW)
        for name in names
        for digest in [hashing.sha512(name.encode())]
    }
    return RevocationList(counter, crafted.NOW, entries).encode()


def test_revocations_are_judged_and_believed(tmp_path, files):
    root = ceremony.make_root(crafted.pairs(), expires=crafted.NOW + timedelta(days=9))
    made = crafted.medium_of(tmp_path / "one", files, root=root, revocations=revoked("x", counter=2))
    verdict = crafted.judged(made)
    verdict.medium.close()
    assert [one.name for one in verdict.revocations.entries.values()] == ["x"]
    assert verdict.state.revocations == revoked("x", counter=2)
    cases = {
        "rollback": revoked("x"),
        "two-faces": revoked("x", "y", counter=2),
        "dropped": revoked("y", counter=3),
        "missing": None,
    }
    # Another publisher's desk with the same root: only the list is at fault.
    believed = replace(made.state, revocations=verdict.state.revocations)
    for key, data in cases.items():
        other = crafted.medium_of(tmp_path / key, files, root=root, revocations=data)
        with pytest.raises(UntrustedBundle) as caught:
            verify_medium(other.folders[0], believed, crafted.NOW, crafted.quiet)
        assert caught.value.key == f"trust.revocations-{key}"
    more = crafted.medium_of(tmp_path / "more", files, root=root, revocations=revoked("x", "y", counter=5))
    verify_medium(more.folders[0], believed, crafted.NOW, crafted.quiet).medium.close()


def test_an_unlisted_or_missing_revocation_list_is_refused(tmp_path, files):
    made = crafted.medium_of(tmp_path / "medium", files)
    (made.folders[0] / "targets" / "revocations.json").write_bytes(revoked("x"))
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key == "media.unlisted"
    listed = crafted.medium_of(tmp_path / "listed", files, revocations=revoked("x"))
    (listed.folders[0] / "targets" / "revocations.json").unlink()
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(listed)
    assert caught.value.key == "media.missing"


def test_a_second_manifest_is_refused(tmp_path, files):
    made = crafted.medium_of(tmp_path / "medium", files)
    second = made.folders[0] / "targets" / "adapters" / "health"
    second.mkdir(parents=True)
    (second / "manifest.json").write_bytes(b"{}")
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key == "media.manifests"


def test_a_manifest_in_the_wrong_collection_is_refused(tmp_path, files):
    found = replace(crafted.manifest_of(files), collection="health")
    made = crafted.craft(tmp_path / "medium", found, crafted.pieces_of(files))
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key == "media.collection"


def test_an_expired_medium_is_taken_when_it_is_waived(tmp_path, files):
    made = crafted.medium_of(tmp_path / "medium", files)
    late = crafted.NOW + timedelta(days=200)
    with pytest.raises(UntrustedBundle) as caught:
        verify_medium(made.folders[0], made.state, late, crafted.quiet)
    assert caught.value.key == "trust.expired"
    waived = frozenset({caught.value.fields["medium"]})
    verify_medium(made.folders[0], made.state, late, crafted.quiet, waived=waived).medium.close()


def test_a_medium_that_claims_more_than_there_is_room_for_is_refused_at_once(tmp_path, store, stage):
    """A few bytes of one chunk, listed so often that its file would have petabytes."""
    piece = b"\0" * 2**25
    chunk = crafted.Chunk(hashing.sha512(piece), len(piece))
    times = 100_000
    chunks = (chunk,) * times
    ref = crafted.FileRef("a.bin", times * len(piece), hashing.of_chunks(one.digest for one in chunks))
    record = crafted.Artefact(crafted.Kind.DATASET, "huge", "1", (ref,), crafted.LABEL)
    entry = crafted.Entry(record, "Apache-2.0", {"a.bin": chunks})
    found = replace(crafted.manifest_of({}), entries=(entry,))
    made = crafted.craft(tmp_path / "medium", found, {chunk.digest: piece})
    assert ref.size > shutil.disk_usage(tmp_path).free
    with pytest.raises(NoSpace) as caught:
        crafted.imported(made, store, stage)
    assert caught.value.fields["needed"] > ref.size
    assert sorted(path.name for path in stage.iterdir()) == ["journal"]


def test_a_manifest_beyond_its_bounds_is_refused_before_it_is_built(tmp_path):
    with pytest.raises(UntrustedBundle, match=str(manifest.MAX_MANIFEST)):
        manifest.parse(b"[" + b"0," * (manifest.MAX_MANIFEST // 2) + b"0]")
    made = crafted.medium_of(tmp_path / "medium", {"one": {"a.bin": b"x"}})
    with (made.folders[0] / "targets" / "manifest.json").open("r+b") as file:
        file.truncate(10**9)
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key == "media.too-large"


def test_many_tiny_files_are_taken_in_and_one_too_many_is_refused(tmp_path, store, stage):
    tiny = {"many": {f"{at // 100}/{at}.txt": str(at % 50).encode() for at in range(3000)}}
    made = crafted.medium_of(tmp_path / "medium", tiny)
    crafted.adopted(made, store, stage)
    assert len(bytes_of(store.folder(made.records[0].digest))) == 3000
    most = {"many": {f"{at}.txt": b"x" for at in range(MAX_FILES + 1)}}
    crowd = crafted.medium_of(tmp_path / "crowd", most)
    with pytest.raises(UntrustedBundle, match=str(MAX_FILES)):
        crafted.judged(crowd)


def test_unlisted_files_by_the_thousand_end_the_listing_at_the_first(tmp_path):
    made = crafted.medium_of(tmp_path / "medium", {"one": {"a.bin": b"x"}})
    crowd = made.folders[0] / "chunks" / "zz"
    crowd.mkdir()
    for at in range(5000):
        (crowd / str(at)).touch()
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key == "media.unlisted"
    assert caught.value.fields["file"] == "chunks/zz/"


def test_a_stage_that_was_tampered_with_is_told(tmp_path, files, store, stage):
    made = crafted.medium_of(tmp_path / "medium", files)
    folder = importer.folder(stage, made.records[0].digest)
    folder.mkdir(parents=True)
    (folder / "a.bin").symlink_to("/etc/hostname")
    with pytest.raises(VerificationFailed) as caught:
        crafted.imported(made, store, stage)
    assert caught.value.key == "media.stage"


def test_every_pair_of_volumes_leaves_the_rest_missing(split, store, tmp_path):
    for first, second in itertools.combinations(range(COUNT), 2):
        stage = tmp_path / f"stage-{first}-{second}"
        crafted.imported(split, store, stage, first)
        taken = crafted.imported(split, store, stage, second)
        assert set(taken.missing) == set(range(1, COUNT + 1)) - {first + 1, second + 1}


@pytest.mark.parametrize(
    "paths", [("a.txt", "a.txt/b.txt"), ("caf\u00e9.txt", "cafe\u0301.txt"), ("\u017f.txt", "s.txt")]
)
def test_files_that_can_not_lie_side_by_side_everywhere_are_refused(tmp_path, paths):
    made = crafted.medium_of(tmp_path / "medium", {"one": dict.fromkeys(paths, b"x")})
    with pytest.raises(UntrustedBundle) as caught:
        crafted.judged(made)
    assert caught.value.key in {"media.paths", "artefact.form"}
