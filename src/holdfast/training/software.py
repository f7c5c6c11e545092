"""Which Holdfast runs here: its version, and a digest of its own files, by which a run says what made it.

Invariants: equal installed files give equal digests wherever they lie; compiled files and permissions don't count. Reads
the package's own folder and nothing else; loads no model library.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

import holdfast
from holdfast import canonical, hashing


@cache
def identity() -> dict[str, str]:
    """Name the software that runs here.

    Returns:
        ``version``, and ``digest``: SHA-512 over the canonical JSON of every file's path and SHA-512.
    """
    root = Path(holdfast.__file__).parent
    files: dict[str, canonical.Json] = {
        path.relative_to(root).as_posix(): hashlib.sha512(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {"version": metadata.version("holdfast"), "digest": hashing.sha512(canonical.encode(files))}
