"""Training: runs, the loss of the selected one as it comes, and the verdict of its gate."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast.client import operations
from holdfast_tui import actions
from holdfast_tui.messages import Told
from holdfast_tui.reading import (
    brief,
    figure,
    number,
    record,
    records,
    revocation,
    seconds_told,
    texts,
    told,
    verdict,
)
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected
from holdfast_tui.widgets.chart import LossChart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json
    from holdfast_tui.feed import Feed

_RUNS = (("run", 5), ("state", 14), ("recipe", 18), ("base", 12), ("steps", 6), ("loss", 7), ("gate", 6))
_EMPTY = (
    "No runs yet.\n\nPress t to start one by the path of its recipe, for example bundles/starter/adapt.toml."
)
STOPPED = ("cancelled", "interrupted", "failed")


class TrainingSection(Section):
    """Runs above, the selected run's curve below."""

    SECTION = actions.TRAINING
    FOCUS = "#runs"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.TRAINING)

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[int, dict[str, Json]] = {}
        self._feed: Feed | None = None
        self._recipe = ""
        self._new: int | None = None  # a run that was just started here, to be selected once it is listed

    def body(self) -> Iterator[Widget]:
        """Lay out table and chart.

        Yields:
            The widgets.
        """
        yield from columns("runs", _RUNS)
        yield Static("", id="run-line", markup=False)
        yield LossChart(plain=self.console_app.plain)

    async def load(self) -> dict[str, Json]:
        """Fetch the runs.

        Returns:
            The daemon's listing.
        """
        return await self.console_app.link.call("GET", "/v1/runs")

    def show(self, data: dict[str, Json]) -> None:
        """Show the runs.

        Args:
            data: The daemon's listing.
        """
        runs = records(data.get("runs"))
        self._runs = {number(one["number"]): one for one in runs}
        self.fill(
            "#runs",
            [
                (
                    str(one["number"]),
                    (
                        one["number"],
                        f"{told(one['state'])} {self._revocation(one)[0]}".rstrip(),
                        told(one["recipe"]),
                        told(one["base"]),
                        told(one["steps"]),
                        figure(one["final_loss"], 3),
                        verdict(one["gate"]),
                    ),
                )
                for one in runs
            ],
            _EMPTY,
            at=str(self._new) if self._new in self._runs else None,
        )
        if self._new in self._runs:
            self._new = None

    def _revocation(self, run: dict[str, Json]) -> tuple[str, str]:
        """Say whether what a run made may still be used."""
        return revocation(self.console_app.artefacts.get(str(run.get("adapter"))))

    def _selected(self) -> dict[str, Json] | None:
        key = selected(self.query_one("#runs", DataTable))
        return self._runs.get(int(key)) if key is not None else None

    @on(DataTable.RowHighlighted, "#runs")
    def _highlighted(self, message: DataTable.RowHighlighted) -> None:
        if message.row_key.value is not None:
            job = int(message.row_key.value)
            self._feed = self.console_app.follow(job, f"run {job}")
            self._draw()

    def job_moved(self, feed: Feed) -> None:
        """Draw the curve anew if it is the selected run's.

        Args:
            feed: The job.
        """
        if self._feed is None or feed.job == self._feed.job:
            self._feed = feed if feed.points else self._feed
            self._draw()

    def _draw(self) -> None:
        feed = self._feed
        if feed is None:
            return
        self.query_one(LossChart).show(feed.points, feed.steps)
        run = self._runs.get(feed.job, {})
        parts = [f"Run {feed.job} {told(run.get('state'))}"]
        if feed.figures and not feed.ended:
            parts += [
                f"step {told(feed.figures.get('step'))} of {feed.steps}",
                f"{figure(feed.figures.get('tokens_per_second'), 0)} tokens/s",
                f"{seconds_told(feed.figures.get('eta_s'))} left",
            ]
        elif not feed.ended and feed.step:
            parts.append(feed.step)
        elif run.get("tokens_per_second") is not None:
            parts += [
                f"{figure(run['tokens_per_second'], 0)} tokens/s",
                f"adapter {brief(run.get('adapter'))}",
            ]
        elif feed.error is not None:
            parts.append(feed.error.message)
        if run.get("gate") is not None:
            parts.append(f"gate: {verdict(run['gate'])}, Enter shows why")
        why = self._revocation(run)[1]
        self.query_one("#run-line", Static).update(" · ".join(parts) + (f"\n{why}" if why else ""))

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "train": self._train,
            "cancel": self._cancel,
            "resume": self._resume,
            "replay": lambda: self._again("replay", "The replay made the same adapter, bit for bit."),
            "gate": self._gate,
        }

    def _train(self) -> None:
        self.app.push_screen(
            Form(
                "Start a run",
                [Field("recipe", "Path of the recipe", self._recipe), Field("model", "Base", "starter")],
                note="The recipe and the data it names are read by this terminal and sent to the daemon.",
            ),
            self._train_named,
        )

    def _train_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self._recipe = answer["recipe"].strip()
            path = Path(self._recipe).expanduser()
            self.console_app.begin(
                "sending the recipe and its data", partial(self._start, path, answer["model"].strip())
            )

    async def _start(self, recipe: Path, model: str) -> None:
        await asyncio.to_thread(
            operations.data_files, recipe
        )  # every mistake is told before anything is sent
        app = self.console_app
        job = await app.link.do(lambda client: operations.start_training(client, recipe, model))
        self._followed(
            job, "Run {} is done. z on Serving converts its adapter, then g here decides its gate."
        )

    def _followed(self, job: int, ending: str) -> None:
        self._new = job
        self._feed = self.console_app.follow(job, f"run {job}", lambda _: ending.format(job))
        self.console_app.look()

    def _cancel(self) -> None:
        run = self._selected()
        if run is None or run["state"] != "running":
            self.notify("Select a run that is running.", markup=False)
            return
        job = number(run["number"])

        async def work() -> None:
            await self.console_app.link.call("POST", f"/v1/jobs/{job}/cancel")
            self.console_app.post_message(
                Told(f"Run {job} stops at its next step, with a checkpoint. s resumes it.")
            )

        self.console_app.begin(f"stopping run {job}", work)

    def _resume(self) -> None:
        run = self._selected()
        if run is None or run["state"] not in STOPPED:
            self.notify("Select a run that was stopped.", markup=False)
            return
        number_ = number(run["number"])

        async def work() -> None:
            answer = await self.console_app.link.call("POST", f"/v1/runs/{number_}/resume")
            self._followed(number(answer["job"]), "Run {} is done.")

        self.console_app.begin(f"resuming run {number_}", work)

    def _gate(self) -> None:
        self._again("gate", "The gate is decided: Enter on the run shows why.", {"quantization": "q8_0"})

    def _again(self, what: str, ending: str, body: dict[str, Json] | None = None) -> None:
        run = self._selected()
        if run is None or run["state"] != "done":
            self.notify("Select a run that is done.", markup=False)
            return
        number_ = number(run["number"])

        async def work() -> None:
            app = self.console_app
            answer = await app.link.call("POST", f"/v1/runs/{number_}/{what}", body)
            app.follow(number(answer["job"]), f"{what} of run {number_}", lambda _: ending)
            app.look()

        self.console_app.begin(f"asking for the {what}", work)

    @on(DataTable.RowSelected, "#runs")
    def _open(self, message: DataTable.RowSelected) -> None:
        run = self._runs.get(int(message.row_key.value or 0))
        if run is None:
            return
        gate = record(run.get("gate"))
        lines = [
            *(f"{name:18} {told(value)}" for name, value in run.items() if name != "gate"),
            "",
            *filter(None, [self._revocation(run)[1]]),
            f"gate {verdict(run.get('gate'))}" if gate else "The gate was not decided yet: g decides it.",
            *(f"  {reason}" for reason in texts(gate.get("reasons"))),
        ]
        self.app.push_screen(Reading(f"Run {run['number']}", "\n".join(lines)))
