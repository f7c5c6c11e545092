"""What a confined worker wrote is taken only if it is plain files."""

from __future__ import annotations

import os

import pytest

from holdfast.daemon import evidence
from holdfast.errors import WorkerFailed


@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_what_the_index_worker_wrote_is_taken_if_it_is_plain_files(tmp_path, what):
    made, folder = tmp_path / "made", tmp_path / "taken"
    made.mkdir()
    (made / "rows.csv").write_text("good")
    if what == "link":
        (made / "rows.jsonl").symlink_to("/etc/passwd")
    elif what == "fifo":
        os.mkfifo(made / "rows.jsonl")
    else:
        made.rename(tmp_path / "other")
        made.symlink_to(tmp_path / "other")
    with pytest.raises(WorkerFailed):
        evidence._take(made, folder)
    assert not folder.exists()
