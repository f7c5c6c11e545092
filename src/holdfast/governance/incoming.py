"""The part of the state fold that follows media on their way in: what was asked, verified, listed and found.

Invariants: as for the whole fold (see ``state``); what an import lists counts once its outcome names exactly that list; a
split medium's volumes end with the one that completed it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedInput
from holdfast.governance import listing
from holdfast.governance.records import Import
from holdfast.governance.safeguards import Safeguards

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.artefact import Artefact
    from holdfast.audit.event import Event
    from holdfast.canonical import Json


class Incoming(Safeguards):
    """The fold's part; ``State`` is made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.imports: dict[int, Import] = {}
        # Parameters of what was listed under an import that goes on; they count once its outcome names them.
        self.listed: dict[int, list[dict[str, Json]]] = {}
        # Manifests that lie in quarantine, and the request that touched each last.
        self.staged: dict[str, int] = {}
        self._folds |= {
            "bundle.import": self._import_begun,
            "bundle.verified": self._import_verified,
            "bundle.delta": self._import_relies,
            listing.LISTED: self._import_listed,
            "bundle.import.done": self._import_done,
            "bundle.import.failed": self._import_ended,
            "bundle.import.cancelled": self._import_ended,
            "bundle.import.interrupted": self._import_ended,
        }

    def _import_begun(self, event: Event) -> None:
        self.imports[event.seq] = Import(
            event.seq, event.actor.person, "running", event.params, events=(event.seq,)
        )

    def _import_verified(self, event: Event) -> None:
        self._add_to_import(event)
        found = self.imports.get(_number(event.cause))
        if found is not None and found.manifest is not None:
            self.staged[found.manifest] = found.request

    def _import_relies(self, event: Event) -> None:
        request = _number(event.cause)
        if request in self.imports:
            facts = self.imports[request].facts
            bases: list[Json] = [*_texts(facts.get("delta")), *_texts(event.params.get("bases"))]
            self.change_import(request, facts={**facts, "delta": bases})

    def _import_listed(self, event: Event) -> None:
        request = _number(event.cause)
        if request not in self.imports or self.imports[request].state != "running":
            return
        self.listed.setdefault(request, []).append(event.params)
        if event.params.get("part") == 1:
            found = self.imports[request]
            self.change_import(request, events=(*found.events, event.seq))

    def _import_done(self, event: Event) -> None:
        missing = event.params.get("missing")
        parts = self.listed.pop(_number(event.cause), [])
        if missing:
            self._add_to_import(event, state="collecting")
            return
        found = _whole(parts, event.params.get("listing"))
        # Nothing of a list that is not the one which the outcome names may be admitted.
        self._add_to_import(
            event, state="failed" if found is None else "waiting", artefacts=found or (), told=parts
        )
        done = self.imports.get(_number(event.cause))
        if done is not None:
            self.close_volumes(done, "collected")

    def _import_ended(self, event: Event) -> None:
        self.listed.pop(_number(event.cause), None)
        self._add_to_import(event, state=event.action.rsplit(".", 1)[1])
        found = self.imports.get(_number(event.cause))
        if found is not None and event.params.get("kept") is False:
            self.staged.pop(found.manifest or "", None)
            self.close_volumes(found, "failed")

    def close_volumes(self, last: Import, state: str) -> None:
        """Say of every earlier volume of a medium what became of it with the last one.

        Args:
            last: The import that speaks for all of them.
            state: What became of it.
        """
        for found in [*self.imports.values()]:
            if found.state == "collecting" and found.manifest == last.manifest:
                facts: dict[str, Json] = {**found.facts, "completed_by": last.request}
                self.change_import(found.request, state=state, facts=facts)

    def _add_to_import(self, event: Event, told: Iterable[dict[str, Json]] = (), **changes: object) -> None:
        found = self.imports.get(_number(event.cause))
        if found is not None:
            facts: dict[str, Json] = {**found.facts, **event.params}
            origins = listing.origins_of(told)
            if origins:
                facts["origins"] = origins
            self.change_import(found.request, facts=facts, events=(*found.events, event.seq), **changes)

    def change_import(self, request: int | None, **changes: object) -> None:
        """Change the record of an import; does nothing if there is none.

        Args:
            request: Its number.
            **changes: Fields and their values.
        """
        if request in self.imports:
            self.imports[request] = replace(self.imports[request], **changes)  # type: ignore[arg-type]  # names are literal above

    def brought_by(self, digest: str) -> str | None:
        """Tell which medium brought an artefact to this site, or would have.

        Args:
            digest: The artefact.

        Returns:
            Name and version of the bundle that was imported last with it, or that such a bundle names as its origin.
        """
        told = None
        for found in sorted(self.imports.values(), key=lambda one: -one.request):
            origins = found.facts.get("origins")
            if any(one.digest == digest for one in found.artefacts):
                return f"{found.facts.get('name')} {found.facts.get('version')}"
            if told is None and isinstance(origins, dict) and digest in origins:
                told = str(origins[digest])
        return told


def _whole(parts: list[dict[str, Json]], named: Json) -> tuple[Artefact, ...] | None:
    """Give the artefacts of a list if it is the one that an outcome names, whole."""
    try:
        found = listing.join(parts)
    except UntrustedInput:
        return None
    return found if listing.digest_of(one.digest for one in found) == named else None


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
