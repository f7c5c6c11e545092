"""Preparing one data set.

Order of operations: read every file; stop if a row is malformed and nothing may be set aside; find equal and nearly equal rows;
split; describe; compare what is trained on with the suites; write. Invariants: every row that was read is in exactly one of rows,
held out and quarantine; the same files give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.dataset import files, overlap, prepared, profile, split
from holdfast.dataset.intake import MAX_TOLD, Intake, refusal
from holdfast.errors import UntrustedRecipe
from holdfast.preparation import languages, likeness, matching, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.dataset.forms import Row
    from holdfast.dataset.intake import Mistake
    from holdfast.dataset.overlap import Question
    from holdfast.preparation.order import PrepareOrder
    from holdfast.preparation.sources import Reporter, Taken


@dataclass(frozen=True)
class Prepared:
    """A data set, prepared.

    Args:
        rows: To train on.
        held_out: Kept apart.
        mistakes: Set aside.
        profile: What can be said about it.
    """

    rows: list[Row]
    held_out: list[Row]
    mistakes: list[Mistake]
    profile: dict[str, Json]


def read(asked: PrepareOrder, reporter: Reporter) -> Taken:
    """Read the files of a data set.

    Args:
        asked: Which, and how.
        reporter: Is told how far it is.

    Returns:
        Rows and mistakes.
    """
    return sources.read(
        [sources.Source(one.shown, one.path, one.format) for one in asked.files],
        Intake(asked.forms, asked.columns),
        reporter,
    )


def require(taken: Taken, *, quarantine: bool) -> None:
    """Refuse what can't be trained on.

    Args:
        taken: What was read.
        quarantine: Whether malformed rows may be set aside.

    Raises:
        UntrustedRecipe: If a row is malformed and may not be, or no row is left.
    """
    if taken.mistakes and not quarantine:
        raise refusal(taken.mistakes)
    if not taken.rows:
        raise _empty(
            "no row is in it" + (f"; {len(taken.mistakes)} were set aside" if taken.mistakes else "")
        )


def examine(taken: Taken, asked: PrepareOrder, reporter: Reporter) -> Prepared:
    """Split and describe the rows of a data set.

    Args:
        taken: What was read; at least one row.
        asked: How.
        reporter: Is told how far it is.

    Returns:
        The data set.

    Raises:
        UntrustedRecipe: If the split leaves nothing to train on.
    """
    clusters = likeness.clusters(taken.rows, reporter)
    out = split.held_out(clusters, asked.held_out)
    rows = [row for row in taken.rows if row.digest not in out]
    held = [row for row in taken.rows if row.digest in out]
    if not rows:
        raise _empty(f"the split holds all {len(held)} rows out")
    questions, unread = _questions(asked.suites)
    shared = matching.overlaps(rows, questions, reporter)
    described = profile.of_rows(taken.rows, over=asked.over)
    reporter.progress("describing the rows", len(taken.rows), len(taken.rows))
    return Prepared(
        rows,
        held,
        taken.mistakes,
        {
            "schema": profile.SCHEMA,
            "licence": asked.licence,
            **described,
            "rows": len(rows),
            "held_out": len(held),
            "quarantined": len(taken.mistakes),
            "read": len(taken.rows) + len(taken.mistakes),
            "held_out_share": asked.held_out,
            "empty": taken.empty,
            "duplicates": profile.repeated(taken.rows),
            "near_duplicates": profile.nearly_repeated(taken.rows, clusters),
            "languages": languages.of_rows(taken.rows, reporter),
            "overlap": {name: found.to_json() for name, found in shared.items()},
            "not_compared": [*unread],
            "quarantine": [one.told for one in taken.mistakes[:MAX_TOLD]],
            "unused_columns": [*taken.unused],
            "files": len(taken.sources),
            "sources_digest": hashing.sha512(canonical.encode([*taken.sources])),
            "sources": [*taken.sources[: profile.MAX_SOURCES]],
        },
    )


def write(found: Prepared, out: Path) -> list[str]:
    """Write a data set.

    Args:
        found: The data set.
        out: An empty folder.

    Returns:
        The names of the files written.

    Raises:
        UntrustedRecipe: If a file would be larger than training reads.
    """
    names = [prepared.ROWS, prepared.PROFILE]
    _write_lines(out / prepared.ROWS, (row.line() for row in found.rows))
    if found.held_out:
        _write_lines(out / prepared.HELD_OUT, (row.line() for row in found.held_out))
        names.append(prepared.HELD_OUT)
    if found.mistakes:
        _write_lines(out / prepared.QUARANTINE, (one.to_line() for one in found.mistakes))
        names.append(prepared.QUARANTINE)
    (out / prepared.PROFILE).write_bytes(canonical.encode(found.profile))
    return sorted(names)


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    size = 0
    with path.open("wb") as file:
        for line in lines:
            size += len(line)
            if size > prepared.MAX_FILE:
                raise sources.too_large(f"{path.name} would have more than {prepared.MAX_FILE} bytes")
            file.write(line)


def _questions(suites: Mapping[str, Path]) -> tuple[dict[str, list[Question]], list[str]]:
    """Read what suites ask; a suite that can't be read is named, and is no fault of the data."""
    found: dict[str, list[Question]] = {}
    unread = []
    for name, path in sorted(suites.items()):
        with path.open("rb") as file:
            data = file.read(files.MAX_ITEMS_FILE + 1)
        try:
            found[name] = overlap.questions(data, suite=name)
        except UntrustedRecipe as error:
            unread.append(f"{name}: {error.message}")
    return found, unread


def _empty(why: str) -> UntrustedRecipe:
    return UntrustedRecipe(
        "dataset.empty", f"Nothing is left to train on: {why}.", remedy="Give rows, or hold fewer out."
    )
