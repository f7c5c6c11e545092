"""What is looked up from Training: data sets and their profiles, evaluations, two of them side by side."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from holdfast.client import datapage
from holdfast.parts import record, records
from holdfast_tui import actions, compared
from holdfast_tui.reading import DIALOG, banner, brief, line, minute, number, numbers, ranges, row, told
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.tables import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from textual.binding import BindingType

    from holdfast.canonical import Json
    from holdfast_tui.app import HoldfastApp

_DATA_SETS = (("data set", 25), ("form", 10), ("rows", 8), ("held out", 8), ("set aside", 9))
_NO_DATA_SETS = (
    "No data sets yet. Esc and t start a run, e estimates one: both prepare the data that a recipe names."
)
_NO_EVALUATIONS = (
    "No evaluations yet. Esc and g have the selected run evaluated before and after its training."
)
_SIDES = (
    "An evaluation or a run by its number; with /MODEL one of several models, as in 14/before-transformers."
)


class Evaluations(Listing):
    """The evaluations; one is opened, two are compared."""

    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.TRAINING, ("compare",))
    KEYS: ClassVar[str] = "Enter: scores and verdicts   m: compare   Arrows: move   Esc: back"

    def __init__(
        self, app: HoldfastApp, evaluations: list[dict[str, Json]], runs: Mapping[str, dict[str, Json]]
    ) -> None:
        self.evaluations = evaluations
        super().__init__(
            "Evaluations",
            compared.HEADS,
            compared.listed(evaluations, runs),
            {str(number(one.get("number"))): compared.note(one) for one in evaluations},
            look=partial(_look_at_evaluation, app),
            empty=_NO_EVALUATIONS,
        )

    def sides(self) -> tuple[str, str]:
        """Say what would be compared.

        Returns:
            The two sides; both empty if nothing is selected.
        """
        found = next((one for one in self.evaluations if str(number(one.get("number"))) == self.chosen), None)
        return ("", "") if found is None else compared.beside(found, self.evaluations)


def evaluations(app: HoldfastApp) -> None:
    """List the evaluations.

    Args:
        app: The console.
    """

    async def work() -> None:
        found = records((await app.link.call("GET", "/v1/evaluations")).get("evaluations"))
        runs = records((await app.link.call("GET", "/v1/runs")).get("runs"))
        app.push_screen(Evaluations(app, found, {str(one.get("run")): one for one in runs if one.get("run")}))

    app.begin("listing the evaluations", work)


def _look_at_evaluation(app: HoldfastApp, name: str) -> None:
    async def work() -> None:
        found = await app.link.call("GET", f"/v1/evaluations/{quote(name, safe='')}")
        app.push_screen(Reading(f"Evaluation {name}", "\n".join(compared.described(found))))

    app.begin("reading the evaluation", work)


def compare(app: HoldfastApp, run: Mapping[str, Json] | None) -> None:
    """Ask for two evaluations, and show them side by side.

    Args:
        app: The console.
        run: The selected run; its gate's evaluation is offered unless evaluations are listed.
    """
    first, second = "", ""
    if isinstance(app.screen, Evaluations):
        first, second = app.screen.sides()
    elif run is not None and run.get("gate") is not None:
        second = str(number(run.get("number")))
        first = f"{second}/{compared.BEFORE}"
    app.push_screen(
        Form(
            "Compare two evaluations",
            [Field("first", "A", first), Field("second", "B", second)],
            note=_SIDES,
        ),
        partial(_compared, app),
    )


def _compared(app: HoldfastApp, answer: dict[str, str] | None) -> None:
    async def work() -> None:
        sides = [answer[name].strip() if answer else "" for name in ("first", "second")]
        found = await app.link.call(
            "GET", "/v1/comparison", first=sides[0], second=sides[1], examples=compared.EXAMPLES
        )
        app.push_screen(Reading(f"{sides[0]} beside {sides[1]}", "\n".join(compared.comparison(found))))

    if answer is not None:
        app.begin("comparing", work)


def datasets(app: HoldfastApp) -> None:
    """List the data sets.

    Args:
        app: The console.
    """

    async def work() -> None:
        found = records((await app.link.call("GET", "/v1/datasets")).get("datasets"))
        rows = [
            (
                str(one.get("digest")),
                (
                    f"{told(one.get('name'))}@{told(one.get('version'))}",
                    *(told(one.get(name)) for name in ("form", "rows", "held_out", "quarantined")),
                ),
            )
            for one in found
        ]
        notes = {
            str(one.get("digest")): (
                f"{brief(one.get('digest'))} · {banner([one.get('label')])[1]} · {line(told(one.get('licence')))}"
                f" · {told(one.get('role'))}"
            )
            for one in found
        }
        app.push_screen(
            Listing(
                "Data sets",
                _DATA_SETS,
                rows,
                notes,
                look=partial(_look_at_dataset, app),
                empty=_NO_DATA_SETS,
            )
        )

    app.begin("listing the data sets", work)


def _look_at_dataset(app: HoldfastApp, name: str) -> None:
    async def work() -> None:
        found = await app.link.call("GET", f"/v1/datasets/{quote(name, safe='')}")
        one = record(found.get("dataset"))
        title = f"Data set {told(one.get('name'))}@{told(one.get('version'))}"
        app.push_screen(Reading(title, "\n".join(_described(found))))

    app.begin("reading the data set", work)


def _described(found: Mapping[str, Json]) -> Iterator[str]:
    """Tell what a data set is, then its profile."""
    one = record(found.get("dataset"))
    rows = (
        ("digest", brief(one.get("digest"))),
        ("label", banner([one.get("label")])[1]),
        ("licence", told(one.get("licence"))),
        ("prepared", f"{minute(found.get('time'))} by {told(found.get('person'))}"),
        ("given to", f"runs {ranges(numbers(found.get('runs')))}" if found.get("runs") else "no run yet"),
    )
    for name, value in rows:
        yield row(name, line(value), datapage.INDENT)
    yield ""
    yield from map(line, datapage.lines(found.get("profile"), DIALOG))
