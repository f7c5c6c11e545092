"""Volumes that are damaged, files that are swapped under the import's hands, media that go away in the middle, two imports at once."""

from __future__ import annotations

import errno
import os
import secrets
import threading

import pytest
from tests.integration.faults.house import PIECE, House
from tests.integration.faults.platter import Recorder, lay_down, snapshot
from tests.integration.media import crafted

from holdfast.errors import Conflict, HoldfastError, UntrustedBundle
from holdfast.media import copy, layout, read, sources
from holdfast.media.verify import verify_medium


@pytest.fixture(scope="module")
def files():
    old = {"one": {"a": secrets.token_bytes(3 * PIECE)}}
    new = {
        "one": {"a": old["one"]["a"], "deep/b": secrets.token_bytes(5 * PIECE + 7)},
        "two": {"c": secrets.token_bytes(4 * PIECE), "empty": b""},
    }
    return old, new


@pytest.fixture(scope="module")
def first(place, files):
    return crafted.medium_of(place / "first", files[0])


@pytest.fixture(scope="module")
def stocked(place, first):
    """Makes homes in which the first medium is admitted."""
    house = House.found(place / "stocked", first).start()
    house.admit(house.take_in(first)[0])
    image = snapshot(place / "stocked", Recorder())

    def make(name, image=image, events=house.events):
        lay_down(image, place / name)
        return House(place / name, events=events).start()

    return make


@pytest.fixture
def second(tmp_path, files, first):
    return crafted.medium_of(tmp_path / "second", files[1], root=first.root, version=2)


def finish(house, made, generations=2):
    """Import what is left of a medium, admit it, and look at everything."""
    for at in range(len(made.folders)):
        request, taken = house.take_in(made, at)
        if not taken.missing:
            break
    house.admit(request)
    assert len(house.state.generations) == generations
    house.whole()
    house.at_rest()
    return taken


def refused(house, made, at=0, **more):
    """Import what must be refused; the old generation stays."""
    with pytest.raises(HoldfastError) as caught:
        house.take_in(made, at, **more)
    house.whole()
    assert len(house.state.generations) == 1
    assert caught.value.remedy
    return caught.value


def attempt(house, made):
    """Import what may be refused; gives the error, or nothing."""
    try:
        house.take_in(made)
    except HoldfastError as error:
        return error
    return None


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def test_every_file_of_every_volume_flipped_and_cut_is_refused_and_the_volume_named(
    stocked, first, files, tmp_path
):
    parts = crafted.medium_of(tmp_path / "volumes", files[1], root=first.root, version=2, size=4 * PIECE)
    count, tried = len(parts.folders), 0
    assert count > 2
    for at, folder in enumerate(parts.folders):
        house = stocked(f"volume-{at}")
        for other in range(count):
            if other != at:
                assert at + 1 in house.take_in(parts, other)[1].missing
        image, events = snapshot(house.root, Recorder()), house.events
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            name, whole = str(path.relative_to(folder)), path.read_bytes()
            for harm in (flip, cut):
                tried += 1
                harm(path)
                house = stocked(f"volume-{at}-{tried}", image, events)
                error = refused(house, parts, at)
                assert isinstance(error, UntrustedBundle)
                # What a damaged volume.json says of itself is worth nothing.
                if name == layout.VOLUME:
                    assert layout.VOLUME in error.message or "volume" in error.fields
                else:
                    assert (error.fields["volume"], error.fields["volumes"]) == (at + 1, count)
                    assert error.message.startswith(f"Volume {at + 1} of {count}")
                path.write_bytes(whole)
                if tried % 7 == 0:
                    # The volume made again completes it: nothing of the others is read again.
                    taken = house.take_in(parts, at)[1]
                    assert (taken.missing, taken.copied <= 4 * PIECE) == ((), True)
                    house.admit(house.waiting()[0])
                    house.whole()
    assert tried > 2 * 6 * count


def aside(path):
    """Name what stands beside a chunk's file; two chunks can be in one folder."""
    return path.with_name(f"{path.name}-aside")


SWAPS = {
    "other bytes": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another file": lambda path: (path.unlink(), path.write_bytes(b"x")),
    "a longer file": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "nothing": lambda path: path.unlink(),
    "a link": lambda path: (path.rename(aside(path)), path.symlink_to(aside(path))),
    "a second name": lambda path: os.link(path, aside(path)),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def chunks(made):
    return sorted((made.folders[0] / "chunks").rglob("*/*"))


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS)
def test_a_file_swapped_between_check_and_copy_is_refused(stocked, second, monkeypatch, swap, request):
    house = stocked(request.node.name.replace("/", "-"))
    checked = []

    def then(*arguments, **named):
        verdict = verify_medium(*arguments, **{**named, "contents": True})
        checked.append(verdict.digest)
        for path in chunks(second):
            swap(path)
        return verdict

    whole = {path: path.read_bytes() for path in chunks(second)}
    with monkeypatch.context() as patch:
        patch.setattr("tests.integration.faults.house.verify_medium", then)
        error = refused(house, second)
    assert checked
    assert error.key in {"media.changed", "media.missing", "media.unlisted", "media.unreadable"}
    for path, data in whole.items():
        for left in (path, aside(path)):
            if left.is_dir() and not left.is_symlink():
                left.rmdir()
            else:
                left.unlink(missing_ok=True)
        path.write_bytes(data)
    finish(house, second)


@pytest.mark.parametrize("swap", ["other bytes", "a longer file", "nothing", "a link", "a pipe"])
def test_a_file_swapped_while_others_are_copied_is_refused(stocked, second, swap, request):
    house = stocked(request.node.name)
    whole = {path: path.read_bytes() for path in chunks(second)}
    by_digest = {one.digest: one for entry in second.manifest.entries for one in entry.chunks.get("c", ())}
    last = second.chunk([*by_digest][-1])

    def progress(step, *_):
        untouched = last.is_file() and not last.is_symlink() and last.read_bytes() == whole[last]
        if step == "copying" and untouched:
            SWAPS[swap](last)

    # Few are handed to the threads ahead, so that the last is still to be read when the first is done.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy, "AHEAD", 1)
        error = refused(house, second, progress=progress)
    assert error.key in {"media.changed", "media.missing", "media.unlisted", "media.unreadable"}
    last.unlink(missing_ok=True)
    aside(last).unlink(missing_ok=True)
    last.write_bytes(whole[last])
    finish(house, second)


def test_a_racing_thread_changes_files_and_never_gets_a_wrong_byte_in(stocked, second):
    """The bytes that are hashed are those that are written, whatever is written into the medium meanwhile."""
    whole = {path: path.read_bytes() for path in chunks(second)}
    over = threading.Event()

    def race():
        while not over.is_set():
            for path, data in whole.items():
                with path.open("r+b") as file:
                    file.write(bytes(len(data)))
                    file.seek(0)
                    file.write(data)

    racer = threading.Thread(target=race)
    racer.start()
    try:
        for number in range(12):
            house = stocked(f"race-{number}")
            error = attempt(house, second)
            if error is None:
                house.admit(house.waiting()[0])
            house.whole()
            assert error is None or error.key == "media.changed"
            assert len(house.state.generations) == (1 if error else 2)
    finally:
        over.set()
        racer.join()
    house = stocked("race-over")
    finish(house, second)


class Failing:
    """The system, of which one call in turn fails for a medium."""

    def __init__(self, call, after, number):
        self.call, self.after, self.number, self.met = call, after, number, 0

    def __getattr__(self, name):
        real = getattr(os, name)
        if name != self.call:
            return real

        def failing(*arguments, **named):
            self.met += 1
            if self.met > self.after:
                raise OSError(self.number, os.strerror(self.number))
            return real(*arguments, **named)

        return failing


CALLS = [
    (read, "open"),
    (read, "stat"),
    (read, "scandir"),
    (read, "fstat"),
    (sources, "fstat"),
    (copy, "preadv"),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda one: f"{one[0].__name__}-{one[1]}")
def test_a_medium_that_can_not_be_read_any_more_is_said_so_and_gone_on_with(
    stocked, second, monkeypatch, call, request
):
    """Pulled out before the first, the second ... the last use of each system call."""
    total, failed = sum(second.manifest.carried.values()), 0
    for after in range(200):
        house = stocked(f"{request.node.name}-{after}")
        system = Failing(call[1], after, errno.EIO if after % 2 else errno.ENODEV)
        with monkeypatch.context() as patch:
            patch.setattr(call[0], "os", system)
            error = attempt(house, second)
        if error is None:
            assert system.met <= after
            break
        failed += 1
        assert error.key in {"media.folder", "media.unreadable", "media.missing"}, error
        house.whole()
        if after % 5 == 0:
            assert finish(house, second).copied <= total
    assert failed > 0


def test_a_folder_that_is_renamed_in_the_middle_is_read_on_and_one_that_is_emptied_is_not(
    stocked, second, monkeypatch
):
    monkeypatch.setattr(copy, "AHEAD", 1)
    folder = second.folders[0]
    away = folder.with_name("away")

    def rename(*_):
        if folder.exists():
            folder.rename(away)

    house = stocked("renamed")
    request, _ = house.take_in(second, progress=rename)
    house.admit(request)
    house.whole()
    away.rename(folder)

    def empty(step, done, total):
        if step == "copying" and (folder / "chunks").exists() and done * 2 > total:
            (folder / "chunks").rename(away)

    house = stocked("emptied")
    error = refused(house, second, progress=empty)
    assert error.key == "media.missing"
    away.rename(folder / "chunks")
    total = sum(second.manifest.carried.values())
    assert finish(house, second).copied < total


def test_the_same_medium_twice_at_once_is_a_conflict(stocked, second):
    house = stocked("twice")
    found = []

    def again(step, *_):
        if step == "copying" and not found:
            found.append(None)
            # In this daemon; and in a process that knows nothing of this daemon's jobs.
            for other in (house, House(house.root, events=house.events)):
                other.services.store = house.store
                with pytest.raises(Conflict) as caught:
                    other.take_in(second)
                found.append(caught.value)

    request, _ = house.take_in(second, progress=again)
    assert [(error.key, error.exit_code) for error in found[1:]] == [
        ("bundle.importing", 6),
        ("media.importing", 6),
    ]
    house.admit(request)
    house.whole()
    house.at_rest()


def test_two_media_at_once_are_both_taken_in_and_the_second_admission_is_told(
    stocked, second, first, files, tmp_path
):
    third = crafted.medium_of(
        tmp_path / "third", {"one": files[1]["one"], "three": {"x": b"x"}}, root=first.root, version=3
    )
    house = stocked("both")
    requests = {}

    def inside(step, *_):
        if step == "copying" and "third" not in requests:
            requests["third"] = None
            requests["third"] = house.take_in(third)[0]

    requests["second"], _ = house.take_in(second, progress=inside)
    assert sorted(house.waiting()) == sorted(requests.values())
    house.admit(requests["third"])
    with pytest.raises(Conflict) as caught:
        house.admit(requests["second"])
    assert (caught.value.key, caught.value.exit_code) == ("bundle.overtaken", 6)
    assert len(house.state.generations) == 2
    house.whole()
    house.reject(requests["second"])
    house.at_rest()
    # It is older than what was admitted meanwhile: a rollback.
    with pytest.raises(UntrustedBundle) as refusal:
        house.take_in(second)
    assert refusal.value.key == "trust.rollback"
    fourth = crafted.medium_of(tmp_path / "fourth", files[1], root=first.root, version=4)
    finish(house, fourth, generations=3)
    assert House(house.root, events=house.events).start().state.active == house.state.active
