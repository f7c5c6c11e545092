"""Telling a full disk from other failures, whichever library met it.

Python's own writes say so by their error number, safetensors' in the words of its error. torch's writer says that fewer bytes
came to lie in a file than it gave, or only that it could not write; then the disk is asked.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from safetensors import SafetensorError

if TYPE_CHECKING:
    from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
WRITING = (OSError, RuntimeError, SafetensorError)  # what writers raise
_WORDS = re.compile(r"\(os error (\d+)\)")  # how Rust's standard library shows the number
_SHORT = re.compile(
    r"inline_container.*unexpected pos"
)  # how torch's writer tells of a write that was cut short
PROBE = 2**20  # bytes; a disk with less room takes no checkpoint


def met(error: BaseException, folder: Path) -> bool:
    """Tell whether something failed because the disk is full.

    Args:
        error: What was raised, one of ``WRITING``.
        folder: A folder on the disk that was written to, before anything there was cleared away.

    Returns:
        True if it is full.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        words = _WORDS.search(str(seen)) if isinstance(seen, SafetensorError) else None
        if words and int(words[1]) in FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, OSError):
        return False
    # Room may have come free since the write was cut short.
    return _SHORT.search(str(error)) is not None or not _takes(folder)


def _takes(folder: Path) -> bool:
    probe = folder / "probe"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, PROBE)
        finally:
            os.close(handle)
            probe.unlink()
    except OSError as problem:
        return problem.errno not in FULL
    return True
