"""A log carried over to a new origin: the same events at the same places, under new keys.

Order of operations: the old log is verified as a whole with the keys that a person brought; its segments are copied record by
record up to the last event that its checkpoint signs, under headers that name the new origin; the new keys sign the same
root. Invariants: no byte of an event changes, so that the old head is a head of the new tree, too, and every old proof stays
what it was; events that nobody signed are left out and counted.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.audit import checkpoint, segment, verify
from holdfast.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from holdfast.audit.signer import LogSigner
    from holdfast.audit.verify import Key, Verdict

ARCHIVED, TILES, SNAPSHOT, KEPT = "archived", "tile", ".snapshot", ".kept"
MAX_ARCHIVED = 64 * 2**10  # bytes of the frontier: 63 hashes in hexadecimal
MAX_TILE = 256 * 32  # bytes of a hash tile
MAX_BESIDE = 2**30  # bytes of a folded state, or of the events that stay


@dataclass(frozen=True)
class Head:
    """The signed end of a verified log.

    Args:
        origin: The log's name.
        size: Events that the checkpoint signs.
        root: Merkle root over them, hexadecimal.
        unsigned: Whole events after them that nobody signed.
    """

    origin: str
    size: int
    root: str
    unsigned: int


def check(folder: Path, keys: Sequence[Key], what: str) -> Head:
    """Verify a log as a whole.

    Args:
        folder: The log's folder.
        keys: Its verifier keys, brought by another way.
        what: Which log it is, for the message.

    Returns:
        Its signed end.

    Raises:
        VerificationFailed: Naming the first bad event.
    """
    verdict = verify.verify_log(folder, keys)
    if not verdict.ok:
        raise _bad(what, verdict)
    note = checkpoint.parse(small(folder / "checkpoint", verify.MAX_NOTE), keys)
    return Head(note.origin, note.size, note.root.hex(), verdict.size - note.size)


def carry(
    source: Path,
    target: Path,
    head: Head,
    *,
    origin: str,
    signer: LogSigner,
    time: int,
    carried: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a verified log anew under another origin.

    Args:
        source: The old log's folder, verified.
        target: The new log's folder; must be empty.
        head: The old log's signed end.
        origin: The new log's name.
        signer: The new log's keys.
        time: When it is signed, in POSIX seconds.
        carried: Told how many events are written, after each segment.

    Raises:
        VerificationFailed: If the old log changed since it was verified.
    """
    disk = segment.HostDisk()
    disk.make_folder(target)
    _keep_archived(source, target, disk)
    for path in verify.segments(source):
        _, first, data, begin = verify.read_segment(path)
        if first >= head.size:
            break
        seq, end = first, begin
        for record in verify.records(data, begin):
            if seq == head.size or record.torn:
                break
            if record.fault:
                raise segment.damaged(seq, path, record.fault)
            seq, end = seq + 1, record.end
        segment.replace(disk, target / path.name, segment.header(origin, first) + data[begin:end])
        carried(seq)
    segment.replace(disk, target / "log.pub", signer.public(origin))
    note = checkpoint.make(origin, head.size, bytes.fromhex(head.root), signer, time=time)
    segment.replace(disk, target / "checkpoint", note)


def small(path: Path, limit: int) -> bytes:
    """Read a small file that is not to be trusted.

    Args:
        path: The file.
        limit: The most bytes it may have.

    Returns:
        Its bytes.

    Raises:
        VerificationFailed: If it is no plain readable file of at most that size.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unreadable(path, "it is no plain file")
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    if len(data) > limit:
        raise _unreadable(path, f"it has more than {limit} bytes")
    return data


def read_keys(path: Path) -> list[Key]:
    """Read a log's verifier keys.

    Args:
        path: Their file.

    Returns:
        The keys.

    Raises:
        VerificationFailed: If the file can't be read or holds something else.
    """
    try:
        return verify.parse_keys(small(path, verify.MAX_NOTE))
    except verify.Refused as error:
        raise VerificationFailed(
            "restore.keys",
            f"{path}: {error}.",
            remedy="Name the log's verifier keys: log.pub, or an auditor's copy of it.",
        ) from error


def _unreadable(path: Path, why: str) -> VerificationFailed:
    return VerificationFailed(
        "restore.file",
        f"{path} can't be taken: {why}.",
        remedy="Bring an undamaged copy of the folder, and try again.",
    )


def _keep_archived(source: Path, target: Path, disk: segment.HostDisk) -> None:
    """Carry over what stands for events that were archived before."""
    if (source / ARCHIVED).exists():
        segment.replace(disk, target / ARCHIVED, small(source / ARCHIVED, MAX_ARCHIVED))
        for path in sorted((source / TILES).rglob("*")):
            if path.is_file():
                place = target / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                segment.replace(disk, place, small(path, MAX_TILE))
        for path in sorted(path for path in source.iterdir() if path.suffix in (SNAPSHOT, KEPT)):
            segment.replace(disk, target / path.name, small(path, MAX_BESIDE))


def _bad(what: str, verdict: Verdict) -> VerificationFailed:
    first = verdict.problems[0]
    where = "" if first.seq is None else f"event {first.seq}: "
    return VerificationFailed(
        "restore.log",
        f"The log of {what} does not verify: {where}{first.text}.",
        remedy="Bring an undamaged copy, or the log's own verifier keys (--keys), and try again.",
        seq=first.seq,
    )
