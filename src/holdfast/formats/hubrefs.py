"""References in configurations to places outside an artefact: URLs, hub ids, paths that climb.

The libraries write where a model came from into its configuration (``_name_or_path``, ``base_model_name_or_path``). Nothing
here ever opens what such a value names: parents are named by digest in the manifest. Other tools do, so that a value may be
empty, a digest, or a plain path of the machine that wrote it; what a library would fetch is refused.
"""

from __future__ import annotations

import re

MAX_PATH = 4096  # characters; what Linux calls PATH_MAX
_DIGEST = re.compile(r"sha512:[0-9a-f]{128}")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?", re.ASCII)


def why_not_a_path(value: object) -> str:
    """Tell what speaks against a value that stands where a path belongs.

    Args:
        value: The value as read.

    Returns:
        What it is instead of a harmless path, as the end of a sentence; empty if nothing speaks against it.
    """
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        return "is not text"
    if _DIGEST.fullmatch(value):
        return ""
    if len(value) > MAX_PATH or not value.isprintable():
        return f"is not a path of at most {MAX_PATH} printable characters"
    if _SCHEME.match(value) and not _DRIVE.match(value):
        return "is a URL, which a library would fetch"
    if value.startswith(("//", "\\\\")):
        return "is a path on another machine"
    if ".." in re.split(r"[\\/]", value):
        return "climbs out of its folder"
    if _HUB_ID.fullmatch(value):
        return "is a hub id, which a library would fetch"
    return ""


def holds_url(text: str) -> bool:
    """Tell whether a text names a place on the network.

    Args:
        text: Any text.

    Returns:
        Whether a URL's scheme and slashes stand anywhere in it.
    """
    return _URL.search(text) is not None
