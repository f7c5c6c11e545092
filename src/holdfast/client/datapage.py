"""A data set's profile as a page for people: what is in it, and what to look at before it is trained on. At most 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from holdfast.parts import listed, record, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

    Entry = tuple[str, str]  # a figure's name, and what is said of it

WIDTH = 80  # columns of a plain terminal
INDENT = 16  # columns of a figure's name
SHOWN = 3  # examples of one finding; --json has more
LANGUAGES = 6  # languages and scripts that are named

_LENGTHS = ("min", "p5", "p25", "p50", "p75", "p95", "p99", "max")


def lines(profile: Json, width: int = WIDTH) -> Iterator[str]:
    """Write a profile.

    Args:
        profile: The profile.
        width: Columns that there are.

    Yields:
        The page's lines.
    """
    for name, text in _page(record(profile)):
        wrapped = textwrap.wrap(text, width - INDENT, break_on_hyphens=False) or [""]
        yield f"{name:<{INDENT}}{wrapped[0]}".rstrip()
        yield from (" " * INDENT + more for more in wrapped[1:])


def _page(found: dict[str, Json]) -> Iterator[Entry]:
    if not found:
        yield "profile", "none: this data set was not prepared by Holdfast"
        return
    rows, held, aside = (whole(found.get(name)) for name in ("rows", "held_out", "quarantined"))
    yield "rows", f"{_count(rows)} to train on, {_count(held)} held out, {_count(aside)} set aside"
    kept = [f"form {found.get('form')}", f"{_count(whole(found.get('characters')))} characters"]
    if messages := whole(found.get("messages")):
        kept.append(f"{_count(messages)} messages")
    yield "content", ", ".join(kept)
    lengths = record(found.get("lengths"))
    yield "characters/row", "  ".join(f"{name} {_count(whole(lengths.get(name)))}" for name in _LENGTHS)
    yield "languages", _shares(found.get("languages"))
    yield "scripts", _shares(found.get("scripts"))
    yield "files", f"{_count(whole(found.get('files')))}"
    if unused := listed(found.get("unused_columns")):
        yield "passed over", "columns " + ", ".join(map(str, unused))
    yield from _findings(found)
    yield from _overlaps(found.get("overlap"))
    for told in listed(found.get("quarantine"))[:SHOWN]:
        yield "set aside", str(told)


def _findings(found: dict[str, Json]) -> Iterator[Entry]:
    duplicates, near = record(found.get("duplicates")), record(found.get("near_duplicates"))
    long, against = record(found.get("over_long")), record(found.get("contradictions"))
    yield from _finding("duplicates", whole(duplicates.get("rows")), "rows repeat another", duplicates)
    yield from _finding("near duplicates", whole(near.get("rows")), "rows nearly repeat another", near)
    yield from _finding(
        "contradictions", whole(against.get("prompts")), "prompts have different answers", against
    )
    if (bound := long.get("characters")) is not None:
        told = f"rows have more than {_count(whole(bound))} characters"
        yield from _finding("over-long", whole(long.get("rows")), told, long)
    if empty := whole(found.get("empty")):
        yield "empty", f"{_count(empty)} {'row' if empty == 1 else 'rows'} with a blank field"


def _finding(name: str, count: int, told: str, finding: dict[str, Json]) -> Iterator[Entry]:
    if not count:
        yield name, "none"
        return
    yield name, f"{_count(count)} {told}"
    for one in listed(finding.get("first"))[:SHOWN]:
        yield "", " = ".join(map(str, one)) if isinstance(one, list) else str(one)


def _overlaps(found: Json) -> Iterator[Entry]:
    for suite, value in record(found).items():
        one = record(value)
        exact, near = whole(one.get("exact")), whole(one.get("near"))
        told = (
            "none" if not exact + near else f"{_count(exact)} items stand in the rows, {_count(near)} nearly"
        )
        yield "overlap", f"suite {suite} ({_count(whole(one.get('items')))} items): {told}"
        shown = [*record(one.get("exact_items")).items(), *record(one.get("near_items")).items()]
        for name, places in shown[:SHOWN]:
            yield "", f"{name}: {', '.join(map(str, listed(places)[:2]))}"


def _shares(value: Json) -> str:
    counts = {name: whole(count) for name, count in record(value).items()}
    total = sum(counts.values())
    if not total:
        return "none"
    told = [f"{name} {100 * count / total:.1f} %" for name, count in list(counts.items())[:LANGUAGES]]
    return ", ".join(told) + (f" and {len(counts) - LANGUAGES} more" if len(counts) > LANGUAGES else "")


def _count(value: int) -> str:
    return f"{value:,}"
