"""Releases: which model stands behind a name that applications use, decided by two persons.

A release says all that an alias will mean: the run, what it made, the quantized files that its gate judged, the evaluation and
the verdict. Order of operations: proposed by one person, approved or refused by another; an approved release takes the place of
the one before; a rollback by one person goes back to an earlier one. Invariants: a release is decided once; an alias stands for
at most one release, which was approved; what an alias was rolled back from comes into force again only as a new proposal; what
the second person signs is the digest of the whole document. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast import canonical, hashing
from holdfast.errors import UntrustedInput, UntrustedRequest
from holdfast.governance import labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.audit.event import Event
    from holdfast.canonical import Json
    from holdfast.governance.labels import Label

SCHEMA = "holdfast.release/1"
APPROVE = "release.approve"  # the act that a second person signs
MAX_ALIAS = 64  # characters of a name that applications write into every request
MAX_QUANTIZATIONS = 8  # of one release; as many types as a model is ever quantized to here
_TEXTS = ("alias", "run", "kind", "product", "base", "tokenizer", "evaluation", "gate")
FIELDS = (*_TEXTS, "gguf", "lora", "decided", "label")  # of the document, beside its schema
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TYPE = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")


class Product(StrEnum):
    """What a run made."""

    ADAPTER = "adapter"
    MODEL = "model"


class Standing(StrEnum):
    """Where a release stands."""

    OPEN = "open"
    IN_FORCE = "in force"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"


@dataclass(frozen=True)
class Release:
    """What an alias is to stand for: the document whose digest the second person signs.

    Args:
        alias: The model id that applications use.
        run: Digest of the run.
        kind: What the run made.
        product: Digest of that.
        base: Digest of the base that was customised.
        tokenizer: Digest of the tokenizer and chat template.
        gguf: Digests of the quantized weights that were judged, by their type.
        lora: Digest of the adapter's quantized file; None if the weights hold all that the run learnt.
        evaluation: Digest of the evaluation.
        gate: Digest of the gate's verdict.
        decided: Sequence number of the event that holds the verdict.
        label: The join of the labels of all these.
    """

    alias: str
    run: str
    kind: Product
    product: str
    base: str
    tokenizer: str
    gguf: dict[str, str]
    lora: str | None
    evaluation: str
    gate: str
    decided: int
    label: Label

    def to_json(self) -> dict[str, Json]:
        """Give the document as plain data.

        Returns:
            All fields, with the schema.
        """
        return {
            "schema": SCHEMA,
            "alias": self.alias,
            "run": self.run,
            "kind": self.kind.value,
            "product": self.product,
            "base": self.base,
            "tokenizer": self.tokenizer,
            "gguf": dict(self.gguf),
            "lora": self.lora,
            "evaluation": self.evaluation,
            "gate": self.gate,
            "decided": self.decided,
            "label": self.label.to_json(),
        }

    @property
    def digest(self) -> str:
        """SHA-512 over the document's canonical bytes."""
        return hashing.sha512(canonical.encode(self.to_json()))

    @property
    def served(self) -> tuple[str, ...]:
        """Digests of what answers come from."""
        lora = () if self.lora is None else (self.lora,)
        return (self.base, self.tokenizer, *self.gguf.values(), *lora, self.product)

    @property
    def artefacts(self) -> tuple[str, ...]:
        """Digests of everything that it rests on."""
        return (*self.served, self.run, self.evaluation)

    def differs(self, other: Release) -> list[str]:
        """Name what another release says otherwise.

        Args:
            other: The other release.

        Returns:
            Names of fields, in the document's order.
        """
        mine, theirs = self.to_json(), other.to_json()
        return [name for name, value in mine.items() if theirs[name] != value]


@dataclass(frozen=True)
class Proposal:
    """A release and what became of it.

    Args:
        request: Sequence number of the event that proposed it.
        requester: Who proposed it.
        time: When, RFC 3339.
        release: What was proposed.
        standing: Where it stands.
        decided_by: Who approved or refused it.
        decided: Sequence number of the event that decided.
        reason: Why it was refused, or rolled back, or None.
    """

    request: int
    requester: str
    time: str
    release: Release
    standing: Standing = Standing.OPEN
    decided_by: str | None = None
    decided: int | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Describe it for people and programs.

        Returns:
            The release's fields and digest, who and when, and ``standing``.
        """
        return {
            **{name: value for name, value in self.release.to_json().items() if name != "schema"},
            "digest": self.release.digest,
            "request": self.request,
            "requester": self.requester,
            "time": self.time,
            "standing": self.standing.value,
            "decided_by": self.decided_by,
            "decided_seq": self.decided,
            "reason": self.reason,
        }


class Releases:
    """The fold's part for releases. Read its attributes; change it only through ``apply``."""

    def __init__(self) -> None:
        self.proposals: dict[int, Proposal] = {}
        # By alias: requests that came into force, in order, without those that were rolled back from; the last one is in force.
        self.lines: dict[str, tuple[int, ...]] = {}

    def apply(self, event: Event) -> None:
        """Fold one event in; an event of another room changes nothing.

        Args:
            event: The next event of the log.
        """
        folds: dict[str, Callable[[Event], None]] = {
            "release.proposed": self._proposed,
            "release.refused": self._refused,
            "release.approve.done": self._approved,
            "release.rollback.done": self._rolled_back,
        }
        fold = folds.get(event.action)
        if fold is not None:
            fold(event)

    def _proposed(self, event: Event) -> None:
        release = parse(event.params.get("release"))
        self.proposals[event.seq] = Proposal(event.seq, event.actor.person, event.time, release)

    def _refused(self, event: Event) -> None:
        found = self._open(event)
        if found is not None:
            self._decide(found, event, Standing.REFUSED, str(event.params.get("reason")))

    def _approved(self, event: Event) -> None:
        found = self._open(event)
        if found is None:
            return
        line = self.lines.get(found.release.alias, ())
        if line:
            before = self.proposals[line[-1]]
            self.proposals[before.request] = replace(before, standing=Standing.SUPERSEDED)
        self._decide(found, event, Standing.IN_FORCE)
        self.lines[found.release.alias] = (*line, found.request)

    def _rolled_back(self, event: Event) -> None:
        goal = event.params.get("to")
        line = self.lines.get(str(event.params.get("alias")), ())
        if goal not in line[:-1]:
            return
        at = line.index(goal)
        for request in line[at + 1 :]:
            self.proposals[request] = replace(
                self.proposals[request],
                standing=Standing.ROLLED_BACK,
                reason=str(event.params.get("reason")),
            )
        back = line[at]
        self.proposals[back] = replace(self.proposals[back], standing=Standing.IN_FORCE)
        self.lines[self.proposals[back].release.alias] = line[: at + 1]

    def _open(self, event: Event) -> Proposal | None:
        request = event.params.get("request")
        found = self.proposals.get(request) if isinstance(request, int) else None
        return found if found is not None and found.standing is Standing.OPEN else None

    def _decide(self, found: Proposal, event: Event, standing: Standing, reason: str | None = None) -> None:
        self.proposals[found.request] = replace(
            found, standing=standing, decided_by=event.actor.person, decided=event.seq, reason=reason
        )

    def in_force(self, alias: str) -> Proposal | None:
        """Tell what an alias stands for.

        Args:
            alias: The alias.

        Returns:
            The release that is in force, or None if there is no such alias.
        """
        line = self.lines.get(alias)
        return self.proposals[line[-1]] if line else None

    @property
    def aliases(self) -> dict[str, Proposal]:
        """The release in force of each alias, by name."""
        return {alias: self.proposals[line[-1]] for alias, line in sorted(self.lines.items())}

    def open_for(self, alias: str) -> Proposal | None:
        """Find the proposal that waits for an alias.

        Args:
            alias: The alias.

        Returns:
            It, or None.
        """
        for found in self.proposals.values():
            if found.release.alias == alias and found.standing is Standing.OPEN:
                return found
        return None


def alias_of(value: str) -> str:
    """Check a name that applications are to use.

    Args:
        value: What was asked for.

    Returns:
        It.

    Raises:
        UntrustedRequest: If applications could not write it into a request as it is.
    """
    if len(value) > MAX_ALIAS or not _ALIAS.fullmatch(value):
        raise _bad(
            f"its alias {value[:MAX_ALIAS]!r} is not 1 to {MAX_ALIAS} letters, digits, points, dashes and underscores,"
            " of which the first is a letter or digit"
        )
    return value


def parse(value: object) -> Release:
    """Read a release's document.

    Args:
        value: What ``Release.to_json`` gave.

    Returns:
        The release; writing it again gives the same document.

    Raises:
        UntrustedRequest: If a field is missing, unknown or malformed.
    """
    if (
        not isinstance(value, dict)
        or set(value) != {"schema", *FIELDS}
        or not all(isinstance(value[name], str) for name in ("schema", *_TEXTS))
        or value["schema"] != SCHEMA
    ):
        raise _bad("its fields are not exactly those of this version")
    if value["kind"] not in set(Product):
        raise _bad(f"what the run made can't be {value['kind'][:40]!r}")
    if type(value["decided"]) is not int or not 0 <= value["decided"] < canonical.MAX_SAFE_INTEGER:
        raise _bad("the verdict's event is no sequence number")
    kind = Product(value["kind"])
    lora = value["lora"]
    if lora is not None and kind is Product.MODEL:
        raise _bad("a whole model has no quantized adapter")
    return Release(
        alias=alias_of(value["alias"]),
        run=_digest(value["run"]),
        kind=kind,
        product=_digest(value["product"]),
        base=_digest(value["base"]),
        tokenizer=_digest(value["tokenizer"]),
        gguf=_weights(value["gguf"]),
        lora=None if lora is None else _digest(lora),
        evaluation=_digest(value["evaluation"]),
        gate=_digest(value["gate"]),
        decided=value["decided"],
        label=_label(value["label"]),
    )


def verdict_digest(verdict: dict[str, Json]) -> str:
    """Give the name of a gate's verdict.

    Args:
        verdict: The parameters of its event.

    Returns:
        SHA-512 over their canonical bytes.
    """
    return hashing.sha512(canonical.encode(verdict))


def _weights(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_QUANTIZATIONS:
        raise _bad(f"it does not name 1 to {MAX_QUANTIZATIONS} types of quantized weights")
    if not all(isinstance(name, str) and _TYPE.fullmatch(name) for name in value):
        raise _bad("a type of quantized weights is not a short name")
    return {name: _digest(value[name]) for name in sorted(value)}


def _digest(value: object) -> str:
    try:
        return hashing.parse(value)
    except UntrustedInput as error:
        raise _bad(error.message) from error


def _label(value: object) -> Label:
    try:
        return labels.parse(value)
    except UntrustedInput as error:
        raise _bad(error.message) from error


def _bad(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "release.form", f"The release is refused: {why}.", remedy="See `holdfast release propose --help`."
    )
