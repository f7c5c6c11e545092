"""What stands on the pages of the report: headings, tables and sentences, all as texts for people.

Invariants: the pages say nothing that the facts do not; digests are shortened here and full in the JSON; every text is made
printable with the fonts at hand (``wording.printable``), so that no name can break the page, hide or pose as something else; tables
that had to be cut say so. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading, wording
from holdfast.report.blocks import rows_of
from holdfast.report.chapters import chapters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

    Row = Mapping[str, object]

MAX_RUNNING = 70  # characters that fit the head and foot of every page
GAPS_SECTION = 9  # after the eight that are laid out here


def lay_out(facts: Row) -> dict[str, Json]:
    """Lay out the facts.

    Args:
        facts: What ``facts.gather`` gives.

    Returns:
        Plain data for ``residency.typ``: title page, sections with blocks, gaps. All texts are printable.
    """
    site, log, period = (reading.mapping(facts.get(name)) for name in ("site", "log", "period"))
    found = [str(gap) for gap in wording.entries(facts.get("gaps"))]
    banner, level = str(facts.get("banner")), wording.said(reading.mapping(facts.get("label")).get("level"))
    model: dict[str, Json] = {
        "site": wording.said(site.get("name")),
        "made": wording.time(facts.get("made")),
        "banner": banner,
        "running": banner if len(banner) <= MAX_RUNNING else f"{level.upper()} (the full label is on page 1)",
        "footer": wording.said(site.get("name"))[:MAX_RUNNING],
        "level": level,
        "cover": [
            ["Site", wording.said(site.get("name"))],
            ["Residency zones", wording.joined(site.get("zones"))],
            ["Period", f"{wording.when(period.get('first'))} to {wording.when(period.get('last'))}"],
            ["Report made", f"{wording.time(facts.get('made'))} (all times are UTC)"],
            ["Software", wording.said(reading.mapping(facts.get("software")).get("version"))],
            ["Audit log", wording.said(log.get("origin"))],
            ["Events covered", wording.count(log.get("size"))],
            ["Log root", wording.said(log.get("root"))],
        ],
        "short": list(_in_short(facts, len(found))),
        "sections": chapters(facts),
        "gaps": list(found),
    }
    cleaned = wording.clean(model)
    return cleaned if isinstance(cleaned, dict) else {}


def _in_short(facts: Row, gap_count: int) -> list[str]:
    artefacts, replays = rows_of(facts, "artefacts"), rows_of(facts, "replays")
    within = sum(row.get("within_zones") is True for row in artefacts)
    equal = sum(row.get("equal") is True for row in replays)
    answers = sum(reading.whole(row.get("count")) or 0 for row in rows_of(facts, "answers"))
    egress = reading.mapping(facts.get("egress"))
    attempts = reading.whole(egress.get("attempts")) or 0
    went = (
        "no worker tried to reach out"
        if not attempts
        else f"{attempts} attempt(s) of workers to reach out were denied"
    )
    return [
        f"{wording.plural(len(rows_of(facts, 'imports')), 'bundle')} came in; {wording.plural(len(artefacts), 'artefact')} are on the record.",
        f"{within} of {len(artefacts)} artefacts carry a label that allows this site's zones.",
        f"{wording.plural(len(rows_of(facts, 'training')), 'training run')} on the record.",
        f"{equal} of {wording.plural(len(replays), 'replay')} gave the same adapter bit for bit.",
        f"{wording.plural(answers, 'answer')} served, each with its receipt in the log.",
        f"Egress: {went}.",
        f"{wording.plural(gap_count, 'known gap')}: see section {GAPS_SECTION}.",
    ]
