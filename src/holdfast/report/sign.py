"""The signature over a report's folder.

One document, ``residency.sig.json``, names every other file of the folder with digest and size and is signed with both of
the appliance's algorithms. Invariants: nothing in the folder is outside the signature; the signed bytes are canonical, so
that one set of files has one statement. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import OperationFailed
from holdfast.keys import person

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json
    from holdfast.keys.person import KeyPair

SCHEMA = "holdfast.residency-signature/1"
DOMAIN = "residency-report"
PDF, FACTS, LOG_KEYS, CHECKPOINT, VERIFIER = (
    "residency.pdf",
    "residency.json",
    "log.pub",
    "checkpoint",
    "verify.py",
)
SIGNATURE = "residency.sig.json"
SIGNED = (PDF, FACTS, LOG_KEYS, CHECKPOINT, VERIFIER)  # every file of the folder but the signature itself


def statement(files: Mapping[str, bytes], fingerprint: str) -> dict[str, Json]:
    """Say what is signed.

    Args:
        files: Names and contents.
        fingerprint: The signer's.

    Returns:
        ``schema``, ``files`` (digest and size by name), ``checkpoint`` (its text) and ``fingerprint``.
    """
    listed: dict[str, Json] = {
        name: {"digest": hashing.sha512(data), "size": len(data)} for name, data in sorted(files.items())
    }
    return {
        "schema": SCHEMA,
        "files": listed,
        "checkpoint": files[CHECKPOINT].decode("utf-8", "replace"),
        "fingerprint": fingerprint,
    }


def sign(files: Mapping[str, bytes], *, pair: KeyPair) -> bytes:
    """Sign a report's files.

    Args:
        files: Exactly the files of ``SIGNED``, by name.
        pair: The appliance's keys.

    Returns:
        The bytes of ``residency.sig.json``.

    Raises:
        OperationFailed: If a file is missing or there is another one.
    """
    if set(files) != set(SIGNED):
        raise OperationFailed(
            "report.files",
            f"A report consists of {', '.join(SIGNED)}, not of {', '.join(sorted(files))}.",
            remedy="Make the report again.",
        )
    public = pair.public
    stated = statement(files, public.fingerprint)
    return canonical.encode(
        {
            "statement": stated,
            "public": public.to_json(),
            "signatures": list(person.sign(pair, DOMAIN, canonical.encode(stated))),
        }
    )
