"""The signature over a report's folder, of either form: a residency report or an import's receipt.

One document, ``<form>.sig.json``, names every other file of the folder with digest and size and is signed with both of
the appliance's algorithms. Invariants: nothing in the folder is outside the signature; the signed bytes are canonical, so
that one set of files has one statement. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import OperationFailed
from holdfast.keys import person
from holdfast.report import receipt, shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json
    from holdfast.keys.person import KeyPair

LOG_KEYS, CHECKPOINT, VERIFIER = "log.pub", "checkpoint", "verify.py"


@dataclass(frozen=True)
class Form:
    """What kind of report a folder is.

    Args:
        title: What people call it.
        stem: Beginning of its files' names, and of its template's.
        facts_schema: Schema of its facts.
        schema: Schema of its signature's statement.
        domain: What its signature is for.
    """

    title: str
    stem: str
    facts_schema: str
    schema: str
    domain: str

    @property
    def pdf(self) -> str:
        """The pages."""
        return f"{self.stem}.pdf"

    @property
    def facts(self) -> str:
        """The facts that the pages were made from."""
        return f"{self.stem}.json"

    @property
    def signature(self) -> str:
        """The signature."""
        return f"{self.stem}.sig.json"

    @property
    def signed(self) -> tuple[str, ...]:
        """Every file of the folder but the signature itself."""
        return (self.pdf, self.facts, LOG_KEYS, CHECKPOINT, VERIFIER)


RESIDENCY = Form(
    "residency report", "residency", shape.SCHEMA, "holdfast.residency-signature/1", "residency-report"
)
RECEIPT = Form("import receipt", "receipt", receipt.SCHEMA, "holdfast.receipt-signature/1", "import-receipt")
FORMS = (RESIDENCY, RECEIPT)


def statement(form: Form, files: Mapping[str, bytes], fingerprint: str) -> dict[str, Json]:
    """Say what is signed.

    Args:
        form: What kind of report it is.
        files: Names and contents.
        fingerprint: The signer's.

    Returns:
        ``schema``, ``files`` (digest and size by name), ``checkpoint`` (its text) and ``fingerprint``.
    """
    listed: dict[str, Json] = {
        name: {"digest": hashing.sha512(data), "size": len(data)} for name, data in sorted(files.items())
    }
    return {
        "schema": form.schema,
        "files": listed,
        "checkpoint": files[CHECKPOINT].decode("utf-8", "replace"),
        "fingerprint": fingerprint,
    }


def sign(form: Form, files: Mapping[str, bytes], *, pair: KeyPair) -> bytes:
    """Sign a report's files.

    Args:
        form: What kind of report it is.
        files: Exactly the files of ``form.signed``, by name.
        pair: The appliance's keys.

    Returns:
        The bytes of the signature's document.

    Raises:
        OperationFailed: If a file is missing or there is another one.
    """
    if set(files) != set(form.signed):
        raise OperationFailed(
            "report.files",
            f"A report consists of {', '.join(form.signed)}, not of {', '.join(sorted(files))}.",
            remedy="Make the report again.",
        )
    public = pair.public
    stated = statement(form, files, public.fingerprint)
    return canonical.encode(
        {
            "statement": stated,
            "public": public.to_json(),
            "signatures": list(person.sign(pair, form.domain, canonical.encode(stated))),
        }
    )
