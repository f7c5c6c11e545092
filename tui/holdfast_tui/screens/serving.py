"""Serving: what is served by which engine, keys and usage, and a chat that goes the way of any application and shows both receipts."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding
from textual.widgets import DataTable, Input, Static
from textual.worker import WorkerCancelled, get_current_worker

from holdfast.errors import HoldfastError
from holdfast.parts import record, records
from holdfast_tui import actions, served
from holdfast_tui.messages import ChatEnded, ChatText, Failed, Told
from holdfast_tui.reading import NOTHING, banner, brief, figure, number, plain, revocation, texts, told
from holdfast_tui.screens import keys
from holdfast_tui.screens.dialogs import Decision, Field, Form, Reading
from holdfast_tui.screens.section import Section, columns, selected
from holdfast_tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.widget import Widget

    from holdfast.canonical import Json

TENANT = "console"
MAX_TOKENS = 256  # of one answer in the chat
MAX_QUESTION = 8000  # characters; longer ones belong into an application
_MODELS = (("model", 30), ("state", 9), ("release", 7), ("digest", 8), ("label", 18))
_NOT_SERVED = "Nothing is served.\n\nPress s to start; a base needs its GGUF files first: z makes them."
_QUANTIZATIONS = ("q8_0", "q4_k_m")


class _Left(Exception):  # noqa: N818 - a person leaving is no error
    """The person left while an answer was coming."""


class ServingSection(Section):
    """Models above, the chat below."""

    SECTION = actions.SERVING
    FOCUS = "#models"
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings(actions.SERVING),
        Binding("escape", "leave_question", "back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._serving: dict[str, Json] = {}
        self._runs: list[dict[str, Json]] = []
        self._keys: list[dict[str, Json]] = []

    def body(self) -> Iterator[Widget]:
        """Lay out models, chat and question.

        Yields:
            The widgets.
        """
        yield from columns("models", _MODELS)
        yield Static("", id="served", markup=False)
        yield Transcript()
        yield Input(
            placeholder="c or Tab: type a question, Enter asks it", id="question", max_length=MAX_QUESTION
        )

    async def load(self) -> dict[str, Json]:
        """Fetch what is served, the runs whose adapters could be, and the keys.

        Returns:
            ``serving``, ``runs`` and ``keys``.
        """
        link = self.console_app.link
        serving = await link.call("GET", "/v1/serving")
        return {
            "serving": serving,
            **await link.call("GET", "/v1/runs"),
            **await link.call("GET", "/v1/serving/keys"),
        }

    def show(self, data: dict[str, Json]) -> None:
        """Show what is served.

        Args:
            data: What ``load`` gave.
        """
        self._serving, self._runs = record(data.get("serving")), records(data.get("runs"))
        self._keys = records(data.get("keys"))
        models = records(self._serving.get("models"))
        self.fill(
            "#models",
            [
                (
                    str(one["id"]),
                    (
                        one["id"],
                        self._revocation(one)[0] or served.state(self._serving, str(one["id"])),
                        NOTHING if one.get("release") is None else f"#{one['release']}",
                        brief(one.get("digest")),
                        banner([one.get("label")])[1],
                    ),
                )
                for one in models
            ],
            f"{self._serving['ended']}\n\n{_NOT_SERVED}" if self._serving.get("ended") else _NOT_SERVED,
        )
        self._draw()

    def _revocation(self, model: dict[str, Json]) -> tuple[str, str]:
        """Say whether a served model is revoked: by what the daemon stopped it for, or by what it is made of."""
        stopped = record(model.get("revoked"))
        if stopped:
            return "REVOKED", f"REVOKED: {told(stopped.get('message'))} {told(stopped.get('remedy'))}"
        return revocation(self.console_app.artefacts.get(str(model.get("digest"))))

    @on(DataTable.RowHighlighted, "#models")
    def _draw(self) -> None:
        """Say where models are served, what was used today, and why the selected one does not answer."""
        models = records(self._serving.get("models"))
        lines = served.summary(self._serving, self._keys) if models else []
        key = selected(self.query_one("#models", DataTable))
        for one in models:
            if one.get("id") == key:
                lines += [self._revocation(one)[1] or served.hindrance(self._serving, str(key))]
        self.query_one("#served", Static).update(plain("\n".join(filter(None, lines))))

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        app = self.console_app
        return {
            "quantize": self._quantize,
            "serve": self._serve,
            "stop": self._stop,
            "load": self._load_more,
            "unload": self._unload,
            "engines": self._engines,
            "keys": lambda: keys.keys(app),
            "new-key": lambda: keys.create(app),
            "revoke-key": lambda: keys.revoke(app),
            "usage": lambda: keys.usage(app),
            "chat": self._picked,
        }

    def action_leave_question(self) -> None:
        """Go from the question back to the models."""
        self.query_one("#models").focus()

    def _done(self, *, gated: bool) -> list[str]:
        """Name the finished runs, newest first; if ``gated``, those whose gate said go."""
        return [
            str(one["number"])
            for one in self._runs
            if one.get("state") == "done" and (not gated or record(one.get("gate")).get("go"))
        ]

    def _quantize(self) -> None:
        runs = self._done(gated=False)
        self.app.push_screen(
            Form(
                "Make GGUF files",
                [
                    Field("model", "Base", "starter"),
                    Field(
                        "adapter",
                        "Run whose adapter goes with it (may be empty)",
                        runs[0] if runs else "",
                        optional=True,
                    ),
                    Field(
                        "types",
                        "Types (empty: the smallest that keeps the floor)",
                        " ".join(_QUANTIZATIONS),
                        optional=True,
                    ),
                ],
                note="The files are compared with the original, and kept only if they agree with it.",
            ),
            self._quantize_named,
        )

    def _quantize_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            body: dict[str, Json] = {
                "model": answer["model"].strip(),
                "adapter": answer["adapter"].strip() or None,
                "types": list(answer["types"].split()),
            }
            self._start("/v1/models/quantize", body, "conversion", _converted)

    def _serve(self) -> None:
        self.app.push_screen(
            Form(
                "Start serving",
                [
                    Field("model", "Base", "starter"),
                    Field(
                        "adapters",
                        "Runs whose adapters are served (gate: go)",
                        " ".join(self._done(gated=True)[:1]),
                        optional=True,
                    ),
                    Field("type", "Type (empty: the smallest that keeps the floor)", optional=True),
                ],
            ),
            self._serve_named,
        )

    def _serve_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            body: dict[str, Json] = {
                "model": answer["model"].strip(),
                "adapters": list(answer["adapters"].split()),
                "quantization": answer["type"].strip() or None,
            }
            self._start(
                "/v1/serving/start",
                body,
                "start of serving",
                lambda found: f"Serving at {told(found.get('address'))}/v1.",
            )

    def _load_more(self) -> None:
        self.app.push_screen(
            Form(
                "Serve more",
                [
                    Field("model", "Base; one that was taken out is brought back", "starter"),
                    Field("adapters", "Runs whose adapters are served (gate: go)", optional=True),
                    Field("type", "Type (empty: as it is served, else as at a start)", optional=True),
                ],
                note="What is served already goes on.",
            ),
            self._load_named,
        )

    def _load_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            body: dict[str, Json] = {
                "model": answer["model"].strip(),
                "adapters": list(answer["adapters"].split()),
                "quantization": answer["type"].strip() or None,
            }
            self._start("/v1/serving/load", body, "change of what is served", lambda _: "It is served.")

    def _unload(self) -> None:
        model = selected(self.query_one("#models", DataTable))
        if model is None:
            self.notify("Select the model that is served no more.", markup=False)
            return
        self.app.push_screen(
            Decision(
                "Serve this no more",
                f"{model}\n\nWhoever asked for it is answered first; other models go on. l serves it again.",
                "serve it no more",
            ),
            partial(self._unload_named, model),
        )

    def _unload_named(self, model: str, answer: bool | None) -> None:  # noqa: FBT001 - a dialog's answer
        if answer:
            self._start(
                "/v1/serving/unload",
                {"model": model},
                "change of what is served",
                lambda _: f"{model} is served no more.",
            )

    def _engines(self) -> None:
        self.app.push_screen(Reading("Engines", served.engines(self._serving)))

    def _start(
        self, route: str, body: dict[str, Json], title: str, ending: Callable[[dict[str, Json]], str]
    ) -> None:
        async def work() -> None:
            app = self.console_app
            answer = await app.link.call("POST", route, body)
            app.follow(number(answer["job"]), title, ending)
            app.look()

        self.console_app.begin(f"asking for the {title}", work)

    def _stop(self) -> None:
        async def work() -> None:
            await self.console_app.link.call("POST", "/v1/serving/stop")
            self.console_app.post_message(Told("Serving has stopped."))

        self.console_app.begin("stopping", work)

    @on(DataTable.RowSelected, "#models")
    def _picked(self) -> None:
        self.query_one("#question", Input).focus()

    @on(Input.Submitted, "#question")
    def _asked(self, message: Input.Submitted) -> None:
        question = message.value.strip()
        model = selected(self.query_one("#models", DataTable))
        refusal = actions.refusal(actions.named("chat", self.SECTION), self.console_app.link.roles)
        if not question:
            return
        if model is None or refusal is not None:
            self.notify(
                f"Chatting {refusal}." if refusal else "Nothing is served: Esc, then s starts.", markup=False
            )
            return
        message.input.clear()
        turn = self.query_one(Transcript).ask(self.console_app.link.person, question)
        self.console_app.begin(f"{model} answers", partial(self._chat, turn, model, question), group="chat")

    async def _chat(self, turn: int, model: str, question: str) -> None:
        try:
            secret = await self._key()
            worker = self.run_worker(
                lambda: self._stream(turn, model, question, secret),
                thread=True,
                group="stream",
                exclusive=True,
            )
            await worker.wait()
        except WorkerCancelled:
            return  # another person sits down, or another question was asked
        except HoldfastError:
            self.post_message(ChatEnded(turn, None))
            raise

    async def _key(self) -> str:
        """Make the console's application key at the first question; it is revoked when the console ends."""
        app = self.console_app
        if app.chat_key is None:
            level, _ = banner(one.get("label") for one in records(self._serving.get("models")))
            names = {
                name
                for one in records(self._serving.get("models"))
                for name in texts(record(one.get("label")).get("compartments"))
            }
            made = await app.link.call(
                "POST",
                "/v1/serving/keys",
                {"tenant": TENANT, "level": level or "public", "compartments": [*sorted(names)]},
            )
            app.chat_key = str(made["key"]), str(made["secret"])
        return app.chat_key[1]

    def _stream(self, turn: int, model: str, question: str, secret: str) -> None:
        """Ask, in a thread: the openai client is a blocking one."""
        from holdfast.client import chat

        worker = get_current_worker()

        def more(text: str) -> None:
            if worker.is_cancelled:
                raise _Left
            self.post_message(ChatText(turn, text))

        try:
            address = str(self._serving.get("address"))
            trust = chat.named(os.environ)
            answer = chat.ask(
                address, secret, model, question, max_tokens=MAX_TOKENS, on_text=more, trust=trust
            )
        except _Left:
            return
        except HoldfastError as error:
            self.app.post_message(Failed(error))
            self.post_message(ChatEnded(turn, None))
        else:
            self.post_message(ChatEnded(turn, answer))

    @on(ChatText)
    def _more(self, message: ChatText) -> None:
        self.query_one(Transcript).more(message.turn, message.text)

    @on(ChatEnded)
    def _ended(self, message: ChatEnded) -> None:
        answer = message.answer
        if answer is None:
            self.query_one(Transcript).close(message.turn, "no receipt of an answer")
            return
        self.query_one(Transcript).close(
            message.turn,
            f"{told(answer['model'])}: request receipt {told(answer['request_seq'])}, "
            f"answer receipt {told(answer['answer_seq'])} · {told(answer['label'])} · "
            f"{told(answer['completion_tokens'])} tokens in {figure(answer['seconds'], 1)} s",
        )
        self.console_app.look()

    def person_changed(self) -> None:
        """Leave the conversation of the one before: another person starts with an empty screen."""
        self.workers.cancel_group(self, "stream")
        self.query_one(Transcript).forget()
        self.query_one("#question", Input).clear()


def _converted(found: dict[str, Json]) -> str:
    fidelity = record(found.get("fidelity"))
    parts = [
        f"{name}: KL {figure(one.get('kl'), 5)}, same top token {figure(one.get('top1'), 3)}"
        for name, one in ((name, record(value)) for name, value in fidelity.items())
        if "kl" in one
    ]
    return f"Converted. {'; '.join(parts) or NOTHING}. s starts serving."
