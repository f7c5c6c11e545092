"""Files that a person names at the terminal: read whole and bounded, written new and never over another. Blocking: in threads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import NotFound, OperationFailed, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def put(name: str, fetch: Callable[[], Awaitable[bytes]]) -> Path:
    """Write what is fetched into a new file; the file is made first, so that nothing is handed out for nothing.

    Args:
        name: The file, as a person typed it.
        fetch: Gives the bytes.

    Returns:
        Where it is.

    Raises:
        OperationFailed: If it is there already, or can't be written.
    """
    path = await asyncio.to_thread(_claim, name)
    try:
        data = await fetch()
        await asyncio.to_thread(_write, path, data)
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise
    return path


def _claim(name: str) -> Path:
    path = Path(name.strip()).expanduser().absolute()
    try:
        path.open("xb").close()
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OperationFailed:
    return OperationFailed(
        "console.out", f"{path} can't be written: {error.strerror}.", remedy="Name a new file."
    )


async def text(name: str, limit: int) -> str:
    """Read a small file of text.

    Args:
        name: The file, as a person typed it.
        limit: Bytes that it may have.

    Returns:
        Its text.

    Raises:
        NotFound: If it can't be read.
        UsageRefused: If it is no text of at most so many bytes.
    """
    return await asyncio.to_thread(_read, name, limit)


def _read(name: str, limit: int) -> str:
    path = Path(name.strip()).expanduser().absolute()
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise UsageRefused(
                "console.file", f"{path} has more than {limit} bytes.", remedy="Name the right file."
            )
        return data.decode("utf-8")
    except OSError as error:
        raise NotFound(
            "console.file",
            f"{path} can't be read: {error.strerror}.",
            remedy="Check the path and its rights.",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageRefused("console.file", f"{path} is no text.", remedy="Name the right file.") from error
