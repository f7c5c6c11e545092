"""Training: runs, the loss of the selected one as it comes, its page; what a run would need; data sets and evaluations."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import on
from textual.widgets import DataTable, Static

from holdfast.client import datasets, training
from holdfast.parts import record, records
from holdfast_tui import actions, trained
from holdfast_tui.messages import Told
from holdfast_tui.reading import (
    brief,
    bytes_told,
    figure,
    number,
    plain,
    revocation,
    row,
    seconds_told,
    told,
    verdict,
)
from holdfast_tui.screens import results
from holdfast_tui.screens.dialogs import Decision, Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected
from holdfast_tui.widgets.chart import LossChart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast_tui.feed import Feed

    class Start(Protocol):
        """Starts a run, or an estimate of one, once its data are prepared."""

        async def __call__(
            self, client: Client, recipe: Path, model: str, *, quarantine: bool, tell: training.Tell
        ) -> int:
            """Do it; gives the job."""


_RUNS = (("run", 5), ("state", 14), ("recipe", 18), ("base", 12), ("steps", 6), ("loss", 7), ("gate", 6))
_EMPTY = (
    "No runs yet.\n\nPress t to start one by the path of its recipe, for example bundles/starter/adapt.toml;\n"
    "e says before what it would need."
)
_OTHERS = ("train.replay", "train.estimate", "dataset.prepare")  # work that is stopped as a run is


class TrainingSection(Section):
    """Runs above, the selected run's curve below."""

    SECTION = actions.TRAINING
    FOCUS = "#runs"
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.TRAINING)

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[int, dict[str, Json]] = {}
        self._feed: Feed | None = None
        self._asked = {"recipe": "", "model": "starter", "quarantine": ""}  # by the last form
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
        return revocation(self.console_app.artefacts.get(str(run.get("adapter") or run.get("model"))))

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
                "c stops it",
            ]
        elif not feed.ended and feed.step:
            parts.append(feed.step)
        elif run.get("tokens_per_second") is not None:
            parts += [
                f"{figure(run['tokens_per_second'], 0)} tokens/s",
                f"made {brief(run.get('adapter') or run.get('model'))}",
            ]
        elif feed.error is not None:
            parts.append(feed.error.message)
        if run.get("gate") is not None:
            parts.append(f"gate: {verdict(run['gate'])}, Enter shows why")
        if run.get("resumable"):
            parts.append("s goes on with it, d gives it up")
        why = self._revocation(run)[1]
        self.query_one("#run-line", Static).update(plain(" · ".join(parts) + (f"\n{why}" if why else "")))

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        app = self.console_app
        return {
            "train": self._train,
            "estimate": self._estimate,
            "cancel": self._cancel,
            "resume": self._resume,
            "discard": self._discard,
            "replay": self._replay,
            "gate": self._gate,
            "datasets": lambda: results.datasets(app),
            "evaluations": lambda: results.evaluations(app),
            "compare": lambda: results.compare(app, self._selected()),
        }

    # --- starting

    def _train(self) -> None:
        note = "The run begins once its data are prepared; stay in the console until then."
        self._ask("Start a run", note, training.start)

    def _estimate(self) -> None:
        note = "A few passes are measured on the real model. Nothing is started."
        self._ask("Estimate a run", note, training.estimate)

    def _ask(self, title: str, note: str, start: Start) -> None:
        asked = self._asked
        form = Form(
            title,
            [
                Field("recipe", "Path of the recipe", asked["recipe"]),
                Field("model", "Base: a name, a digest, or a run that made a model", asked["model"]),
                Field(
                    "quarantine",
                    "Set malformed rows aside instead of stopping",
                    asked["quarantine"],
                    switch=True,
                ),
            ],
            note=f"The recipe and the data it names are read by this terminal and sent to the daemon. {note}",
        )
        self.app.push_screen(form, partial(self._asked_for, start))

    def _asked_for(self, start: Start, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self._asked = {name: text.strip() for name, text in answer.items()}
            recipe = Path(self._asked["recipe"]).expanduser()
            self.console_app.begin("sending the recipe and its data", partial(self._start, start, recipe))

    async def _start(self, start: Start, recipe: Path) -> None:
        asked, app = self._asked, self.console_app
        await asyncio.to_thread(datasets.recipe_of, recipe)  # every mistake is told before anything is sent
        with app.preparing(f"preparing the data of {recipe.name}") as show:

            def tell(entry: dict[str, Json]) -> None:
                show(entry)
                noticed = trained.noticed(record(entry.get("result")))
                if noticed:
                    app.post_message(Told(noticed))

            job = await app.link.do(
                lambda client: start(
                    client, recipe, asked["model"], quarantine=bool(asked["quarantine"]), tell=tell
                )
            )
        if start is training.estimate:
            app.follow(job, f"estimate of {recipe.name}", partial(self._estimated, recipe.name))
            app.look()
        else:
            self._followed(
                job, "Run {} is done. z on Serving converts what it made, then g here decides its gate."
            )

    def _estimated(self, name: str, result: dict[str, Json]) -> str:
        """Show an estimate where nothing else is being done, else tell it in a sentence."""
        found = record(result.get("estimate"))
        if self.app.screen is not self:
            return f"The estimate of {name}: {trained.needs(found)}"
        told_ = [*trained.estimate(found), "", "Nothing was started: t starts the run."]
        self.app.push_screen(Reading(f"What a run of {name} needs, estimated", "\n".join(told_)))
        return ""

    def _followed(self, job: int, ending: str) -> None:
        self._new = job
        self._feed = self.console_app.follow(job, f"run {job}", lambda _: ending.format(job))
        self.console_app.look()

    # --- what is done with a run

    def _cancel(self) -> None:
        run = self._selected()
        if run is not None and run["state"] == "running":
            job, told_ = (
                number(run["number"]),
                "Run {} stops at its next step, with a checkpoint. s resumes it.",
            )
        else:
            jobs = records((self.console_app.status or {}).get("jobs"))
            others = [number(one.get("job")) for one in jobs if one.get("action") in _OTHERS]
            if not others:
                self.notify("Select a run that is running.", markup=False)
                return
            job, told_ = others[-1], "Job {} stops at its next step."

        async def work() -> None:
            await self.console_app.link.call("POST", f"/v1/jobs/{job}/cancel")
            self.console_app.post_message(Told(told_.format(job)))

        self.console_app.begin(f"stopping {job}", work)

    def _stopped(self) -> int | None:
        """Give the number of the selected run if it was stopped."""
        run = self._selected()
        if run is None or run["state"] not in trained.STOPPED:
            self.notify("Select a run that was stopped.", markup=False)
            return None
        return number(run["number"])

    def _resume(self) -> None:
        stopped = self._stopped()
        if stopped is None:
            return

        async def work() -> None:
            job = await self.console_app.link.do(lambda client: training.resume(client, stopped))
            self._followed(job, "Run {} is done.")

        self.console_app.begin(f"resuming run {stopped}", work)

    def _discard(self) -> None:
        stopped = self._stopped()
        if stopped is not None:
            self.app.push_screen(
                Decision(
                    f"Give up run {stopped}",
                    "Its checkpoints are removed, which frees their space. It can't go on afterwards; the record of it stays.",
                    "give it up",
                ),
                partial(self._discarded, stopped),
            )

    def _discarded(self, stopped: int, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        async def work() -> None:
            found = await self.console_app.link.do(lambda client: training.discard(client, stopped))
            freed = bytes_told(found.get("bytes"))
            self.console_app.post_message(Told(f"Run {stopped} is given up; {freed} are free again."))

        if answer:
            self.console_app.begin(f"giving run {stopped} up", work)

    def _done(self) -> int | None:
        """Give the number of the selected run if it is done."""
        run = self._selected()
        if run is None or run["state"] != "done":
            self.notify("Select a run that is done.", markup=False)
            return None
        return number(run["number"])

    def _replay(self) -> None:
        run = self._done()
        if run is not None:
            label = "Also where software or machine are not those of the run (--anyway)"
            self.app.push_screen(
                Form(
                    f"Replay run {run}",
                    [Field("anyway", label, switch=True)],
                    note="It must make the same, bit for bit. If it goes another way, it ends there, and says at which step.",
                ),
                partial(self._replayed, run),
            )

    def _replayed(self, run: int, answer: dict[str, str] | None) -> None:
        async def work() -> None:
            app, anyway = self.console_app, bool(answer and answer["anyway"])
            job = await app.link.do(lambda client: training.replay(client, str(run), anyway=anyway))
            app.follow(
                job, f"replay of run {run}", lambda _: f"The replay of run {run} made the same, bit for bit."
            )
            app.look()

        if answer is not None:
            self.console_app.begin("asking for the replay", work)

    def _gate(self) -> None:
        run = self._done()
        if run is None:
            return

        async def work() -> None:
            app = self.console_app
            body: dict[str, Json] = {"quantization": "q8_0"}
            job = training.job(await app.link.call("POST", f"/v1/runs/{run}/gate", body))
            app.follow(
                job, f"gate of run {run}", lambda _: "The gate is decided: Enter on the run shows why."
            )
            app.look()

        self.console_app.begin("asking for the gate", work)

    @on(DataTable.RowSelected, "#runs")
    def _open(self, message: DataTable.RowSelected) -> None:
        if message.row_key.value is not None:
            self.console_app.begin("reading the run", partial(self._read, message.row_key.value))

    async def _read(self, run: str) -> None:
        found = await self.console_app.link.do(lambda client: training.show(client, run))
        feed = self.console_app.feeds.get(int(run))
        if feed is not None and feed.figures and not record(found.get("figures")):
            found = trained.so_far(found, feed.figures)
        revoked = self._revocation(found)[1]
        lines = [*([row("", revoked, 0), ""] if revoked else []), *trained.page(found)]
        self.app.push_screen(Reading(f"Run {run}", "\n".join(lines)))
