"""Where finished builds are kept, outside the checkout.

Layout under the cache folder::

    downloads/            the pinned source archive
    <key>.lock            held while a build of that key runs
    <key>.work/           source tree and objects; stays after an interruption, so that the next run resumes
    <key>.log             output of the compiler
    <key>/                the finished wheels; appears in one rename
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def default_cache(environ: Mapping[str, str], home: Path) -> Path:
    """Say where builds are cached.

    Args:
        environ: The process environment; `XDG_CACHE_HOME` is honoured when it is absolute.
        home: The user's home folder.

    Returns:
        The cache folder, which need not exist.
    """
    configured = environ.get("XDG_CACHE_HOME", "")
    root = Path(configured) if Path(configured).is_absolute() else home / ".cache"
    return root / "holdfast" / "llama"


@contextmanager
def exclusive(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file, waiting for another set-up that holds it.

    Args:
        lock: The lock file; made if absent and never removed.
        waiting: Called once if the lock is held by another process.

    Yields:
        Nothing; the lock is held meanwhile, and the system drops it if the process dies.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
