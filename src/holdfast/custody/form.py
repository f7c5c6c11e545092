"""What a backup says of itself: ``backup.json``.

BACKUP/
├── backup.json          this document, written last: without it a backup is unfinished
├── log/                 evidence: the log's events up to the size named here, signed, with the verifier
├── home/                site.toml, the people's public keys, trust/state.json
├── store/<hex>/<path>   artefacts' files, by the artefact's digest
└── sealed/              prompts and answers, encrypted; the subjects' keys are not in a backup

Invariant: nothing here is believed when a home is restored: the log's own keys vouch for the log, and the log for everything
else. The document only says how much there should be. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from holdfast.canonical import Json

FILE = "backup.json"
LOG, HOME, STORE, SEALED = "log", "home", "store", "sealed"
SCHEMA = "holdfast.backup/1"
MAX_DOCUMENT = 4_096  # bytes; seven short fields
MAX_TEXT = 300  # characters of a name or time
_ROOT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Backup:
    """The document.

    Args:
        site: The site's name.
        origin: The log's name.
        size: Events in the backup's log.
        root: Merkle root over them, hexadecimal.
        made: When, RFC 3339.
        artefacts: Artefacts whose files are in the backup.
        sealed: Files of sealed payloads.
    """

    site: str
    origin: str
    size: int
    root: str
    made: str
    artefacts: int
    sealed: int

    def encode(self) -> bytes:
        """Write the document.

        Returns:
            Canonical JSON.
        """
        fields: dict[str, Json] = {**asdict(self), "schema": SCHEMA}
        return canonical.encode(fields)


def parse(data: bytes) -> Backup:
    """Read the document.

    Args:
        data: Bytes of ``backup.json``.

    Returns:
        What it says.

    Raises:
        UntrustedInput: If it is not such a document.
    """
    value = canonical.decode(data, limit=MAX_DOCUMENT, what=FILE, error=UntrustedInput)
    if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
        raise refused(f"its schema is not {SCHEMA}")
    if set(value) != {"site", "origin", "size", "root", "made", "artefacts", "sealed"}:
        raise refused("its fields are wrong")
    site, origin, made, root = value["site"], value["origin"], value["made"], value["root"]
    if not all(isinstance(text, str) and 0 < len(text) <= MAX_TEXT for text in (site, origin, made)):
        raise refused("its site, origin or time is not a short text")
    if not isinstance(root, str) or not _ROOT.fullmatch(root):
        raise refused("its root is not 64 hexadecimal digits")
    return Backup(
        site=str(site),
        origin=str(origin),
        size=_count(value["size"], "size"),
        root=root,
        made=str(made),
        artefacts=_count(value["artefacts"], "artefacts"),
        sealed=_count(value["sealed"], "sealed"),
    )


def refused(why: str) -> UntrustedInput:
    """Make the refusal of a backup.

    Args:
        why: What is wrong with it.

    Returns:
        The error, not raised.
    """
    return UntrustedInput(
        "backup.form",
        f"This is no whole backup: {why}.",
        remedy="Name a folder that `holdfast audit backup` finished writing.",
    )


def _count(value: Json, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= canonical.MAX_SAFE_INTEGER:
        raise refused(f"its {name} is not a number from 0")
    return value
