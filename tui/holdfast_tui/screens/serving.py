"""Serving: what is served, and a chat that goes the way of any application and shows both receipts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding
from textual.widgets import DataTable, Input, Static
from textual.worker import WorkerCancelled, get_current_worker

from holdfast.errors import HoldfastError
from holdfast.parts import record, records
from holdfast_tui import actions
from holdfast_tui.messages import ChatEnded, ChatText, Failed, Told
from holdfast_tui.reading import NOTHING, banner, brief, figure, number, revocation, texts, told
from holdfast_tui.screens.dialogs import Field, Form
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
_MODELS = (("model", 32), ("state", 9), ("digest", 9), ("label", 24))
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
        """Fetch what is served, and the runs whose adapters could be.

        Returns:
            ``serving`` and ``runs``.
        """
        link = self.console_app.link
        serving = await link.call("GET", "/v1/serving")
        return {"serving": serving, **await link.call("GET", "/v1/runs")}

    def show(self, data: dict[str, Json]) -> None:
        """Show what is served.

        Args:
            data: What ``load`` gave.
        """
        self._serving, self._runs = record(data.get("serving")), records(data.get("runs"))
        models = records(self._serving.get("models"))
        self.fill(
            "#models",
            [
                (
                    str(one["id"]),
                    (
                        one["id"],
                        self._revocation(one)[0] or "served",
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
        """Say where models are served, and why the selected one is not."""
        models = records(self._serving.get("models"))
        lines = []
        if models:
            figures = [
                f"{name} {self._serving[name]}"
                for name in ("active", "queued", "served")
                if name in self._serving
            ]
            lines.append(" · ".join((f"Serving at {told(self._serving.get('address'))}/v1", *figures)))
        key = selected(self.query_one("#models", DataTable))
        lines += [why for one in models if one.get("id") == key and (why := self._revocation(one)[1])]
        self.query_one("#served", Static).update("\n".join(lines))

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does this section's actions.

        Returns:
            By action.
        """
        return {
            "quantize": self._quantize,
            "serve": self._serve,
            "stop": self._stop,
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
                    Field("types", "Types", " ".join(_QUANTIZATIONS)),
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
                "quantizations": list(answer["types"].split()),
            }
            self._start("/v1/models/convert", body, "conversion", _converted)

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
                    Field("type", "Type", _QUANTIZATIONS[0]),
                ],
            ),
            self._serve_named,
        )

    def _serve_named(self, answer: dict[str, str] | None) -> None:
        if answer is not None:
            body: dict[str, Json] = {
                "model": answer["model"].strip(),
                "adapters": list(answer["adapters"].split()),
                "quantization": answer["type"].strip(),
            }
            self._start(
                "/v1/serving/start",
                body,
                "start of serving",
                lambda found: f"Serving at {told(found.get('address'))}/v1.",
            )

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
            answer = chat.ask(address, secret, model, question, max_tokens=MAX_TOKENS, on_text=more)
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
        if one
    ]
    return f"Converted. {'; '.join(parts) or NOTHING}. s starts serving."
