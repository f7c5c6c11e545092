"""Bundles: what comes in, and who lets it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast.client import operations
from holdfast_tui import actions
from holdfast_tui.messages import Told
from holdfast_tui.reading import NOTHING, brief, bytes_told, number, record, records, texts, told
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json

_IMPORTS = (
    ("#", 5),
    ("state", 11),
    ("bundle", 16),
    ("version", 9),
    ("size", 9),
    ("asked by", 11),
    ("decided by", 11),
)
_GENERATIONS = (("generation", 11), ("state", 9), ("artefacts", 10), ("from import", 12))
_EMPTY = "Nothing was imported yet.\n\nPress i to import a medium by its path; a second administrator then admits it with a."


class BundlesSection(Section):
    """Imports above, generations below."""

    SECTION = actions.BUNDLES
    FOCUS = "#imports"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.BUNDLES)

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[int, str] = {}

    def body(self) -> Iterator[Widget]:
        """Lay out the tables.

        Yields:
            The widgets.
        """
        yield from columns("imports", _IMPORTS)
        yield Static("Generations", classes="title", markup=False)
        yield from columns("generations", _GENERATIONS)

    async def load(self) -> dict[str, Json]:
        """Fetch imports and generations.

        Returns:
            The daemon's listing.
        """
        return await self.console_app.link.call("GET", "/v1/bundles")

    def show(self, data: dict[str, Json]) -> None:
        """Show imports and generations.

        Args:
            data: The daemon's listing.
        """
        imports = records(data.get("imports"))
        self._states = {number(one["request"]): str(one["state"]) for one in imports}
        self.fill(
            "#imports",
            [
                (
                    str(one["request"]),
                    (
                        one["request"],
                        one["state"],
                        told(one["name"]),
                        told(one["version"]),
                        bytes_told(one["bytes"]),
                        told(one["requester"]),
                        told(one["decided_by"]),
                    ),
                )
                for one in imports
            ],
            _EMPTY,
        )
        active = data.get("active")
        self.fill(
            "#generations",
            [
                (
                    str(one["number"]),
                    (
                        one["number"],
                        "active" if one["number"] == active else NOTHING,
                        len(texts(one["artefacts"])),
                        told(one["request"]),
                    ),
                )
                for one in reversed(records(data.get("generations")))
            ],
            "None is active yet.",
        )

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "import": self._import,
            "admit": self._admit,
            "reject": self._reject,
            "rollback": self._roll_back,
        }

    def _import(self) -> None:
        self.app.push_screen(
            Form(
                "Import a medium",
                [Field("path", "Path of the medium's folder, beneath a media root of this site")],
            ),
            self._import_named,
        )

    def _import_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self.console_app.begin(
                "asking for the import", partial(self._start_import, Path(answer["path"].strip()))
            )

    async def _start_import(self, path: Path) -> None:
        app = self.console_app
        job = await app.link.do(lambda client: operations.start_import(client, path))
        app.follow(
            job,
            f"import #{job}",
            lambda found: (
                f"{told(found.get('name'))} {told(found.get('version'))} is verified and inspected. "
                f"It waits for a second administrator: a admits it."
            ),
        )
        app.look()

    def _waiting(self) -> int | None:
        """Give the selected import if it waits; else, if just one waits, that one."""
        key = selected(self.query_one("#imports", DataTable))
        if key is not None and self._states.get(int(key)) == "waiting":
            return int(key)
        waiting = [request for request, state in self._states.items() if state == "waiting"]
        if len(waiting) == 1:
            return waiting[0]
        self.notify("Select an import that is waiting." if waiting else "No import is waiting.", markup=False)
        return None

    def _admit(self) -> None:
        request = self._waiting()
        if request is not None:
            self.console_app.begin(f"admitting #{request}", partial(self._sign, request))

    async def _sign(self, request: int) -> None:
        link = self.console_app.link
        done = await link.do(lambda client: operations.admit(client, link.pair, request))
        self.console_app.post_message(Told(f"Admitted. Generation {done['generation']} is active."))

    def _reject(self) -> None:
        request = self._waiting()
        if request is not None:
            self.app.push_screen(
                Form(f"Reject import #{request}", [Field("reason", "Why; it goes on the record")]),
                lambda answer: self._refuse(request, answer),
            )

    def _refuse(self, request: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            await self.console_app.link.call(
                "POST", f"/v1/bundles/{request}/reject", {"reason": answer["reason"] if answer else ""}
            )
            self.console_app.post_message(Told(f"Import #{request} is rejected."))

        if answer is not None:
            self.console_app.begin(f"rejecting #{request}", work)

    def _roll_back(self) -> None:
        self.app.push_screen(
            Form(
                "Roll back",
                [Field("generation", "Generation; the one before if left empty", optional=True)],
                note="What the later generation brought can't be used until you go forward again.",
            ),
            self._go_back,
        )

    def _go_back(self, answer: dict[str, str] | None) -> None:
        if answer is None:
            return
        text = answer["generation"].strip()
        if text and not text.isdecimal():
            self.notify(f"{text!r} is not a generation's number.", severity="error", markup=False)
            return

        async def work() -> None:
            done = await self.console_app.link.call(
                "POST", "/v1/bundles/rollback", {"generation": int(text) if text else None}
            )
            self.console_app.post_message(Told(f"Generation {done['generation']} is active."))

        self.console_app.begin("rolling back", work)

    @on(DataTable.RowSelected, "#imports")
    def _open(self, message: DataTable.RowSelected) -> None:
        if message.row_key.value is not None:
            self.console_app.begin("reading the import", partial(self._read, message.row_key.value))

    async def _read(self, request: str) -> None:
        found = await self.console_app.link.call("GET", f"/v1/bundles/{request}")
        facts = record(found.get("facts"))
        lines = [
            f"state       {told(found.get('state'))} {told(found.get('message')) if found.get('message') else ''}",
            f"publisher   {told(found.get('publisher'))}",
            f"signed by   {', '.join(texts(found.get('holders'))) or NOTHING}",
            f"manifest    {brief(found.get('manifest'))}",
            f"asked by    {told(found.get('requester'))}, decided by {told(found.get('decided_by'))}",
            "",
            *(
                f"{told(one.get('kind')):10} {told(one.get('name'))} {told(one.get('version'))}  {brief(one.get('digest'))}"
                for one in records(facts.get("artefacts"))
            ),
            "",
            *(
                f"found: {told(one.get('message') or one.get('what'))}"
                for one in records(facts.get("findings"))
            ),
        ]
        self.app.push_screen(Reading(f"Import #{request}", "\n".join(lines)))
