"""The state fold: everything the daemon knows, as a pure function of the audit log.

Order of operations: the daemon replays the log through ``State.apply`` at start and applies each event once it is acked.
Invariants: no I/O, no clock; the same events give the same state; an event of an unknown action changes nothing; nothing
else writes to a ``State``. Outcomes are matched to their intents by ``cause``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from holdfast import artefact
from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.errors import NotFound, UntrustedInput, UntrustedRequest
from holdfast.governance import people
from holdfast.governance.labels import LEVELS, Label

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.artefact import Artefact, Kind
    from holdfast.audit.event import Event
    from holdfast.canonical import Json
    from holdfast.governance.people import Person

MIN_PREFIX = 6  # hexadecimal digits with which an artefact may be named


@dataclass(frozen=True)
class Import:
    """A bundle that was asked to be imported.

    Args:
        request: Sequence number of the intent.
        requester: Who asked.
        state: running, waiting (for a second person), admitted, rejected, failed, cancelled or interrupted.
        facts: What was found: name, version, manifest, holders, root_version, artefacts, bytes.
        decided_by: Who admitted or rejected it.
    """

    request: int
    requester: str
    state: str
    facts: dict[str, Json]
    decided_by: str | None = None


@dataclass(frozen=True)
class Generation:
    """One set of bundles that was active together.

    Args:
        number: 1, 2, 3 ...
        artefacts: Digests of everything that the bundles brought.
        request: The import that made it.
        made_by: Sequence number of the event.
    """

    number: int
    artefacts: tuple[str, ...]
    request: int
    made_by: int


@dataclass(frozen=True)
class Act:
    """An intent and what became of it.

    Args:
        seq: Sequence number of the intent; also the job's number.
        action: The act's name.
        person: Who did it.
        time: When it began, RFC 3339.
        params: The intent's parameters.
        state: running, done, failed, cancelled or interrupted.
        result: The outcome's parameters.
    """

    seq: int
    action: str
    person: str
    time: str
    params: dict[str, Json]
    state: str = "running"
    result: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class ServiceKey:
    """An application's key, by its hash.

    Args:
        key_id: Public part.
        record: What ``serving.keys`` needs to match it.
        tenant: Whose it is.
        revoked: Whether it no longer counts.
    """

    key_id: str
    record: dict[str, Json]
    tenant: str
    revoked: bool = False


class State:
    """The fold. Read its attributes; change it only through ``apply``."""

    def __init__(self) -> None:
        self.site: str | None = None
        self.zones: tuple[str, ...] = ()
        self.gaps: tuple[str, ...] = ()
        self.document: str | None = None
        self.people: dict[str, Person] = {}
        self.root: dict[str, Json] | None = None
        self.artefacts: dict[str, Artefact] = {}
        self.imports: dict[int, Import] = {}
        self.generations: list[Generation] = []
        self.active: int = 0
        self.acts: dict[int, Act] = {}
        self.runs: dict[str, int] = {}
        self.gates: dict[str, dict[str, Json]] = {}
        self.keys: dict[str, ServiceKey] = {}
        self.denials: int = 0
        self.size: int = 0
        self._folds: dict[str, Callable[[Event], None]] = {
            "site.founded": self._founded,
            "trust.pinned": self._pinned,
            "bundle.import": self._import_begun,
            "bundle.import.done": self._import_done,
            "bundle.import.failed": self._import_ended,
            "bundle.import.cancelled": self._import_ended,
            "bundle.import.interrupted": self._import_ended,
            "bundle.admit.done": self._admitted,
            "bundle.reject.done": self._rejected,
            "bundle.rollback.done": self._rolled_back,
            "train.run.done": self._trained,
            "gate.decided": self._gate,
            "serve.key.created": self._key_created,
            "serve.key.revoked": self._key_revoked,
            "worker.denied": self._denied,
        }

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        self.size = event.seq + 1
        action = actions.REGISTRY.get(event.action)
        if action is None:
            return
        outcome = event.action.rpartition(".")[2]
        if action.phase is Phase.OUTCOME and event.cause in self.acts:
            self.acts[event.cause] = replace(self.acts[event.cause], state=outcome, result=event.params)
        elif action.phase is Phase.INTENT and action.producer == "daemon":
            self.acts[event.seq] = Act(event.seq, event.action, event.actor.person, event.time, event.params)
        if (
            action.producer == "daemon"
            and event.action != "bundle.import.done"
            and outcome in ("done", "added")
        ):
            self._take_artefacts(event)
        fold = self._folds.get(event.action)
        if fold is not None:
            fold(event)

    def _take_artefacts(self, event: Event) -> None:
        listed = event.params.get("artefacts")
        for value in listed if isinstance(listed, list) else []:
            if isinstance(value, dict):
                found = replace(artefact.parse(value), made_by=event.seq)
                known = self.artefacts.get(found.digest, found)
                self.artefacts[found.digest] = replace(known, label=tighten(known.label, found.label))

    def _founded(self, event: Event) -> None:
        self.site = str(event.params["site"])
        self.zones = tuple(_texts(event.params.get("zones")))
        self.gaps = tuple(_texts(event.params.get("gaps")))
        self.document = str(event.params.get("document"))
        listed = event.params["people"]
        for value in listed if isinstance(listed, list) else []:
            person = people.parse(value)
            self.people[person.name] = person

    def _pinned(self, event: Event) -> None:
        self.root = event.params

    def _import_begun(self, event: Event) -> None:
        self.imports[event.seq] = Import(event.seq, event.actor.person, "running", event.params)

    def _import_done(self, event: Event) -> None:
        self._change_import(event.cause, state="waiting", facts=event.params)

    def _import_ended(self, event: Event) -> None:
        self._change_import(event.cause, state=event.action.rsplit(".", 1)[1], facts=event.params)

    def _admitted(self, event: Event) -> None:
        request = _number(event.params.get("request"))
        self._change_import(request, state="admitted", decided_by=event.actor.person)
        listed = event.params.get("artefacts")
        digests = [artefact.parse(value).digest for value in (listed if isinstance(listed, list) else [])]
        self.active = _number(event.params.get("generation"))
        self.generations.append(Generation(self.active, tuple(digests), request, event.seq))
        root = event.params.get("root")
        if isinstance(root, dict):
            self.root = {**(self.root or {}), **root}

    def _rejected(self, event: Event) -> None:
        self._change_import(
            _number(event.params.get("request")), state="rejected", decided_by=event.actor.person
        )

    def _rolled_back(self, event: Event) -> None:
        self.active = _number(event.params.get("generation"))

    def _change_import(self, request: int | None, **changes: object) -> None:
        if request in self.imports:
            self.imports[request] = replace(self.imports[request], **changes)  # type: ignore[arg-type]  # names are literal above

    def _trained(self, event: Event) -> None:
        self.runs[str(event.params["run"])] = event.seq if event.cause is None else event.cause

    def _gate(self, event: Event) -> None:
        self.gates[str(event.params["run"])] = {**event.params, "seq": event.seq}

    def _key_created(self, event: Event) -> None:
        record = event.params["record"]
        key_id = str(event.params["key"])
        self.keys[key_id] = ServiceKey(
            key_id, record if isinstance(record, dict) else {}, str(event.params["tenant"])
        )

    def _key_revoked(self, event: Event) -> None:
        key_id = str(event.params["key"])
        if key_id in self.keys:
            self.keys[key_id] = replace(self.keys[key_id], revoked=True)

    def _denied(self, _event: Event) -> None:
        self.denials += 1

    def generation(self) -> Generation | None:
        """Give the active generation.

        Returns:
            It, or None before the first admission.
        """
        return next((found for found in self.generations if found.number == self.active), None)

    def is_active(self, digest: str) -> bool:
        """Tell whether an artefact may be loaded now.

        What a bundle brought is active with its generation; what was made here is active while everything that it was
        made from is.

        Args:
            digest: The artefact.

        Returns:
            True if it may be loaded.
        """
        brought = {found for generation in self.generations for found in generation.artefacts}
        if digest in brought:
            generation = self.generation()
            return generation is not None and digest in generation.artefacts
        found = self.artefacts.get(digest)
        return found is not None and all(self.is_active(parent) for parent in found.parents)

    def resolve(self, name: str, *kinds: Kind) -> Artefact:
        """Find an artefact by what a person calls it.

        Args:
            name: A name, ``name@version``, a digest, or at least six of its hexadecimal digits.
            *kinds: The kinds that are looked through; all if none is given.

        Returns:
            The active artefact of that name that was recorded last, or the one with that digest.

        Raises:
            NotFound: If there is none.
            UntrustedRequest: If a shortened digest fits several.
        """
        among = [found for found in self.artefacts.values() if not kinds or found.kind in kinds]
        plain, _, version = name.partition("@")
        named = [
            found
            for found in among
            if found.name == plain and version in ("", found.version) and self.is_active(found.digest)
        ]
        if named:
            return max(named, key=lambda found: found.made_by or 0)
        digits = name.removeprefix("sha512:")
        fitting = [
            found
            for found in among
            if len(digits) >= MIN_PREFIX and found.digest.removeprefix("sha512:").startswith(digits)
        ]
        if len(fitting) > 1:
            raise UntrustedRequest(
                "artefact.ambiguous", f"{name} fits {len(fitting)} artefacts.", remedy="Give more digits."
            )
        if not fitting:
            wanted = " or ".join(kind.value for kind in kinds) or "artefact"
            raise NotFound(
                "artefact.unknown",
                f"There is no active {wanted} called {name[:80]!r}.",
                remedy="See `holdfast model list` for what is here.",
            )
        return fitting[0]

    def lineage(self, digest: str) -> list[Artefact]:
        """List everything an artefact was made from.

        Args:
            digest: The artefact to begin with.

        Returns:
            It and its ancestors, each once, nearest first.
        """
        found: dict[str, Artefact] = {}
        queue = [digest]
        while queue:
            here = queue.pop(0)
            if here not in found and here in self.artefacts:
                found[here] = self.artefacts[here]
                queue.extend(self.artefacts[here].parents)
        return list(found.values())


def tighten(known: Label, told: Label) -> Label:
    """Give the label of something that was recorded again, perhaps under another label: labels only ever tighten.

    Args:
        known: The label recorded before.
        told: The label recorded now.

    Returns:
        Their join; where no zone may hold both, the highest level in the zones of the first.
    """
    try:
        return known.join(told)
    except UntrustedInput:
        return Label(LEVELS[-1], known.compartments | told.compartments, known.zones)


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
