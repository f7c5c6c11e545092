"""Queries of the audit log: saved, listed, and answered into files that another person can check.

Order of operations for a result: the intent is recorded; the index worker writes the rows at one size of the log; ``query.json``
states the query, its parameters, that size and its root, and the files' digests; the outcome records the digest of ``query.json``;
a receipt of the outcome goes beside the files. So a result is tied to the log, and with the log's events up to that size anybody
can ask the same question again. Invariants: values are bound, never pasted; what is recorded is what was run; nothing is handed
out before its outcome is on the record.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.daemon import evidence, scratch, workbench
from holdfast.errors import Conflict, NotFound
from holdfast.governance import queries
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.messages import QueryRequest, ResultRequest, SqlRequest
    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

ACT = "audit.result"
FOLDER = "result"  # in the job's folder
SCHEMA = "holdfast.result/1"
STATED, RECEIPT, KEYS = "query.json", "receipt.tlog-proof", "log.pub"


async def answer(services: Services, session: Session, asked: SqlRequest) -> dict[str, Json]:
    """Answer one SELECT with as many rows as a message takes.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: The query, or the name of a saved one, and its parameters.

    Returns:
        ``columns``, ``rows``, ``truncated``, and the part of the log that it answers for.
    """
    found = _query(services, asked.sql, asked.saved)
    given: dict[str, Json] = dict(asked.parameters)
    request: dict[str, Json] = {"op": "sql", **found, "given": given, "limit": asked.limit}
    return await evidence.read(services, session, "sql", request)


def _query(services: Services, sql: str | None, saved: str | None) -> dict[str, Json]:
    """Give the request's fields for a text, a query that the site saved, or one that comes with the software."""
    if saved is None:
        return {"sql": sql or ""}
    known = services.state.queries.saved.get(saved)
    return {"saved": saved} if known is None else {"sql": known.sql}


async def write(services: Services, session: Session, asked: ResultRequest) -> Job:
    """Answer one SELECT into files.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: The query, its parameters, formats and limit.

    Returns:
        The job; its result names the files.
    """
    actor = session.actor(ACT)
    found = _query(services, asked.sql, asked.saved)
    if "sql" not in found:
        found = {"sql": await _coming_with(services, str(asked.saved))}
    given: dict[str, Json] = dict(asked.parameters)
    params: dict[str, Json] = {
        "sql": found["sql"],
        "saved": asked.saved,
        "parameters": given,
        "formats": list(asked.formats),
        "limit": asked.limit,
    }

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.recorder.act(actor, ACT, params) as act:
            job = services.jobs.open_job(act.seq, ACT)
            opened.set_result(job)
            place = job.folder / FOLDER
            request: dict[str, Json] = {
                **found,
                "given": given,
                "formats": list(asked.formats),
                "limit": asked.limit,
            }
            told = await evidence.write(services, request, place, _reporter(job, asked.limit))
            stated = canonical.encode({"schema": SCHEMA, "asked": act.seq, **params, **told})
            await workbench.in_thread(job, disk.create_file, place / STATED, stated)
            files = told["files"] if isinstance(told["files"], dict) else {}
            digests: dict[str, Json] = {
                name: one["digest"] for name, one in files.items() if isinstance(one, dict)
            }
            act.outcome = {
                "size": told["size"],
                "root": told["root"],
                "rows": told["rows"],
                "truncated": told["truncated"],
                "document": hashing.sha512(stated),
                "files": digests,
            }
        await workbench.in_thread(None, _vouch, services, act.ended, place)
        return {**act.outcome, "files": [*digests, STATED, RECEIPT, KEYS]}

    return await services.jobs.start(ACT, work)


def _reporter(job: Job, limit: int) -> evidence.Told:
    pending: set[asyncio.Task[None]] = set()

    def progress(step: dict[str, Json]) -> None:
        task = asyncio.create_task(
            job.emit("progress", step=f"{step.get('rows')} rows", done=step.get("rows"), total=limit)
        )
        pending.add(task)
        task.add_done_callback(pending.discard)

    return progress


def _vouch(services: Services, outcome: int, place: Path) -> None:
    """Put the receipt of the outcome, and the keys that it is checked with, beside the files."""
    services.log.checkpoint()
    disk.create_file(place / KEYS, (services.home.log / KEYS).read_bytes())
    disk.create_file(place / RECEIPT, services.log.prove(outcome))


def settle(services: Services) -> None:
    """Remove the results of earlier runs, fetched or not; called at start.

    Args:
        services: The daemon's parts.
    """
    for folder in services.home.jobs.glob(f"*/{FOLDER}"):
        scratch.remove(folder)


def files(services: Services, session: Session, number: int) -> dict[str, Path]:
    """Find the files of a result.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        number: The result's job.

    Returns:
        Names and files.

    Raises:
        NotFound: If there is no such result, or it was not finished.
    """
    session.actor(ACT)
    act = services.state.acts.get(number)
    place = services.jobs.folder(number) / FOLDER
    if act is None or act.action != ACT or act.state != "done" or not (place / RECEIPT).exists():
        raise NotFound(
            "result.unknown",
            f"There is no finished result {number}.",
            remedy="Ask with `holdfast audit sql … --out DIR`.",
        )
    recorded = act.result["files"]
    names = [*(recorded if isinstance(recorded, dict) else {}), STATED, RECEIPT, KEYS]
    return {name: place / name for name in names}


# --- saved queries


async def _built_in(services: Services) -> list[dict[str, Json]]:
    listed = (await services.index.ask(services, {"op": "queries"})).get("queries")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


async def _coming_with(services: Services, name: str) -> Json:
    for one in await _built_in(services):
        if one["name"] == name:
            return one["sql"]
    return services.state.queries.find(name).sql


async def known(services: Services, session: Session) -> dict[str, Json]:
    """List all queries: those that come with the software, and those that auditors saved.

    Args:
        services: The daemon's parts.
        session: An auditor's.

    Returns:
        ``queries``, by name; what comes with the software has no ``saved_by``.
    """
    reply = await evidence.read(services, session, "queries", {"op": "queries"})
    listed = reply.get("queries")
    found: list[Json] = [*(listed if isinstance(listed, list) else [])]
    found += [one.to_json() for _, one in sorted(services.state.queries.saved.items())]
    return {"queries": found}


async def save(services: Services, session: Session, asked: QueryRequest) -> dict[str, Json]:
    """Save a query for everybody who audits here, once the index has shown that it can be run.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: Name, text, and what it answers.

    Returns:
        The query, with its columns.

    Raises:
        Conflict: If the name is taken.
    """
    actor = session.actor("audit.query.saved")
    found = queries.parse(asked.name, asked.sql, asked.about)
    if any(one["name"] == found.name for one in await _built_in(services)):
        raise Conflict(
            "query.taken",
            f"A query {found.name} comes with the software.",
            remedy="Choose another name.",
        )
    checked = await services.index.ask(services, {"op": "check", "sql": found.sql})
    services.state.queries.require_room(found.name)
    await services.recorder.fact(
        actor, "audit.query.saved", {"name": found.name, "sql": found.sql, "about": found.about}
    )
    return {**services.state.queries.find(found.name).to_json(), "columns": checked["columns"]}


async def remove(services: Services, session: Session, name: str) -> dict[str, Json]:
    """Remove a saved query.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        name: The query.

    Returns:
        ``removed``: its name.
    """
    actor = session.actor("audit.query.removed")
    services.state.queries.find(name)
    await services.recorder.fact(actor, "audit.query.removed", {"name": name})
    return {"removed": name}
