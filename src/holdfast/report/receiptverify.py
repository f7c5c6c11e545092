"""What a receipt says, held against the events that it carries: their proofs, and the second person's signature.

Order of operations: the shape; every event's proof under the log's keys; every section derived again from the events; the
decision's statement against the request, and its signature under the key that the founding of the site recorded. Invariants:
pure, offline; every problem names its file; nothing that is read raises.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.audit import verify as log
from holdfast.errors import HoldfastError, VerificationFailed
from holdfast.governance import approvals, people
from holdfast.keys import person
from holdfast.report import reading, receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.canonical import Json


def faults(facts: Json, log_keys: bytes | None) -> Iterator[str]:
    """Name what is wrong with a receipt's facts.

    Args:
        facts: The parsed ``receipt.json``.
        log_keys: The log's verifier keys; None if they are missing, which is told elsewhere.

    Yields:
        One clause per fault.
    """
    if not isinstance(facts, dict) or set(facts) != {*receipt.DERIVED, *receipt.STATED}:
        yield "its sections are not those of a receipt"
        return
    if facts["schema"] != receipt.SCHEMA:
        yield f"its schema is not {receipt.SCHEMA}"
    listed = facts["proofs"]
    proofs = [reading.mapping(entry) for entry in (listed if isinstance(listed, list) else [])]
    if not 0 < len(proofs) <= receipt.MAX_PROOFS:
        yield f"it carries {len(proofs)} events; 1 to {receipt.MAX_PROOFS} are allowed"
        return
    notes = facts["checkpoints"]
    if not isinstance(notes, list) or len(notes) > receipt.MAX_CHECKPOINTS:
        yield f"its checkpoints are not a list of at most {receipt.MAX_CHECKPOINTS}"
        return
    wrong = list(_unproven(proofs, notes, log_keys))
    yield from wrong
    if not wrong:
        events = [reading.mapping(_event(proof)) for proof in proofs]
        yield from _derived(facts, events)
        if not receipt.is_whole([reading.view(event) for event in events]):
            yield "the artefacts that it carries are not the list that the import's outcome names"
        yield from _decision(facts, events)


def _unproven(
    proofs: Sequence[Mapping[str, object]], notes: list[Json], log_keys: bytes | None
) -> Iterator[str]:
    try:
        keys = log.parse_keys(log_keys) if log_keys is not None else []
    except log.Refused:
        keys = []  # told elsewhere
    for fields in proofs:
        number, body, proof = reading.text(fields.get("seq")), fields.get("event"), fields.get("proof")
        at = reading.whole(fields.get("checkpoint"))
        note = notes[at] if at is not None and at < len(notes) else None
        if not isinstance(body, str) or not isinstance(proof, str) or not isinstance(note, str):
            yield f"event {number} or its proof is missing"
            continue
        verdict = log.verify_proof(_bytes(proof + note), keys, _bytes(body))
        if keys and not verdict.ok:
            yield f"event {number} is not proven: {verdict.problems[0].text}"
        try:
            _event(fields)
        except HoldfastError as error:
            yield error.message


def _event(fields: Mapping[str, object]) -> Json:
    return canonical.decode(
        _bytes(str(fields["event"])),
        limit=log.MAX_EVENT,
        what=f"Event {reading.text(fields.get('seq'))}",
        error=VerificationFailed,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _derived(facts: Mapping[str, Json], events: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """The order of the log is part of what is derived; two accounts of one event would let a receipt choose."""
    numbers = [reading.whole(event.get("seq")) for event in events]
    if numbers != sorted({number for number in numbers if number is not None}):
        yield "its events are not in the order of the log, each once"
        return
    again = receipt.derive(events)
    for name in receipt.DERIVED:
        if facts[name] != again[name]:
            yield f"what it says under {name!r} does not follow from its events"


def _decision(facts: Mapping[str, Json], events: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Hold the decision to the second person's own signature."""
    request, bundle = reading.mapping(facts["request"]), reading.mapping(facts["bundle"])
    if request.get("state") not in receipt.DECISIONS.values():
        return
    views = [reading.view(event) for event in events]
    founding = next((one for one in views if one.action == "site.founded"), None)
    decision = next((one for one in views if one.action in receipt.DECISIONS and one.outcome is None), None)
    asker = next((one.person for one in views if one.seq == request.get("number")), None)
    try:
        known = {one.name: one for one in map(people.parse, reversed(receipt.people_of(views)))}
        approver, requester = known.get(decision.person or "") if decision else None, known.get(asker or "")
        if decision is None or approver is None or requester is None:
            yield "the decision or one of its people is not on the record that it carries"
            return
        approval = reading.mapping(decision.params.get("approval"))
        statement = approvals.parse(approval.get("statement"))
        signatures = approval.get("signatures")
        person.verify(
            person.public_from_json(approver.key),
            approvals.DOMAIN,
            statement.payload(),
            list(signatures) if isinstance(signatures, list) else None,
            error=VerificationFailed,
        )
        approver.role_for(str(decision.action))
        late = datetime.fromisoformat(str(decision.time)) >= datetime.fromisoformat(statement.expires)
    except (HoldfastError, TypeError, ValueError) as error:
        yield f"the decision's signature does not hold: {error.message if isinstance(error, HoldfastError) else error}"
        return
    site = founding.params.get("site") if founding else None
    signed = (statement.site, statement.request, statement.action, statement.digest, statement.requester)
    if signed != (site, request.get("number"), decision.action, bundle.get("manifest"), requester.name):
        yield "the second person signed for another site, request, action, bundle or requester"
    if late:
        yield "the second person's signature had expired when it was used"
    if approver.name == requester.name or people.share_key(approver, requester):
        yield "the two people are one"
