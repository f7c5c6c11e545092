"""Evidence: a range of the log as a folder that is verified on a machine with nothing else of ours.

Layout: the segments of the range, cut to begin and end with it; ``archived`` (the Merkle frontier over the events before it);
``checkpoint``, signed over exactly the events up to its end; ``log.pub``; the checkpoints that witnesses cosigned, as far as
the range covers them; ``verify.py`` and ``complete.py`` as they are; ``README.txt``. With a filter: ``filter.json`` and the
rows that it gives.

Invariants: no byte of an event changes; segments that lie in the range as a whole are hard links, so that an export costs
little space and no time of the log's committer; boundary segments are read once, one at a time; nothing is overwritten, and
everything is on disk when a function returns.
"""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.audit import complete, segment, verify
from holdfast.errors import NotFound, VerificationFailed
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from holdfast.audit.log import Log

CHECKPOINT, KEYS, ARCHIVED, WITNESS = "checkpoint", "log.pub", "archived", "witness"
FILTER, README, RECEIPT = "filter.json", "README.txt", "export.tlog-proof"
CODE = ("verify.py", "complete.py")
EVERY = 4_096  # events between two reports of progress
_README = """\
Evidence from the audit log {origin}: events {start} to {last}.

To verify it, you need Python 3.11 or later with the package cryptography 50 or later, and the log's verifier keys
(log.pub), received from the site by another way than this folder. Take verify.py and complete.py from somebody you
trust, or read them; with -I, no other file in this folder is run.

    python -I complete.py . --key LOG.PUB --strict

checks the signatures, every event against the signed Merkle root, and names every gap; where there is a filter.json, it
applies the filter again and compares the rows. It ends with exit code 0 if everything holds, else it names the first bad event.
Add --witness WITNESS.PUB to require the cosignature of a witness. The site's own account of this export is a receipt:

    python -I verify.py export.tlog-proof --key LOG.PUB
"""


def write_evidence(log: Log, log_folder: Path, target: Path, start: int, stop: int) -> None:
    """Write a range of a log as evidence.

    Args:
        log: The open log.
        log_folder: Its folder.
        target: The folder to make or to fill; what it should hold must not be there.
        start: The first event.
        stop: One past the last, at most the log's size.

    Raises:
        NotFound: If the range is empty, was archived, or is not on disk yet.
    """
    require_range(log, start, stop)
    disk.make_folders(target)
    bounds = log.boundaries()
    for first, end in pairwise([*bounds, log.size]):  # the last segment grows, and is never linked
        if start < end and first < stop:
            path = log_folder / segment.name(first)
            if first != bounds[-1] and start <= first and end <= stop:
                _link(path, target / path.name)
            else:
                begin = max(first, start)
                data = cut(path, begin - first, min(end, stop) - first, log.origin, begin)
                _put(target / segment.name(begin), data)
    if start:
        frontier = {"size": start, "peaks": [peak.hex() for peak in log.peaks(start)]}
        _put(target / ARCHIVED, canonical.encode(frontier))  # type: ignore[arg-type]  # plain data
    _put(target / KEYS, (log_folder / KEYS).read_bytes())
    _put(target / CHECKPOINT, log.sign_at(stop))
    _witnessed(log_folder, target / WITNESS, stop)
    for name in CODE:
        _put(target / name, (resources.files("holdfast.audit") / name).read_bytes())
    _put(target / README, _README.format(origin=log.origin, start=start, last=stop - 1).encode())
    disk.sync_folder(target)


def require_range(log: Log, start: int, stop: int) -> None:
    """Refuse a range that is not here.

    Args:
        log: The open log.
        start: The first event.
        stop: One past the last.

    Raises:
        NotFound: If the range is empty, was archived, or is not on disk yet.
    """
    if not log.first <= start < stop <= log.size:
        raise NotFound(
            "audit.range",
            f"Events {start} to {stop - 1} are not all here.",
            remedy=f"The log has events {log.first} to {log.size - 1}.",
            first=log.first,
            size=log.size,
        )


def cut(path: Path, skip: int, stop: int, origin: str, first: int) -> bytes:
    """Give a part of a segment as a segment of its own.

    Args:
        path: The segment.
        skip: Records to leave out at its beginning.
        stop: The record of it to end before.
        origin: The log's name.
        first: Sequence number of the first event that stays.

    Returns:
        The new segment's bytes; its records are those of the old one.

    Raises:
        VerificationFailed: If the segment has fewer records.
    """
    try:
        _, _, data, offset = verify.read_segment(path)
    except verify.Refused as error:
        raise segment.damaged(first, path, str(error)) from error
    begin = offset
    for number in range(stop):
        begin = offset if number == skip else begin
        length = verify.HEAD.unpack_from(data, offset)[0] if offset + verify.HEAD.size <= len(data) else 0
        if not length:
            raise segment.damaged(first + number - skip, path, "the segment ends too early")
        offset += verify.HEAD.size + length
    return segment.header(origin, first) + data[begin:offset]


def write_rows(
    evidence: Path, out: Path, names: Sequence[str], told: Callable[[int], None]
) -> dict[str, tuple[int, str]]:
    """Apply a folder's filter to its events, and write the rows that fit.

    Args:
        evidence: The evidence, with its ``filter.json``.
        out: The folder to write into.
        names: Files of ``complete.LISTED`` to write.
        told: Called now and then with the events done.

    Returns:
        Rows and SHA-512 of each file.

    Raises:
        VerificationFailed: If an event can't be read.
    """
    wanted = complete.parse_filter(verify.read(evidence / FILTER, verify.MAX_NOTE))
    files = {name: (out / name).open("xb") for name in names}
    digests = {name: hashlib.sha512(complete.head(name)) for name in names}
    count = done = 0
    try:
        for name, file in files.items():
            file.write(complete.head(name))
        for path in verify.segments(evidence):
            for record in verify.records(*verify.read_segment(path)[2:]):
                done += 1
                if done % EVERY == 0:
                    told(done)
                event = complete.flat(record.body)
                if complete.fits(wanted, event):
                    count += 1
                    for name, file in files.items():
                        line = complete.row(name, record.body, event)
                        digests[name].update(line)
                        file.write(line)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    except verify.Refused as error:
        raise VerificationFailed(
            "audit.export", f"The rows can't be written: {error}.", remedy="Run `holdfast audit verify`."
        ) from error
    finally:
        for file in files.values():
            file.close()
    return {name: (count, f"sha512:{digest.hexdigest()}") for name, digest in digests.items()}


def span(evidence: Path) -> tuple[int, int]:
    """Say which events evidence holds.

    Args:
        evidence: Its folder.

    Returns:
        The first, and one past the last.

    Raises:
        VerificationFailed: If the folder holds no evidence.
    """
    try:
        signed = verify.parse_note(verify.read(evidence / CHECKPOINT, verify.MAX_NOTE))
        return verify.begin(evidence).size, signed.size
    except verify.Refused as error:
        raise VerificationFailed(
            "audit.evidence", f"{evidence.name} is no evidence: {error}.", remedy="Export it again."
        ) from error


def encode_filter(wanted: Mapping[str, str]) -> bytes:
    """Write ``filter.json``.

    Args:
        wanted: Fields of ``complete.FILTER`` and what they must be.

    Returns:
        Canonical JSON.
    """
    return canonical.encode(dict(wanted))


def _witnessed(source: Path, target: Path, size: int) -> None:
    """Take along what witnesses cosigned of the range's tree or an earlier one."""
    found = {path.name: path.read_bytes() for path in sorted(source.glob(verify.WITNESSED))}
    covered = {name: data for name, data in found.items() if verify.parse_note(data).size <= size}
    if covered:
        disk.make_folders(target)
    for name, data in covered.items():
        _put(target / name, data)


def _link(source: Path, target: Path) -> None:
    """Show a closed segment under another name; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        _put(target, verify.read(source, verify.MAX_SEGMENT))


def _put(path: Path, data: bytes) -> None:
    disk.create_file(path, data, mode=0o644)
