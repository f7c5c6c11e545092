"""What a witness is asked, and how it judges: pure rules, no file and no clock.

A request is the body of a C2SP ``add-checkpoint`` call: the size that the witness cosigned last, the proof that the log of now
extends that one, and the log's signed checkpoint. Invariants: a checkpoint is cosigned only if the log's keys, which the
witness had from elsewhere, signed it, and if it extends what the witness saw last; whatever else comes is refused by a name
that says what may have happened; a smaller size is never cosigned after a larger one.

Sources: C2SP tlog-witness (add-checkpoint), RFC 6962 section 2.1.2 (consistency proofs).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.audit import frames, merkle
from holdfast.audit.verify import (
    ED25519,
    HASH,
    MAX_NOTE,
    ML_DSA_44,
    Refused,
    parse_note,
    verify_note,
)
from holdfast.errors import Conflict, VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.audit.verify import Key, Note

MAX_PROOF = 63  # hashes of a consistency proof; C2SP tlog-witness allows no more
MAX_REQUEST = 32 + MAX_PROOF * 45 + MAX_NOTE  # bytes: the old size, hashes in base64, the checkpoint
MAX_AHEAD = (
    86_400  # seconds that the log's clock may be ahead of the witness's: clocks without a network drift
)
MAX_AGE = (
    90 * 86_400
)  # seconds that a checkpoint may be old: post between closed sites takes weeks, not seasons
_ED25519_BYTES = 64  # of a signature
_LISTED = 4  # ids of unknown keys that a message repeats
_HEAD = re.compile(r"old (0|[1-9][0-9]{0,17})")


@dataclass(frozen=True)
class Request:
    """What a log asks a witness.

    Args:
        old: Size that the witness cosigned last, as the log knows; 0 if none.
        proof: Consistency proof from that size to the checkpoint's, 32 bytes each.
        checkpoint: The log's signed note.
    """

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Write the request down.

        Returns:
            The body of an ``add-checkpoint`` call.
        """
        hashes = "".join(f"{base64.b64encode(one).decode()}\n" for one in self.proof)
        return f"old {self.old}\n{hashes}\n".encode() + self.checkpoint


@dataclass(frozen=True)
class Seen:
    """A tree head that the witness cosigned.

    Args:
        size: Leaves.
        root: Merkle root, 32 bytes.
        signed: When the log signed it, in POSIX seconds; None if only Ed25519 signed, which states no time.
        cosigned: When the witness did.
    """

    size: int
    root: bytes
    signed: int | None
    cosigned: int


def parse(data: bytes) -> Request:
    """Read a request.

    Args:
        data: A file from the log's site.

    Returns:
        The request; its checkpoint is not verified yet.

    Raises:
        VerificationFailed: If it is malformed.
    """
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        if len(data) > MAX_REQUEST:
            raise Refused(f"it has more than {MAX_REQUEST} bytes")  # noqa: TRY301 - one way out
        first, *lines = head.decode("ascii").split("\n")
        found = _HEAD.fullmatch(first)
        if not found or not blank:
            raise Refused(  # noqa: TRY301 - one way out
                "it is not `old` with a size, hashes, an empty line and a checkpoint"
            )
        if len(lines) > MAX_PROOF:
            raise Refused(f"it has {len(lines)} hashes; {MAX_PROOF} are allowed")  # noqa: TRY301 - one way out
        request = Request(int(found[1]), tuple(_hash(line) for line in lines), checkpoint)
        note = parse_note(checkpoint)
    except (Refused, UnicodeDecodeError, binascii.Error) as error:
        raise _malformed(str(error)) from error
    if request.old > note.size:
        raise _malformed(f"it proves from {request.old} events, and its checkpoint has {note.size}")
    if request.proof and request.old in {0, note.size}:
        raise _malformed("it has a proof where none is due")
    return request


def origin_of(request: Request) -> str:
    """Tell which log a request speaks of.

    Args:
        request: The request.

    Returns:
        The origin line of its checkpoint.
    """
    return parse_note(request.checkpoint).origin


def compact(checkpoint: bytes) -> bytes:
    """Leave of a checkpoint what fits into a few QR codes: the Ed25519 signature, and not the forty times longer ML-DSA-44 one.

    Args:
        checkpoint: The log's signed note.

    Returns:
        The note with the log's Ed25519 line alone.
    """
    note = parse_note(checkpoint)
    lines = [
        f"— {name} {base64.b64encode(id_ + raw).decode()}\n"
        for name, id_, raw in note.signatures
        if name == note.origin and len(raw) == _ED25519_BYTES
    ]
    return note.text + b"\n" + "".join(lines).encode()


def frames_of(document: bytes) -> list[str]:
    """Cut what is handed out into the texts of QR codes; they carry the log's Ed25519 signature alone.

    Args:
        document: A request, or a checkpoint alone.

    Returns:
        The frames, in order.
    """
    if not document.startswith(b"old "):
        return frames.split(compact(document))
    request = parse(document)
    return frames.split(replace(request, checkpoint=compact(request.checkpoint)).encode())


def check_signatures(request: Request, keys: Sequence[Key], *, scanned: bool) -> tuple[Note, int | None]:
    """Require the log's signatures on a request's checkpoint.

    Args:
        request: The request.
        keys: The log's verifier keys, as the witness was given them.
        scanned: Whether it came as QR codes, which carry the Ed25519 signature alone.

    Returns:
        The checkpoint, and when the log signed it, in POSIX seconds; None if only Ed25519 signed, which states no time.

    Raises:
        VerificationFailed: If another key signed it, or a signature is missing or wrong.
    """
    note = parse_note(request.checkpoint)
    needed = [key for key in keys if key.kind == ED25519 or not scanned]
    mine = {key.id for key in keys}
    named = {id_ for name, id_, _ in note.signatures if name == note.origin}
    if named and not named & mine:
        raise _other_key(note, keys, sorted(id_.hex() for id_ in named)[:_LISTED])
    try:
        note = verify_note(request.checkpoint, needed)
    except Refused as error:
        raise VerificationFailed(
            "witness.signature",
            f"The request is refused: {error}.",
            remedy="Have the site make it again; if it is refused again, treat the site's log as changed.",
            origin=note.origin,
        ) from error
    stating = {(key.name, key.id) for key in needed if key.kind == ML_DSA_44}
    times = [int.from_bytes(raw[:8], "big") for name, id_, raw in note.signatures if (name, id_) in stating]
    return note, max(times, default=None)


def _other_key(note: Note, keys: Sequence[Key], strangers: list[str]) -> VerificationFailed:
    return VerificationFailed(
        "witness.other-key",
        f"The checkpoint of {note.origin} is signed by another key ({', '.join(strangers)}) than the log's "
        f"({', '.join(key.id.hex() for key in keys)}): the log was signed anew with a newer key, or this is another log of "
        "that name.",
        remedy="Do not cosign. Ask the site why its log has another key; a restored log has another name as well, and is "
        "taken on with `holdfast audit witness succeed`.",
        origin=note.origin,
        keys=strangers,
    )


def check_clock(signed: int | None, seen: Seen | None, now: int) -> None:
    """Refuse where a clock is far off: a cosignature states a time, and replays are told by it.

    Args:
        signed: When the log signed; None if unknown.
        seen: What the witness cosigned last.
        now: The witness's clock, POSIX seconds.

    Raises:
        VerificationFailed: If one of the clocks can't be right.
    """
    why = ""
    if seen is not None and now < seen.cosigned:
        why = f"this device's clock says {moment(now)}, and it cosigned at {moment(seen.cosigned)} before"
    elif signed is not None and signed > now + MAX_AHEAD:
        why = f"the log signed at {moment(signed)}, and this device's clock says {moment(now)}"
    elif signed is not None and signed < now - MAX_AGE:
        why = (
            f"the checkpoint was signed at {moment(signed)}, more than {MAX_AGE // 86_400} days before this "
            f"device's clock ({moment(now)})"
        )
    if why:
        raise VerificationFailed(
            "witness.clock",
            f"A clock is far off, or the checkpoint is not of today: {why}.",
            remedy="Set the clock that is wrong; then have the site make a new request.",
            now=now,
            signed=signed,
        )


def judge(request: Request, note: Note, signed: int | None, seen: Seen | None) -> None:
    """Judge whether a verified checkpoint extends what the witness saw last.

    Args:
        request: The request.
        note: Its checkpoint, verified.
        signed: When the log signed it; None if unknown.
        seen: What the witness cosigned last of this log; None if nothing.

    Raises:
        VerificationFailed: If it does not, naming what may have happened.
        Conflict: If the request proves from another size than the one that the witness saw last.
    """
    if note.size == 0 and note.root != merkle.Frontier().root():
        raise _malformed("its checkpoint of no events has a root")
    if seen is None:
        if request.old:
            raise _other_old(request, note, 0)
        return
    if note.size < seen.size:
        raise _went_back(note, signed, seen)
    if note.size == seen.size:
        if note.root != seen.root:
            raise _forked(note, seen)
        return  # the same head again: the answer was lost, or is wanted with today's date
    if request.old != seen.size:
        raise _other_old(request, note, seen.size)
    if seen.size and not merkle.consistent(seen.size, note.size, seen.root, note.root, request.proof):
        raise _rewritten(note, seen)


def base(sizes: Sequence[int], restored: int) -> int:
    """Choose the head that a restored log must be shown to extend: the largest that lies within what was restored.

    Args:
        sizes: Sizes at which the witness cosigned the log of before.
        restored: Events that the restored log took over.

    Returns:
        One of the sizes; 0 if all are larger.
    """
    return max((size for size in sizes if size <= restored), default=0)


def judge_successor(
    request: Request, note: Note, found: Seen | None, *, last: int, restored: int, lost: int
) -> None:
    """Judge whether a restored log continues the one of before, and whether the auditor accepts what was lost.

    Args:
        request: The request of the restored log, its signatures verified.
        note: Its checkpoint.
        found: The head of the log of before at the size that ``base`` chose; None if there is none.
        last: The largest size of the log of before that the witness cosigned.
        restored: Events that the restored log took over, as it says in ``home.restored``.
        lost: Events whose loss the auditor accepts.

    Raises:
        VerificationFailed: If it does not continue that log, or other events than accepted are lost.
        Conflict: If the request proves from another size.
    """
    missing = max(0, last - restored)
    if found is None or found.size == 0:
        raise VerificationFailed(
            "witness.not-successor",
            f"Nothing that this device cosigned lies within the {restored} events that were restored: {missing} of {last} events "
            "are lost, and nothing shows what was kept.",
            remedy="Do not take it on as a successor. Watch it as a new log, with its own keys, if the site's people can explain.",
            lost=missing,
            seen=last,
        )
    if request.old != found.size:
        raise _other_old(request, note, found.size)
    same = note.size == found.size and note.root == found.root
    if not same and not merkle.consistent(found.size, note.size, found.root, note.root, request.proof):
        raise VerificationFailed(
            "witness.not-successor",
            f"The log {note.origin} does not continue the one of before: its first {found.size} events are not those that this "
            f"device cosigned at {moment(found.cosigned)}.",
            remedy="Do not cosign. What was restored is not what was backed up, or not this site's.",
            origin=note.origin,
            seen=last,
        )
    if missing != lost:
        raise VerificationFailed(
            "witness.lost",
            f"The restored log took over {restored} events, and this device cosigned {last}: {missing} events are lost, and "
            f"{lost} were accepted as lost.",
            remedy=f"Ask the site what became of events {restored} to {last - 1}; accept their loss with `--lost {missing}`."
            if missing
            else "Leave --lost out: nothing that this device cosigned is lost.",
            lost=missing,
            seen=last,
        )


def moment(seconds: int) -> str:
    """Write a time for people.

    Args:
        seconds: POSIX seconds.

    Returns:
        RFC 3339 in UTC, or the number if no calendar holds it.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"


def _went_back(note: Note, signed: int | None, seen: Seen) -> VerificationFailed:
    replayed = signed is not None and seen.signed is not None and signed < seen.signed
    if replayed:
        key, what = (
            "witness.replayed",
            (
                f"was signed at {moment(signed or 0)}, before the one with {seen.size} events that this device cosigned: an old "
                "request was handed in again"
            ),
        )
        remedy = "Ask the site for a request made now."
    else:
        key, what = (
            "witness.rolled-back",
            (
                f"is smaller than the one with {seen.size} events that this device cosigned at {moment(seen.cosigned)}: "
                f"{seen.size - note.size} events are gone. The log's volume was put back to an earlier copy, its end was cut off"
                + ("" if signed is not None else ", or an old request was handed in again")
            ),
        )
        remedy = (
            "Do not cosign. Keep the site's log as it is, and compare it with the receipts and checkpoints handed out before; "
            "a site restored from a backup has a log of another name."
        )
    return VerificationFailed(
        key,
        f"The checkpoint of {note.origin} with {note.size} events {what}.",
        remedy=remedy,
        origin=note.origin,
        size=note.size,
        seen=seen.size,
    )


def _forked(note: Note, seen: Seen) -> VerificationFailed:
    return VerificationFailed(
        "witness.forked",
        f"There are two logs of the name {note.origin}: with the same {note.size} events, this checkpoint has the root "
        f"{note.root.hex()[:16]}… and the one that this device cosigned {seen.root.hex()[:16]}…. Both bear the log's signature: "
        "the log was forked, or rebuilt with its key.",
        remedy="Do not cosign. Keep the request: with the checkpoint of before it proves that the log was changed.",
        origin=note.origin,
        size=note.size,
        seen=seen.size,
    )


def _rewritten(note: Note, seen: Seen) -> VerificationFailed:
    return VerificationFailed(
        "witness.rewritten",
        f"The checkpoint of {note.origin} with {note.size} events does not extend the one with {seen.size} events that this "
        f"device cosigned at {moment(seen.cosigned)}. The log bears the right signature and is another: it was forked, cut off "
        f"before event {seen.size} and continued, or rebuilt with its key. (Or the proof was damaged on its way.)",
        remedy="Do not cosign. Have the site make the request once more; if that is refused too, the log was changed.",
        origin=note.origin,
        size=note.size,
        seen=seen.size,
    )


def _other_old(request: Request, note: Note, seen: int) -> Conflict:
    told = f"The site says that you cosigned {request.old} events of {note.origin} last, and this device says {seen or 'none'}. "
    why = (
        "Either your last cosignature was not brought back to the site, or the log was put back to before it."
        if request.old < seen
        else "Either this is not the device that you cosigned with, or its folder was put back to an earlier copy."
    )
    return Conflict(
        "witness.old-size",
        told + why,
        remedy=f"Ask the site for a proof from what this device saw: `holdfast audit checkpoint --witness … --old {seen}`.",
        origin=note.origin,
        old=request.old,
        seen=seen,
        size=note.size,
    )


def _hash(line: str) -> bytes:
    raw = base64.b64decode(line, validate=True)
    if len(raw) != HASH or base64.b64encode(raw).decode() != line:
        raise Refused("a line of its proof is not a hash in base64")
    return raw


def _malformed(why: str) -> VerificationFailed:
    return VerificationFailed(
        "witness.request",
        f"A request to a witness is refused: {why}.",
        remedy="Take the file that `holdfast audit checkpoint --witness NAME --out FILE` wrote, unchanged.",
    )
