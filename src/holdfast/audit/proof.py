"""Receipts: an event, its place in the tree and the checkpoint that signs the tree, in one text file.

The event's bytes travel in the extra line, so that the file alone is enough to check with the log's keys. Nothing trusts
that line: the verifier hashes it to the leaf. No I/O.

Source: C2SP tlog-proof.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from holdfast.audit.verify import PROOF_MAGIC

if TYPE_CHECKING:
    from collections.abc import Sequence


def make(seq: int, event: bytes, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Put a receipt together.

    Args:
        seq: The event's sequence number.
        event: Its stored bytes.
        path: Its inclusion proof in the checkpoint's tree, 32 bytes each.
        checkpoint: The signed note.

    Returns:
        The text of a ``.tlog-proof`` file.
    """
    lines = [PROOF_MAGIC, f"extra {_b64(event)}", f"index {seq}", *map(_b64, path)]
    return ("\n".join(lines) + "\n\n").encode() + checkpoint


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
