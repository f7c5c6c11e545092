"""Exports of evidence: a range of the log, what fits a filter, and the site's own account of both.

Order of operations: the intent is recorded; the range is gathered in the job's folder (hard links, two boundary segments, a
checkpoint signed at exactly its end); a confined worker applies the filter to that folder; the outcome records range, filter,
number of rows and the files' digests; a receipt of the outcome goes beside them, so that the site can't deny what it gave out.
The client fetches the folder as it fetches other copies (``custody``).

Invariants: nothing here takes a lock of the log's committer, and no event is parsed in the daemon: ingest keeps its rate; nothing
is handed out before its outcome is on the record.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit import actions, complete, export, verify
from holdfast.custody import listing
from holdfast.daemon import custody, evidence, workbench
from holdfast.errors import OperationFailed, UntrustedRequest
from holdfast.store import disk

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.api.messages import ExportRequest
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ACT = "audit.export"
PARQUET = "rows.parquet"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def start(services: Services, session: Session, asked: ExportRequest) -> Job:
    """Export evidence.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: Range, filter and formats; the whole log that is here unless said otherwise.

    Returns:
        The job; its folder is fetched with ``custody.files``.

    Raises:
        NotFound: If the range is empty or not here.
    """
    actor = session.actor(ACT)
    wanted = _wanted(asked)
    first = services.log.first if asked.first is None else asked.first
    export.require_range(services.log, first, services.log.size if asked.until is None else asked.until)
    formats = [*asked.formats]
    if wanted is not None and not {"jsonl", "csv"}.intersection(formats):
        formats.insert(
            0, "jsonl"
        )  # rows in Parquet alone could be compared by nobody who has the two files alone
    params: dict[str, Json] = {
        "first": first,
        "until": asked.until,
        "filter": None if wanted is None else dict(wanted),
        "formats": list(formats),
    }

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(actor, ACT, params) as act:
            job = services.jobs.open_job(act.seq, ACT)
            opened.set_result(job)
            until = act.seq + 1 if asked.until is None else asked.until  # with its own intent
            place = job.folder / custody.FOLDER
            await workbench.in_thread(
                job, _gather, services, place, (first, until), wanted if formats else None
            )
            rows, digests = (
                await _rows(services, job, place, wanted or {}, formats) if formats else (None, {})
            )
            recorded = await workbench.in_thread(job, _digests, place)
            act.outcome = {
                "first": first,
                "size": until,
                "root": services.log.root_at(until).hex(),
                "rows": rows,
                "files": {**recorded, **digests},
            }
        await workbench.in_thread(None, _vouch, services, act.ended, place)
        return {**act.outcome, "files": [*recorded, *digests, export.RECEIPT]}

    return await services.jobs.start(ACT, work)


def _wanted(asked: ExportRequest) -> dict[str, str] | None:
    """Check a filter: an action that nobody registered, or half a time, would give rows that mean nothing."""
    if asked.filter is None and not asked.formats:
        return None
    wanted = {str(name): text for name, text in (asked.filter or {}).items()}
    if "action" in wanted:
        actions.get(wanted["action"])
    for name in complete.TIMES.intersection(wanted):
        if not _TIME.fullmatch(wanted[name]):
            raise UntrustedRequest(
                "export.time",
                f"{name} is {wanted[name][:40]!r}, no time as events carry it.",
                remedy="Write it as 2026-01-31T00:00:00.000000Z.",
            )
    return wanted


def _gather(services: Services, place: Path, span: tuple[int, int], wanted: dict[str, str] | None) -> None:
    with disk.faults("the evidence"):
        disk.require_space(services.home.root, 2 * verify.MAX_SEGMENT, "two segments of the evidence")
        custody.evidence(services, place, *span)
        if wanted is not None:
            disk.create_file(place / export.FILTER, export.encode_filter(wanted), mode=0o644)


async def _rows(
    services: Services, job: Job, place: Path, wanted: dict[str, str], formats: Sequence[str]
) -> tuple[Json, dict[str, Json]]:
    """Write the rows; gives their number and the files' digests."""
    names = [name for name in complete.LISTED if name.removeprefix("rows.") in formats]
    names = names or [
        complete.LISTED[0]
    ]  # beside Parquet, which the verifier can't read: rows that it compares
    out = job.folder / "rows"
    out.mkdir()
    order: dict[str, Json] = {"evidence": "/in/evidence", "out": "/out", "names": list(names)}
    told = await workbench.run_worker(services, job, "export", order, inputs={"evidence": place}, output=out)
    files = told["files"]
    digests: dict[str, Json] = dict(files) if isinstance(files, dict) else {}
    rows = told["rows"]
    await workbench.in_thread(job, _take, out, place, names)
    if "parquet" in formats:
        filled: dict[str, Json] = dict(wanted)
        first, stop = await workbench.in_thread(job, export.span, place)
        told = await evidence.write_result(services, filled, first, stop, place / PARQUET)
        if told["rows"] != rows:  # the index bounds what it writes, and answers from its own copy
            raise OperationFailed(
                "export.parquet",
                f"The events give {rows} rows, and the index wrote {told['rows']} of them as Parquet.",
                remedy="Export fewer events at once, or leave Parquet out.",
            )
        digests[PARQUET] = told["digest"]
    return rows, digests


def _take(out: Path, place: Path, names: list[str]) -> None:
    listing.paths_in(out)  # nothing but plain files: a link would give out other files of this machine
    for name in names:
        (out / name).rename(place / name)
    disk.sync_folder(place)
    out.rmdir()


def _digests(place: Path) -> dict[str, Json]:
    """Hash the small files; segments are what the checkpoint signs."""
    small = (export.CHECKPOINT, export.KEYS, export.ARCHIVED, export.FILTER, export.README, *export.CODE)
    return {name: hashing.sha512((place / name).read_bytes()) for name in small if (place / name).exists()}


def _vouch(services: Services, outcome: int, place: Path) -> None:
    """Put the receipt of the outcome beside what was exported."""
    services.log.checkpoint()
    disk.create_file(place / export.RECEIPT, services.log.prove(outcome), mode=0o644)
