"""Names of files, as they have to survive every file system and every reader on the way.

Invariants: a name is a plain relative path of printable ASCII; it means the same file on Linux, FAT32, ISO 9660 and
Windows; no two names of a set meet on a file system that ignores letter case or normalises Unicode, neither as files nor
as folders.

Source: "Naming Files, Paths, and Namespaces" in Microsoft's documentation of Windows; Unicode Annex 15.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from holdfast.artefact import is_safe_path
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PART = (
    120  # characters of a file's or folder's own name; ISO 9660 with Joliet keeps 64, with level 3 up to 207
)
_RESERVED = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$"})
_NUMBERED = frozenset({f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"})
_FORBIDDEN = frozenset('<>:"|?*\\')


def check(paths: Iterable[str]) -> list[UntrustedBundle]:
    """Judge the names of a set of files.

    Args:
        paths: Their paths inside the set.

    Returns:
        What speaks against them; empty if nothing does.
    """
    problems = []
    folded: dict[str, str] = {}
    files = set(paths)
    for path in sorted(files):
        if why := _problem(path):
            problems.append(_bad(path, why))
            continue
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            part = "/".join(parts[:length])
            other = folded.setdefault(fold(part), part)
            if other != part:
                problems.append(_bad(path, f"on some file systems it is the same as {other}"))
                break
            if length < len(parts) and part in files:
                problems.append(_bad(path, f"{part} can't be both a file and a folder"))
                break
    return problems


def fold(path: str) -> str:
    """Give a name as the most careless file system would compare it.

    Args:
        path: The name.

    Returns:
        Its case-folded, compatibility-normalised form.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _problem(path: str) -> str:
    if not is_safe_path(path):
        return "it is not a plain relative path without hidden parts"
    if not path.isascii():
        return "it has letters beyond ASCII, which file systems write in different ways"
    for part in path.split("/"):
        stem = part.split(".")[0].rstrip().casefold()
        if stem in _RESERVED | _NUMBERED:
            return f"{stem} is the name of a device on Windows"
        if set(part) & _FORBIDDEN:
            return 'it has one of < > : " | ? *, which other file systems do not keep'
        if len(part) > MAX_PART:
            return f"a part of it has more than {MAX_PART} characters"
    return ""


def _bad(path: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.name",
        f"The file name {path[:80]!r} is refused: {why}.",
        remedy="Have the file given a plain name.",
        file=path[:240],
    )
