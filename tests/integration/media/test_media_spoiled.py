"""Media that were changed after they were signed."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import UntrustedBundle
from holdfast.media import importer
from holdfast.media.read import Medium
from holdfast.media.verify import verify_medium
from holdfast.store.files import Store


def files_of(medium):
    return sorted(path for path in medium.rglob("*") if path.is_file())


def flip(path, position, mask):
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


def test_an_untouched_medium_is_verified(medium, kit):
    verdict = kit.judge(medium)
    assert verdict.holders == ("Ada", "Bo")
    assert [(a.kind, a.name) for a in verdict.artefacts] == [("base", "tiny"), ("suite", "quiz")]
    assert verdict.artefacts[1].parents == (verdict.artefacts[0].digest,)
    assert verdict.state.floor == kit.NOW


def test_the_first_middle_and_last_byte_of_every_file_count(medium, kit):
    state = kit.state_of(medium)
    for path in files_of(medium):
        whole = path.read_bytes()
        for position in {0, len(whole) // 2, len(whole) - 1}:
            flip(path, position, 0x01)
            with pytest.raises(UntrustedBundle):
                kit.judge(medium, state)
            path.write_bytes(whole)
    kit.judge(medium)


@settings(max_examples=60)
@given(data=st.data())
def test_any_flipped_byte_of_any_file_is_refused(medium, sealed_medium, kit, data):
    path = data.draw(st.sampled_from(files_of(medium)))
    whole = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255)))
    try:
        with pytest.raises(UntrustedBundle):
            kit.judge(medium, kit.state_of(sealed_medium))
    finally:
        path.write_bytes(whole)


def test_every_missing_file_is_named(medium, kit):
    state = kit.state_of(medium)
    for path in files_of(medium):
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(UntrustedBundle) as caught:
            kit.judge(medium, state)
        assert caught.value.key == "media.missing"
        assert caught.value.fields["file"] == str(path.relative_to(medium))
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "name",
    [
        "extra.txt",
        ".hidden",
        "chunks/extra",
        "chunks/00/extra",
        "metadata/extra.json",
        "targets/.keep",
        "metadata/1.root.json.bak",
    ],
)
@pytest.mark.parametrize("contents", [b"", b"x"])
def test_an_unlisted_file_is_refused(medium, kit, name, contents):
    (medium / name).parent.mkdir(exist_ok=True)
    (medium / name).write_bytes(contents)
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key == "media.unlisted"


def test_an_empty_folder_is_refused(medium, kit):
    (medium / "chunks" / "zz").mkdir()
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.fields["file"] == "chunks/zz/"


def test_a_link_to_the_right_bytes_is_refused(medium, kit, tmp_path):
    path = next((medium / "chunks").rglob("*/*"))
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key == "media.unlisted"


def test_a_linked_folder_is_refused(medium, kit, tmp_path):
    shutil.move(medium / "chunks", tmp_path / "elsewhere")
    (medium / "chunks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key == "media.unlisted"


def test_a_pipe_in_the_place_of_a_chunk_does_not_hold_the_reader(medium, kit):
    path = next((medium / "chunks").rglob("*/*"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key == "media.unlisted"


@pytest.mark.parametrize("contents", [True, False])
def test_a_second_name_for_a_file_is_refused(medium, kit, tmp_path, contents):
    os.link(next((medium / "chunks").rglob("*/*")), tmp_path / "from outside")
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium, contents=contents)
    assert caught.value.key == "media.unlisted"


@pytest.mark.parametrize("name", ["TIMESTAMP.json", "\N{LATIN SMALL LETTER LONG S}napshot.json"])
def test_names_that_other_systems_take_for_one_are_refused(medium, kit, name):
    (medium / "metadata" / name).write_bytes(b"")
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key in {"media.collision", "media.unlisted"}
    with Medium(medium) as opened, pytest.raises(UntrustedBundle) as caught:
        opened.listing()
    assert caught.value.key == "media.collision"


def test_a_name_that_is_no_text_is_told_in_plain_characters(medium, kit):
    (medium / os.fsdecode(b"\xff\x1b[31m")).write_bytes(b"")
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key == "media.unlisted"
    assert caught.value.fields["file"].isascii()
    assert caught.value.fields["file"].isprintable()


def test_a_medium_that_changes_between_check_and_copy_is_refused(medium, kit, tmp_path):
    store = Store(tmp_path / "store")
    verdict = verify_medium(medium, kit.state_of(medium), kit.NOW, kit.quiet)
    with verdict.medium:
        for path in (medium / "chunks").rglob("*/*"):
            flip(path, 0, 0x80)
        with pytest.raises(UntrustedBundle) as caught:
            importer.take_in(verdict, store, tmp_path / "stage", kit.quiet)
    assert caught.value.key == "media.changed"
    assert store.artefacts() == ()


def test_a_metadata_file_larger_than_its_bound_is_not_parsed(medium, kit):
    with (medium / "metadata" / "timestamp.json").open("r+b") as file:
        file.truncate(10**9)
    with pytest.raises(UntrustedBundle) as caught:
        kit.judge(medium)
    assert caught.value.key == "media.too-large"
