"""Requests: what takes two administrators beside media: rules lifted for a time, and inventories that leave the site."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast.client import operations
from holdfast.errors import OperationFailed
from holdfast_tui import actions
from holdfast_tui.messages import Told
from holdfast_tui.reading import banner, brief, bytes_told, minute, number, records, row, told
from holdfast_tui.screens.dialogs import Decision, Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.keys.person import KeyPair

    Sign = Callable[[Client, KeyPair, int], Awaitable[dict[str, Json]]]

INVENTORY = "inventory"
_REQUESTS = (
    ("#", 5),
    ("what", 9),
    ("state", 9),
    ("for", 20),
    ("until", 10),
    ("asked by", 9),
    ("decided by", 10),
)
_EMPTY = (
    "No exception was asked for, and no inventory made.\n\n"
    "Press e to ask for a rule to be lifted for a time, i to make an inventory for a publisher; "
    "another administrator grants either with g."
)
_RULES = {
    "expired": "One medium may be imported although its metadata has expired.",
    "revoked": "One revoked artefact, and what was made from it, may be used.",
    "floor": "The time below which no clock is believed is set.",
}
_SUBJECTS = "For what: digest of the expired medium, name or digest of the revoked artefact, or the new floor"


class RequestsSection(Section):
    """Exceptions and inventories in one table, the selected one in words below."""

    SECTION = actions.REQUESTS
    FOCUS = "#requests"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.REQUESTS)

    def __init__(self) -> None:
        super().__init__()
        self._requests: dict[int, dict[str, Json]] = {}
        self._new: int | None = None  # what was just asked for here, to be selected once it is listed

    def body(self) -> Iterator[Widget]:
        """Lay out the table and the line below.

        Yields:
            The widgets.
        """
        yield from columns("requests", _REQUESTS)
        yield Static("", id="request-line", markup=False)

    async def load(self) -> dict[str, Json]:
        """Fetch exceptions and inventories.

        Returns:
            ``exceptions`` and ``requests``.
        """
        link = self.console_app.link
        return {**await link.call("GET", "/v1/exceptions"), **await link.call("GET", "/v1/requests")}

    def show(self, data: dict[str, Json]) -> None:
        """Show exceptions and inventories, the newest first.

        Args:
            data: What ``load`` gave.
        """
        found = [
            *({**one, "state": one.get("standing")} for one in records(data.get("exceptions"))),
            *({**one, "kind": INVENTORY} for one in records(data.get("requests"))),
        ]
        found.sort(key=lambda one: -number(one.get("request")))
        self._requests = {number(one.get("request")): one for one in found}
        self.fill(
            "#requests",
            [
                (
                    str(request),
                    (
                        request,
                        told(one.get("kind")),
                        told(one.get("state")),
                        self._subject(one),
                        told(one.get("until"))[:10],
                        told(one.get("requester")),
                        told(one.get("decided_by")),
                    ),
                )
                for request, one in self._requests.items()
            ],
            _EMPTY,
            at=str(self._new) if self._new in self._requests else None,
        )
        if self._new in self._requests:
            self._new = None
        self._draw()

    def _subject(self, one: Mapping[str, Json]) -> str:
        """Name what a request is about, as short as a column."""
        subject = one.get("subject")
        match one.get("kind"):
            case "floor":
                return minute(subject)
            case "revoked":
                artefact = self.console_app.artefacts.get(str(subject), {})
                return f"{told(artefact.get('name'))} {brief(subject)}" if artefact else brief(subject)
            case "expired":
                return f"medium {brief(subject)}"
            case _:
                return f"{told(one.get('artefacts'))} artefacts"

    def _selected(self) -> dict[str, Json] | None:
        key = selected(self.query_one("#requests", DataTable))
        return self._requests.get(int(key)) if key is not None else None

    @on(DataTable.RowHighlighted, "#requests")
    def _draw(self) -> None:
        one = self._selected()
        self.query_one("#request-line", Static).update(self._next(one) if one else "")

    def person_changed(self) -> None:
        """Say what the other person can do."""
        self._draw()

    def _next(self, one: Mapping[str, Json]) -> str:
        """Say what a request is for, and what can be done about it."""
        if one.get("kind") == INVENTORY:
            what = f"Kinds, names, versions, sizes and digests of {told(one.get('artefacts'))} artefacts would leave."
        else:
            what = f"{_RULES.get(told(one.get('kind')), '')} {told(one.get('requester'))}: {told(one.get('reason'))}"
        if one.get("state") == "open":
            own = one.get("requester") == self.console_app.link.person
            then = "It waits for another administrator; x takes it back." if own else "g shows and grants it."
            return f"{what}\n{then}"
        if one.get("refusal"):
            return f"{what}\nRefused by {told(one.get('decided_by'))}: {one['refusal']}"
        if one.get("document"):
            return (
                f"{what}\nLet out by {told(one.get('decided_by'))}. f writes it to a file for the publisher."
            )
        return what

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "ask": self._ask,
            "inventory": self._inventory,
            "grant": self._grant,
            "refuse": self._refuse,
            "fetch": self._fetch,
        }

    def _ask(self) -> None:
        kind, subject = self.console_app.exceptable
        self.app.push_screen(
            Form(
                "Ask for an exception",
                [
                    Field("kind", "Rule: expired, revoked or floor", kind),
                    Field("subject", _SUBJECTS, subject),
                    Field(
                        "end", "Ends: in how many days (1 to 30), or at a time as 2026-03-01T12:00:00Z", "1"
                    ),
                    Field("reason", "Why; it goes on the record"),
                ],
            ),
            self._asked,
        )

    def _asked(self, answer: dict[str, str] | None) -> None:
        if answer is None:
            return
        end = answer["end"].strip()
        body: dict[str, Json] = {
            "kind": answer["kind"].strip(),
            "subject": answer["subject"].strip(),
            "until": None if end.isdecimal() else end,
            "days": int(end) if end.isdecimal() else None,
            "reason": answer["reason"].strip(),
        }

        async def work() -> None:
            app = self.console_app
            found = await app.link.call("POST", "/v1/exceptions", body)
            self._new = number(found.get("request"))
            app.post_message(
                Told(f"Exception #{told(found.get('request'))} waits for another administrator: g grants it.")
            )

        self.console_app.begin("asking for the exception", work)

    def _inventory(self) -> None:
        self.app.push_screen(
            Form(
                "Make an inventory for a publisher",
                [
                    Field(
                        "artefacts",
                        "Only these artefacts, by name or digest (empty: all that media brought)",
                        optional=True,
                    )
                ],
                note="Every file is hashed again. Kinds, names, versions, sizes and digests are listed, nothing else.",
            ),
            self._inventory_named,
        )

    def _inventory_named(self, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            app = self.console_app
            body: dict[str, Json] = {"artefacts": list(answer["artefacts"].split()) if answer else []}
            job = self._new = number((await app.link.call("POST", "/v1/requests", body)).get("job"))
            app.follow(
                job,
                f"inventory #{job}",
                lambda _: f"Inventory #{job} waits for another administrator: g lets it out.",
            )
            app.look()

        if answer is not None:
            self.console_app.begin("asking for the inventory", work)

    def _open(self) -> int | None:
        """Give the selected request if it is open; else, if just one is, that one."""
        one = self._selected()
        if one is not None and one.get("state") == "open":
            return number(one.get("request"))
        waiting = [request for request, one in self._requests.items() if one.get("state") == "open"]
        if len(waiting) == 1:
            return waiting[0]
        self.notify("Select a request that is open." if waiting else "No request is open.", markup=False)
        return None

    async def _told(self, request: int) -> str:
        """Read a request with all its facts."""
        if self._requests[request].get("kind") == INVENTORY:
            found = await self.console_app.link.call("GET", f"/v1/requests/{request}")
            return "\n".join(_inventory_lines(found))
        found = await self.console_app.link.call("GET", f"/v1/exceptions/{request}")
        return "\n".join(_exception_lines(found))

    def _grant(self) -> None:
        request = self._open()
        if request is not None:
            self.console_app.begin("reading the request", partial(self._ask_to_grant, request))

    async def _ask_to_grant(self, request: int) -> None:
        out = self._requests[request].get("kind") == INVENTORY
        self.app.push_screen(
            Decision(
                f"Let inventory #{request} out" if out else f"Grant exception #{request}",
                await self._told(request),
                "sign and let it out" if out else "sign and grant",
            ),
            partial(self._granted, request, operations.let_out if out else operations.grant_exception),
        )

    def _granted(self, request: int, sign: Sign, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        async def work() -> None:
            link = self.console_app.link
            await link.do(lambda client: sign(client, link.pair, request))
            self.console_app.post_message(Told(f"Request #{request} is granted."))

        if answer:
            self.console_app.begin(f"granting #{request}", work)

    def _refuse(self) -> None:
        request = self._open()
        if request is not None:
            self.app.push_screen(
                Form(f"Refuse request #{request}", [Field("reason", "Why; it goes on the record")]),
                partial(self._refused, request),
            )

    def _refused(self, request: int, answer: dict[str, str] | None) -> None:
        place = "requests" if self._requests[request].get("kind") == INVENTORY else "exceptions"

        async def work() -> None:
            reason = answer["reason"].strip() if answer else ""
            await self.console_app.link.call("POST", f"/v1/{place}/{request}/refuse", {"reason": reason})
            self.console_app.post_message(Told(f"Request #{request} is refused."))

        if answer is not None:
            self.console_app.begin(f"refusing #{request}", work)

    def _fetch(self) -> None:
        one = self._selected()
        if one is None or not one.get("document"):
            self.notify("Select an inventory that was let out.", markup=False)
            return
        request = number(one.get("request"))
        self.app.push_screen(
            Form(
                f"Write inventory #{request}",
                [Field("file", "File to write; it must not exist yet", f"request-{request}.json")],
                note=f"Its label goes with it: {banner([one.get('label')])[1]}.",
            ),
            partial(self._fetched, request),
        )

    def _fetched(self, request: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            path = await asyncio.to_thread(_claim, answer["file"] if answer else "")
            link, route = self.console_app.link, f"/v1/requests/{request}/document"
            try:
                data = await link.do(lambda client: client.download(route))
                await asyncio.to_thread(_write, path, data)
            except BaseException:
                await asyncio.to_thread(path.unlink, missing_ok=True)
                raise
            self.console_app.post_message(Told(f"Inventory #{request} is in {path}."))

        if answer is not None:
            self.console_app.begin(f"fetching inventory #{request}", work)

    @on(DataTable.RowSelected, "#requests")
    def _picked(self, message: DataTable.RowSelected) -> None:
        if message.row_key.value is not None:
            self.console_app.begin("reading the request", partial(self._read, int(message.row_key.value)))

    async def _read(self, request: int) -> None:
        text = await self._told(request)
        self.app.push_screen(Reading(f"Request #{request}", text))


def _exception_lines(found: Mapping[str, Json]) -> Iterator[str]:
    yield row("rule", f"{told(found.get('kind'))}: {_RULES.get(told(found.get('kind')), '')}")
    yield row("for", told(found.get("subject")))
    yield row("until", f"{minute(found.get('until'))} (UTC)")
    yield row("asked by", f"{told(found.get('requester'))}: {told(found.get('reason'))}")
    yield from _decision(found, "standing")


def _inventory_lines(found: Mapping[str, Json]) -> Iterator[str]:
    yield row("label", banner([found.get("label")])[1])
    yield row("lists", f"{told(found.get('artefacts'))} artefacts, {bytes_told(found.get('bytes'))} of files")
    yield row("statement", told(found.get("statement")))
    yield row("asked by", told(found.get("requester")))
    yield from _decision(found, "state")
    yield ""
    yield "Of these, kind, name, version, sizes and digests leave the site, and nothing else:"
    for one in records(found.get("held")):
        yield f"  {told(one.get('kind')):9} {told(one.get('name'))} {told(one.get('version'))}  {brief(one.get('digest'))}"


def _decision(found: Mapping[str, Json], standing: str) -> Iterator[str]:
    yield row("state", told(found.get(standing)))
    if found.get("decided_by"):
        yield row(
            "decided by", ": ".join(filter(None, map(str, (found["decided_by"], found.get("refusal") or ""))))
        )


def _claim(name: str) -> Path:
    """Make the file that an inventory goes into, before the inventory is recorded as handed out; called in a thread."""
    path = Path(name.strip()).expanduser().absolute()
    try:
        path.open("xb").close()
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OperationFailed:
    return OperationFailed(
        "request.out", f"{path} can't be written: {error.strerror}.", remedy="Name a new file."
    )
