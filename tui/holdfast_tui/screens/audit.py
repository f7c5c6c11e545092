"""Audit: the log, newest first and a page at a time; the proof of an event; verification of the whole.

Reading the log is on the record itself, so nothing here is read again without being asked for.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast_tui import actions
from holdfast_tui.messages import Told
from holdfast_tui.reading import NOTHING, brief, number, records, told
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.section import Section, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json

PAGE = 50  # events of one page
_EVENTS = (("seq", 7), ("time", 19), ("who", 11), ("role", 13), ("action", 22))
_EMPTY = "No event fits.\n\nPress f to change the filter, r to read the newest page."
_NOT_YOURS = "Reading the log needs the role auditor.\n\nPress w to switch to such a person."


class AuditSection(Section):
    """Events above, the selected one below."""

    SECTION = actions.AUDIT
    FOCUS = "#events"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.AUDIT)

    def __init__(self) -> None:
        super().__init__()
        self._events: dict[int, dict[str, Json]] = {}
        self._wanted = {"action": "", "who": ""}
        self._pages: list[int | None] = [None]  # the `before` of each page, up to the one shown
        self._next: int | None = None
        self._reader: str | None = None

    def body(self) -> Iterator[Widget]:
        """Lay out events and detail.

        Yields:
            The widgets.
        """
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
        return await self.console_app.link.call(
            "GET",
            "/v1/audit/events",
            limit=PAGE,
            before=self._pages[-1],
            action=self._wanted["action"] or None,
            person=self._wanted["who"] or None,
        )

    def show(self, data: dict[str, Json]) -> None:
        """Show a page.

        Args:
            data: The daemon's answer.
        """
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
                        str(one["time"])[:19],
                        told(one["person"]),
                        told(one["role"]),
                        one["action"],
                    ),
                )
                for one in events
            ],
            _EMPTY,
        )
        self.query_one("#events", DataTable).move_cursor(row=0, animate=False)
        if not events:
            self.query_one("#event", Static).update("")

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
        self.app.push_screen(
            Form(
                "Show only",
                [
                    Field(
                        "action",
                        "Action, for example train.run (empty: all)",
                        self._wanted["action"],
                        optional=True,
                    ),
                    Field("who", "Person (empty: all)", self._wanted["who"], optional=True),
                ],
            ),
            self._filtered,
        )

    def _filtered(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self._wanted = {name: text.strip() for name, text in answer.items()}
            self._read_page([None])

    def _verify(self) -> None:
        self.console_app.begin("verifying the log", self._verified)

    async def _verified(self) -> None:
        found = await self.console_app.link.call("POST", "/v1/audit/verify")
        problems = [
            f"event {told(one.get('seq'))}: {told(one.get('what'))}" for one in records(found.get("problems"))
        ]
        if found.get("verified"):
            self.console_app.post_message(
                Told(f"Verified: {told(found.get('size'))} events, root {brief(found.get('root'))}.")
            )
        else:
            self.app.push_screen(Reading("The log is NOT verified", "\n".join(problems) or NOTHING))

    @on(DataTable.RowHighlighted, "#events")
    def _highlighted(self, message: DataTable.RowHighlighted) -> None:
        one = self._events.get(int(message.row_key.value or -1)) if message.row_key.value else None
        if one is not None:
            subject = (
                f"{one['subject_kind']} {brief(one['subject_digest'])} · " if one.get("subject_kind") else ""
            )
            cause = f"caused by {one['cause']} · " if one.get("cause") is not None else ""
            self.query_one("#event", Static).update(
                f"{told(one.get('sentence'))} Enter shows its proof.\n{subject}{cause}"
                f"{json.dumps(one.get('params'), ensure_ascii=False)}"
            )

    @on(DataTable.RowSelected, "#events")
    def _open(self, message: DataTable.RowSelected) -> None:
        if message.row_key.value is not None:
            self.console_app.begin("proving the event", partial(self._prove, message.row_key.value))

    async def _prove(self, seq: str) -> None:
        found = await self.console_app.link.call("GET", f"/v1/audit/proofs/{seq}")
        event = json.dumps(json.loads(str(found["event"])), indent=2, ensure_ascii=False)
        self.app.push_screen(Reading(f"Event {seq}, and its proof", f"{event}\n\n{found['proof']}"))
