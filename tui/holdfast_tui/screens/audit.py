"""Audit: the log, newest first and a page at a time; an event whole, its proof, saved queries, verification of all.

Reading the log is on the record itself, so nothing here is read again without being asked for.
"""

from __future__ import annotations

import asyncio
import importlib
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast.parts import records
from holdfast_tui import actions, files, queries
from holdfast_tui.messages import Told
from holdfast_tui.reading import number, plain, told
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected
from holdfast_tui.screens.tables import Picking, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json

PAGE = 50  # events of one page
ANSWER = "answer"  # the act whose texts are sealed
_EVENTS = (("seq", 7), ("time", 14), ("about", 17), ("what", 200))  # arrows show the rest of a long line
_EMPTY = "No event fits.\n\nPress f to change the filter, r to read the newest page."
_NOT_YOURS = "Reading the log needs the role auditor.\n\nPress w to switch to such a person."
_FILTER = {
    "action": "Action, for example train.run (empty: all)",
    "person": "Person",
    "role": "Role: administrator, operator, auditor, service or application",
    "kind": "Kind of thing, for example adapter, dataset, manifest",
    "since": "From this time on (UTC), for example 2026-11-01 or 2026-11-01T08:00",
}


class EventReading(Reading):
    """All that an event holds, with what can be done about it."""

    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.AUDIT, ("proof", "unseal"))
    KEYS = "p: proof to a file   u: unseal an answer   Arrows: scroll   Esc: back"


class AuditSection(Section):
    """Events above, the selected one below."""

    SECTION = actions.AUDIT
    FOCUS = "#events"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.AUDIT)

    def __init__(self) -> None:
        super().__init__()
        self._events: dict[int, dict[str, Json]] = {}
        self._wanted = dict.fromkeys(_FILTER, "")
        self._pages: list[int | None] = [None]  # the `before` of each page, up to the one shown
        self._next: int | None = None
        self._reader: str | None = None

    def body(self) -> Iterator[Widget]:
        """Lay out what is shown, events and the selected one.

        Yields:
            The widgets.
        """
        yield Static("", id="view", markup=False)
        yield from columns("events", _EVENTS)
        yield Static("", id="event", markup=False)

    def reload(self) -> None:
        """Read the newest page once per person: later only when asked."""
        if self._reader != self.console_app.link.person:
            self._reader = self.console_app.link.person
            self._read_page([None])

    def _read_page(self, pages: list[int | None]) -> None:
        if actions.refusal(actions.named("filter", self.SECTION), self.console_app.link.roles):
            self._events = {}
            self.fill("#events", [], _NOT_YOURS)
            self.query_one("#event", Static).update("")
            return
        self._pages = pages
        super().reload()

    async def load(self) -> dict[str, Json]:
        """Fetch a page.

        Returns:
            The daemon's answer.
        """
        # The registry of events takes a moment to import, and is not needed for the first screen.
        await asyncio.to_thread(importlib.import_module, "holdfast_tui.evidence")
        wanted: dict[str, str | int | None] = {"limit": PAGE, "before": self._pages[-1]}
        wanted |= {name: text or None for name, text in self._wanted.items()}
        return await self.console_app.link.call("GET", "/v1/audit/events", None, **wanted)

    def show(self, data: dict[str, Json]) -> None:
        """Show a page.

        Args:
            data: The daemon's answer.
        """
        from holdfast_tui import evidence

        events = records(data.get("events"))
        self._events = {number(one["seq"]): one for one in events}
        after = data.get("next")
        self._next = after if isinstance(after, int) else None
        self.fill(
            "#events",
            [
                (
                    str(one["seq"]),
                    (
                        one["seq"],
                        told(one.get("time"))[5:19].replace("T", " "),
                        evidence.about(one),
                        evidence.sentence(one),
                    ),
                )
                for one in events
            ],
            _EMPTY,
        )
        self._show_view()
        self.query_one("#events", DataTable).move_cursor(row=0, animate=False)
        if not events:
            self.query_one("#event", Static).update("")

    def _show_view(self) -> None:
        """Say which part of the log is shown, unless it is simply the newest."""
        parts = [f"{name} {text}" for name, text in self._wanted.items() if text]
        pages = len(self._pages)
        parts += [f"page {pages}: n older, b newer"] if pages > 1 else []
        view = self.query_one("#view", Static)
        view.update(plain(f"Only {', '.join(parts)}") if pages == 1 else plain(", ".join(parts)))
        view.display = bool(parts)

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "refresh": lambda: self._read_page([None]),
            "filter": self._filter,
            "older": self._older,
            "newer": self._newer,
            "verify": self._verify,
            "queries": self._queries,
            "proof": self._proof,
            "unseal": self._unseal,
        }

    def _older(self) -> None:
        if self._next is None:
            self.notify("This is the oldest page.", markup=False)
        else:
            self._read_page([*self._pages, self._next])

    def _newer(self) -> None:
        if len(self._pages) == 1:
            self.notify("This is the newest page; r reads it again.", markup=False)
        else:
            self._read_page(self._pages[:-1])

    def _filter(self) -> None:
        fields = [Field(name, label, self._wanted[name], optional=True) for name, label in _FILTER.items()]
        self.app.push_screen(Form("Show only", fields), self._filtered)

    def _filtered(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self._wanted = {name: text.strip() for name, text in answer.items()}
            self._read_page([None])

    # --- verification

    def _verify(self) -> None:
        self.console_app.begin("verifying the log", self._verified)

    async def _verified(self) -> None:
        from holdfast_tui import evidence

        found = await self.console_app.link.call("POST", "/v1/audit/verify")
        title = "Verified" if found.get("verified") else "The log is NOT verified"
        self.app.push_screen(
            Reading(f"{title}: {evidence.counted(found)}", "\n".join(evidence.verdict(found)))
        )

    # --- one event

    def _selected(self) -> dict[str, Json] | None:
        key = selected(self.query_one("#events", DataTable))
        return self._events.get(int(key)) if key is not None else None

    @on(DataTable.RowHighlighted, "#events")
    def _highlighted(self) -> None:
        from holdfast_tui import evidence

        one = self._selected()
        if one is not None:
            self.query_one("#event", Static).update(f"{evidence.under(one)}\nEnter shows all of it.")

    @on(DataTable.RowSelected, "#events")
    def _open(self) -> None:
        from holdfast_tui import evidence

        one = self._selected()
        if one is not None:
            self.app.push_screen(
                EventReading(f"Event {told(one.get('seq'))}", "\n".join(evidence.described(one)))
            )

    def _proof(self) -> None:
        one = self._selected()
        if one is None:
            self.notify("Select an event.", markup=False)
            return
        seq = number(one.get("seq"))
        self.app.push_screen(
            Form(
                f"Write the proof of event {seq}",
                [Field("file", "File to write; it must not exist yet", f"event-{seq}.tlog-proof")],
                note="The event is in it. Anybody who has the log's keys verifies it: `holdfast audit verify FILE`.",
            ),
            partial(self._proof_named, seq),
        )

    def _proof_named(self, seq: int, answer: dict[str, str] | None) -> None:
        async def fetch() -> bytes:
            found = await self.console_app.link.call("GET", f"/v1/audit/proofs/{seq}")
            return told(found.get("proof")).encode()

        async def work() -> None:
            path = await files.put(answer["file"] if answer else "", fetch)
            self.console_app.post_message(Told(f"The proof of event {seq} is in {path}."))

        if answer is not None:
            self.console_app.begin("proving the event", work)

    def _unseal(self) -> None:
        one = self._selected() or {}
        action = told(one.get("action"))
        if action.partition(".")[0] != ANSWER:
            self.notify(
                "Select an answer: f shows only events of the action answer.",
                severity="warning",
                markup=False,
            )
            return
        seq = number(one.get("seq" if action == ANSWER else "cause"))
        self.app.push_screen(
            Form(
                f"Ask for the texts of answer {seq}",
                [Field("reason", "Why; it goes on the record")],
                note="Another person grants it. Then you open it, once, in the command line: this console shows no texts.",
            ),
            partial(self._unseal_asked, seq),
        )

    def _unseal_asked(self, seq: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            body: dict[str, Json] = {"answer": seq, "reason": answer["reason"].strip() if answer else ""}
            found = await self.console_app.link.call("POST", "/v1/sealed/unseal", body)
            request = told(found.get("request"))
            self.console_app.post_message(
                Told(f"Request #{request} waits for another person: 5 shows it, g grants it.")
            )

        if answer is not None:
            self.console_app.begin("asking for the texts", work)

    # --- saved queries

    def _queries(self) -> None:
        self.console_app.begin("listing the queries", self._queries_known)

    async def _queries_known(self) -> None:
        found = await self.console_app.link.call("GET", "/v1/audit/queries")
        known = {told(one.get("name")): one for one in records(found.get("queries"))}
        rows = queries.listed([*known.values()])
        notes = {name: queries.note(one) for name, one in known.items()}
        self.app.push_screen(
            Picking("Saved queries", queries.HEADS, rows, notes), partial(self._query_picked, known)
        )

    def _query_picked(self, known: Mapping[str, dict[str, Json]], name: str | None) -> None:
        if name is None:
            return
        fields = queries.fields(known[name])
        if fields:
            self.app.push_screen(Form(name, fields, note=queries.note(known[name])), partial(self._ask, name))
        else:
            self._ask(name, {})

    def _ask(self, name: str, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            given: dict[str, Json] = {
                key: text.strip() for key, text in (answer or {}).items() if text.strip()
            }
            body: dict[str, Json] = {"saved": name, "parameters": given, "limit": queries.MAX_ROWS}
            found = await self.console_app.link.call("POST", "/v1/audit/sql", body)
            heads, rows = queries.rows(found)
            self.app.push_screen(Rows(name, heads, rows, queries.covered(name, found)))

        if answer is not None:
            self.console_app.begin(f"asking {name}", work)
