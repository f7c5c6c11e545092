"""Copies of the record: backups of the home, and archives of the log's beginning, which may then be let go of here.

Order of operations of a backup: while nothing is decided, the digest of the trust state goes into the intent; then the log up
to that very intent, the founding document, the people's keys, the artefacts and the sealed payloads are gathered in the job's
folder (large files by hard links), and the client fetches them. Of an archive: the fold up to a segment's beginning is written
down, its digest recorded (``state.snapshot``), the events before it gathered. Forgetting is an act of its own, by another person
than made the archive, who shows that they hold a whole copy of it.

Invariants: no private key, no subject's key, no hash of an application's key and nothing of the index is ever in a copy; the
index's file is not touched, so that its lock is never lost; only what a finished archive holds is forgotten.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit import export
from holdfast.custody import folding, form, kept, listing, relog, restore
from holdfast.daemon import workbench
from holdfast.errors import Conflict, NotFound, NotPermitted, OperationFailed, VerificationFailed
from holdfast.governance import people, snapshot
from holdfast.media import trusthome
from holdfast.store import disk

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session

FOLDER = "copy"  # in the job's folder
MADE = ("audit.backup", "audit.archive", "audit.export")  # acts that leave such a folder


def settle(services: Services) -> None:
    """Remove the copies that nobody fetched to the end; called at start.

    Args:
        services: The daemon's parts.
    """
    for folder in services.home.jobs.glob(f"*/{FOLDER}"):
        shutil.rmtree(folder, ignore_errors=True)


async def backup(services: Services, session: Session) -> Job:
    """Make a backup.

    Args:
        services: The daemon's parts.
        session: An administrator's.

    Returns:
        The job; its copy is fetched with ``files``.
    """
    actor = session.actor("audit.backup")

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        async with services.deciding:
            trust = await asyncio.to_thread(_trust_state, services)
            params: dict[str, Json] = {"trust": None if trust is None else hashing.sha512(trust)}
            async with services.recorder.act(actor, "audit.backup", params) as act:
                job = services.jobs.open_job(act.seq, "audit.backup")
                opened.set_result(job)
                told, count, size = await workbench.in_thread(job, _back_up, services, job, trust)
                act.outcome = {
                    "size": told.size,
                    "root": told.root,
                    "artefacts": told.artefacts,
                    "sealed": told.sealed,
                    "files": count,
                    "bytes": size,
                }
                return {**act.outcome, "origin": told.origin}

    return await services.jobs.start("audit.backup", work)


def _trust_state(services: Services) -> bytes | None:
    path = services.home.trust / trusthome.FILE
    return path.read_bytes() if path.exists() else None


def _back_up(services: Services, job: Job, trust: bytes | None) -> tuple[form.Backup, int, int]:
    """Gather a backup; gives what it says of itself, its files and bytes."""
    home, log, size = services.home, services.log, job.number + 1
    copy = job.folder / FOLDER
    with disk.faults("the backup"):
        disk.require_space(home.root, log.stored_bytes, "the backup's copy of the log")
        evidence(services, copy / form.LOG, log.first, size)
        if log.first:  # what a log that begins later is opened with
            for beside in _beside(home.log, log.first):
                os.link(beside, copy / form.LOG / beside.name)
            _link_tree(home.log / relog.TILES, copy / form.LOG / relog.TILES)
        for name in ["site.toml", *(entry.key for entry in services.site.person)]:
            _put(copy / form.HOME / name, (home.root / name).read_bytes())
        if trust is not None:
            _put(copy / form.HOME / restore.TRUST_FILE, trust)
        artefacts = services.store.artefacts()
        for digest in artefacts:
            _link_tree(services.store.folder(digest), copy / form.STORE / hashing.raw(digest).hex())
        sealed = _link_tree(home.sealed, copy / form.SEALED)
        told = form.Backup(
            site=services.state.site or "",
            origin=log.origin,
            size=size,
            root=log.root_at(size).hex(),
            made=services.now().isoformat(timespec="seconds"),
            artefacts=len(artefacts),
            sealed=sealed,
        )
        _put(copy / form.FILE, told.encode())
    found = listing.paths_in(copy)
    return told, len(found), sum(path.lstat().st_size for path in found)


async def archive(services: Services, session: Session, until: int) -> Job:
    """Copy the log's beginning, after writing down the state that it leads to.

    Args:
        services: The daemon's parts.
        session: Somebody's who may.
        until: The archive ends with the last whole segment before this event.

    Returns:
        The job; its copy is fetched with ``files``.

    Raises:
        Conflict: If no whole segment lies before that event.
    """
    actor = session.actor("audit.archive")
    log = services.log
    end = max((first for first in log.boundaries() if log.first < first <= until), default=None)
    if end is None:
        begins = [first for first in log.boundaries() if first > log.first]
        raise Conflict(
            "archive.nothing",
            f"No whole segment lies between event {log.first} and event {until}.",
            remedy=f"Archive until event {begins[0]} or later."
            if begins
            else "Wait until the log has a second segment: one is closed after 16 MiB.",
        )

    async def work(opened: asyncio.Future[Job]) -> dict[str, Json]:
        params: dict[str, Json] = {"first": log.first, "until": end}
        async with services.recorder.act(actor, "audit.archive", params) as act:
            job = services.jobs.open_job(act.seq, "audit.archive")
            opened.set_result(job)
            state = await workbench.in_thread(job, _write_down, services, end)
            await services.recorder.fact(actor, "state.snapshot", state, cause=act.seq)
            files = await workbench.in_thread(job, _gather, services, job, end)
            act.outcome = {
                "until": end,
                "manifest": _of_a_whole_copy(listing.digest_of(files)),
                "files": len(files),
                "bytes": sum(one.size for one in files),
            }
            return {**act.outcome, "first": log.first, "snapshot": state["digest"]}

    return await services.jobs.start("audit.archive", work)


def staying(services: Services) -> kept.Kept:
    """Give the events that stayed of an archived beginning.

    Args:
        services: The daemon's parts.

    Returns:
        Them, as the log vouches for them.
    """
    taken = services.state.custody.snapshots.get(services.log.first)
    return kept.Kept(services.log, services.home.log, None if taken is None else taken.kept)


def _write_down(services: Services, size: int) -> dict[str, Json]:
    """Fold the log up to a size, and keep the state beside the log."""
    log = services.log
    state = folding.fold_until(log, services.home.log, size)
    data = snapshot.encode(state)
    if snapshot.decode(data) != state:
        raise OperationFailed(
            "archive.snapshot",
            f"The state of the first {size} events can't be written down whole.",
            remedy="Nothing was removed. Archive less, and report this with the daemon's log.",
        )
    stay = kept.gather(log, staying(services), size)
    log.keep(folding.snapshot_file(services.home.log, size).name, data)
    log.keep(kept.file(services.home.log, size).name, stay)
    return {
        "size": size,
        "digest": hashing.sha512(data),
        "bytes": len(data),
        "kept": hashing.sha512(stay),
        "root": log.root_at(size).hex(),
    }


def _gather(services: Services, job: Job, size: int) -> list[listing.Listed]:
    copy = job.folder / FOLDER
    with disk.faults("the archive"):
        disk.require_space(services.home.root, services.log.stored_bytes, "the archive")
        evidence(services, copy, services.log.first, size)
        for beside in _beside(services.home.log, size):
            os.link(beside, copy / beside.name)
    return listing.files_in(copy)


async def forget(services: Services, session: Session, number: int, manifest: str) -> dict[str, Json]:
    """Remove the events that an archive holds from this disk.

    Args:
        services: The daemon's parts.
        session: An administrator's, who did not make the archive.
        number: The archive.
        manifest: Digest of the files of the copy that they hold.

    Returns:
        ``until``: one past the last event that is gone.

    Raises:
        NotFound: If there is no such archive.
        NotPermitted: If they made it themselves.
        VerificationFailed: If their copy is not the archive.
        Conflict: If its events are gone already.
    """
    actor = session.actor("audit.forget")
    found = services.state.custody.archives.get(number)
    if found is None:
        raise NotFound(
            "archive.unknown",
            f"There is no finished archive {number}.",
            remedy="Make one with `holdfast audit archive`.",
        )
    maker = services.state.people.get(found.person)
    if found.person == session.person.name or (maker and people.share_key(maker, session.person)):
        raise NotPermitted(
            "archive.own",
            f"{session.person.name} made archive {number}; another person lets its events go.",
            remedy="Give the copy to another administrator.",
        )
    if _of_a_whole_copy(manifest) != found.manifest:
        raise VerificationFailed(
            "archive.other",
            f"The files named are not those of archive {number}.",
            remedy="Bring the whole copy as it was written; nothing was removed.",
        )
    if found.until <= services.log.first:
        raise Conflict(
            "archive.gone",
            f"The events before {found.until} are gone already.",
            remedy="Nothing is to be done.",
        )
    params: dict[str, Json] = {"archive": number, "until": found.until}
    async with services.recorder.act(actor, "audit.forget", params) as act:
        await workbench.in_thread(None, _let_go_of, services, found.until)
        act.outcome = {"until": found.until}
    return {"archive": number, "until": found.until}


def _of_a_whole_copy(manifest: str) -> str:
    """Give what the log holds of a listing's digest: whoever reads the log does not learn what only the copy's files tell."""
    return hashing.sha512(manifest.encode(errors="replace"))


def _let_go_of(services: Services, until: int) -> None:
    """Remove the events, and what stood for the events that were archived before them."""
    folder, before = services.home.log, services.log.first
    _require_beside(services, until)
    services.log.forget(until)
    with disk.faults("the audit log"):
        for path in _beside(folder, before) if before else ():
            path.unlink(missing_ok=True)
        disk.sync_folder(folder)


def _require_beside(services: Services, until: int) -> None:
    """Refuse to remove events while what a log without them is opened with is not what the log names."""
    named = services.state.custody.snapshots.get(until)
    held = [hashing.sha512(relog.small(one, relog.MAX_BESIDE)) for one in _beside(services.home.log, until)]
    if named is None or held != [named.digest, named.kept]:
        raise VerificationFailed(
            "archive.beside",
            f"The state of the first {until} events, or the events that stay of them, are not on this disk as the log names them.",
            remedy="Nothing was removed. Make another archive up to the same event, and let its events go instead.",
        )


def _beside(folder: Path, size: int) -> tuple[Path, Path]:
    """Name what lies beside a log that begins later: the state it begins with, and the events that stay."""
    return folding.snapshot_file(folder, size), kept.file(folder, size)


def files(services: Services, session: Session, number: int) -> dict[str, Path]:
    """Find the files of a copy.

    Args:
        services: The daemon's parts.
        session: Of the person who had it made.
        number: The job that made it.

    Returns:
        Files by their relative paths, in the order in which they are to be written.

    Raises:
        NotFound: If there is no such copy for this person.
    """
    folder = _copy(services, session, number)
    found = {path.relative_to(folder).as_posix(): path for path in listing.paths_in(folder)}
    last = found.pop(form.FILE, None)
    return found if last is None else {**found, form.FILE: last}


def file(services: Services, session: Session, number: int, path: str) -> Path:
    """Find one file of a copy.

    Args:
        services: The daemon's parts.
        session: Of the person who had it made.
        number: The job that made it.
        path: Its path, as listed.

    Returns:
        The file.

    Raises:
        NotFound: If there is none of that path.
    """
    folder = _copy(services, session, number)
    found, parts = folder / path, path.split("/")
    odd = "\0" in path or not {"", ".", ".."}.isdisjoint(parts)
    if (
        odd or not found.is_file() or found.resolve() != folder.resolve() / path
    ):  # no link, and none on the way
        raise NotFound("copy.file", "The copy has no such file.", remedy="List its files first.")
    return found


def _copy(services: Services, session: Session, number: int) -> Path:
    act = services.state.acts.get(number)
    folder = services.jobs.folder(number) / FOLDER
    if act is None or act.action not in MADE or act.state != "done" or not folder.is_dir():
        raise _no_copy(number)
    session.actor(act.action)
    if act.person != session.person.name:
        raise _no_copy(number)
    return folder


def let_go(services: Services, session: Session, number: int) -> None:
    """Remove a copy that was fetched.

    Args:
        services: The daemon's parts.
        session: Of the person who had it made.
        number: The job that made it.
    """
    shutil.rmtree(_copy(services, session, number), ignore_errors=True)


def evidence(services: Services, folder: Path, start: int, stop: int) -> None:
    """Write a range of the log as a folder that verifies by itself.

    Args:
        services: The daemon's parts.
        folder: The folder to make.
        start: The first event.
        stop: One past the last.
    """
    export.write_evidence(services.log, services.home.log, folder, start, stop)


def _put(path: Path, data: bytes) -> None:
    disk.make_folders(path.parent)
    disk.create_file(path, data)


def _link_tree(source: Path, target: Path) -> int:
    """Show a folder's files under another by hard links; gives their number."""
    count = 0
    for path in listing.paths_in(source) if source.is_dir() else ():
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.link(path, place)
        count += 1
    return count


def _no_copy(number: int) -> NotFound:
    return NotFound(
        "copy.unknown",
        f"There is no finished copy {number} of yours.",
        remedy="Make it again with `holdfast audit backup` or `holdfast audit archive`.",
    )
