"""The chapter about what was lifted, revoked and let out. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading, wording
from holdfast.report.blocks import rows_of, section, table

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.report.blocks import Row


def safeguards(facts: Row) -> dict[str, Json]:
    """Lay out the chapter.

    Args:
        facts: What ``facts.gather`` gives.

    Returns:
        The section.
    """
    return section(
        "What was lifted, revoked and let out",
        "A rule is lifted only for a time and by two administrators. What a publisher revoked is not used, nor what was made from "
        "it. An inventory tells a publisher kinds, names, versions, sizes and digests of what is here, once a second "
        "administrator has let it out.",
        table(
            "Exceptions",
            (("Rule", 1), ("For", 3), ("Until", 2), ("Reason", 4), ("Asked for by", 2), ("Decided", 3)),
            rows_of(facts, "exceptions"),
            lambda row: [
                wording.said(row.get("kind")),
                wording.short(row.get("subject"))
                if reading.digest(row.get("subject"))
                else wording.time(row.get("subject")),
                wording.time(row.get("until")),
                wording.said(row.get("reason")),
                f"{wording.said(row.get('requester'))}, {wording.when(row)}",
                _decided(row),
            ],
            "No exception was asked for.",
        ),
        table(
            "Revocations",
            (("Artefact", 3), ("Since", 2), ("Reason", 4), ("Instead", 2), ("Brought by", 2), ("Here", 1)),
            rows_of(facts, "revocations"),
            lambda row: [
                f"{wording.said(row.get('kind'))} {wording.said(row.get('name'))}, {wording.short(row.get('digest'))}",
                wording.time(row.get("since")),
                wording.said(row.get("reason")),
                wording.short(row.get("instead")) if row.get("instead") else "nothing named",
                f"{wording.said(row.get('bundle'))}, {wording.when(row)}",
                wording.count(len(wording.entries(row.get("here")))),
            ],
            "Nothing is revoked.",
        ),
        table(
            "Inventories for publishers",
            (
                ("Made", 3),
                ("By", 2),
                ("Lists", 1),
                ("Document", 3),
                ("Label", 4),
                ("Decided", 4),
                ("Fetched", 2),
            ),
            rows_of(facts, "inventories"),
            lambda row: [
                wording.when(row),
                wording.said(row.get("requester")),
                wording.count(row.get("artefacts")),
                wording.short(row.get("document")) if row.get("document") else "none",
                wording.label(row),
                _decided(row),
                wording.count(row.get("fetched")),
            ],
            "No inventory was made.",
        ),
    )


def _decided(row: Row) -> str:
    state, decision = wording.said(row.get("state")), wording.decision(row)
    return f"{state} by {decision}" if decision else f"{state}, not decided"
