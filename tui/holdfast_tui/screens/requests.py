"""Requests: what takes two persons beside media: rules lifted for a time, inventories that leave, sealed texts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from holdfast.client import operations
from holdfast_tui import actions, asked, files
from holdfast_tui.messages import Told
from holdfast_tui.reading import banner, number, told
from holdfast_tui.screens.dialogs import Decision, Field, Form
from holdfast_tui.screens.seconded import SecondedSection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from textual.binding import BindingType

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.keys.person import KeyPair

    Sign = Callable[[Client, KeyPair, int], Awaitable[dict[str, Json]]]

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
    "No exception was asked for, no inventory made, and no sealed text asked for.\n\n"
    "Press e to ask for a rule to be lifted for a time, i to make an inventory for a publisher, d to have a subject's texts "
    "erased, k to set how long texts are kept; another administrator grants each with g.\n\n"
    "An auditor asks for an answer's texts with u on Audit."
)
_SUBJECTS = "For what: digest of the expired medium, name or digest of the revoked artefact, or the new floor"
MAX_DIGITS = 9  # of a number of days; the daemon names its own bound
_GOOD = ("good", "for good")  # what a person types for a retention without an end


class RequestsSection(SecondedSection):
    """Everything that was asked for in one table, the selected one in words below."""

    SECTION = actions.REQUESTS
    FOCUS = "#requests"
    ONE = "request"
    HEADS = _REQUESTS
    EMPTY = _EMPTY
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.REQUESTS)

    async def load(self) -> dict[str, Json]:
        """Fetch exceptions, inventories and requests for sealed texts.

        Returns:
            ``exceptions``, ``requests`` and ``sealed``.
        """
        link = self.console_app.link
        exceptions, inventories, sealed = [
            await link.call("GET", f"/v1/{name}") for name in ("exceptions", "requests", "sealed")
        ]
        return {**exceptions, **inventories, "sealed": sealed.get("requests")}

    def show(self, data: dict[str, Json]) -> None:
        """Show what was asked for, the newest first.

        Args:
            data: What ``load`` gave.
        """
        self.enlist(asked.collected(data))

    def cells(self, request: int, one: dict[str, Json]) -> Sequence[object]:
        """Give a row.

        Args:
            request: The request's number.
            one: It, in the one form.

        Returns:
            Its cells.
        """
        return (
            request,
            told(one.get("kind")),
            told(one.get("state")),
            asked.subject(one, self.console_app.artefacts),
            told(one.get("until"))[:10],
            told(one.get("requester")),
            told(one.get("decided_by")),
        )

    def next_step(self, one: dict[str, Json]) -> str:
        """Say what can be done about a request.

        Args:
            one: It.

        Returns:
            A few lines.
        """
        return asked.next_step(one, self.console_app.link.person, self.console_app.now())

    async def whole(self, request: int) -> tuple[str, str]:
        """Read a request with all its facts.

        Args:
            request: Its number.

        Returns:
            A title, and the text.
        """
        one = self.listed[request]
        found = await self.console_app.link.call("GET", f"/v1/{asked.place(one)}/{request}")
        whole = {**one, **found, "kind": one.get("kind"), "state": found.get("standing", found.get("state"))}
        return f"Request #{request}", "\n".join(asked.described(whole, self.console_app.now()))

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "ask": self._ask,
            "inventory": self._inventory,
            "erase": self._erase,
            "retention": self._retention,
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
            self.new = number(found.get("request"))
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
            job = self.new = number((await app.link.call("POST", "/v1/requests", body)).get("job"))
            app.follow(
                job,
                f"inventory #{job}",
                lambda _: f"Inventory #{job} waits for another administrator: g lets it out.",
            )
            app.look()

        if answer is not None:
            self.console_app.begin("asking for the inventory", work)

    def _grant(self) -> None:
        request = self.waiting()
        if request is None:
            return
        one = self.listed[request]
        lacking = actions.missing((asked.granting(one),), self.console_app.link.roles)
        if lacking:
            self.notify(
                f"{self.console_app.link.person} may not grant that: it {lacking}.\nPress w to switch to such a person.",
                severity="warning",
                markup=False,
            )
            return
        self.console_app.begin("reading the request", partial(self._ask_to_grant, request))

    async def _ask_to_grant(self, request: int) -> None:
        kind = told(self.listed[request].get("kind"))
        title, deed, sign = f"Grant exception #{request}", "sign and grant", operations.grant_exception
        if kind == asked.INVENTORY:
            title, deed, sign = f"Let inventory #{request} out", "sign and let it out", operations.let_out
        elif kind in asked.SEALED:
            title, deed, sign = f"Grant {kind} #{request}", "sign and grant", operations.grant_sealed
        _, text = await self.whole(request)
        self.app.push_screen(Decision(title, text, deed), partial(self._granted, request, sign))

    def _granted(self, request: int, sign: Sign, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        async def work() -> None:
            link = self.console_app.link
            await link.do(lambda client: sign(client, link.pair, request))
            self.console_app.post_message(Told(f"Request #{request} is granted."))

        if answer:
            self.console_app.begin(f"granting #{request}", work)

    def _refuse(self) -> None:
        request = self.waiting()
        if request is not None:
            self.app.push_screen(
                Form(f"Refuse request #{request}", [Field("reason", "Why; it goes on the record")]),
                partial(self._refused, request),
            )

    def _refused(self, request: int, answer: dict[str, str] | None) -> None:
        place = asked.place(self.listed[request])

        async def work() -> None:
            reason = answer["reason"].strip() if answer else ""
            await self.console_app.link.call("POST", f"/v1/{place}/{request}/refuse", {"reason": reason})
            self.console_app.post_message(Told(f"Request #{request} is refused."))

        if answer is not None:
            self.console_app.begin(f"refusing #{request}", work)

    def _fetch(self) -> None:
        one = self.chosen()
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
        async def fetch() -> bytes:
            route = f"/v1/requests/{request}/document"
            return await self.console_app.link.do(lambda client: client.download(route))

        async def work() -> None:
            path = await files.put(answer["file"] if answer else "", fetch)
            self.console_app.post_message(Told(f"Inventory #{request} is in {path}."))

        if answer is not None:
            self.console_app.begin(f"fetching inventory #{request}", work)

    def _erase(self) -> None:
        self.app.push_screen(
            Form(
                "Ask for a subject's sealed texts to be erased",
                [
                    Field("tenant", "Tenant"),
                    Field("reason", "Why; it goes on the record"),
                    Field(
                        "subject",
                        "Subject: what the application sent as user (empty: nobody by name)",
                        optional=True,
                    ),
                ],
                note="The subject's name does not go on the record, only its pseudonym.",
            ),
            self._erase_asked,
        )

    def _erase_asked(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self._ask_sealed(asked.ERASE, {name: text.strip() for name, text in answer.items()})

    def _retention(self) -> None:
        self.app.push_screen(
            Form(
                "Ask for texts to be kept for another time",
                [
                    Field("class", "Which texts: prompt or answer"),
                    Field("days", "For how many days, or: for good"),
                    Field("reason", "Why; it goes on the record"),
                ],
            ),
            self._retention_asked,
        )

    def _retention_asked(self, answer: dict[str, str] | None) -> None:
        if answer is None:
            return
        days = answer["days"].strip()
        if not days.isdecimal() and days not in _GOOD:
            self.notify("For how many days? Type a number, or: for good.", severity="warning", markup=False)
            return
        self._ask_sealed(
            asked.RETENTION,
            {
                "class": answer["class"].strip(),
                "days": None if days in _GOOD else int(days[:MAX_DIGITS]),
                "reason": answer["reason"].strip(),
            },
        )

    def _ask_sealed(self, kind: str, body: dict[str, Json]) -> None:
        async def work() -> None:
            found = await self.console_app.link.call("POST", f"/v1/sealed/{kind}", body)
            self.new = number(found.get("request"))
            self.console_app.post_message(
                Told(f"Request #{self.new} waits for another administrator: g grants it.")
            )

        self.console_app.begin("asking", work)
