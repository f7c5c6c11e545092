"""Witnesses: who cosigns the log from outside, how long ago; checkpoints handed out, cosignatures taken in."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from textual import on
from textual.widgets import DataTable, Static

from holdfast.parts import records
from holdfast_tui import actions, files
from holdfast_tui.messages import Told
from holdfast_tui.reading import NOTHING, age, line, minute, number, plain, row, told
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json

MAX_FILE = 65_536  # bytes of what a witness sends; the daemon takes no more
_WITNESSES = (("witness", 16), ("cosigned", 9), ("last", 16), ("ago", 12), ("events since", 12))
_EMPTY = (
    "No witness cosigns this log yet: who stole its key could write it anew unseen.\n\n"
    "Press a to add one by the keys received from it (an administrator), c to show a checkpoint as QR codes, or f to write "
    "it to a file (an auditor)."
)
_NO_BLOCKS = "This terminal has no blocks to draw codes with. Press f to write it to a file."


class WitnessesSection(Section):
    """Witnesses above, the selected one in words below."""

    SECTION = actions.WITNESSES
    FOCUS = "#witnesses"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.WITNESSES)

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, dict[str, Json]] = {}
        self._log: dict[str, Json] = {}

    def body(self) -> Iterator[Widget]:
        """Lay out the table and the lines below.

        Yields:
            The widgets.
        """
        yield from columns("witnesses", _WITNESSES)
        yield Static("", id="witness-line", markup=False)

    async def load(self) -> dict[str, Json]:
        """Fetch the witnesses.

        Returns:
            The daemon's listing.
        """
        return await self.console_app.link.call("GET", "/v1/audit/witnesses")

    def show(self, data: dict[str, Json]) -> None:
        """Show the witnesses.

        Args:
            data: The daemon's listing.
        """
        self._log = data
        self._known = {told(one.get("name")): one for one in records(data.get("witnesses"))}
        self.fill(
            "#witnesses",
            [
                (
                    name,
                    (
                        name,
                        told(one.get("size")),
                        minute(one.get("time")) if one.get("time") else "never",
                        age(one.get("age_s")) if one.get("time") else NOTHING,
                        told(one.get("since")),
                    ),
                )
                for name, one in self._known.items()
            ],
            _EMPTY,
        )
        self._draw()

    @on(DataTable.RowHighlighted, "#witnesses")
    def _draw(self) -> None:
        one = self._known.get(self._selected() or "")
        lines = [told(self._log["overdue"])] if self._log.get("overdue") else []
        if one is not None:
            lines.append(
                f"{told(one.get('name'))} has not seen the newest {number(one.get('since'))} events. c shows a checkpoint with "
                "the proof that it needs, f writes it to a file; t takes in what its device answers."
            )
        lines.append(f"The log's keys: {told(self._log.get('fingerprint'))}")
        self.query_one("#witness-line", Static).update(plain("\n".join(lines)))

    def _selected(self) -> str | None:
        return selected(self.query_one("#witnesses", DataTable))

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "code": self._code,
            "carry": self._carry,
            "cosigned": self._cosigned,
            "add": self._add,
            "remove": self._remove,
        }

    async def _checkpoint(self, name: str | None) -> dict[str, Json]:
        """Fetch a checkpoint; for a witness, as a request with the proof that it needs."""
        found = await self.console_app.link.call("POST", "/v1/audit/checkpoint", {"witness": name})
        return {**found, "document": found.get("request") if name else found.get("checkpoint")}

    def _code(self) -> None:
        from holdfast_tui.screens import codes  # what draws codes is not needed for the first screen

        name = self._selected()

        async def work() -> None:
            found = await self._checkpoint(name)
            pictures = await asyncio.to_thread(codes.drawn, told(found.get("document")))
            what = f"{told(found.get('size'))} events{f' for {name}' if name else ''}"
            self.app.push_screen(codes.Codes(pictures, what))

        if codes.drawable():
            self.console_app.begin("drawing the checkpoint", work)
        else:
            self.notify(_NO_BLOCKS, severity="warning", markup=False)

    def _carry(self) -> None:
        name = self._selected()
        self.app.push_screen(
            Form(
                f"Write a checkpoint for {name}" if name else "Write a checkpoint",
                [Field("file", "File to write; it must not exist yet", f"{name or 'log'}.checkpoint")],
                note="On the auditor's own device: `holdfast audit cosign FILE`.",
            ),
            partial(self._carried, name),
        )

    def _carried(self, name: str | None, answer: dict[str, str] | None) -> None:
        async def fetch() -> bytes:
            return told((await self._checkpoint(name)).get("document")).encode()

        async def work() -> None:
            path = await files.put(answer["file"] if answer else "", fetch)
            self.console_app.post_message(Told(f"The checkpoint is in {path}."))

        if answer is not None:
            self.console_app.begin("writing the checkpoint", work)

    def _cosigned(self) -> None:
        self.app.push_screen(
            Form(
                "Take in what a witness cosigned",
                [Field("file", "The file that `holdfast audit cosign` wrote")],
                note="It is verified with the witness's keys and compared with this log before it is recorded.",
            ),
            self._cosigned_named,
        )

    def _cosigned_named(self, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            note = await files.text(answer["file"] if answer else "", MAX_FILE)
            found = await self.console_app.link.call("POST", "/v1/audit/cosigned", {"note": note})
            self.console_app.post_message(
                Told(
                    f"{told(found.get('witness'))} cosigned {told(found.get('size'))} events at {told(found.get('time'))}."
                )
            )

        if answer is not None:
            self.console_app.begin("taking the cosignature in", work)

    def _add(self) -> None:
        self.app.push_screen(
            Form(
                "Add a witness",
                [
                    Field("name", "What this site calls it"),
                    Field("file", "The file with its keys, witness.pub"),
                ],
                note="Its fingerprint is told afterwards: compare it by voice with whoever holds the device.",
            ),
            self._added,
        )

    def _added(self, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            given = answer or {"name": "", "file": ""}
            keys = await files.text(given["file"], MAX_FILE)
            body: dict[str, Json] = {"name": given["name"].strip(), "keys": keys}
            found = await self.console_app.link.call("POST", "/v1/audit/witnesses", body)
            text = "\n".join(
                [
                    row("witness", line(f"{told(found.get('name'))} ({told(found.get('cosigner'))})")),
                    row("fingerprint", line(told(found.get("fingerprint")))),
                    "",
                    "Compare the fingerprint by voice. If it is another one, remove the witness: x.",
                ]
            )
            self.app.push_screen(Reading("A witness was added", text))

        if answer is not None:
            self.console_app.begin("adding the witness", work)

    def _remove(self) -> None:
        name = self._selected()
        if name is None:
            self.notify("No witness is selected.", markup=False)
            return
        self.app.push_screen(
            Form(f"Remove the witness {name}", [Field("reason", "Why; it goes on the record")]),
            partial(self._removed, name),
        )

    def _removed(self, name: str, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            route = f"/v1/audit/witnesses/{quote(name, safe='')}/removal"
            await self.console_app.link.call(
                "POST", route, {"reason": answer["reason"].strip() if answer else ""}
            )
            self.console_app.post_message(Told(f"{name} is a witness no more."))

        if answer is not None:
            self.console_app.begin("removing the witness", work)

    @on(DataTable.RowSelected, "#witnesses")
    def _open(self, message: DataTable.RowSelected) -> None:
        one = self._known.get(message.row_key.value or "")
        if one is None:
            return
        facts = {
            "witness": told(one.get("name")),
            "its name": told(one.get("cosigner")),
            "fingerprint": told(one.get("fingerprint")),
            "cosigned": f"{told(one.get('size'))} events" if one.get("time") else "nothing yet",
            "root": told(one.get("root")),
            "time": f"{told(one.get('time'))}, {age(one.get('age_s'))} ago" if one.get("time") else NOTHING,
            "since": f"{told(one.get('since'))} events",
            "log": told(self._log.get("origin")),
            "log's keys": told(self._log.get("fingerprint")),
        }
        text = "\n".join(row(label, line(value)) for label, value in facts.items())
        self.app.push_screen(Reading(f"Witness {told(one.get('name'))}", text))
