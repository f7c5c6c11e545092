"""What is said of the thing a medium lies on: from the descriptor, never guessed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.daemon import mediafacts

MOUNTS = """\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
41 22 11:0 / /media/cd\\040rom ro,nosuid - iso9660 /dev/disk/by\\040id/sr0 ro
42 22 0:31 / /tmp rw - tmpfs tmpfs rw
43 torn
"""


@pytest.mark.parametrize(
    ("mount", "device", "filesystem", "source"),
    [
        ("41", "11:0", "iso9660", "/dev/disk/by id/sr0"),
        ("22", "8:2", "ext4", "/dev/sda2"),
        ("42", "0:31", "tmpfs", "tmpfs"),
    ],
)
def test_a_mount_is_found_by_its_number(mount, device, filesystem, source):
    found = mediafacts.parse_mounts(MOUNTS, mount)
    assert found == {"device": device, "filesystem": filesystem, "source": source}


@given(st.text(), st.sampled_from(["22", "43", "99"]))
def test_any_text_is_read_without_a_fault(text, mount):
    found = mediafacts.parse_mounts(text + "\n" + MOUNTS, mount)
    assert found is None or set(found) == {"device", "filesystem", "source"}


def test_a_folder_of_this_host_is_described(tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        found = mediafacts.describe(handle)
    finally:
        os.close(handle)
    assert found["read_only"] is False
    assert found["filesystem"]
    assert all(value is None or isinstance(value, str | bool) for value in found.values())


def test_what_has_no_mount_is_unknown_and_not_guessed():
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    found = mediafacts.describe(writing)  # a descriptor that is closed
    assert set(found.values()) == {None}
