"""The hashes of applications' keys through power cuts, a full disk and hands that meddle with the file."""

from __future__ import annotations

import errno
import shutil

import pytest
from tests.integration.faults import platter
from tests.integration.faults.platter import Platter, QuickDisk, Recorder

from holdfast import canonical
from holdfast.daemon.serve.keystore import SCHEMA, KeyStore
from holdfast.errors import NoSpace, OperationFailed, VerificationFailed

ONE, TWO, THREE = "0000000a", "0000000b", "0000000c"
HASH = {ONE: "1" * 64, TWO: "2" * 64, THREE: "3" * 64}
NAME = "applications.json"
STEPS = (  # what is done, and what is promised once it returns
    lambda store: store.put(ONE, HASH[ONE]),
    lambda store: store.put(TWO, HASH[TWO]),
    lambda store: store.drop([ONE]),
    lambda store: store.put(THREE, HASH[THREE]),
    lambda store: store.keep([THREE]),
)
HELD = ([], [ONE], [ONE, TWO], [TWO], [TWO, THREE], [THREE])


def held(path):
    store = KeyStore(path, QuickDisk())
    assert all(store.get(key) in (None, HASH[key]) for key in HASH)
    return [key for key in HASH if store.get(key) is not None]


@pytest.fixture(scope="module")
def recorded(place):
    """A life of the store on a disk that writes everything down; a note after each promise."""
    folder = place / "hashes"
    folder.mkdir()
    recorder = Recorder()
    begin = platter.snapshot(folder, recorder)
    store = KeyStore(folder / NAME, recorder)
    for number, step in enumerate(STEPS, 1):
        step(store)
        recorder.note("promised", number)
    assert held(folder / NAME) == HELD[-1]
    return folder, begin, recorder


def lies(recorded, ignored=None):
    """Cut the power after every operation; give the states that broke a promise."""
    folder, begin, recorder = recorded
    disk, promised, seen, found = Platter(folder, begin), 0, 0, []
    for step in recorder.trace:
        disk.apply(step, ignored)
        if step[0] == "note":
            promised = step[2]
        for image in disk.images():
            left = folder.parent / "left"
            platter.lay_down(image, left)
            try:
                may = HELD[promised], HELD[min(promised + 1, len(STEPS))]
                if (got := held(left / NAME)) not in may:
                    found.append((promised, got))
                assert not [path for path in left.iterdir() if path.name != NAME]  # drafts are cleared away
            except VerificationFailed:
                found.append((promised, "damaged"))
            finally:
                shutil.rmtree(left)
            seen += 1
    assert seen > 100
    return found


def test_after_any_power_cut_the_store_holds_what_it_promised(recorded):
    assert lies(recorded) == []


def test_every_sync_is_needed(recorded):
    sites = list(recorded[2].sites())
    assert len(sites) == 2
    for ignored in sites:
        assert lies(recorded, ignored), ignored


class FullDisk(QuickDisk):
    def __init__(self, error):
        self.error = error

    def sync(self, handle):
        raise OSError(self.error, f"descriptor {handle}, as told")


@pytest.mark.parametrize(("error", "raised"), [(errno.ENOSPC, NoSpace), (errno.EIO, OperationFailed)])
def test_a_disk_that_takes_nothing_leaves_the_old_hashes(tmp_path, error, raised):
    path = tmp_path / NAME
    KeyStore(path).put(ONE, HASH[ONE])
    store = KeyStore(path, FullDisk(error))
    with pytest.raises(raised):
        store.put(TWO, HASH[TWO])
    with pytest.raises(raised):
        store.drop([ONE])
    assert (store.get(ONE), store.get(TWO)) == (HASH[ONE], None)
    assert held(path) == [ONE]
    assert [one.name for one in tmp_path.iterdir()] == [NAME]


def test_the_file_is_for_its_owner_alone_and_nothing_is_written_without_need(tmp_path):
    path = tmp_path / NAME
    store = KeyStore(path)
    store.drop([ONE])
    store.keep([])
    assert not path.exists()
    store.put(ONE, HASH[ONE])
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    store.keep([ONE, TWO])
    assert path.stat().st_ino == before


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff", b"[]", b"null", b'{"schema":"holdfast.key-hashes/2","hashes":{}}',
        canonical.encode({"schema": SCHEMA}), canonical.encode({"schema": SCHEMA, "hashes": []}),
        canonical.encode({"schema": SCHEMA, "hashes": {"x": HASH[ONE]}}),
        canonical.encode({"schema": SCHEMA, "hashes": {ONE: "1"}}),
        canonical.encode({"schema": SCHEMA, "hashes": {ONE: None}}),
        canonical.encode({"schema": SCHEMA, "hashes": {f"{number:08x}": HASH[ONE] for number in range(10_001)}}),
        b" " * (2 * 2**20 + 1),
    ],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path, data):
    path = tmp_path / NAME
    path.write_bytes(data)
    with pytest.raises(VerificationFailed) as caught:
        KeyStore(path)
    assert caught.value.remedy
    assert path.read_bytes() == data
