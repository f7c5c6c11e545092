"""What the state fold keeps of imports, generations, acts and keys: plain records, replaced and never changed. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json


@dataclass(frozen=True)
class Import:
    """A bundle that was asked to be imported.

    Args:
        request: Sequence number of the intent.
        requester: Who asked.
        state: running, collecting (volumes are missing), collected (its volume is part of a later request), waiting (for a
            second person), admitted, rejected, discarded, failed, cancelled or interrupted.
        facts: What was found: name, version, manifest, holders, root_version, bytes, volume, findings, origins (which bundles
            brought what its artefacts were made from) ...
        decided_by: Who admitted, rejected or discarded it.
        reason: Why it was rejected or discarded.
        events: Sequence numbers of what was recorded of it, in order; of a listed artefact the first event, not the further
            ones with its files.
        artefacts: What it brings, once all of it was listed and the outcome says so.
    """

    request: int
    requester: str
    state: str
    facts: dict[str, Json]
    decided_by: str | None = None
    reason: str | None = None
    events: tuple[int, ...] = ()
    artefacts: tuple[Artefact, ...] = ()

    @property
    def manifest(self) -> str | None:
        """Digest of the medium's manifest; None before its signatures were verified."""
        found = self.facts.get("manifest")
        return found if isinstance(found, str) else None


@dataclass(frozen=True)
class Called:
    """What stands under a kind and a name. The same bytes may go by several names: models share tokenizers.

    Args:
        digest: The artefact.
        version: Its version under this name.
        collection: The collection of the publisher who brought it; empty for the top-level one.
    """

    digest: str
    version: str
    collection: str


@dataclass(frozen=True)
class Generation:
    """One set of bundles that was active together.

    Args:
        number: 1, 2, 3 ...
        names: What stands under each kind and name.
        request: The import that made it.
        made_by: Sequence number of the event.
        kept: Whether it can still be gone back to; the store's garbage collection takes old ones away.
    """

    number: int
    names: dict[tuple[str, str], Called]
    request: int
    made_by: int
    kept: bool = True

    @property
    def artefacts(self) -> tuple[str, ...]:
        """Digests of everything that the bundles brought, sorted."""
        return tuple(sorted({one.digest for one in self.names.values()}))


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
    """An application's key, without anything by which it could be known again.

    Args:
        key_id: Public part.
        record: What it may do (``serving.keys.Grant``).
        tenant: Whose it is.
        created: When it was created, RFC 3339.
        revoked: Whether it no longer counts.
    """

    key_id: str
    record: dict[str, Json]
    tenant: str
    created: str
    revoked: bool = False
