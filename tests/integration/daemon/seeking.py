"""Seeking a text on disk in whatever form somebody may have written it down."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

BLOCK = 16 * 2**20  # bytes that are searched at once
KEPT = "holdfast-tests-"  # begins the name of a folder in memory that belongs to a test

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO


def forms(text: str) -> dict[str, bytes]:
    """Write a text in every form that is sought."""
    raw = text.encode()
    found = {
        "utf-8": raw,
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "hex-upper": raw.hex().upper().encode(),
        "json-ascii": json.dumps(text)[1:-1].encode(),
        "json": json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        "percent": quote(text).encode(),
        "repr": repr(raw)[2:-1].encode(),
    }
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        # The first and the last characters depend on what stands before and after.
        inner = encoded[4 * bool(shift) : len(encoded) - 4]
        found[f"base64-{shift}"] = inner
        found[f"base64url-{shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def files(folders: Iterable[Path]) -> Iterator[Path]:
    """List every file beneath folders, without following links; others may come and go meanwhile.

    What other tests keep in memory is passed over: some keep a million files there.
    """
    for folder in folders:
        for place, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith(KEPT)]
            for name in names:
                path = Path(place, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def _hits(file: BinaryIO, wanted: list[tuple[str, bytes]]) -> set[str]:
    """Search block by block: one who maps a file that shrinks meanwhile dies of it. Zeros only keep a place."""
    overlap = max(len(form) for _, form in wanted) - 1
    found: set[str] = set()
    before = b""
    while block := file.read(BLOCK):
        data = before + block
        if data.count(0) < len(data):
            found |= {name for name, form in wanted if form in data}
        before = data[-overlap:]
    return found


def seek(folders: Iterable[Path], texts: Iterable[str]) -> dict[str, list[str]]:
    """Look for texts in the names and the bytes of every file; gives the forms found, by file."""
    wanted = [(name, form) for text in texts for name, form in forms(text).items()]
    found: dict[str, list[str]] = {}
    for path in files(folders):
        hits = {name for name, form in wanted if form in str(path).encode("utf-8", "surrogateescape")}
        try:
            with path.open("rb") as file:
                hits |= _hits(file, wanted)
        except (FileNotFoundError, PermissionError):
            continue  # it was removed meanwhile, or is another user's
        if hits:
            found[str(path)] = sorted(hits)
    return found
