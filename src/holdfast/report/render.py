"""The pages as PDF/A-2a and PDF/UA-1.

Order of operations: canonical bytes of the facts, their digest, the pages laid out, one run of the typesetter. Invariants:
the same facts give the same bytes on every machine (embedded fonts only, the facts' own time); the digest of the JSON stands
in the PDF's metadata, where ``verify`` finds it; nothing is read but the template beside this module.

Sources: ISO 19005-2 (PDF/A-2), ISO 14289-1 (PDF/UA-1).
"""

from __future__ import annotations

import json
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING

import typst

from holdfast import canonical, hashing
from holdfast.errors import OperationFailed
from holdfast.report import pages, receiptpages
from holdfast.report.sign import FORMS, RECEIPT, RESIDENCY

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.report.sign import Form

LATEST = 2**37  # seconds: the year 6325; the typesetter refuses times near the end of the year 9999
STANDARDS: list[typst.PDFStandard] = ["a-2a", "ua-1"]


def form_of(facts: dict[str, Json]) -> Form:
    """Tell what kind of report facts are for.

    Args:
        facts: What ``facts.gather`` or ``receipt.gather`` gives.

    Returns:
        Its form.
    """
    return next((form for form in FORMS if form.facts_schema == facts.get("schema")), RESIDENCY)


def render(facts: dict[str, Json]) -> tuple[bytes, bytes]:
    """Make the report's two files.

    Args:
        facts: What ``facts.gather`` or ``receipt.gather`` gives.

    Returns:
        The PDF and the canonical JSON that it was made from.

    Raises:
        OperationFailed: If the typesetter refuses the pages.
    """
    data = canonical.encode(facts)
    form = form_of(facts)
    template = (resources.files("holdfast.report") / f"{form.stem}.typ").read_bytes()
    model = receiptpages.lay_out(facts) if form is RECEIPT else pages.lay_out(facts)
    inputs = {"model": json.dumps(model), "digest": hashing.sha512(data)}
    compiler = typst.Compiler(
        template,
        font_paths=typst.Fonts(include_system_fonts=False),
        ignore_system_fonts=True,
        sys_inputs=inputs,
    )
    try:
        made = compiler.compile(
            format="pdf", pdf_standards=STANDARDS, timestamp=_timestamp(facts.get("made"))
        )
    except typst.TypstError as error:
        raise OperationFailed(
            "report.typeset",
            f"The report's pages can't be set: {error.message[:400]}.",
            remedy="Take the JSON for now, and report this with the message.",
        ) from error
    if not isinstance(made, bytes):
        raise OperationFailed(
            "report.typeset", "The typesetter gave no single document.", remedy="Check the version of typst."
        )
    return made, data


def _timestamp(made: Json) -> int:
    """Give the report's time in seconds since 1970; 0 if it states none that a document can have."""
    try:
        seconds = int(datetime.fromisoformat(str(made)).timestamp())
    except (ValueError, OverflowError):
        return 0
    return seconds if 0 <= seconds < LATEST else 0
