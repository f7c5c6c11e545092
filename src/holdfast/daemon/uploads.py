"""Files that clients stream in, until an act takes them.

Invariants: the daemon opens no path that a client names; an upload belongs to the session that sent it; what no act takes is
removed with the session, and when the daemon stops or starts; free space is kept (a reserve below which uploads are refused).
"""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

from holdfast.api.messages import MAX_UPLOAD
from holdfast.errors import NoSpace, NotFound, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RESERVE = 256 * 2**20  # bytes that uploads leave free, so that the log can still be written


class Uploads:
    """The uploads of this daemon's life.

    Args:
        folder: Where they lie; emptied on construction.
    """

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self._owners: dict[str, str] = {}

    async def take(self, session: str, chunks: AsyncIterator[bytes]) -> tuple[str, int]:
        """Store one file.

        Args:
            session: The sender's session.
            chunks: Its bytes as they come.

        Returns:
            The upload's name and its size in bytes.

        Raises:
            UntrustedRequest: If it exceeds ``MAX_UPLOAD``.
            NoSpace: If the disk would fall below the reserve.
        """
        name = secrets.token_hex(16)
        path = self._folder / name
        size = 0
        try:
            with path.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    self._require_room(size, len(chunk))
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._owners[name] = session
        return name, size

    def _require_room(self, size: int, more: int) -> None:
        if size > MAX_UPLOAD:
            raise UntrustedRequest(
                "upload.too-large", f"The file exceeds {MAX_UPLOAD} bytes.", remedy="Split it."
            )
        free = shutil.disk_usage(self._folder).free
        if free - more < RESERVE:
            raise NoSpace(
                "upload.no-space",
                f"The upload would leave less than {RESERVE} bytes free ({free} are).",
                remedy="Free some space in the home and send it again.",
                needed=RESERVE + more,
                free=free,
            )

    def forget(self, session: str) -> None:
        """Remove what a session sent; called when it ends.

        Args:
            session: The session.
        """
        for name in [name for name, owner in self._owners.items() if owner == session]:
            del self._owners[name]
            (self._folder / name).unlink(missing_ok=True)

    def path(self, session: str, name: str) -> Path:
        """Find an upload.

        Args:
            session: Who asks.
            name: The upload.

        Returns:
            Its file.

        Raises:
            NotFound: If this session sent no such upload.
        """
        if self._owners.get(name) != session:
            raise NotFound(
                "upload.unknown", "There is no such upload in this session.", remedy="Send the file again."
            )
        return self._folder / name
