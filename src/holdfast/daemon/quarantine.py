"""Quarantine: where media lie between their first byte and a second person's decision.

HOME/quarantine/<32 digits of the manifest's digest>/
├── stage/               what ``media.importer`` copies, with its journal: it goes on where an earlier import stopped
└── trust/state.json     what admission will believe; written once everything is here

Invariants: a place appears only after the log has the verified manifest (``bundle.verified``) and disappears only after the
log says that it is decided, discarded or refused; what the log does not know of is swept at start. One import at a time works
on a manifest.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from holdfast.errors import Conflict, HoldfastError, VerificationFailed
from holdfast.media import trusthome
from holdfast.store import disk, hashfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.artefact import Artefact
    from holdfast.daemon.services import Services
    from holdfast.governance.records import Import
    from holdfast.media.verify import VerifiedMedium

DIGITS = 32  # of the manifest's digest in a folder's name: 128 bits


def place(services: Services, manifest: str) -> Path:
    """Tell where a medium lies.

    Args:
        services: The daemon's parts.
        manifest: Digest of its manifest.

    Returns:
        Its folder, whether it is there or not.
    """
    return services.home.quarantine / manifest.removeprefix("sha512:")[:DIGITS]


def stage(services: Services, manifest: str) -> Path:
    """Tell where a medium's files are collected.

    Args:
        services: The daemon's parts.
        manifest: Digest of its manifest.

    Returns:
        The folder that the importer keeps between imports.
    """
    return place(services, manifest) / "stage"


def trust(services: Services, manifest: str) -> Path:
    """Tell where the trust state lies that a medium's admission will commit.

    Args:
        services: The daemon's parts.
        manifest: Digest of its manifest.

    Returns:
        The folder.
    """
    return place(services, manifest) / "trust"


@contextmanager
def working(services: Services, manifest: str, job: int) -> Iterator[None]:
    """Keep a medium's place to one import, or one decision, while a block runs.

    Args:
        services: The daemon's parts.
        manifest: Digest of the manifest.
        job: The import's number; of a decision, the request's.

    Yields:
        Nothing.

    Raises:
        Conflict: If another import of the same medium is under way, or it waits to be decided.
    """
    other = services.importing.get(manifest)
    if other is not None:
        raise busy(other)
    services.importing[manifest] = job
    try:
        yield
    finally:
        del services.importing[manifest]


def busy(job: int) -> Conflict:
    """Say that a medium is being imported.

    Args:
        job: The import's number.

    Returns:
        The error, not raised.
    """
    return Conflict(
        "bundle.importing",
        f"Job {job} is importing this medium already.",
        remedy=f"Wait for it, or stop it with `holdfast job cancel {job}`.",
        job=job,
    )


def keep_trust(services: Services, verified: VerifiedMedium) -> None:
    """Put down what admission will believe.

    Args:
        services: The daemon's parts.
        verified: The verdict on the medium, or on the volume that completed it.
    """
    folder, on = trust(services, verified.digest), services.store.disk
    with disk.faults("what admission will believe"):
        disk.make_folders(folder, on)
        trusthome.commit_trust(verified, folder, on)


def remove(services: Services, manifest: str) -> None:
    """Remove what lies in quarantine of a medium.

    Args:
        services: The daemon's parts.
        manifest: Digest of its manifest.
    """
    _sweep(services, place(services, manifest))


def _sweep(services: Services, folder: Path) -> None:
    with suppress(OSError):  # what is left, the next start removes
        disk.remove_tree(folder, services.store.disk)


def settle_admitted(services: Services, found: Import) -> None:
    """Believe what an admitted medium showed, and remove it from quarantine; does nothing if that was done.

    Args:
        services: The daemon's parts.
        found: The admitted import.

    Raises:
        NoSpace: If the disk is full.
        OperationFailed: If the disk failed.
    """
    if found.manifest is None:
        return
    if complete(services, found.manifest):
        trusthome.copy_trust(trust(services, found.manifest), services.home.trust, services.store.disk)
    remove(services, found.manifest)


def complete(services: Services, manifest: str) -> bool:
    """Tell whether what admission will believe was put down: the last thing that an import does.

    Args:
        services: The daemon's parts.
        manifest: Digest of the manifest.

    Returns:
        True if it is there.
    """
    return (trust(services, manifest) / trusthome.FILE).exists()


def settle_newest(services: Services) -> None:
    """Bring the newest admission to its end, if it was recorded and then cut short.

    Args:
        services: The daemon's parts.

    Raises:
        NoSpace: If the disk is full.
        OperationFailed: If the disk failed.
    """
    state = services.state
    newest = state.generations[-1].request if state.generations else None
    admitted = state.imports.get(newest) if newest is not None else None
    # What was left of an older admission must not be believed again.
    if admitted is not None and admitted.manifest is not None and admitted.manifest not in state.staged:
        settle_admitted(services, admitted)


def settle(services: Services) -> None:
    """Bring quarantine and trust to the state that the log tells of; called at start.

    Args:
        services: The daemon's parts.
    """
    settle_newest(services)
    known = {place(services, manifest).name for manifest in services.state.staged}
    for folder in services.home.quarantine.iterdir():
        if folder.name not in known:
            _sweep(services, folder)


def check(folder: Path, found: Artefact) -> None:
    """Hash what lies in quarantine again: it may have waited there for days.

    Args:
        folder: Where the artefact's files lie.
        found: The record.

    Raises:
        VerificationFailed: If a file is no longer what was inspected.
    """
    for file in found.files:
        try:
            ref = hashfile.describe(folder / file.path, file.path).ref
        except (OSError, HoldfastError) as error:
            raise _spoiled(found, file.path) from error
        if ref != file:
            raise _spoiled(found, file.path)


def _spoiled(found: Artefact, path: str) -> VerificationFailed:
    return VerificationFailed(
        "bundle.quarantine",
        f"{path} of {found.kind} {found.name} is no longer what was inspected.",
        remedy="Reject this request and import the medium again.",
        file=path,
    )
