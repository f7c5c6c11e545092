"""Small chunks, so that a few hundred bytes are many of them; and a folder in memory, for files that are made by the thousand."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.integration.daemon.seeking import KEPT
from tests.integration.faults.house import PIECE

from holdfast.formats import chunking
from holdfast.media import copy, volume

MANY = 1_100_000  # files at most, which not every file system in memory takes


@pytest.fixture(scope="module", autouse=True)
def _pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "PIECE", PIECE)
        patch.setattr(copy, "BATCH", 3 * PIECE)
        patch.setattr(volume, "CLUSTER", 1)
        patch.setattr(volume, "MIN_SIZE", 1)
        yield


def _fits(memory: Path) -> bool:
    found = os.statvfs(memory)
    return os.access(memory, os.W_OK) and (not found.f_files or found.f_favail > MANY)


@pytest.fixture(scope="module")
def place():
    memory = Path("/dev/shm")  # noqa: S108 - a new folder of our own in it
    with TemporaryDirectory(prefix=KEPT, dir=memory if _fits(memory) else None) as folder:
        yield Path(folder)
