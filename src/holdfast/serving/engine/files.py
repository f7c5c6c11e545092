"""Adapters that come as open descriptors: copied to where llama.cpp can open them, and checked on the way.

A datagram announces a lane, the digest (SHA-512 of the file's bytes) and the size, and carries the file. Invariants: a copy is
used only if its bytes have that digest and that size; it is gone as soon as it was read; nothing else is kept open.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import VerificationFailed, WorkerFailed
from holdfast.serving.fields import Fields
from holdfast.serving.link import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DATAGRAM = 4096  # bytes of an announcement
MAX_ADAPTER = 64 * 2**30  # bytes of an adapter
STEP = 2**20  # bytes copied at once
WAIT_SECONDS = 60.0  # for an announcement that was sent before it is asked for
_PREFIX = "sha512:"


class Files:
    """Takes files from a socket.

    Args:
        sock: A connected socket of datagrams (SOCK_SEQPACKET).
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(WAIT_SECONDS)

    @contextmanager
    def take(self, lane: str) -> Iterator[Path]:
        """Take the next file.

        Args:
            lane: For which it must be announced.

        Yields:
            Where the copy lies; it is removed afterwards.

        Raises:
            WorkerFailed: If none comes, or it is announced for something else.
            VerificationFailed: If its bytes are not those announced.
        """
        digest, size, number = self._receive(lane)
        with os.fdopen(number, "rb", buffering=0) as source, tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "adapter.gguf"
            found = hashlib.sha512()
            copied = 0
            with path.open("xb") as target:
                while copied <= size and (part := source.read(STEP)):
                    copied += len(part)
                    found.update(part)
                    target.write(part)
            if copied != size or _PREFIX + found.hexdigest() != digest:
                raise VerificationFailed(
                    "serve.adapter-digest",
                    f"The adapter for {lane} does not have the bytes that were announced.",
                    remedy="Run holdfast store scrub; import the adapter again if it is damaged.",
                )
            yield path

    def _receive(self, lane: str) -> tuple[str, int, int]:
        try:
            data, numbers, _flags, _ = socket.recv_fds(self._sock, MAX_DATAGRAM, 2)
        except OSError as error:
            raise WorkerFailed(
                "serve.files", f"No file came for {lane}: {error.strerror}.", remedy="Start serving again."
            ) from error
        try:
            said = canonical.decode(
                data, limit=MAX_DATAGRAM, what="An announcement of a file", error=WorkerFailed
            )
            found = Fields(said, "an announcement of a file", frozenset({"lane", "digest", "size"}))
            if len(numbers) != 1 or found.text("lane", MAX_NAME) != lane:
                raise WorkerFailed(
                    "serve.files", f"The file that came is not for {lane}.", remedy="Start serving again."
                )
            return found.text("digest", MAX_NAME), found.whole("size", 1, MAX_ADAPTER), numbers.pop()
        finally:
            for number in numbers:
                os.close(number)
