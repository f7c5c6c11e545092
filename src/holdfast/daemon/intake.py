"""Turning files made here, or sent by a client, into artefacts of the store."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING

from holdfast import artefact
from holdfast.artefact import Artefact, FileRef
from holdfast.store import hashfile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.artefact import Kind
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.labels import Label


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
    """

    def work() -> Artefact:
        refs: list[FileRef] = []
        stage = services.store.stage(f"intake-{secrets.token_hex(8)}")
        try:
            for path, source in files.items():
                target = stage / path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, target)
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
            services.store.adopt(stage, found)
        finally:
            services.store.discard_stage(stage)
        return found

    return await asyncio.to_thread(work)
