"""Keeping what is put on the record within one event, which the log bounds (``audit.verify.MAX_EVENT``).

What lists things of unknown number is cut to whole entries; whoever writes it says how many are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.canonical import Json


def fitting(entries: Iterable[Json], size: int) -> list[Json]:
    """Take entries from the beginning of a list as long as there is room for them.

    Args:
        entries: The entries.
        size: Bytes of canonical JSON that they may take together.

    Returns:
        As many as fit.
    """
    kept: list[Json] = []
    for entry in entries:
        size -= len(canonical.encode(entry)) + 1
        if size < 0:
            break
        kept.append(entry)
    return kept
