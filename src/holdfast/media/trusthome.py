"""The trust state of a home, as one file that is replaced atomically.

Invariants: nothing is trusted on first use: a root enters only with its fingerprint, typed by a person who received it by
another way; a home keeps the root it was founded with until that root's own successors come on a verified medium.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Snapshot, Timestamp

from holdfast import canonical
from holdfast.errors import Conflict, NotFound, UntrustedBundle, VerificationFailed
from holdfast.store import disk
from holdfast.trust import fingerprint, metadata, revocation
from holdfast.trust.workflow import TrustState, Workflow

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.media.verify import VerifiedMedium
    from holdfast.store.disk import Disk

SCHEMA = "holdfast.trust/1"
FILE = "state.json"
_REVOCATIONS = "revocations"
_KEPT = {  # what is kept of other people's documents, and the most bytes of each
    Root.type: metadata.MAX_BYTES[Root.type],
    Timestamp.type: metadata.MAX_BYTES[Timestamp.type],
    Snapshot.type: metadata.MAX_BYTES[Snapshot.type],
    _REVOCATIONS: revocation.MAX_DOCUMENT,
}
MAX_STATE = sum(_KEPT.values()) + 64 * 1024  # bytes: those documents and our own facts
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def pin(folder: Path, root: bytes, typed: str, now: datetime) -> str:
    """Found the trust of a home.

    Args:
        folder: The home's trust folder; made if it is not there.
        root: Bytes of the root metadata file.
        typed: The fingerprint as a person typed it.
        now: What the host's clock says, with a time zone.

    Returns:
        The fingerprint.

    Raises:
        UsageRefused: If the fingerprint is not one.
        UntrustedBundle: If the root has another fingerprint or does not vouch for itself.
        Conflict: If another root is pinned already.
    """
    given = fingerprint.parse(typed)
    state = checked_root(root, given, now)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        present = fingerprint.of_root(load(folder).root)
    except NotFound:
        disk.create_file(folder / FILE, _encode(state))
        return given
    if present != given:
        raise Conflict(
            "trust.pinned",
            f"Another root is pinned in this home, with the fingerprint {present}.",
            remedy="A home follows one root; use another home for another publisher.",
            fingerprint=present,
        )
    return given


def checked_root(root: bytes, given: str, now: datetime) -> TrustState:
    """Judge a root by its fingerprint.

    Args:
        root: Bytes of the root metadata file.
        given: The fingerprint, in the form of ``fingerprint.of_root``.
        now: What the host's clock says, with a time zone.

    Returns:
        A state that trusts this root and knows of no import.

    Raises:
        UntrustedBundle: If the root has another fingerprint or does not vouch for itself.
    """
    found = fingerprint.of_root(root)
    if found != given:
        raise UntrustedBundle(
            "trust.fingerprint",
            f"The root's fingerprint is {found}, not the one given.",
            remedy="Do not use this root; ask its publisher for the root and its fingerprint again.",
            found=found,
            given=given,
        )
    state = TrustState(root)
    Workflow(state, now)
    return state


def load(folder: Path) -> TrustState:
    """Read the trust of a home.

    Args:
        folder: The home's trust folder.

    Returns:
        What it trusts.

    Raises:
        NotFound: If no root was pinned.
        VerificationFailed: If the file is not what was written.
    """
    try:
        with (folder / FILE).open("rb") as file:
            data = file.read(MAX_STATE + 1)
    except FileNotFoundError:
        raise NotFound(
            "trust.none",
            "No root is pinned in this home.",
            remedy="Pin one with `holdfast trust init ROOT --fingerprint ...`.",
        ) from None
    value = canonical.decode(data, limit=MAX_STATE, what="The trust state", error=VerificationFailed)
    if not isinstance(value, dict) or set(value) != {"schema", "floor", *_KEPT} or value["schema"] != SCHEMA:
        raise _bad("its fields are wrong")
    if value[Root.type] is None:
        raise _bad("it holds no root")
    root, timestamp, snapshot, revoked = (
        None if value[name] is None else canonical.encode(value[name]) for name in _KEPT
    )
    return TrustState(root or b"", timestamp, snapshot, _floor(value["floor"]), revoked)


def commit_trust(verified: VerifiedMedium, folder: Path, on: Disk = disk.HOST) -> None:
    """Believe what a medium showed; called once its artefacts are in the store.

    Args:
        verified: The medium's verdict.
        folder: The home's trust folder.
        on: The disk.

    Raises:
        NoSpace: If the disk is full.
        OperationFailed: If the disk failed.
    """
    _write(folder, _encode(verified.state), on)


def copy_trust(source: Path, folder: Path, on: Disk = disk.HOST) -> None:
    """Believe what was put down in another folder.

    Args:
        source: That folder; its state is read as ``load`` reads it.
        folder: The home's trust folder.
        on: The disk.

    Raises:
        NotFound: If nothing was put down there.
        VerificationFailed: If it is not what was written.
        NoSpace: If the disk is full.
        OperationFailed: If the disk failed.
    """
    _write(folder, _encode(load(source)), on)


def set_floor(folder: Path, moment: datetime) -> None:
    """Set the time floor, up or down: what two people agreed on, or what the log says that they did.

    Args:
        folder: The home's trust folder.
        moment: The new floor, with a time zone.

    Raises:
        NoSpace: If the disk is full.
        OperationFailed: If the disk failed.
    """
    _write(folder, _encode(replace(load(folder), floor=moment)), disk.HOST)


def _write(folder: Path, data: bytes, on: Disk) -> None:
    with disk.faults("the trust state"):
        disk.write_file(folder / FILE, data, on=on)


def _encode(state: TrustState) -> bytes:
    # These documents are canonical JSON, so that they can be kept as values and written back byte for byte.
    documents = (state.root, state.timestamp, state.snapshot, state.revocations)
    kept: dict[str, Json] = {
        name: None if data is None else canonical.decode(data, limit=limit, what=name)
        for (name, limit), data in zip(_KEPT.items(), documents, strict=True)
    }
    floor = state.floor.astimezone(UTC).strftime(_TIME) if state.floor else None
    return canonical.encode({"schema": SCHEMA, "floor": floor, **kept})


def _floor(value: Json) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.strptime(str(value), _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise _bad("its time floor is not a moment") from None


def _bad(why: str) -> VerificationFailed:
    return VerificationFailed(
        "trust.state-form",
        f"The home's trust state is not what was written: {why}.",
        remedy="Restore the home's trust folder from a backup.",
    )
