"""What is looked up from Serving: applications' keys, made and revoked here; engines; what was used today."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from textual.widgets import DataTable

from holdfast.governance.labels import LEVELS
from holdfast.parts import records
from holdfast_tui import actions, served
from holdfast_tui.messages import Told
from holdfast_tui.reading import plain, told
from holdfast_tui.screens.dialogs import YES, Decision, Field, Form, Reading
from holdfast_tui.screens.tables import Listing, Rows

if TYPE_CHECKING:
    from textual.binding import BindingType

    from holdfast.canonical import Json
    from holdfast_tui.app import HoldfastApp

_NO_KEYS = "No keys yet. n makes one: its secret is shown once, and kept nowhere."
_ROUTE = "/v1/serving/keys"
_LIMITS = ("requests_per_minute", "tokens_per_day", "parallel")
_SCOPES = ("inference", "metrics")
_DIGITS = 13  # of a limit; the largest has as many


class Keys(Listing):
    """Applications' keys; made, read and revoked over the list.

    Args:
        keys: The keys that the daemon lists.
    """

    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.SERVING, ("new-key", "revoke-key"))
    KEYS: ClassVar[str] = "n: new   x: revoke   Enter: all of it   Arrows: move   Esc: back"

    def __init__(self, keys: list[dict[str, Json]]) -> None:
        self._found: dict[str, dict[str, Json]] = {}
        super().__init__("Applications' keys", served.KEY_HEADS, (), {}, look=self._look_at, empty=_NO_KEYS)
        self._take(keys)

    def _take(self, keys: list[dict[str, Json]]) -> None:
        self._found = {told(one.get("key")): one for one in keys}
        self._rows = served.key_rows(keys)
        self._notes = {key: served.key_note(one) for key, one in self._found.items()}

    def show(self, keys: list[dict[str, Json]]) -> None:
        """Show the keys as they are now.

        Args:
            keys: The keys that the daemon lists.
        """
        at = self.chosen
        self._take(keys)
        table = self.query_one(DataTable)
        table.display = bool(self._rows)
        self._fill()
        names = [key for key, _ in self._rows]
        if at in names:
            table.move_cursor(row=names.index(at), animate=False)
        table.focus()

    @property
    def selected(self) -> dict[str, Json] | None:
        """The key under the cursor."""
        return None if self.chosen is None else self._found.get(self.chosen)

    def _look_at(self, key: str) -> None:
        self.app.push_screen(Reading(f"Key {key}", served.key_page(self._found.get(key, {}))))


async def _read(app: HoldfastApp) -> list[dict[str, Json]]:
    return records((await app.link.call("GET", _ROUTE)).get("keys"))


def keys(app: HoldfastApp) -> None:
    """List the keys.

    Args:
        app: The console.
    """

    async def work() -> None:
        app.push_screen(Keys(await _read(app)))

    app.begin("listing the keys", work)


async def _show(app: HoldfastApp) -> None:
    """Bring the list up to date, if it is still there; a dialog may lie over it."""
    found = await _read(app)
    for screen in app.screen_stack:
        if isinstance(screen, Keys):
            screen.show(found)


def create(app: HoldfastApp) -> None:
    """Ask for what a key is to be, and make it.

    Args:
        app: The console.
    """
    app.push_screen(
        Form(
            "Make a key",
            [
                Field("tenant", "Whose it is"),
                Field(
                    "models",
                    "Model ids that it opens, or BASE:* for adapters; all if empty",
                    optional=True,
                ),
                Field("level", f"Highest label that it may see: {', '.join(LEVELS)}", LEVELS[0]),
                Field(
                    "compartments", "Compartments that it may see, too, with commas between", optional=True
                ),
                Field("inference", "it asks models", YES, switch=True),
                Field("metrics", "it reads figures at /metrics", switch=True),
                Field("requests_per_minute", "Requests in a minute (empty: any number)", optional=True),
                Field("tokens_per_day", "Tokens in a day (empty: any number)", optional=True),
                Field("parallel", "Requests at once (empty: any number)", optional=True),
            ],
        ),
        partial(_create_named, app),
    )


def _create_named(app: HoldfastApp, answer: dict[str, str] | None) -> None:
    if answer is None:
        return
    limits = {name: answer[name].strip() for name in _LIMITS}
    wrong = [text for text in limits.values() if text and not (text.isdecimal() and len(text) <= _DIGITS)]
    if wrong:
        app.notify(f"{wrong[0][:40]} is not a whole number.", severity="warning", markup=False)
        return
    scopes = [name for name in _SCOPES if answer[name]]
    if not scopes:  # the daemon would take none for the first
        app.notify("A key asks models, reads figures, or does both.", severity="warning", markup=False)
        return
    body: dict[str, Json] = {
        "tenant": answer["tenant"].strip(),
        "models": list(answer["models"].split()),
        "level": answer["level"].strip(),
        "compartments": [
            *dict.fromkeys(name.strip() for name in answer["compartments"].split(",") if name.strip())
        ],
        "scopes": [*scopes],
        **{name: int(text) for name, text in limits.items() if text},
    }

    async def work() -> None:
        made = await app.link.call("POST", _ROUTE, body)
        await _show(app)
        app.push_screen(
            Reading(
                f"The new key of {plain(told(made.get('tenant')))}",
                f"{told(made.get('secret'))}\n\nIt is shown this once and kept nowhere: give it to the application now.",
            )
        )

    app.begin("making a key", work)


def revoke(app: HoldfastApp) -> None:
    """Ask whether the selected key shall open nothing any more.

    Args:
        app: The console.
    """
    found = app.screen.selected if isinstance(app.screen, Keys) else None
    if found is None or found.get("state") == "revoked":
        app.notify("k lists the keys: select one that is not revoked.", markup=False)
        return
    key = told(found.get("key"))
    app.push_screen(
        Decision(f"Revoke key {key}", served.key_page(found), "revoke it at once"),
        partial(_revoked, app, key),
    )


def _revoked(app: HoldfastApp, key: str, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
    async def work() -> None:
        await app.link.call("DELETE", f"{_ROUTE}/{quote(key, safe='')}")
        await _show(app)
        app.post_message(Told(f"Key {key} is revoked."))

    if answer:
        app.begin(f"revoking {key}", work)


def usage(app: HoldfastApp) -> None:
    """Sum up what was used today, by tenant and model.

    Args:
        app: The console.
    """

    async def work() -> None:
        today = app.now().date().isoformat()
        found = await app.link.call("GET", "/v1/serving/usage", by="tenant,model", since=today)
        app.push_screen(
            Rows(
                f"Used since {today} (UTC)",
                served.USAGE_HEADS,
                served.usage_rows(found),
                served.usage_note(found),
            )
        )

    app.begin("summing up what was used", work)
