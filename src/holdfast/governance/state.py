"""The state fold: everything the daemon knows, as a pure function of the audit log.

Order of operations: the daemon replays the log through ``State.apply`` at start and applies each event once it is acked.
Invariants: no I/O, no clock; the same events give the same state; an event of an unknown action changes nothing; nothing
else writes to a ``State``. Outcomes are matched to their intents by ``cause``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from holdfast import artefact
from holdfast.artefact import Kind
from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.errors import NotFound, UntrustedInput, UntrustedRequest
from holdfast.governance import people
from holdfast.governance.custody import Custody
from holdfast.governance.incoming import Incoming
from holdfast.governance.labels import LEVELS, Label
from holdfast.governance.lives import Lives
from holdfast.governance.queries import SavedQueries
from holdfast.governance.records import Act, Called, Generation, ServiceKey
from holdfast.governance.releases import Releases
from holdfast.governance.sealings import Sealings
from holdfast.governance.trainings import Trainings
from holdfast.governance.usage import Usage
from holdfast.governance.witnesses import Witnesses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.artefact import Artefact
    from holdfast.audit.event import Event
    from holdfast.canonical import Json
    from holdfast.governance.people import Person

MIN_PREFIX = 6  # hexadecimal digits with which an artefact may be named
_LISTED: dict[tuple[Kind, ...], str] = {  # where else what is sought would be listed
    (Kind.RUN,): "train list",
    (Kind.DATASET,): "dataset list",
    (Kind.SUITE,): "model list --kind suite",
}

_MACHINERY = frozenset({"_folds", "_parts"})  # attributes that hold code, not what was folded


class Part(Protocol):
    """A part of the fold with a room of its own, kept by ``State`` under a public attribute.

    Its attributes are plain data, or dataclasses of this package, which ``snapshot`` can write; but for ``_folds``.
    """

    def apply(self, event: Event) -> None:
        """Fold one event in; an event of another room changes nothing."""


class State(Incoming):
    """The fold. Read its attributes; change it only through ``apply``."""

    def __init__(self) -> None:
        super().__init__()
        self.site: str | None = None
        self.zones: tuple[str, ...] = ()
        self.gaps: tuple[str, ...] = ()
        self.document: str | None = None
        self.people: dict[str, Person] = {}
        self.enrolled: dict[str, int] = {}  # the event that named each
        self.awaited: int = 0  # people for whom the founding had no room and who are not named yet
        self.root: dict[str, Json] | None = None
        self.made: set[str] = (
            set()
        )  # artefacts that were made or sent in here, whoever else brought the same bytes
        # Artefacts that were taken out of the store, or whose files were found changed, and the event that says so.
        self.collected: dict[str, int] = {}
        self.damaged: dict[str, int] = {}
        self.generations: list[Generation] = []
        self.active: int = 0
        self.acts: dict[int, Act] = {}
        self.runs: dict[str, int] = {}
        self.gates: dict[str, dict[str, Json]] = {}
        self.keys: dict[str, ServiceKey] = {}
        self.denials: int = 0
        self.size: int = 0
        self.custody = Custody()
        self.lives = Lives()
        self.queries = SavedQueries()
        self.releases = Releases()
        self.sealings = Sealings()
        self.trainings = Trainings()
        self.usage = Usage()
        self.witnesses = Witnesses()
        # Parts of the fold that keep a room of their own: each sees every event, after the site itself has taken it.
        self._parts: tuple[Part, ...] = (
            self.custody,
            self.lives,
            self.queries,
            self.releases,
            self.sealings,
            self.trainings,
            self.usage,
            self.witnesses,
        )
        self._folds |= {
            "site.founded": self._founded,
            "people.listed": self._enrolled,
            "trust.pinned": self._pinned,
            "bundle.admit.done": self._admitted,
            "bundle.reject.done": self._rejected,
            "bundle.discard.done": self._discarded,
            "store.gc": self._collected,
            "store.gc.done": self._spared,
            "store.damaged": self._damaged,
            "bundle.rollback.done": self._rolled_back,
            "train.run.done": self._trained,
            "gate.decided": self._gate,
            "serve.key.created": self._key_created,
            "serve.key.revoked": self._key_revoked,
            "worker.denied": self._denied,
        }

    def content(self) -> dict[str, object]:
        """Give what was folded, without the code that folds it.

        Returns:
            Every attribute by name; of a part of the fold, a dictionary of its own.
        """
        return {
            name: _content(value) if any(value is part for part in self._parts) else value
            for name, value in _content(self).items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.content() == other.content()

    __hash__ = None  # type: ignore[assignment]  # it changes with every event

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        self.size = event.seq + 1
        self.take_time(event)
        action = actions.REGISTRY.get(event.action)
        if action is None:
            return
        outcome = event.action.rpartition(".")[2]
        if action.phase is Phase.OUTCOME and event.cause in self.acts:
            self.acts[event.cause] = replace(self.acts[event.cause], state=outcome, result=event.params)
        elif action.phase is Phase.INTENT and action.producer == "daemon":
            self.acts[event.seq] = Act(event.seq, event.action, event.actor.person, event.time, event.params)
        if action.producer == "daemon" and outcome in ("done", "added"):
            self._take_made(event)
        fold = self._folds.get(event.action)
        if fold is not None:
            fold(event)
        for part in self._parts:
            part.apply(event)

    def _take_made(self, event: Event) -> None:
        """Take what was made or sent in here: few files, whose records stand in the event itself."""
        listed = event.params.get("artefacts")
        for value in listed if isinstance(listed, list) else []:
            if isinstance(value, dict):
                found = artefact.parse(value)
                self._take(found, event.seq, here=True)
                self.made.add(found.digest)

    def _take(self, found: Artefact, seq: int, *, here: bool) -> None:
        found = replace(found, made_by=seq)
        known = self.artefacts.get(found.digest, found)
        # What this site saw being made it knows better than whoever published the same bytes.
        told = found if here and found.digest not in self.made else known
        self.artefacts[found.digest] = replace(told, label=tighten(known.label, found.label))
        self.collected.pop(found.digest, None)
        self.damaged.pop(found.digest, None)

    def _founded(self, event: Event) -> None:
        self.site = str(event.params["site"])
        self.zones = tuple(_texts(event.params.get("zones")))
        self.gaps = tuple(_texts(event.params.get("gaps")))
        self.document = str(event.params.get("document"))
        self._enrol(event)
        self.awaited = _number(event.params.get("further"))

    def _enrolled(self, event: Event) -> None:
        if self.awaited:
            self.awaited -= self._enrol(event)

    def _enrol(self, event: Event) -> int:
        """Take the people whom an event of the founding names; gives how many of them are new."""
        listed = event.params["people"]
        found = [people.parse(value) for value in (listed if isinstance(listed, list) else [])]
        new = {one.name: one for one in found if one.name not in self.people}
        self.people |= new
        self.enrolled |= dict.fromkeys(new, event.seq)
        return len(new)

    def _pinned(self, event: Event) -> None:
        self.root = event.params

    def _decide(self, event: Event, state: str) -> int:
        """Close a request, and with it what lies in quarantine for it."""
        request = _number(event.params.get("request"))
        found = self.imports.get(request)
        if found is not None:
            reason = event.params.get("reason")
            self.staged.pop(found.manifest or "", None)
            self.change_import(
                request,
                state=state,
                decided_by=event.actor.person,
                reason=reason if isinstance(reason, str) else None,
                events=(*found.events, _number(event.cause), event.seq),
            )
        return request

    def _admitted(self, event: Event) -> None:
        request = self._decide(event, "admitted")
        brought = self.imports[request].artefacts if request in self.imports else ()
        for found in brought:
            self._take(found, event.seq, here=False)
        names = self._next_names(brought, self._collection(request))
        self.active = _number(event.params.get("generation"))
        self.generations.append(Generation(self.active, names, request, event.seq))
        root = event.params.get("root")
        if isinstance(root, dict):
            self.root = {**(self.root or {}), **root}
        self.take_floor(event)

    def next_generation(self, brought: Iterable[Artefact]) -> tuple[str, ...]:
        """Tell what is in force once a bundle is admitted to the active generation.

        What it brings takes the place of what is there under the same kind and name; everything else stays in force.

        Args:
            brought: The bundle's artefacts.

        Returns:
            Digests, sorted.
        """
        return tuple(sorted({one.digest for one in self._next_names(brought, "").values()}))

    def _next_names(self, brought: Iterable[Artefact], collection: str) -> dict[tuple[str, str], Called]:
        """Put a bundle's artefacts under their names; who brought the same bytes before stays their publisher."""
        generation = self.generation()
        names = dict(generation.names) if generation else {}
        for one in brought:
            place = (one.kind.value, one.name)
            before = names.get(place)
            if before is not None and before.digest == one.digest and collection:
                names[place] = replace(before, version=one.version)
            else:
                names[place] = Called(one.digest, one.version, collection)
        return names

    def _collection(self, request: int) -> str:
        found = self.imports.get(request)
        return str(found.facts.get("collection") or "") if found else ""

    def called(self, kind: Kind, name: str) -> Called | None:
        """Tell what media brought under a name and is in force.

        Args:
            kind: The kind.
            name: The name.

        Returns:
            It, or None.
        """
        generation = self.generation()
        return generation.names.get((kind.value, name)) if generation else None

    def _rejected(self, event: Event) -> None:
        self._decide(event, "rejected")

    def _discarded(self, event: Event) -> None:
        request = self._decide(event, "discarded")
        if request in self.imports:
            self.close_volumes(self.imports[request], "discarded")

    def _collected(self, event: Event) -> None:
        """Count as gone what is about to be removed: a removal that was cut short is brought to its end at the next start."""
        numbers = event.params.get("generations")
        gone = set(numbers) if isinstance(numbers, list) else set()
        self.generations = [
            replace(one, kept=False) if one.number in gone else one for one in self.generations
        ]
        self.collected |= dict.fromkeys(_texts(event.params.get("artefacts")), event.seq)

    def _spared(self, event: Event) -> None:
        for digest in _texts(event.params.get("spared")):
            self.collected.pop(digest, None)

    def _damaged(self, event: Event) -> None:
        self.damaged[str(event.params.get("artefact"))] = event.seq

    def _rolled_back(self, event: Event) -> None:
        self.active = _number(event.params.get("generation"))

    def _trained(self, event: Event) -> None:
        self.runs[str(event.params["run"])] = event.seq if event.cause is None else event.cause

    def _gate(self, event: Event) -> None:
        self.gates[str(event.params["run"])] = {**event.params, "seq": event.seq}

    def _key_created(self, event: Event) -> None:
        record = event.params["record"]
        key_id = str(event.params["key"])
        self.keys[key_id] = ServiceKey(
            key_id, record if isinstance(record, dict) else {}, str(event.params["tenant"]), event.time
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
        if digest in self.collected:
            return False
        generation = self.generation()
        if generation is not None and digest in generation.artefacts:
            return True
        return digest in self.made and all(
            self.is_active(parent) for parent in self.artefacts[digest].parents
        )

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
        named = self._named(plain, version, *kinds)
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
        called = [found for found in among if found.name == plain and version in ("", found.version)]
        gone = [*fitting, *called]
        if not named and gone and all(found.digest in self.collected for found in gone):
            raise self.gone(gone[-1])
        if not fitting:
            wanted = " or ".join(kind.value for kind in kinds) or "artefact"
            raise NotFound(
                "artefact.unknown",
                f"There is no active {wanted} called {name[:80]!r}.",
                remedy=f"See `holdfast {_LISTED.get(kinds, 'model list')}` for what is here.",
            )
        return fitting[0]

    def _named(self, name: str, version: str, *kinds: Kind) -> list[Artefact]:
        """List what may be loaded now and goes by a name: what media brought under it, and what was made here."""
        brought = [self.called(kind, name) for kind in kinds or Kind]
        named = [
            self.artefacts[one.digest] for one in brought if one is not None and version in ("", one.version)
        ]
        named += [
            one
            for one in self.artefacts.values()
            if (one.name, not kinds or one.kind in kinds) == (name, True)
            and version in ("", one.version)
            and one.digest in self.made
        ]
        return [one for one in named if self.is_active(one.digest)]

    def gone(self, found: Artefact) -> NotFound:
        """Say that an artefact was taken out of the store, and how to have it again.

        Args:
            found: An artefact that is on the record and in ``collected``.

        Returns:
            The error, not raised.
        """
        bundle = self.brought_by(found.digest)
        return NotFound(
            "artefact.collected",
            f"{found.kind} {found.name}@{found.version} was removed from the store by event {self.collected[found.digest]}.",
            remedy=f"Import the medium {bundle} again." if bundle else "Make it again.",
            digest=found.digest,
            medium=bundle,
        )

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


def _content(folded: object) -> dict[str, object]:
    return {name: value for name, value in vars(folded).items() if name not in _MACHINERY}


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
