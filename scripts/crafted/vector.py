"""One vector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Vector:
    """A file and what has to be found in it.

    Args:
        name: Its file name; a hostile one is named by the attack.
        data: Its bytes.
        why: What it is, or what it would do.
        key: The key that the finding is filed under; empty if it is to be accepted.
    """

    name: str
    data: bytes
    why: str
    key: str = ""
