"""Releases: what applications get under which name; proposed, approved by a second person, rolled back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast.client import operations
from holdfast.parts import record, records
from holdfast_tui import actions, released
from holdfast_tui.messages import Told
from holdfast_tui.reading import brief, number, plain, told
from holdfast_tui.screens.dialogs import Decision, Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json

_RELEASES = (
    ("release", 7),
    ("alias", 16),
    ("standing", 11),
    ("run", 6),
    ("product", 9),
    ("by", 10),
    ("decided by", 10),
)
_EMPTY = (
    "Nothing is released yet: applications get a base, or a base with an adapter.\n\n"
    "Press p to propose a run whose gate said go; an administrator approves it."
)


class ReleasesSection(Section):
    """Releases above, the selected one in words below."""

    SECTION = actions.RELEASES
    FOCUS = "#releases"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.RELEASES)

    def __init__(self) -> None:
        super().__init__()
        self._releases: dict[int, dict[str, Json]] = {}
        self._runs: list[dict[str, Json]] = []
        self._new: int | None = None  # what was just proposed is gone to

    def body(self) -> Iterator[Widget]:
        """Lay out the table and the lines below.

        Yields:
            The widgets.
        """
        yield from columns("releases", _RELEASES)
        yield Static("", id="release-line", markup=False)

    async def load(self) -> dict[str, Json]:
        """Fetch releases, and the runs that could become one.

        Returns:
            ``releases`` and ``runs``.
        """
        link = self.console_app.link
        return {**await link.call("GET", "/v1/releases"), **await link.call("GET", "/v1/runs")}

    def show(self, data: dict[str, Json]) -> None:
        """Show the releases, the newest first.

        Args:
            data: What ``load`` gave.
        """
        self._runs = records(data.get("runs"))
        self._releases = {number(one.get("request")): one for one in records(data.get("releases"))}
        self.fill(
            "#releases",
            [
                (
                    str(request),
                    (
                        request,
                        told(one.get("alias")),
                        released.standing(one),
                        told(one.get("run_number")),
                        brief(one.get("product")),
                        told(one.get("requester")),
                        told(one.get("decided_by")),
                    ),
                )
                for request, one in self._releases.items()
            ],
            _EMPTY,
            at=str(self._new) if self._new in self._releases else None,
        )
        if self._new in self._releases:
            self._new = None
        self._draw()

    def _selected(self) -> dict[str, Json] | None:
        key = selected(self.query_one("#releases", DataTable))
        return self._releases.get(int(key)) if key is not None else None

    @on(DataTable.RowHighlighted, "#releases")
    def _draw(self) -> None:
        one = self._selected()
        text = released.next_step(one, self.console_app.link.person, self.console_app.now()) if one else ""
        self.query_one("#release-line", Static).update(plain(text))

    def person_changed(self) -> None:
        """Say what the other person can do."""
        self._draw()

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "propose": self._propose,
            "approve": self._approve,
            "decline": self._refuse,
            "withdraw": self._roll_back,
        }

    def _propose(self) -> None:
        judged = [
            str(one["number"])
            for one in self._runs
            if one.get("state") == "done" and record(one.get("gate")).get("go")
        ]
        self.app.push_screen(
            Form(
                "Propose a release",
                [
                    Field("run", "Run (gate: go), by its number", judged[0] if judged else ""),
                    Field("alias", "Alias that applications use (empty: the recipe's name)", optional=True),
                ],
                note="What its gate judged is what is released, and nothing else. An administrator approves it.",
            ),
            self._proposed,
        )

    def _proposed(self, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            given = answer or {"run": "", "alias": ""}
            body: dict[str, Json] = {"run": given["run"].strip(), "alias": given["alias"].strip() or None}
            found = await self.console_app.link.call("POST", "/v1/releases", body)
            self._new = number(found.get("request"))
            self.console_app.post_message(
                Told(f"Release #{self._new} waits for an administrator: a approves it.")
            )

        if answer is not None:
            self.console_app.begin("proposing the release", work)

    def _open(self) -> int | None:
        """Give the selected release if it is open; else, if just one is, that one."""
        one = self._selected()
        if one is not None and one.get("standing") == released.OPEN:
            return number(one.get("request"))
        waiting = [request for request, one in self._releases.items() if one.get("standing") == released.OPEN]
        if len(waiting) == 1:
            return waiting[0]
        self.notify("Select a release that is open." if waiting else "No release is open.", markup=False)
        return None

    async def _told(self, request: int) -> str:
        """Read a release with all that it rests on."""
        found = await self.console_app.link.call("GET", f"/v1/releases/{request}")
        return "\n".join(released.described(found, self.console_app.now()))

    def _approve(self) -> None:
        request = self._open()
        if request is not None:
            self.console_app.begin("reading the release", partial(self._ask_to_approve, request))

    async def _ask_to_approve(self, request: int) -> None:
        self.app.push_screen(
            Decision(f"Approve release #{request}", await self._told(request), "sign and approve"),
            partial(self._approved, request),
        )

    def _approved(self, request: int, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        async def work() -> None:
            app = self.console_app
            link = app.link
            job = await link.do(lambda client: operations.approve_release(client, link.pair, request))
            app.follow(job, f"release #{request}", _switched)
            app.look()

        if answer:
            self.console_app.begin(f"approving #{request}", work)

    def _refuse(self) -> None:
        request = self._open()
        if request is not None:
            self.app.push_screen(
                Form(f"Refuse release #{request}", [Field("reason", "Why; it goes on the record")]),
                partial(self._refused, request),
            )

    def _refused(self, request: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            body: dict[str, Json] = {"reason": answer["reason"].strip() if answer else ""}
            await self.console_app.link.call("POST", f"/v1/releases/{request}/refuse", body)
            self.console_app.post_message(Told(f"Release #{request} is refused."))

        if answer is not None:
            self.console_app.begin(f"refusing #{request}", work)

    def _roll_back(self) -> None:
        one = self._selected()
        earlier = released.earlier(one, self._releases) if one is not None else []
        if one is None or not earlier:
            self.notify("Select a release whose alias has an earlier one to go back to.", markup=False)
            return
        chosen = number(one.get("request"))
        alias = told(one.get("alias"))
        self.app.push_screen(
            Form(
                f"Roll {plain(alias)} back",
                [
                    Field("to", "To which release", str(chosen if chosen in earlier else earlier[0])),
                    Field("reason", "Why; it goes on the record"),
                ],
                note=f"Earlier ones: {', '.join(map(str, earlier))}. Applications get it at once.",
            ),
            partial(self._rolled_back, alias),
        )

    def _rolled_back(self, alias: str, answer: dict[str, str] | None) -> None:
        if answer is None:
            return
        to = answer["to"].strip().removeprefix("#")
        if not to.isdecimal():
            self.notify("Which release? Type its number.", severity="warning", markup=False)
            return

        async def work() -> None:
            app = self.console_app
            body: dict[str, Json] = {"alias": alias, "to": int(to[:15]), "reason": answer["reason"].strip()}
            found = await app.link.call("POST", "/v1/releases/rollback", body)
            app.follow(number(found["job"]), f"rollback of {alias}", _switched)
            app.look()

        self.console_app.begin(f"rolling {alias} back", work)

    @on(DataTable.RowSelected, "#releases")
    def _picked(self, message: DataTable.RowSelected) -> None:
        if message.row_key.value is not None:
            self.console_app.begin("reading the release", partial(self._read, int(message.row_key.value)))

    async def _read(self, request: int) -> None:
        text = await self._told(request)
        self.app.push_screen(Reading(f"Release #{request}", text))


def _switched(found: dict[str, Json]) -> str:
    name = f"{told(found.get('alias'))} is release #{told(found.get('request'))}"
    if found.get("switched"):
        return f"{name}: applications get it from now on."
    return f"{name}: it is served when its base is."
