"""The part of the state fold that keeps a site safe: exceptions, revocations, inventories let out, and the time floor.

Invariants: as for the whole fold (see ``state``); each request is decided once, whatever comes later; revocations only grow;
the time floor is what the last admission or the last floor exception said.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.governance import exceptions, revocations
from holdfast.governance.exceptions import Exemption, Standing
from holdfast.governance.inventories import Inventory
from holdfast.trust import floor

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.artefact import Artefact
    from holdfast.audit.event import Event
    from holdfast.canonical import Json
    from holdfast.governance.revocations import Revocation

TRUSTED = "trusted"  # what an event's clock says where the host vouches for its time


class Safeguards:
    """The fold's part; ``State`` is made of it."""

    def __init__(self) -> None:
        self.artefacts: dict[str, Artefact] = {}
        self.exceptions: dict[int, Exemption] = {}
        self._lasting: set[int] = set()  # those that were granted and are not over
        self.revocations: dict[str, Revocation] = {}
        self.revoked: set[str] = set()  # artefacts here whose revocation is on the record
        self.inventories: dict[int, Inventory] = {}
        self.floor: datetime | None = None  # the time floor that the trust folder must show
        self.trusted_time: datetime | None = None  # of the newest event that a trusted clock stamped
        self._folds: dict[str, Callable[[Event], None]] = {
            "exception.asked": self._exception_asked,
            "exception.grant.done": self._exception_granted,
            "exception.refused": self._exception_refused,
            "revocation.listed": self._revocations_listed,
            "artefact.revoked": self._artefact_revoked,
            "request.make.done": self._inventory_made,
            "request.grant.done": self._inventory_granted,
            "request.refused": self._inventory_refused,
        }

    def take_time(self, event: Event) -> None:
        """Learn from an event what time it was: any clock ends an exception, a trusted one alone sets a floor.

        Args:
            event: Any event.
        """
        if event.clock == TRUSTED:
            self.trusted_time = floor.witnessed(self.trusted_time, datetime.fromisoformat(event.time))
        if self._lasting:
            now = datetime.fromisoformat(event.time)
            self._end({one for one in self._lasting if self.exceptions[one].asked.until <= now})

    def _end(self, requests: set[int]) -> None:
        for request in requests:
            self.exceptions[request] = replace(self.exceptions[request], over=True)
        self._lasting -= requests

    def take_floor(self, event: Event) -> None:
        """Take the time floor that an admission left.

        Args:
            event: The admission's outcome; without ``floor`` it changes nothing.
        """
        told = event.params.get("floor")
        if isinstance(told, str):
            self.floor = exceptions.read_time(told, "floor")

    def _exception_asked(self, event: Event) -> None:
        asked = exceptions.parse(event.params["exception"])
        self.exceptions[event.seq] = Exemption(event.seq, event.actor.person, asked)

    def _exception_granted(self, event: Event) -> None:
        known = self._open_exception(event)
        if known is None:
            return
        granted = datetime.fromisoformat(event.time)
        self.exceptions[known.request] = replace(known, granted=granted, decided_by=event.actor.person)
        if known.asked.floor is None:
            self._lasting.add(known.request)
        else:
            if self.floor is not None and known.asked.floor < self.floor:
                self._end({*self._lasting})  # their ends were reckoned from a time that was no time
            self.floor = known.asked.floor
            self.trusted_time = None  # two people said that what was taken for the time was wrong

    def _exception_refused(self, event: Event) -> None:
        known = self._open_exception(event)
        if known is not None:
            reason = str(event.params.get("reason"))
            self.exceptions[known.request] = replace(known, refusal=reason, decided_by=event.actor.person)

    def _open_exception(self, event: Event) -> Exemption | None:
        known = self.exceptions.get(_number(event.params.get("request")))
        return None if known is None or known.decided_by is not None else known

    def _revocations_listed(self, event: Event) -> None:
        listed, bundle = event.params.get("entries"), str(event.params.get("bundle"))
        for value in listed if isinstance(listed, list) else []:
            found = revocations.parse(value, bundle)
            self.revocations[found.digest] = found  # a later list may say more of the same artefact

    def _artefact_revoked(self, event: Event) -> None:
        if event.subject is not None:
            self.revoked.add(event.subject.digest)

    def _inventory_made(self, event: Event) -> None:
        if event.cause is not None and event.cause not in self.inventories:
            self.inventories[event.cause] = Inventory(event.cause, event.actor.person, event.params)

    def _inventory_granted(self, event: Event) -> None:
        known = self._open_inventory(event)
        if known is not None:
            self.inventories[known.request] = replace(
                known,
                state="granted",
                decided_by=event.actor.person,
                document=str(event.params.get("document")),
            )

    def _inventory_refused(self, event: Event) -> None:
        known = self._open_inventory(event)
        if known is not None:
            self.inventories[known.request] = replace(
                known,
                state="refused",
                decided_by=event.actor.person,
                refusal=str(event.params.get("reason")),
            )

    def _open_inventory(self, event: Event) -> Inventory | None:
        known = self.inventories.get(_number(event.params.get("request")))
        return None if known is None or known.state != "open" else known

    def moment(self, clock: datetime) -> datetime:
        """Give the time by which exceptions and media are judged: never before what signed evidence or a trusted clock showed.

        Args:
            clock: What the host's clock says, aware.

        Returns:
            The latest of it, the time floor, and the newest time that a trusted clock put into the log.
        """
        return floor.now(floor.now(clock, self.floor), self.trusted_time)

    def excepted(self, kind: exceptions.Kind, clock: datetime) -> frozenset[str]:
        """Tell what an excepted rule does not apply to.

        Args:
            kind: The rule.
            clock: What the host's clock says, aware.

        Returns:
            Subjects of the exceptions in force.
        """
        now = self.moment(clock)
        return frozenset(
            one.asked.subject
            for one in self.exceptions.values()
            if one.asked.kind is kind and one.standing(now, clock) is Standing.IN_FORCE
        )

    def revocation_of(self, digest: str, excepted: frozenset[str] = frozenset()) -> Revocation | None:
        """Find the revocation that forbids to use an artefact, its own or that of something it was made from.

        Args:
            digest: The artefact.
            excepted: Artefacts for which an exception is in force.

        Returns:
            The revocation, or None.
        """
        if not self.revocations:
            return None
        return revocations.blocking(digest, self.revocations, self._parents, excepted)

    def _parents(self, digest: str) -> tuple[str, ...]:
        found = self.artefacts.get(digest)
        return () if found is None else found.parents


def _number(value: Json) -> int:
    return value if isinstance(value, int) else -1
