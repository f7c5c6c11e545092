"""Turning files made here, or sent by a client, into artefacts of the store."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from typing import TYPE_CHECKING

from holdfast import artefact
from holdfast.artefact import Artefact, FileRef, is_safe_path
from holdfast.errors import WorkerFailed
from holdfast.store import hashfile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.artefact import Kind
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.labels import Label


MAX_OUTPUT = (
    1 << 30
)  # bytes of a worker's file that is read whole: telemetry of a million steps, a report's pages


def read_output(path: Path) -> bytes:
    """Read a file that a worker made, trusting nothing about it.

    Args:
        path: The file, directly in the worker's output folder.

    Returns:
        Its bytes.

    Raises:
        WorkerFailed: If it is missing, no plain file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - the descriptor was opened without following links
            facts = os.fstat(descriptor)
            if stat.S_ISREG(facts.st_mode) and facts.st_size <= MAX_OUTPUT:
                return file.read()
        why = "it is no plain file, or too large"
    except OSError as error:
        why = str(error.strerror)
    raise WorkerFailed(
        "worker.output", f"The worker's file {path.name} can't be used: {why}.", remedy="Start the job again."
    )


async def adopt(
    services: Services,
    kind: Kind,
    name: str,
    version: str,
    files: Mapping[str, Path],
    *,
    label: Label,
    parents: tuple[str, ...] = (),
    meta: dict[str, Json] | None = None,
) -> Artefact:
    """Hash files, link them into the store and give their record.

    The record is not known to the state fold until an event carries it.

    Args:
        services: The daemon's parts.
        kind: What they are.
        name: The artefact's name.
        version: Its version.
        files: Path inside the artefact to file on disk, on the same file system as the home.
        label: Its label, already joined from its parents'.
        parents: Digests of what it was made from.
        meta: Small facts of its kind.

    Returns:
        The record.

    Raises:
        UntrustedInput: If name or version can't be those of an artefact; then nothing was taken in.
        WorkerFailed: If a file has no plain path, or is no plain file: a pipe would never be read to its end.
    """

    def work() -> Artefact:
        refs: list[FileRef] = []
        stage = services.store.stage(f"intake-{secrets.token_hex(8)}")
        try:
            for path, source in files.items():
                if not is_safe_path(path) or not stat.S_ISREG(_mode(source)):
                    raise WorkerFailed(
                        "worker.output",
                        f"A worker named {path[:80]!r} as a file that it made, which is not there or no plain file.",
                        remedy="Treat what it was given as hostile and keep it for examination.",
                    )
                target = stage / path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, target, follow_symlinks=False)
                refs.append(hashfile.describe(target, path).ref)
            found = Artefact(
                kind=kind,
                name=name,
                version=version,
                files=tuple(sorted(refs)),
                label=label,
                parents=parents,
                meta=meta or {},
            )
            artefact.parse(found.to_json())  # what the log is given must be readable from it for ever
            if (
                found.digest in services.state.damaged
            ):  # made again: the damaged files must not stay in its place
                services.store.discard(found)
            services.store.adopt(stage, found)
        finally:
            services.store.discard_stage(stage)
        return found

    return await asyncio.to_thread(work)


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
