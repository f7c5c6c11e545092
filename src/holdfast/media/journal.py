"""The journal of an import: which placements of chunks are safe in its stage.

A placement is one chunk at one offset of one file; placements are counted through the manifest, artefact by artefact, file by
file. The journal is a header that names the manifest, then one record of eight bytes per safe placement: its number and a
checksum. Invariants: a record is appended only after the bytes it speaks of are synced in a file whose name is synced; a
torn or foreign record ends the journal, so that a crash can only forget, never invent.
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from holdfast.store.disk import Disk

NAME = "journal"
_MAGIC = b"holdfast.journal/1\n"
_RECORD = struct.Struct(">II")  # number of the placement, CRC-32 over header and number


class Journal:
    """The journal of one stage, open for appending.

    Args:
        stage: The stage's folder.
        manifest: Digest of the manifest that is being imported.
        count: How many placements the manifest has.
        on: Where.
    """

    def __init__(self, stage: Path, manifest: str, count: int, on: Disk) -> None:
        self._path = stage / NAME
        self._header = _MAGIC + hashing.raw(manifest)
        self._count = count
        self._disk = on
        self._handle = -1
        self.safe: set[int] = set()
        self._open()

    def append(self, placements: Iterable[int]) -> None:
        """Record that placements are safe; durable when this returns.

        Args:
            placements: Their numbers; their bytes are synced.
        """
        listed = tuple(placements)
        data = b"".join(map(self._record, listed))
        self._disk.write(self._handle, data, self._end)
        self._disk.sync(self._handle)
        self._end += len(data)
        self.safe.update(listed)

    def forget(self, placements: set[int]) -> None:
        """Take back what was recorded of placements whose file was lost; durable when this returns.

        Args:
            placements: Their numbers.
        """
        if self.safe & placements:
            self._rewrite(self.safe - placements)

    def close(self) -> None:
        """Close the journal's file."""
        if self._handle >= 0:
            with suppress(OSError):  # every record was synced when it was appended
                self._disk.close(self._handle)
            self._handle = -1

    def _open(self) -> None:
        most = len(self._header) + self._count * _RECORD.size
        try:
            data = _read(self._path, most + 1)
        except FileNotFoundError:
            data = b""
        if not data.startswith(self._header) or len(data) > most:
            self._rewrite(set())
            return
        self._end = len(self._header)
        for number, check in _RECORD.iter_unpack(data[self._end : self._end + self._whole(data)]):
            if number >= self._count or self._check(number) != check:
                break
            self.safe.add(number)
            self._end += _RECORD.size
        if self._end == len(data):
            self._handle = self._disk.open(self._path)
        else:
            self._rewrite(self.safe)

    def _whole(self, data: bytes) -> int:
        return (len(data) - len(self._header)) // _RECORD.size * _RECORD.size

    def _rewrite(self, safe: set[int]) -> None:
        self.close()
        data = self._header + b"".join(map(self._record, sorted(safe)))
        disk.write_file(self._path, data, on=self._disk)
        self._handle, self._end, self.safe = self._disk.open(self._path), len(data), safe

    def _record(self, number: int) -> bytes:
        return _RECORD.pack(number, self._check(number))

    def _check(self, number: int) -> int:
        return zlib.crc32(number.to_bytes(4, "big"), zlib.crc32(self._header))


def _read(path: Path, limit: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return file.read(limit)
