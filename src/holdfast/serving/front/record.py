"""The record of requests and answers: what serving needs of the audit log.

Order of operations for one answer: the intent is recorded and acked, then tokens are sent, then exactly one outcome is recorded
whose cause is the intent; for a request that no model is asked (``visits``) both are recorded before anything is said.
Invariants: ``record`` returns only once the event is synced; what can't be recorded raises, and the caller gives no answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from holdfast.audit.event import Actor, Draft, Subject
from holdfast.audit.producer import Owner
from holdfast.errors import HoldfastError, NotRecorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.audit.producer import Producer
    from holdfast.canonical import Json
    from holdfast.governance.labels import Label

ROLE = "application"
ENDPOINT = "endpoint"  # who records what is about no application in particular


@dataclass(frozen=True)
class Act:
    """One event of an answer, or of a request that no model is asked.

    Args:
        action: ``answer`` or ``serve.request``, or an outcome of it.
        tenant: Whose key asked.
        key: The key's id.
        params: Facts of the event.
        user: The tenant's own name of the person it asks for; may be empty. Payloads are sealed for that person.
        digest: The model's digest; None if none is asked.
        label: The answer's label; None if no model is asked.
        cause: Sequence number of the intent; None for an intent.
        payloads: Texts to seal (``prompt``, ``answer``); the event holds commitments to them.
    """

    action: str
    tenant: str
    key: str
    params: dict[str, Json]
    user: str = ""
    digest: str | None = None
    label: Label | None = None
    cause: int | None = None
    payloads: Mapping[str, bytes] = field(default_factory=dict)


class Receipt(Protocol):
    """Proof that an event is on the record."""

    @property
    def seq(self) -> int:
        """Its sequence number."""
        ...

    @property
    def leaf(self) -> str:
        """The digest of its leaf in the log's tree."""
        ...


class Recorder(Protocol):
    """Something that puts acts on the record."""

    async def record(self, act: Act) -> Receipt:
        """Put one event on the record.

        Args:
            act: The event.

        Returns:
            Its receipt, once it is synced.

        Raises:
            NotRecorded: If the log can't take it.
        """
        ...


class AuditRecorder:
    """Records through the worker's own append channel.

    Args:
        producer: The channel's end.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def record(self, act: Act) -> Receipt:
        """Put one event on the record.

        Args:
            act: The event.

        Returns:
            Its receipt, once it is synced.

        Raises:
            NotRecorded: If the log can't take it, for whatever reason: it is not the client's business which.
        """
        draft = Draft(
            action=act.action,
            actor=Actor(person=f"{act.tenant}/{act.key}", uid=None, role=ROLE),
            subject=None if act.digest is None else Subject("gguf", act.digest),
            label=act.label,
            params=act.params,
            cause=act.cause,
        )
        return await self._submit(draft, act.payloads, Owner(act.tenant, act.user))

    async def fact(self, action: str, params: dict[str, Json]) -> Receipt:
        """Put something on the record that is about no answer.

        Args:
            action: A registered fact of this producer.
            params: Its parameters.

        Returns:
            Its receipt, once it is synced.

        Raises:
            NotRecorded: If the log can't take it.
        """
        return await self._submit(
            Draft(action=action, actor=Actor(person=ENDPOINT, uid=None, role=ROLE), params=params)
        )

    async def _submit(
        self, draft: Draft, payloads: Mapping[str, bytes] | None = None, owner: Owner | None = None
    ) -> Receipt:
        try:
            return await self._producer.append(draft, payloads, owner)
        except NotRecorded:
            raise
        except HoldfastError as error:
            raise NotRecorded(error.key, error.message, remedy=error.remedy) from error
