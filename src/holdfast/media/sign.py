"""Adding a holder's signatures to the files that await them.

Invariants: each file is replaced as a whole or not at all, so that an interruption leaves some files signed and none broken, and
signing again goes on; what is written is what was laid out, with the holder's signatures and nothing else changed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast.errors import Conflict, UsageRefused
from holdfast.store import disk
from holdfast.trust import signing

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.keys.person import KeyPair, PublicKeys
    from holdfast.media.papers import Paper, Papers

_MODE = 0o644  # what is signed is public
_LEFT = re.compile(r"\.[a-z0-9.-]+\.json\.[0-9a-f]{16}\.draft")  # what a power cut leaves of a replaced file


def awaiting(papers: Papers, holder: PublicKeys) -> tuple[Paper, ...]:
    """Tell which files a holder has yet to sign.

    Args:
        papers: The files.
        holder: The holder's public keys.

    Returns:
        Those for which the keys are listed, which they have not signed, and which are new or not yet complete.

    Raises:
        UsageRefused: If the keys are listed for none of the files.
    """
    mine = [sheet for sheet in papers.sheets if sheet.concerns(holder)]
    if not mine:
        raise UsageRefused(
            "trust.ceremony-stranger",
            f"The key of {holder.holder} is listed for none of these files.",
            remedy="Sign with a key that the root or the delegation lists; `holdfast trust show` tells them.",
            holder=holder.holder,
        )
    # A file that an earlier medium brought was shown there; it needs a signature only if those on it do not suffice.
    return tuple(
        sheet
        for sheet in mine
        if not sheet.signed_by(holder) and not (papers.carried(sheet) and sheet.standing.complete)
    )


def sign(sheets: tuple[Paper, ...], pair: KeyPair) -> None:
    """Sign files in place.

    Args:
        sheets: The files.
        pair: The holder's keys.

    Raises:
        Conflict: If a file is not what was laid out any more.
        NoSpace: If the disk is full.
        OperationFailed: If it failed otherwise.
    """
    for sheet in sheets:
        with disk.faults(str(sheet.path)):
            _sweep(sheet.path.parent)
            if sheet.path.read_bytes() != sheet.data:
                raise Conflict(
                    "trust.sign-changed",
                    f"{sheet.path} was changed after it was shown.",
                    remedy="Look at it again, and then sign it.",
                    file=str(sheet.path),
                )
            disk.write_file(sheet.path, signing.add_signature(sheet.data, pair), mode=_MODE)


def _sweep(folder: Path) -> None:
    """Remove what a power cut left, which would make a medium be refused."""
    for path in folder.iterdir():
        if _LEFT.fullmatch(path.name):
            path.unlink()
