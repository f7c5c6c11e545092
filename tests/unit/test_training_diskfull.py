"""A full disk is told from other failures, whichever library met it and whatever came free since."""

from __future__ import annotations

import errno

import pytest

from holdfast.training import diskfull

SHORT = "[enforce fail at inline_container.cc:672] . unexpected pos 529536 vs 529424"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "no space"), True),
        (OSError(errno.EDQUOT, "quota"), True),
        (OSError(errno.EIO, "damaged"), False),
        (RuntimeError(SHORT), True),
        (RuntimeError("shapes do not agree"), False),
    ],
)
def test_a_full_disk_is_known_where_there_is_room_again(error, full, tmp_path) -> None:
    assert diskfull.met(error, tmp_path) is full


def test_a_failure_on_the_way_of_another_is_seen(tmp_path) -> None:
    late = RuntimeError("could not close the file")
    late.__context__ = OSError(errno.ENOSPC, "no space")
    assert diskfull.met(late, tmp_path)
