"""Volumes: complete, each judged by itself, the same whenever they are made, and named so that every file system keeps them."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta

import pytest

from holdfast.errors import Conflict, UntrustedBundle, UsageRefused
from holdfast.formats.chunking import LARGE
from holdfast.media import build, layout, manifest, papers, request, sign, split, volume

SIZE = 80 * 2**20  # bytes of a volume: 13 MiB for what is on every one, the rest for chunks


@pytest.fixture(scope="session")
def wide(tmp_path_factory, holders, kit):
    """A medium of 140 MiB, and its workshop."""
    desk = kit.lay_out(tmp_path_factory.mktemp("wide"), holders)
    files = {"config.json": json.dumps(kit.WIDE).encode(), "model.safetensors": kit.model(kit.WIDE)}
    recipe = desk.recipe_of("wide", [{"kind": "base", "name": "wide", "files": files}])
    return desk, desk.build("medium", recipe=recipe)


@pytest.fixture(scope="session")
def volumes(wide, tmp_path_factory, kit):
    _, made = wide
    out = tmp_path_factory.mktemp("volumes") / "out"
    return split.split(made.folder, out, SIZE, now=kit.NOW, progress=kit.quiet)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_volumes_together_are_the_medium_and_each_is_judged_by_itself(wide, volumes, kit):
    _, made = wide
    chunks = []
    for part in volumes.parts:
        verdict = kit.judge(part.folder, kit.state_of(made.folder))
        assert (verdict.volume.number, verdict.volume.count) == (part.number, 3)
        assert verdict.digest == made.digest == volumes.digest
        assert sum(path.stat().st_size for path in part.folder.rglob("*") if path.is_file()) <= SIZE
        here = names(part.folder)
        assert [name for name in here if not name.startswith("chunks/")] == [
            "metadata/1.root.json",
            "metadata/snapshot.json",
            "metadata/targets.json",
            "metadata/timestamp.json",
            "targets/manifest.json",
            "volume.json",
        ]
        own = [name for name in here if name.startswith("chunks/")]
        assert len(own) == part.chunks == len(verdict.expected)
        chunks += own
    assert len(set(chunks)) == len(chunks)
    assert sorted(chunks) == [name for name in names(made.folder) if name.startswith("chunks/")]


def test_one_volume_is_made_again_the_same(wide, volumes, tmp_path, kit):
    _, made = wide
    again = split.split(made.folder, tmp_path, SIZE, now=kit.NOW, progress=kit.quiet, only=[2])
    assert [part.folder for part in again.parts] == [None, tmp_path / "volume-2", None]
    first, second = volumes.parts[1].folder, tmp_path / "volume-2"
    assert names(first) == names(second)
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names(first))


def test_a_damaged_volume_is_named(volumes, wide, tmp_path, kit):
    _, made = wide
    copy = shutil.copytree(volumes.parts[2].folder, tmp_path / "volume-3")
    chunk = next(path for path in (copy / "chunks").rglob("*") if path.is_file())
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(UntrustedBundle, match=r"[Vv]olume 3 of 3") as caught:
        kit.judge(copy, kit.state_of(made.folder))
    assert caught.value.fields["volume"] == 3


def test_chunks_that_are_damaged_on_the_medium_get_on_no_volume(wide, tmp_path, kit):
    _, made = wide
    place = next(path for path in (made.folder / "chunks").rglob("*") if path.is_file())
    whole = place.read_bytes()
    try:
        place.write_bytes(whole[:-1] + b"!")
        with pytest.raises(UntrustedBundle) as caught:
            split.split(made.folder, tmp_path / "out", SIZE, now=kit.NOW, progress=kit.quiet)
    finally:
        place.write_bytes(whole)
    assert caught.value.key == "media.changed"
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_an_interruption_leaves_whole_volumes_alone(wide, tmp_path, kit):
    _, made = wide

    def interrupt(step, _done, _total):
        if step == "volume 2 of 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        split.split(made.folder, tmp_path, SIZE, now=kit.NOW, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["volume-1"]
    kit.judge(tmp_path / "volume-1", kit.state_of(made.folder))
    with pytest.raises(Conflict):
        split.split(made.folder, tmp_path, SIZE, now=kit.NOW, progress=kit.quiet)
    split.split(made.folder, tmp_path, SIZE, now=kit.NOW, progress=kit.quiet, only=[2, 3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volume-1", "volume-2", "volume-3"]


def test_what_can_not_be_split_is_refused(desk, medium, volumes, tmp_path, kit):
    def refusal(source, size=SIZE, now=kit.NOW, **more):
        with pytest.raises((UsageRefused, UntrustedBundle)) as caught:
            split.split(source, tmp_path / "out", size, now=now, progress=kit.quiet, **more)
        assert not (tmp_path / "out").exists()
        return caught.value

    assert refusal(volumes.parts[0].folder).key == "media.split-volume"
    small = refusal(medium, 2**20)
    assert small.key == "media.volume-small"
    least = re.search(r"at least (\d+)MiB", small.remedy)
    split.split(medium, tmp_path / "least", int(least[1]) * 2**20, now=kit.NOW, progress=kit.quiet)
    for number in (0, 2, -1):
        assert refusal(medium, only=[number]).key == "media.split-only"
    assert refusal(medium, now=kit.NOW + timedelta(days=400)).key == "trust.expired"
    (medium / "chunks" / "extra").write_bytes(b"")
    assert refusal(medium).key == "media.unlisted"
    root = desk.build("first").folder / "metadata" / "1.root.json"
    unfinished = desk.build("unfinished", build.origin(root, None), pairs=[desk.ada])
    assert refusal(unfinished.folder).key in {"trust.threshold", "trust.holders"}


def test_a_volume_is_as_large_as_it_says():
    assert split.capacity("4GiB") == 4 * 2**30
    assert split.capacity("4.7 GB") == 4_700_000_000
    assert split.capacity("700MB") == 700_000_000
    assert split.capacity("DVD") == 4_700_372_992
    assert split.capacity("bd25") < 25_025_314_816
    for text in ("", "4", "GiB", "-1GB", "4 gib", "1e9B", "floppy", "9" * 20 + "GB", "99999999999TiB", "٤GB"):
        with pytest.raises(UsageRefused):
            split.capacity(text)


# What Windows gives no file, whatever follows the first dot, and what it and FAT32 keep from names.
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{word}{digit}" for word in ("com", "lpt") for digit in "0123456789"),
}
PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*")
JOLIET = 64  # characters of a name (Joliet specification, section on identifiers)
LEVEL_3 = 31  # characters of a name (ISO 9660, level 2 and 3)
DEPTH = 8  # folders, the root among them (ISO 9660)


def unsafe(path):
    """Say why a path would not survive FAT32, ISO 9660 with Joliet, or Windows; None if it would."""
    parts = path.split("/")
    if len(parts) > DEPTH:
        return "too deep"
    for part in parts:
        if not PLAIN.fullmatch(part) or part.endswith((".", " ")):
            return f"{part} has characters that are not kept"
        if len(part) > JOLIET:
            return f"{part} is too long"
        if part.split(".")[0] in RESERVED:
            return f"{part} is a device on Windows"
    return None


def test_every_name_survives_fat_iso_and_windows(volumes):
    digest = "sha512:" + "f" * 128
    largest = [
        layout.root(999),
        layout.role("a" * 40),
        layout.target(layout.manifest_target("adapter", "c" * 40)),
        layout.target(layout.REVOCATIONS),
        layout.chunk(digest),
        layout.VOLUME,
    ]
    found = {name for part in volumes.parts for name in names(part.folder)} | {
        f"volume-{volume.MAX_VOLUMES}/{name}" for name in largest
    }
    assert [reason for name in sorted(found) if (reason := unsafe(name))] == []
    folded = {name.casefold() for name in found}
    assert len(folded) == len(found)
    # Chunks keep apart even where names end after 31 characters, as on ISO 9660 without extensions.
    assert all(len(part) <= LEVEL_3 for part in layout.chunk(digest).split("/"))


def test_a_role_or_collection_that_windows_takes_for_a_device_is_refused():
    for name in ("con", "nul", "com1", "aux"):
        assert layout.role_name(layout.role(name)) is None
        assert not manifest.is_collection(name)


def test_no_file_is_larger_than_fat32_takes():
    assert max(LARGE, manifest.MAX_MANIFEST, request.MAX_REQUEST) < 2**32


def test_a_delegated_medium_is_split_too(desk, kit, tmp_path):
    from holdfast.keys import person
    from holdfast.trust.publisher import Delegation

    eva, fay = person.generate("Eva"), person.generate("Fay")
    top = desk.build("top", delegate=[Delegation("health", ("adapters/health/*",), (eva.public, fay.public))])
    recipe = desk.recipe_of("ours", [{"kind": "adapter", "name": "triage", "files": kit.adapter()}])
    made = desk.build(
        "ours",
        build.origin(None, top.folder),
        recipe=recipe,
        pairs=[eva, fay],
        role="health",
        collection="health",
    )
    for pair in (desk.ada, desk.bo):
        sign.sign(sign.awaiting(papers.of_medium(made.folder), pair.public), pair)
    parts = split.split(made.folder, tmp_path / "out", SIZE, now=kit.NOW, progress=kit.quiet).parts
    verdict = kit.judge(parts[0].folder, kit.state_of(top.folder))
    assert (verdict.role, verdict.volume.count) == ("health", 1)
