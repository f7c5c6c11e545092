"""Cosigning on the auditor's device: from a request that came over the air gap to the note that goes back.

Order of operations: own the folder; read the request; verify the log's signatures with the keys that the auditor was given;
compare with what this device saw; only then ask for the passphrase; cosign; store the new head; give the note. Invariants: a
log's first request needs its keys from elsewhere, and there is no trust on first use; a request that the log's keys signed and
that is refused is kept as evidence; nothing is stored for a request that is not signed by the log.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.audit import cosignature, event, frames, verify, witness
from holdfast.audit.verify import ED25519, PROOF_MAGIC
from holdfast.audit.witnessfolder import check_log_keys
from holdfast.errors import Conflict, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.audit.cosignature import Cosigner
    from holdfast.audit.verify import Key, Note
    from holdfast.audit.witness import Request
    from holdfast.audit.witnessfolder import WitnessFolder

RESTORED = "home.restored"
MAX_INPUT = max(witness.MAX_REQUEST, frames.MAX_TEXT)  # bytes of a request as it is handed in


@dataclass(frozen=True)
class Answer:
    """What the device gives back.

    Args:
        note: The checkpoint with the log's signatures and the witness's.
        origin: The log's name.
        size: Events of the checkpoint.
        root: Their Merkle root, hexadecimal.
        before: Events that this device had cosigned before; None if none.
        scanned: Whether only the log's Ed25519 signature was there to be checked.
    """

    note: bytes
    origin: str
    size: int
    root: str
    before: int | None
    scanned: bool


def cosign(
    folder: WitnessFolder, data: bytes, *, log_keys: bytes | None, opened: Callable[[], Cosigner], now: int
) -> Answer:
    """Judge a request and cosign its checkpoint.

    Args:
        folder: The witness.
        data: The request: a file, or the text of scanned QR codes.
        log_keys: The log's ``log.pub``, received out of band; needed the first time.
        opened: Opens the witness's secret keys; called once, if the request is good.
        now: This device's clock, POSIX seconds.

    Returns:
        What goes back to the site.

    Raises:
        VerificationFailed: If the request is refused, by a name that says why.
        Conflict: If the request proves from another size than the device saw last.
    """
    with folder.locked():
        request, scanned = _read(data)
        origin = witness.origin_of(request)
        keys = _keys(folder, origin, log_keys)
        after = folder.successor(origin)
        if after is not None:
            raise _succeeded(origin, after)
        note, signed = witness.check_signatures(request, keys, scanned=scanned)
        seen = folder.seen(origin)
        try:
            witness.check_clock(signed, seen, now)
            witness.judge(request, note, signed, seen)
        except (VerificationFailed, Conflict) as error:
            if seen is not None:
                _keep(folder, note, data, error)
            raise
        made = _sign(request, note, keys, opened(), scanned=scanned, now=now)
        folder.pin(origin, cosignature.write_keys(keys))
        folder.remember(made)
        return Answer(made, origin, note.size, note.root.hex(), seen.size if seen else None, scanned)


def succeed(
    folder: WitnessFolder,
    data: bytes,
    *,
    receipt: bytes,
    log_keys: bytes,
    lost: int,
    opened: Callable[[], Cosigner],
    now: int,
) -> Answer:
    """Take a restored log on as the successor of one that this device watched, and cosign it.

    The proof is the request's: the new tree extends the old one at the largest size cosigned within what was restored. The
    receipt of ``home.restored`` says how much that is, so that what was lost can be counted.

    Args:
        folder: The witness.
        data: The restored log's request.
        receipt: A receipt (``tlog-proof``) of the restored log's ``home.restored``.
        log_keys: The restored log's ``log.pub``, received out of band.
        lost: Events whose loss the auditor accepts.
        opened: Opens the witness's secret keys; called once, if all is good.
        now: This device's clock, POSIX seconds.

    Returns:
        What goes back to the site.

    Raises:
        VerificationFailed: If the log is no successor, or more is lost than accepted.
        Conflict: If the old log has a successor, the new one is known, or the request proves from another size.
    """
    with folder.locked():
        request, scanned = _read(data)
        origin = witness.origin_of(request)
        keys = check_log_keys(log_keys, origin)
        note, signed = witness.check_signatures(request, keys, scanned=scanned)
        old, restored = _restored(receipt, keys)
        sizes = folder.sizes(old)
        if not sizes:
            raise VerificationFailed(
                "witness.unknown-log",
                f"The restored log says that it continues {old}, of which this device cosigned nothing.",
                remedy="Use the device that watched that log, or watch this one as a new log with `holdfast audit cosign`.",
                origin=old,
            )
        after = folder.successor(old)
        if after not in {None, origin} or folder.sizes(origin):
            raise _succeeded(old, after or origin)
        base = witness.base(sizes, restored)
        found = folder.seen(old, base) if base in sizes else None
        witness.check_clock(signed, folder.seen(old), now)
        witness.judge_successor(request, note, found, last=sizes[-1], restored=restored, lost=lost)
        made = _sign(request, note, keys, opened(), scanned=scanned, now=now)
        folder.close(
            old, origin
        )  # first: whatever a crash leaves, the old log is cosigned no more, and this can be repeated
        folder.pin(origin, log_keys)
        folder.remember(made)
        return Answer(made, origin, note.size, note.root.hex(), sizes[-1], scanned)


def _read(data: bytes) -> tuple[Request, bool]:
    scanned = frames.is_frames(data)
    return witness.parse(frames.join(data) if scanned else data), scanned


def _keys(folder: WitnessFolder, origin: str, given: bytes | None) -> list[Key]:
    known = folder.log_keys(origin)
    if given is not None:
        told = check_log_keys(given, origin)
        if known is not None:
            folder.pin(origin, given)  # refuses what differs
        return told
    if known is None:
        raise VerificationFailed(
            "witness.unknown-log",
            f"This device does not know the log {origin[:200]!r}, and a request can't vouch for itself.",
            remedy="Give the log's keys, received by another way than the request, with --log-keys; compare their fingerprint "
            "with the site's `holdfast audit witness list` by voice.",
            origin=origin[:200],
        )
    return known


def _sign(
    request: Request, note: Note, keys: Sequence[Key], cosigner: Cosigner, *, scanned: bool, now: int
) -> bytes:
    checked = [key for key in keys if key.kind == ED25519 or not scanned]
    lines = cosignature.lines_of(request.checkpoint, checked)
    return note.text + b"\n" + lines + cosigner.cosign(note, time=now)


def _keep(folder: WitnessFolder, note: Note, data: bytes, error: VerificationFailed | Conflict) -> None:
    """Keep a refused request beside the heads that it contradicts, and say where it lies."""
    kept = folder.keep_refused(note, data)
    if kept is not None:
        error.fields["kept"] = str(kept)
        error.remedy += f" The request is kept as {kept}."


def _restored(receipt: bytes, keys: Sequence[Key]) -> tuple[str, int]:
    """Read what a restored log says of itself: the log it continues, and how many of its events it took over."""
    verdict = verify.verify_proof(receipt, keys)
    lines = receipt.split(b"\n", 2)
    try:
        if not verdict.ok or lines[0] != PROOF_MAGIC.encode() or not lines[1].startswith(b"extra "):
            raise verify.Refused(str(verdict) if not verdict.ok else "it does not hold the event")  # noqa: TRY301 - one way out
        found = event.parse(base64.b64decode(lines[1][6:], validate=True))
        origin, size = found.params.get("origin"), found.params.get("size")
        if found.action != RESTORED:
            raise verify.Refused(f"it is of the event {found.action}")  # noqa: TRY301 - one way out
        if not isinstance(origin, str) or type(size) is not int or size != found.seq:
            raise verify.Refused("its event does not say what was restored")  # noqa: TRY301 - one way out
    except (verify.Refused, binascii.Error) as error:
        raise VerificationFailed(
            "witness.receipt",
            f"The receipt of {RESTORED} is refused: {error}.",
            remedy="Ask the site for `holdfast audit prove SEQ --out FILE`, SEQ being its event home.restored.",
        ) from error
    return origin, size


def _succeeded(origin: str, after: str) -> Conflict:
    return Conflict(
        "witness.succeeded",
        f"This device took {after} on as what continues {origin}; the log of before is cosigned no more.",
        remedy="Have the site make its request from the log in use. If both are in use, the site has two lives: find out why.",
        origin=origin,
        successor=after,
    )
