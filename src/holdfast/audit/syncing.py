"""Sealed payloads get onto the disk together: all files at once, then each folder once.

Invariants: every file is closed, whatever the disk says; what is said to be on disk is there with its name; a fault is told of
every payload that it may have cost.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.store.disk import Disk

SYNCERS = 8  # payloads that are synced at once; a journal commits them together


@dataclass(frozen=True, slots=True)
class Written:
    """A sealed payload that may not be on disk yet.

    Args:
        committed: The commitment, as a digest.
        handle: The open file.
        folder: Where it lies.
    """

    committed: str
    handle: int
    folder: Path


class Syncer:
    """Syncs what was written. Any thread may call.

    Args:
        on: File operations.
    """

    def __init__(self, on: Disk) -> None:
        self._on = on
        self._threads = ThreadPoolExecutor(SYNCERS, thread_name_prefix="sealed-sync")

    def sync(self, written: Sequence[Written]) -> list[OSError | None]:
        """Return when what was written is on disk, as far as the disk takes it.

        Args:
            written: What is to be synced and closed; each once.

        Returns:
            For each, None, or why it is not on disk.
        """
        alone = len(written) == 1
        found = [*map(self._file, written)] if alone else [*self._threads.map(self._file, written)]
        # Each once: the system may tell only the first who asks that a sync failed.
        folders = {folder: self._folder(folder) for folder in {one.folder: None for one in written}}
        return [error or folders[one.folder] for one, error in zip(written, found, strict=True)]

    def _file(self, written: Written) -> OSError | None:
        try:
            try:
                self._on.sync(written.handle)
            finally:
                self._on.close(written.handle)
        except OSError as error:
            return error
        return None

    def _folder(self, folder: Path) -> OSError | None:
        try:
            self._on.sync_folder(folder)
        except OSError as error:
            return error
        return None
