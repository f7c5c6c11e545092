"""The recording disks of other tests stand in for the host's: here the host's own are seen to ask the kernel."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from holdfast.audit import segment
from holdfast.store import disk


@pytest.fixture
def asked(monkeypatch):
    """What the kernel was asked to do, in order: (call, the file's or folder's path)."""
    found = []

    def seen(name):
        real = getattr(os, name)

        def call(handle, *arguments):
            found.append((name, str(Path(f"/proc/self/fd/{handle}").readlink())))
            return real(handle, *arguments)

        return call

    for name in ("write", "pwrite", "fsync", "fdatasync"):
        monkeypatch.setattr(os, name, seen(name))
    return found


def synced(found):
    return [(call, path) for call, path in found if call in {"fsync", "fdatasync"}]


def test_an_event_is_acknowledged_after_the_kernel_synced_it(tmp_path, open_log, draft, asked):
    folder = tmp_path / "log"
    log = open_log(folder)
    events = str(folder / segment.name(0))
    for number in range(3):
        asked.clear()
        log.append(draft(number))
        calls = [call for call, path in asked if path == events]
        assert calls[-1] == "fdatasync"
        assert {*calls[:-1]} in ({"write"}, {"pwrite"})  # all of it before
        folders = [one for one in synced(asked) if one[1] == str(folder)]
        assert folders == ([("fsync", str(folder))] if number == 0 else [])


def test_a_checkpoint_is_given_out_after_the_kernel_synced_it(tmp_path, open_log, draft, asked):
    folder = tmp_path / "log"
    log = open_log(folder)
    log.append(draft(0))
    asked.clear()
    log.checkpoint()
    assert synced(asked) == [("fdatasync", str(folder / "checkpoint.new")), ("fsync", str(folder))]


def test_a_folder_is_there_after_the_kernel_synced_its_name(tmp_path, asked):
    segment.HostDisk().make_folder(tmp_path / "log")
    assert synced(asked) == [("fsync", str(tmp_path))]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_files_of_the_store_and_of_sealed_keys_are_synced_by_the_kernel(tmp_path, asked):
    disk.create_file(tmp_path / "key", b"k" * 32)
    (file, path), folder = synced(asked)
    assert (file, Path(path).parent) == ("fsync", tmp_path)
    assert folder == ("fsync", str(tmp_path))
