"""What was lifted, revoked and let out: exceptions, revocations, inventories for publishers, in the order of the log.

Invariants: what was asked for is listed whatever became of it; the last word on a revoked artefact stands; handing an
inventory out is counted each time. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.report import reading
from holdfast.report.decisions import Folding, decide

if TYPE_CHECKING:
    from holdfast.report.custody import Row
    from holdfast.report.decisions import Folds
    from holdfast.report.reading import View


class Safeguards(Folding):
    """Rules that two people lifted, artefacts that may not be used, inventories that left."""

    def __init__(self) -> None:
        self._exceptions: dict[int, Row] = {}
        self._revocations: dict[str, Row] = {}
        self._inventories: dict[int, Row] = {}
        folds: Folds = {
            ("exception.asked", None): self._asked,
            ("exception.grant", "done"): lambda seen: decide(self._exceptions, seen, "granted"),
            ("exception.refused", None): lambda seen: decide(self._exceptions, seen, "refused"),
            ("revocation.listed", None): self._listed,
            ("artefact.revoked", None): self._concerned,
            ("request.make", "done"): self._made,
            ("request.grant", "done"): self._let_out,
            ("request.refused", None): lambda seen: decide(self._inventories, seen, "refused"),
            ("request.fetched", None): self._fetched,
        }
        super().__init__(folds)

    def exceptions(self) -> list[Row]:
        """List exceptions.

        Returns:
            One row each, in the order in which they were asked for.
        """
        return list(self._exceptions.values())

    def revocations(self) -> list[Row]:
        """List revocations.

        Returns:
            One row per revoked artefact, with what here was made from it.
        """
        return list(self._revocations.values())

    def inventories(self) -> list[Row]:
        """List inventories.

        Returns:
            One row each, in the order in which they were made.
        """
        return list(self._inventories.values())

    def _asked(self, seen: View) -> None:
        asked = reading.mapping(seen.params.get("exception"))
        if seen.seq is not None:
            self._exceptions[seen.seq] = {
                "kind": reading.text(asked.get("kind")),
                "subject": reading.text(asked.get("subject")),
                "until": reading.text(asked.get("until")),
                "reason": reading.text(asked.get("reason")),
                "requester": seen.person,
                "state": "asked for",
                "decision": None,
                **seen.origin(),
            }

    def _listed(self, seen: View) -> None:
        entries = seen.params.get("entries")
        for value in entries if isinstance(entries, list) else []:
            entry = reading.mapping(value)
            digest = reading.digest(entry.get("digest"))
            if digest is None:
                continue
            known = self._revocations.get(digest)
            self._revocations[digest] = {
                "digest": digest,
                "kind": reading.text(entry.get("kind")),
                "name": reading.text(entry.get("name")),
                "reason": reading.text(entry.get("reason")),
                "since": reading.text(entry.get("since")),
                "instead": reading.digest(entry.get("instead")),
                "bundle": reading.text(seen.params.get("bundle")),
                "here": known["here"] if known else [],
                **seen.origin(),
            }

    def _concerned(self, seen: View) -> None:
        row = self._revocations.get(reading.digest(seen.params.get("revoked")) or "")
        here = row["here"] if row else None
        if isinstance(here, list) and seen.subject is not None and len(here) < reading.MAX_ITEMS:
            here.append(seen.subject)

    def _made(self, seen: View) -> None:
        if seen.cause is None:
            return
        label = reading.label(seen.params.get("label"))
        self._inventories[seen.cause] = {
            "artefacts": reading.whole(seen.params.get("artefacts")),
            "bytes": reading.whole(seen.params.get("bytes")),
            "statement": reading.digest(seen.params.get("statement")),
            "document": None,
            "label": label.to_json() if label else None,
            "requester": seen.person,
            "state": "made",
            "decision": None,
            "fetched": 0,
            **seen.origin(),
        }

    def _let_out(self, seen: View) -> None:
        row = decide(self._inventories, seen, "let out")
        if row is not None:
            row["document"] = reading.digest(seen.params.get("document"))

    def _fetched(self, seen: View) -> None:
        row = self._inventories.get(reading.whole(seen.params.get("request")) or -1)
        if row is not None:
            row["fetched"] = (reading.whole(row["fetched"]) or 0) + 1
