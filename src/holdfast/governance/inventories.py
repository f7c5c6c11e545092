"""Inventories that leave the site: what a publisher is told of it, which takes two people.

Order of operations: made from what is here by one administrator, granted or refused by another, fetched. Invariants: what the
second one signs is the digest of the very statement that leaves; an inventory is decided once. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json

GRANT = "request.grant"  # the act that a second administrator signs


@dataclass(frozen=True)
class Inventory:
    """An inventory and what became of it.

    Args:
        request: Sequence number of the act that made it; also its job's number.
        requester: Who made it.
        facts: What it holds: statement (its digest), artefacts (their number), bytes, label.
        state: open, granted or refused.
        decided_by: Who granted or refused it.
        document: Digest of the signed document, once it was granted.
        refusal: Why it was refused, or None.
    """

    request: int
    requester: str
    facts: dict[str, Json]
    state: str = "open"
    decided_by: str | None = None
    document: str | None = None
    refusal: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Describe it for people and programs.

        Returns:
            All fields, the facts among them.
        """
        return {
            **self.facts,
            "request": self.request,
            "requester": self.requester,
            "state": self.state,
            "decided_by": self.decided_by,
            "document": self.document,
            "refusal": self.refusal,
        }
