"""The site's side of witnessing: requests for auditors' devices, and the cosignatures that come back.

Order of operations of a request: it is put on the record; the log signs itself as it is then; the proof from what the witness
cosigned last is made. Of a cosignature: it is verified with the witness's keys and compared with this log's own tree at that
size; it is recorded, whole; then the note is laid into the log's folder, where verifiers look for it. Invariants: what the
folder holds can be made again from the record, and is at every start (``settle``); a cosignature of another log, of a tree
that is not ours or from the future is refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.artefact import is_name
from holdfast.audit import checkpoint, cosignature, witness
from holdfast.errors import Conflict, NotFound, UsageRefused, VerificationFailed
from holdfast.governance.witnesses import MAX_WITNESSES

if TYPE_CHECKING:
    from holdfast.api.messages import CheckpointRequest, CosignedRequest, WitnessRequest
    from holdfast.audit.verify import Key
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.witnesses import Witness


async def request(services: Services, session: Session, asked: CheckpointRequest) -> dict[str, Json]:
    """Hand out a checkpoint; for a witness, as a request with the proof from what it cosigned last.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: For whom, and from which size if not from the one on record.

    Returns:
        ``checkpoint``, ``size``, ``root``, ``origin``, and for a witness ``witness``, ``old`` and ``request``.

    Raises:
        NotFound: If there is no such witness.
        VerificationFailed: If the witness saw more events than this log has.
    """
    actor = session.actor("audit.checkpoint")
    known = None if asked.witness is None else _find(services, asked.witness)
    old = None if known is None else known.size if asked.old is None else asked.old
    if known is None and asked.old is not None:
        raise UsageRefused(
            "witness.old", "A size to prove from belongs to a witness.", remedy="Name it with --witness."
        )
    if old is not None and old > services.log.size:
        raise VerificationFailed(
            "witness.ahead",
            f"{asked.witness} is said to have seen {old} events, and this log has {services.log.size}: events are gone.",
            remedy="Stop, keep the home as it is, and find out whether it was put back to an earlier copy.",
            old=old,
            size=services.log.size,
        )
    await services.recorder.fact(actor, "audit.checkpoint", {"witness": asked.witness, "old": old})
    data = await asyncio.to_thread(services.log.checkpoint)
    note = checkpoint.parse(data)
    told: dict[str, Json] = {
        "checkpoint": data.decode(),
        "origin": note.origin,
        "size": note.size,
        "root": note.root.hex(),
    }
    if known is None or old is None:
        return told
    path: list[bytes] = []
    if 0 < old < note.size:
        path = await asyncio.to_thread(services.log.consistency, old, note.size)
    made = witness.Request(old, tuple(path), data).encode()
    return {**told, "witness": known.name, "old": old, "request": made.decode()}


async def add(services: Services, session: Session, asked: WitnessRequest) -> dict[str, Json]:
    """Add a witness by its verifier keys.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        asked: What the site calls it, and its keys.

    Returns:
        ``name``, ``cosigner`` and ``fingerprint``.

    Raises:
        UsageRefused: If the name can't be one, or there are too many witnesses.
        Conflict: If the name or a key is known already.
    """
    actor = session.actor("audit.witness.added")
    keys = cosignature.read_keys(asked.keys.encode())
    known = services.state.witnesses.known
    if not is_name(asked.name) or len(known) >= MAX_WITNESSES:
        raise UsageRefused(
            "witness.name",
            f"{asked.name[:40]!r} can't be added as a witness.",
            remedy=f"Use a name of printable characters without / : @, for at most {MAX_WITNESSES} witnesses.",
        )
    async with services.deciding:
        ids = {key.id for key in keys}
        taken = [
            name for name, one in known.items() if name == asked.name or ids & {key.id for key in _keys(one)}
        ]
        if taken or keys[0].name == services.log.origin:
            raise Conflict(
                "witness.known",
                f"The name {asked.name} or its keys are those of {taken[0] if taken else 'this log itself'}.",
                remedy="See `holdfast audit witness list`; remove a witness before its name or keys are used again.",
            )
        listed: list[Json] = [*asked.keys.splitlines()]
        await services.recorder.fact(actor, "audit.witness.added", {"name": asked.name, "keys": listed})
    return {
        "name": asked.name,
        "cosigner": keys[0].name,
        "fingerprint": cosignature.fingerprint(cosignature.write_keys(keys)),
    }


async def remove(services: Services, session: Session, name: str, reason: str) -> dict[str, Json]:
    """Remove a witness; what it cosigned stays.

    Args:
        services: The daemon's parts.
        session: An administrator's.
        name: The witness.
        reason: Why, for the record.

    Returns:
        ``removed``.

    Raises:
        NotFound: If there is no such witness.
    """
    actor = session.actor("audit.witness.removed")
    _find(services, name)
    await services.recorder.fact(actor, "audit.witness.removed", {"name": name, "reason": reason})
    return {"removed": name}


async def cosigned(services: Services, session: Session, asked: CosignedRequest) -> dict[str, Json]:
    """Take a cosignature in.

    Args:
        services: The daemon's parts.
        session: An auditor's.
        asked: The note that the witness's device gave.

    Returns:
        ``witness``, ``size``, ``root``, ``time`` and ``seq``, the event that records it.

    Raises:
        NotFound: If no witness of this site signed it.
        VerificationFailed: If a signature is wrong, it is another log's, or not of a tree that this log had.
        Conflict: If the witness cosigned a larger tree before.
    """
    actor = session.actor("audit.cosigned")
    data, log = asked.note.encode(), services.log
    note = checkpoint.parse(data)
    ids = {id_ for _, id_, _ in note.signatures}
    known = next(
        (one for one in services.state.witnesses.known.values() if ids & {k.id for k in _keys(one)}), None
    )
    if known is None:
        raise NotFound(
            "witness.unknown",
            "No witness of this site signed this checkpoint.",
            remedy="Add the witness first: `holdfast audit witness add NAME witness.pub`.",
        )
    keys = _keys(known)
    time = cosignature.verify(note, keys)
    if note.origin != log.origin or note.size > log.size:
        raise _foreign(
            known,
            f"it is of {note.size} events of {note.origin}; this log is {log.origin} and has {log.size}",
        )
    ours = await asyncio.to_thread(log.sign_at, note.size)
    if note.text != checkpoint.parse(ours).text:
        raise _foreign(known, f"its root over {note.size} events is not this log's")
    now = int(services.now().timestamp())
    if time > now + witness.MAX_AHEAD:
        raise VerificationFailed(
            "witness.clock",
            f"{known.name} cosigned at {witness.moment(time)}, and this site's clock says {witness.moment(now)}.",
            remedy="Set the clock that is wrong, then have it cosigned again.",
        )
    if known.origin == note.origin and note.size < known.size:
        raise Conflict(
            "witness.older",
            f"{known.name} cosigned {known.size} events already; this note has {note.size}.",
            remedy="Bring the newest note.",
        )
    # The witness saw the log's signatures; what is kept bears both, whatever way the request went.
    kept = ours + cosignature.lines_of(data, keys)
    receipt = await services.recorder.fact(
        actor,
        "audit.cosigned",
        {
            "witness": known.name,
            "origin": note.origin,
            "size": note.size,
            "root": note.root.hex(),
            "time": time,
            "note": kept.decode(),
        },
    )
    await asyncio.to_thread(settle, services)
    return {
        "witness": known.name,
        "size": note.size,
        "root": note.root.hex(),
        "time": witness.moment(time),
        "seq": receipt.seq,
    }


def settle(services: Services) -> None:
    """Lay every witness's newest note into the log's folder, where it is not: once recorded, and at every start.

    Args:
        services: The daemon's parts.
    """
    for one in services.state.witnesses.known.values():
        if not one.note or one.origin != services.log.origin:
            continue
        name = f"witness/{_keys(one)[0].id.hex()}"
        path = services.home.log / name
        if not path.is_file() or path.read_bytes() != one.note.encode():
            services.log.keep(name, one.note.encode())


def listing(services: Services) -> dict[str, Json]:
    """List the witnesses.

    Args:
        services: The daemon's parts.

    Returns:
        ``origin`` and ``fingerprint`` of the log's keys, ``witnesses``, and ``overdue``: a sentence or null.
    """
    now, log = services.now(), services.log
    listed: list[Json] = []
    for one in services.state.witnesses.known.values():
        keys = _keys(one)
        listed.append(
            {
                "name": one.name,
                "cosigner": keys[0].name,
                "fingerprint": cosignature.fingerprint(cosignature.write_keys(keys)),
                "size": one.size,
                "root": one.root or None,
                "time": None if one.time is None else witness.moment(one.time),
                "age_s": int((now - one.last()).total_seconds()),
                "since": log.size - one.size,
            }
        )
    return {
        "origin": log.origin,
        "fingerprint": cosignature.fingerprint((services.home.log / "log.pub").read_bytes()),
        "witnesses": listed,
        "overdue": services.state.witnesses.overdue(now),
    }


def _find(services: Services, name: str) -> Witness:
    found = services.state.witnesses.known.get(name)
    if found is None:
        raise NotFound(
            "witness.unknown",
            f"This site has no witness {name[:80]!r}.",
            remedy="See `holdfast audit witness list`.",
        )
    return found


def _keys(found: Witness) -> tuple[Key, Key]:
    return cosignature.read_keys("".join(f"{key}\n" for key in found.keys).encode())


def _foreign(known: Witness, why: str) -> VerificationFailed:
    return VerificationFailed(
        "witness.foreign",
        f"What {known.name} cosigned is not this log: {why}.",
        remedy="If the device cosigned it for this site, this log was changed or put back since: keep both, and find out.",
        witness=known.name,
    )
