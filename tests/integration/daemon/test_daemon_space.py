"""The disk of the audit log runs full under a real daemon: it warns, stops, records that it stopped, and goes on by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 2**20


def can_mount(unshare):
    return (
        subprocess.run([*unshare, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.parametrize("how", ["mounted", "said"])
def test_a_daemon_whose_disk_runs_full_stops_acts_and_recovers_by_itself(founded, tmp_path, how):
    """On a file system of a few megabytes in a mount namespace of our own, and on a disk that only says so."""
    unshare = ["unshare", "--mount", *(() if os.getuid() == 0 else ("--map-root-user",)), "sh", "-c"]
    if how == "mounted" and not can_mount(unshare):
        pytest.skip("no file system can be mounted here")
    small = tmp_path / "small"
    small.mkdir()
    command = 'exec "$3" -m tests.integration.daemon.filling "$1" "$4"'
    if how == "mounted":
        # The home is copied onto the small file system, once that is there.
        begin = [*unshare, f'mount -t tmpfs -o size=32m tmpfs "$1" && cp -a "$2" "$1/home" && {command}']
    else:
        shutil.copytree(founded.home.root, small / "home")
        begin = ["sh", "-c", command]
    done = subprocess.run(
        [*begin, "sh", str(small), str(founded.home.root), sys.executable, how],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["stopped", "recovered", "failed", "mended", "well"]


@pytest.fixture
def founded(place, media):
    place.audit = {"low_space_bytes": 8 * MIB, "reserve_bytes": MIB}
    place.found(media.first)
    return place


def test_low_space_is_shown_and_stops_nothing(place, media):
    place.audit = {"low_space_bytes": 2**49, "reserve_bytes": MIB}  # more than any disk has
    place.found(media.first)
    place.told("up")
    status = place.told("status")["space"]
    assert (status["level"], status["low"], status["reserve"], status["failure"]) == ("low", 2**49, MIB, None)
    assert status["free"] > 0
    shown, _ = place.call("status")
    assert "SPACE       low: " in shown
    assert place.told("store", "scrub", who="alice")


def test_where_only_the_reserve_is_left_nothing_begins_and_the_numbers_are_told(place, media):
    place.audit = {"low_space_bytes": 2**49, "reserve_bytes": 2**49}
    place.found(media.first)
    error = json.loads(place.run("up", "--json", code=7).stderr.splitlines()[-1])["error"]
    assert error["key"] == "audit.reserve"
    assert 0 < error["fields"]["free"] < error["fields"]["needed"]
    assert str(error["fields"]["free"]) in error["message"]
    assert "Free " in error["remedy"]
    assert not place.home.founded.exists()
