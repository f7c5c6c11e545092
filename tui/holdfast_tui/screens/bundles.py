"""Bundles: what comes in, and who lets it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.widgets import Static

from holdfast.client import operations
from holdfast.parts import records
from holdfast_tui import actions, incoming
from holdfast_tui.messages import Told
from holdfast_tui.reading import NOTHING, bytes_told, number, texts, told
from holdfast_tui.screens.dialogs import Decision, Field, Form
from holdfast_tui.screens.seconded import SecondedSection
from holdfast_tui.screens.section import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json
    from holdfast_tui.feed import Feed

_IMPORTS = (
    ("#", 5),
    ("state", 14),
    ("bundle", 13),
    ("version", 9),
    ("size", 9),
    ("asked by", 11),
    ("decided by", 11),
)
_GENERATIONS = (("generation", 11), ("state", 9), ("artefacts", 10), ("from import", 12))
_EMPTY = "Nothing was imported yet.\n\nPress i to import a medium by its path; a second administrator then admits it with a."


class BundlesSection(SecondedSection):
    """Imports above with what to do next about the selected one, generations below."""

    SECTION = actions.BUNDLES
    FOCUS = "#imports"
    ONE = "import"
    HEADS = _IMPORTS
    EMPTY = _EMPTY
    WAITING = ("state", "waiting")
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.BUNDLES)

    def __init__(self) -> None:
        super().__init__()
        self._newest: set[int] = set()
        self._path = ""  # of the last medium: the next volume is most often inserted at the same place

    def body(self) -> Iterator[Widget]:
        """Lay out the tables.

        Yields:
            The widgets.
        """
        yield from super().body()
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
        self._newest = incoming.collecting(imports)
        for one in imports:
            if one.get("state") == "running":
                request = number(one.get("request"))
                feed = self.console_app.follow(request, f"import #{request}")
                feed.title = f"import {incoming.head(one)}"
        self.enlist({number(one.get("request")): one for one in imports})
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

    def cells(self, request: int, one: dict[str, Json]) -> Sequence[object]:
        """Give a row.

        Args:
            request: The request's number.
            one: The import.

        Returns:
            Its cells.
        """
        return (
            request,
            incoming.standing(one, newest=request in self._newest),
            told(one.get("name")),
            told(one.get("version")),
            bytes_told(one.get("bytes")),
            told(one.get("requester")),
            told(one.get("decided_by")),
        )

    def next_step(self, one: dict[str, Json]) -> str:
        """Say what to do next about an import.

        Args:
            one: It.

        Returns:
            One or two lines.
        """
        request, app = number(one.get("request")), self.console_app
        newest = request in self._newest
        return incoming.next_step(one, app.link.person, app.feeds.get(request), newest=newest)

    async def whole(self, request: int) -> tuple[str, str]:
        """Read an import with what was found in it.

        Args:
            request: Its number.

        Returns:
            A title, and the text.
        """
        found, names = await self._known(request)
        title = f"Import #{request}: {told(found.get('name'))} {told(found.get('version'))}"
        return title, "\n".join(incoming.described(found, names))

    def job_moved(self, feed: Feed) -> None:
        """Show how far the selected import is.

        Args:
            feed: The job.
        """
        if feed.job in self.listed:
            self.draw()

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "import": self._import,
            "admit": self._admit,
            "reject": self._reject,
            "discard": self._discard,
            "receipt": self._receipt,
            "rollback": self._roll_back,
        }

    def _import(self) -> None:
        one = self.chosen()
        wanted = incoming.lacking(one) if one and number(one.get("request")) in self._newest else ""
        self.app.push_screen(
            Form(
                "Import a medium, or one volume of it",
                [Field("path", "Path of the medium's folder, beneath a media root of this site", self._path)],
                note=f"{told(one.get('name'))}: {wanted.partition(', then')[0]}." if one and wanted else "",
            ),
            self._import_named,
        )

    def _import_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self._path = answer["path"].strip()
            self.console_app.begin(
                "asking for the import", partial(self._start_import, Path(self._path).expanduser())
            )

    async def _start_import(self, path: Path) -> None:
        app = self.console_app
        job = await app.link.do(lambda client: operations.start_import(client, path))
        self.new = job
        app.follow(job, f"import #{job}", _imported)
        app.look()

    def _admit(self) -> None:
        request = self.waiting()
        if request is not None:
            self.console_app.begin("reading the import", partial(self._ask_to_admit, request))

    async def _ask_to_admit(self, request: int) -> None:
        found, names = await self._known(request)
        self.app.push_screen(
            Decision(f"Admit import #{request}", "\n".join(incoming.to_sign(found, names)), "sign and admit"),
            partial(self._signed, request),
        )

    async def _known(self, request: int) -> tuple[dict[str, Json], dict[str, str]]:
        """Read an import, and the names of what is here."""
        app = self.console_app
        found = await app.link.call("GET", f"/v1/bundles/{request}")
        return found, incoming.named(app.artefacts.values())

    def _signed(self, request: int, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        async def work() -> None:
            link = self.console_app.link
            done = await link.do(lambda client: operations.admit(client, link.pair, request))
            self.console_app.post_message(Told(f"Admitted. Generation {done['generation']} is active."))

        if answer:
            self.console_app.begin(f"admitting #{request}", work)

    def _reject(self) -> None:
        request = self.waiting()
        if request is not None:
            one = self.listed[request]
            self.app.push_screen(
                Form(
                    f"Reject import #{request}",
                    [Field("reason", "Why; it goes on the record")],
                    note=f"{told(one.get('name'))} {told(one.get('version'))}, asked by {told(one.get('requester'))}."
                    " You sign the rejection with your own key; what was copied is removed.",
                ),
                partial(self._rejected, request),
            )

    def _rejected(self, request: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            link, reason = self.console_app.link, answer["reason"].strip() if answer else ""
            await link.do(lambda client: operations.reject(client, link.pair, request, reason))
            self.console_app.post_message(Told(f"Import #{request} is rejected."))

        if answer is not None:
            self.console_app.begin(f"rejecting #{request}", work)

    def _discard(self) -> None:
        one = self.chosen()
        if one is None or one.get("state") not in incoming.GIVEN_UP:
            self.notify("Select an import that is not complete, or your own that waits.", markup=False)
            return
        request = number(one.get("request"))
        self.app.push_screen(
            Decision(
                f"Give up import #{request}",
                f"{told(one.get('name'))} {told(one.get('version'))}, {told(one.get('state'))}.\n\n"
                "What was copied of it, from all its volumes, is removed from quarantine. "
                "To have it, the media must be imported again.",
                "give it up",
            ),
            partial(self._given_up, request),
        )

    def _given_up(self, request: int, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        async def work() -> None:
            done = await self.console_app.link.call("POST", "/v1/bundles/discard", {"named": str(request)})
            self.console_app.post_message(Told(f"Import #{told(done.get('request'))} is given up."))

        if answer:
            self.console_app.begin(f"giving up #{request}", work)

    def _receipt(self) -> None:
        one = self.chosen()
        if one is None or one.get("state") not in incoming.RECEIPTED:
            self.notify("Select an import that was admitted, rejected or refused.", markup=False)
            return
        request = number(one.get("request"))
        self.app.push_screen(
            Form(
                f"Receipt of import #{request}",
                [Field("folder", "Folder to write; it must not exist yet", f"receipt-{request}")],
                note="PDF and JSON, signed by the appliance, with proofs from the log. "
                "`holdfast report verify` checks the folder anywhere.",
            ),
            partial(self._receipt_named, request),
        )

    def _receipt_named(self, request: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            folder = await asyncio.to_thread(_whole, answer["folder"] if answer else "")
            link = self.console_app.link
            made = await link.call("POST", f"/v1/bundles/{request}/receipt")
            job = number(made.get("job"))
            await link.do(lambda client: client.finish(job))
            names = await link.do(lambda client: operations.save_report(client, job, folder))
            self.console_app.post_message(Told(f"{len(names)} files of the receipt are in {folder}."))

        if answer is not None:
            self.console_app.begin(f"writing the receipt of #{request}", work)

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


def _imported(found: dict[str, Json]) -> str:
    named = f"{told(found.get('name'))} {told(found.get('version'))}"
    lacking = incoming.lacking(found)
    if lacking:
        return f"{named}: {lacking}"
    return f"{named} is verified and inspected. It waits for a second administrator: a admits it."


def _whole(path: str) -> Path:
    """Complete a path that a person typed."""
    return Path(path.strip()).expanduser().absolute()
