"""The console's app: one connection, one state of things, sections as modes, one dispatcher for all actions.

Order of operations: the first screen is painted; a watcher connects and asks for the status every second; whatever changed
makes the visible section load its data anew. Work runs in workers, which post messages. Invariants: the event loop never
waits for a disk, a key derivation or a model; a lost daemon changes the trust strip and stops nothing; what is refused is
told with its remedy.
"""

from __future__ import annotations

import asyncio
import os
import textwrap
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import App

from holdfast.errors import DaemonUnreachable, HoldfastError, NotAuthenticated
from holdfast.parts import record, records
from holdfast.paths import people_keys
from holdfast_tui import actions, health, identity, trained
from holdfast_tui.feed import Feed
from holdfast_tui.inert import INERT
from holdfast_tui.link import Link
from holdfast_tui.messages import Busy, Failed, JobMoved, PersonChanged, StatusArrived, Told
from holdfast_tui.palette import ActionProvider
from holdfast_tui.reading import number, plain, texts
from holdfast_tui.screens.audit import AuditSection
from holdfast_tui.screens.bundles import BundlesSection
from holdfast_tui.screens.dialogs import Field, Form, Reading
from holdfast_tui.screens.releases import ReleasesSection
from holdfast_tui.screens.requests import RequestsSection
from holdfast_tui.screens.section import Section
from holdfast_tui.screens.serving import ServingSection
from holdfast_tui.screens.training import TrainingSection
from holdfast_tui.screens.witnesses import WitnessesSection
from holdfast_tui.widgets.strip import CONNECTING, GONE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence

    import httpx
    from textual.binding import BindingType
    from textual.command import Provider
    from textual.filter import LineFilter
    from textual.screen import Screen
    from textual.worker import Worker

    from holdfast.canonical import Json
    from holdfast.keys.person import KeyPair
    from holdfast.paths import Home

WATCH_SECONDS = 1.0  # between two looks at the daemon; a look is one small answer from memory
SIGN_SECONDS = 0.1  # after which work has a sign; shorter work would only flicker
MAX_NOTICE = 300  # characters of a refusal's sentence; a longer one would hide the screen
EXCEPTABLE = {  # refusals that an exception lifts: its kind, and the field that names its subject
    "trust.expired": ("expired", "medium"),
    "artefact.revoked": ("revoked", "revoked"),
}
PLAIN_TERMINALS = ("linux", "vt", "dumb", "ansi", "cons")  # beginnings of TERM whose fonts have no braille


class HoldfastApp(App[None]):
    """The console.

    Args:
        home: Whose daemon.
        pair: The opened keys of the person at the terminal.
        transport: Another way to the daemon's app, for tests.
        keys: The folder of key files, for switching persons; the usual one if None.
    """

    TITLE = "Holdfast"
    CSS_PATH = "console.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {ActionProvider}
    MODES: ClassVar[dict[str, str | Callable[[], Screen[object]]]] = {
        actions.BUNDLES: BundlesSection,  # type: ignore[dict-item]  # a screen of no result is a screen
        actions.TRAINING: TrainingSection,  # type: ignore[dict-item]  # as above
        actions.SERVING: ServingSection,  # type: ignore[dict-item]  # as above
        actions.AUDIT: AuditSection,  # type: ignore[dict-item]  # as above
        actions.REQUESTS: RequestsSection,  # type: ignore[dict-item]  # as above
        actions.WITNESSES: WitnessesSection,  # type: ignore[dict-item]  # as above
        actions.RELEASES: ReleasesSection,  # type: ignore[dict-item]  # as above
    }
    DEFAULT_MODE = actions.BUNDLES
    BINDINGS: ClassVar[list[BindingType]] = actions.bindings(actions.EVERYWHERE)

    def __init__(
        self,
        home: Home,
        pair: KeyPair,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        keys: str | None = None,
    ) -> None:
        super().__init__()
        terminal = os.environ.get("TERM", "")
        self.plain = terminal.startswith(PLAIN_TERMINALS)
        if self.plain or self.no_color:
            self.theme = "ansi-dark"
        self.link = Link(home, pair, transport)
        self.status: dict[str, Json] | None = None
        self.artefacts: dict[str, dict[str, Json]] = {}
        self.why = CONNECTING
        self.feeds: dict[int, Feed] = {}
        self.chat_key: tuple[str, str] | None = (
            None  # public part and secret of the console's application key
        )
        self.exceptable = ("", "")  # kind and subject of the exception that would lift the last refusal
        self.now: Callable[[], datetime] = partial(datetime.now, UTC)
        self._keys = keys
        self._signs: list[str] = []
        self._jobs: dict[int, Feed] = {}
        self._poke = asyncio.Event()
        self._seen: tuple[Json, ...] = ()
        self._endings: dict[int, Callable[[dict[str, Json]], str]] = {}

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Let every line that is drawn pass the last wall.

        Returns:
            The filters, in order.
        """
        return [*super().get_line_filters(), INERT]

    @property
    def section(self) -> Section:
        """The section that a person is in, under whatever dialog."""
        found = [screen for screen in self.screen_stack if isinstance(screen, Section)]
        return found[-1]

    def on_mount(self) -> None:
        """Begin to watch the daemon."""
        self.run_worker(self._watch(), name="watch", group="watch")

    async def _watch(self) -> None:
        size: Json = -1
        while True:
            try:
                status = await self.link.status()
                artefacts = None
                if record(status.get("log")).get("size") != size:
                    size = record(status.get("log")).get("size")
                    found = await self.link.call("GET", "/v1/artefacts")
                    artefacts = records(found.get("artefacts"))
                self.post_message(StatusArrived(status, artefacts))
            except HoldfastError as error:
                size = -1
                self.post_message(StatusArrived(None, why=error))
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._poke.wait()
            except TimeoutError:
                continue
            self._poke.clear()

    def look(self) -> None:
        """Look at the daemon now instead of within a second."""
        self._poke.set()

    @on(StatusArrived)
    def _status_arrived(self, message: StatusArrived) -> None:
        back, before = self.status is None, health.space(self.status or {})
        self.status = message.status
        if message.artefacts is not None:
            self.artefacts = {str(one.get("digest")): one for one in message.artefacts}
        if message.why is not None:
            self.why = GONE if isinstance(message.why, DaemonUnreachable) else str(message.why)
        self.section.show_state()
        if message.status is None:
            self._seen = ()
            return
        status = message.status
        sentence, grave = health.change(before, health.space(status))
        if sentence:
            self.notify(sentence, severity="error" if grave else "information", markup=False)
        seen = tuple(status.get(name) for name in ("log", "jobs", "serving", "exceptions", "revoked"))
        if back or seen != self._seen:
            self._seen = seen
            self.section.reload()

    def signs(self) -> list[str]:
        """Say what is being done.

        Returns:
            One text per piece of work.
        """
        return [*self._signs, *(feed.line() for feed in self._jobs.values())]

    def begin(
        self, sign: str, work: Callable[[], Awaitable[None]], *, group: str = "default", quiet: bool = False
    ) -> None:
        """Do something in a worker, with a sign while it lasts, and tell what is refused.

        Args:
            sign: What is being done.
            work: The work; it posts messages and touches no widget.
            group: Work of the same named group replaces what was under way.
            quiet: Whether a lost daemon is left to the trust strip alone.
        """
        # Not a coroutine yet: one that is replaced before it began would be one that nobody awaited.
        guarded: Callable[[], Coroutine[None, None, None]] = partial(self._guarded, sign, work, quiet=quiet)
        _: Worker[None] = self.run_worker(guarded, group=group, exclusive=group != "default")

    async def _guarded(self, sign: str, work: Callable[[], Awaitable[None]], *, quiet: bool) -> None:
        begun = False

        def show() -> None:
            nonlocal begun
            begun = True
            self.post_message(Busy(sign, begun=True))

        waiting = asyncio.get_running_loop().call_later(SIGN_SECONDS, show)
        try:
            await work()
        except DaemonUnreachable as error:
            self.look()
            if not quiet:
                self.post_message(Failed(error))
        except HoldfastError as error:
            self.post_message(Failed(error))
        finally:
            waiting.cancel()
            if begun:
                self.post_message(Busy(sign, begun=False))

    @on(Busy)
    def _busy(self, message: Busy) -> None:
        if message.begun:
            self._signs.append(message.sign)
        elif message.sign in self._signs:
            self._signs.remove(message.sign)
        self.section.show_state()

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        error, remedy = message.error, message.error.remedy
        listed = trained.refused(error)
        if listed and isinstance(self.screen, Section):
            self.push_screen(Reading("Refused", "\n".join(listed)))
            return
        if error.key in EXCEPTABLE:
            kind, name = EXCEPTABLE[error.key]
            self.exceptable = kind, str(error.fields.get(name) or "")
            remedy = f"{remedy.partition(';')[0].rstrip('.')}, or press 5 and e to ask for an exception."
        sentence = textwrap.shorten(plain(error.message), MAX_NOTICE, placeholder=" …")
        self.notify(
            f"{sentence}\n{plain(remedy)}", title="Refused", severity="error", timeout=12, markup=False
        )

    @on(Told)
    def _told(self, message: Told) -> None:
        self.notify(plain(message.text), timeout=8, markup=False)
        self.look()

    def follow(self, job: int, title: str, ending: Callable[[dict[str, Json]], str] | None = None) -> Feed:
        """Follow a job's stream, from its first entry, through restarts of the daemon.

        Args:
            job: Its number.
            title: What it does.
            ending: Gives what to tell when it ends well, empty if nothing; nothing is told of jobs that are only looked at.

        Returns:
            What is known of it; it grows.
        """
        if ending is not None:
            self._endings[job] = ending
        if job not in self.feeds:
            self.feeds[job] = Feed(job, title)
            self.run_worker(self._follow(self.feeds[job]), group="jobs")
        self.post_message(JobMoved(self.feeds[job]))
        return self.feeds[job]

    @contextmanager
    def preparing(self, title: str) -> Iterator[Callable[[dict[str, Json]], None]]:
        """Show how far work is whose streams are read elsewhere, one job's after the other's.

        Args:
            title: What is being done.

        Yields:
            What is told of each entry of the streams.
        """
        feed = Feed(min([0, *self._jobs]) - 1, title)  # no job has such a number
        self._jobs[feed.job] = feed

        def tell(entry: dict[str, Json]) -> None:
            if number(entry.get("n")) <= feed.last:
                feed.last = 0  # the next job's stream begins
            if entry.get("kind") not in ("result", "error"):  # the end of one of them is not the end of all
                feed.take(entry)
                self.post_message(JobMoved(feed))

        try:
            yield tell
        finally:
            del self._jobs[feed.job]
            self.look()

    async def _follow(self, feed: Feed) -> None:
        while not feed.ended:
            try:
                async for entry in self.link.follow(feed.job, feed.last):
                    feed.take(entry)
                    self.post_message(JobMoved(feed))
            except (DaemonUnreachable, NotAuthenticated):
                await asyncio.sleep(WATCH_SECONDS)
            except HoldfastError as error:
                feed.error = error
                self.post_message(JobMoved(feed))

    @on(JobMoved)
    def _job_moved(self, message: JobMoved) -> None:
        feed = message.feed
        if feed.ended:
            self._jobs.pop(feed.job, None)
            ending = self._endings.pop(feed.job, None)
            if ending is not None and feed.error is not None:
                self.post_message(Failed(feed.error))
            elif ending is not None and (text := ending(feed.result or {})):
                self.post_message(Told(text))
        elif feed.job in self._jobs or feed.job in self._endings or feed.job in self.jobs_running():
            self._jobs[feed.job] = feed
        self.section.job_moved(feed)
        self.section.show_state()

    def jobs_running(self) -> set[int]:
        """Name the jobs that the daemon runs.

        Returns:
            Their numbers, as of the last status.
        """
        return {number(one.get("job")) for one in records((self.status or {}).get("jobs"))}

    def action_perform(self, name: str) -> None:
        """Do what a key or the palette asks for, or say why not.

        Args:
            name: An action of the registry.
        """
        section = self.section
        action = actions.named(name, section.SECTION)
        refusal = actions.refusal(action, self.link.roles)
        if refusal is not None:
            self.notify(
                f"{self.link.person} may not do that: it {refusal}.\nPress w to switch to such a person.",
                title=action.label,
                severity="warning",
                markup=False,
            )
            return
        if name in actions.SECTIONS:
            self.switch_mode(name)
            return
        handlers: dict[str, Callable[[], object]] = {
            "help": self._help,
            "person": self._switch_person,
            "refresh": section.reload,
            "health": self._health,
            "palette": self.action_command_palette,
            "quit": self.exit,
            **section.handlers(),
        }
        handlers[name]()

    def _help(self) -> None:
        lines = []
        for action in actions.of(self.section.SECTION):
            refusal = actions.refusal(action, self.link.roles)
            lines.append(f"{'  '.join(action.keys).replace('question_mark', '?'):8} {action.help}")
            if refusal:
                lines.append(f"{'':8} Not now: {refusal}.")
        lines += ["", "Arrows and Tab move, Enter opens, Esc goes back. Long work goes on when you leave."]
        self.push_screen(Reading(f"Keys of {self.section.SECTION.capitalize()}", "\n".join(lines)))

    def _health(self) -> None:
        text = "\n".join(health.described(self.status)) if self.status else self.why
        self.push_screen(Reading("How the home is", text))

    def _switch_person(self) -> None:
        people = record((self.status or {}).get("people"))
        known = [f"{name} ({', '.join(texts(roles))})" for name, roles in sorted(people.items())]
        self.push_screen(
            Form(
                "Who sits down at this terminal?",
                [Field("person", "Person"), Field("passphrase", "Passphrase of their key", secret=True)],
                note="Known here: " + ", ".join(known) if known else "",
            ),
            self._person_named,
        )

    def _person_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            self.begin(
                "opening the key",
                partial(self._change, answer["person"].strip(), answer["passphrase"]),
                group="person",
            )

    async def _change(self, person: str, passphrase: str) -> None:
        place = people_keys() if self._keys is None else Path(self._keys)
        pair = await asyncio.to_thread(identity.unlock, place, person, passphrase)
        await self.forget_chat_key()
        await self.link.switch(pair)
        self.post_message(PersonChanged(self.link.person, self.link.roles))

    async def forget_chat_key(self) -> None:
        """Revoke the console's application key, which was made for the person at the terminal."""
        key, self.chat_key = self.chat_key, None
        if key is not None:
            await self.link.call("DELETE", f"/v1/serving/keys/{key[0]}")

    @on(PersonChanged)
    def _person_changed(self, message: PersonChanged) -> None:
        self.notify(f"{message.person} is signed in ({', '.join(message.roles)}).", markup=False)
        for stack in self._screen_stacks.values():
            for screen in stack:
                if isinstance(screen, Section):
                    screen.person_changed()
        self.section.show_state()
        self.section.reload()

    async def on_unmount(self) -> None:
        """Leave nothing behind: the console's key and session end with it."""
        try:
            await self.forget_chat_key()
        except HoldfastError as error:
            self.log.warning(str(error))
        await self.link.close()


def run(home: Home, pair: KeyPair) -> None:
    """Open the console and stay until the person leaves.

    Args:
        home: Whose daemon.
        pair: The opened keys of the person.
    """
    HoldfastApp(home, pair).run()
