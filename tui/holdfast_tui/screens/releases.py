"""Releases: what applications get under which name; proposed, approved by a second person, rolled back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from holdfast.client import operations
from holdfast.parts import record, records
from holdfast_tui import actions, released
from holdfast_tui.messages import Told
from holdfast_tui.reading import brief, number, plain, told
from holdfast_tui.screens.dialogs import Decision, Field, Form
from holdfast_tui.screens.seconded import SecondedSection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textual.binding import BindingType

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


class ReleasesSection(SecondedSection):
    """Releases above, the selected one in words below."""

    SECTION = actions.RELEASES
    FOCUS = "#releases"
    ONE = "release"
    HEADS = _RELEASES
    EMPTY = _EMPTY
    WAITING = ("standing", released.OPEN)
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.RELEASES)

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[dict[str, Json]] = []

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
        self.enlist({number(one.get("request")): one for one in records(data.get("releases"))})

    def cells(self, request: int, one: dict[str, Json]) -> Sequence[object]:
        """Give a row.

        Args:
            request: The request's number.
            one: The release.

        Returns:
            Its cells.
        """
        return (
            request,
            told(one.get("alias")),
            released.standing(one),
            told(one.get("run_number")),
            brief(one.get("product")),
            told(one.get("requester")),
            told(one.get("decided_by")),
        )

    def next_step(self, one: dict[str, Json]) -> str:
        """Say what can be done about a release.

        Args:
            one: It.

        Returns:
            A few lines.
        """
        return released.next_step(one, self.console_app.link.person, self.console_app.now())

    async def whole(self, request: int) -> tuple[str, str]:
        """Read a release with all that it rests on.

        Args:
            request: Its number.

        Returns:
            A title, and the text.
        """
        found = await self.console_app.link.call("GET", f"/v1/releases/{request}")
        return f"Release #{request}", "\n".join(released.described(found, self.console_app.now()))

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
            self.new = number(found.get("request"))
            self.console_app.post_message(
                Told(f"Release #{self.new} waits for an administrator: a approves it.")
            )

        if answer is not None:
            self.console_app.begin("proposing the release", work)

    def _approve(self) -> None:
        request = self.waiting()
        if request is not None:
            self.console_app.begin("reading the release", partial(self._ask_to_approve, request))

    async def _ask_to_approve(self, request: int) -> None:
        _, text = await self.whole(request)
        self.app.push_screen(
            Decision(f"Approve release #{request}", text, "sign and approve"),
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
        request = self.waiting()
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
        one = self.chosen()
        earlier = released.earlier(one, self.listed) if one is not None else []
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


def _switched(found: dict[str, Json]) -> str:
    name = f"{told(found.get('alias'))} is release #{told(found.get('request'))}"
    if found.get("switched"):
        return f"{name}: applications get it from now on."
    return f"{name}: it is served when its base is."
