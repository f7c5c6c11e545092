"""The OpenAI-compatible endpoint.

Order of operations of a request: key (``gate``) → body within its limit → parameters → may the key use the model → prompt
into tokens → do they fit → a place in the queue → the intent on the record → headers → tokens → the outcome on the record →
its receipt in the body, or in the last event of a stream. Invariants: whatever is refused before the record costs no
computing; the first byte of an answer follows the ack of its intent.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdfast import canonical
from holdfast.errors import HoldfastError, NotFound, NotRecorded, OperationFailed, UntrustedRequest
from holdfast.serving import refusals, schemas
from holdfast.serving.answer import Question
from holdfast.serving.forms import ChatForm, TextForm, receipts, usage
from holdfast.serving.gate import Gate, read_body
from holdfast.serving.sampling import Sampling
from holdfast.serving.spec import offered
from holdfast.serving.stream import DONE, EventStream, event, until_gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from holdfast.canonical import Json
    from holdfast.serving.answer import Answer, Desk
    from holdfast.serving.engine import Engine
    from holdfast.serving.forms import Form
    from holdfast.serving.gate import Vault
    from holdfast.serving.keys import ApiKey
    from holdfast.serving.refused import Refused
    from holdfast.serving.spec import Choice, Settings
    from holdfast.serving.template import ChatTemplate

OWNER = "holdfast"
NOT_FOUND = 404
_SEEDS = 2**53  # a chosen seed must survive JSON
_SEED_RANGE = 2**64


class Withdrawn(UntrustedRequest):
    """The model was revoked by its publisher while it was served."""

    http_status = 410


class Endpoint:
    """The routes and what they share.

    Args:
        settings: What is served.
        engine: Computes.
        desk: Takes questions.
        templates: The chat template of each model that has one.
        clock: Gives the time in seconds since 1970.
        refused: Counts what is refused.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        desk: Desk,
        templates: Mapping[str, ChatTemplate],
        clock: Callable[[], float],
        *,
        refused: Refused,
    ) -> None:
        self._limits = settings.limits
        self._choices = {choice.id: choice for choice in offered(settings)}
        self._withdrawn: dict[str, Withdrawn] = {}
        self._engine = engine
        self._desk = desk
        self._templates = templates
        self._clock = clock
        self._refused = refused
        self._paused = False
        self._since = int(clock())

    def app(self, vault: Vault) -> Gate:
        """Make the ASGI application.

        Args:
            vault: The keys that open it.

        Returns:
            The application, behind its gate.
        """
        routes = [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/models/{name}", self.model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
        ]
        handlers = {HoldfastError: self._refuse, HTTPException: self._refuse_http, Exception: _refuse_fault}
        return Gate(Starlette(routes=routes, exception_handlers=handlers), vault, self._refused)

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - handed to the loop as a callback
        """Refuse questions, because their answers could not be recorded, or take them again; nothing else changes.

        Args:
            paused: Whether to refuse.
        """
        self._paused = paused
        self._refused.pause(paused=paused)

    def withdraw(self, name: str, why: Withdrawn) -> None:
        """Refuse a model id from now on, and end what is under way.

        Args:
            name: A model id; nothing happens if it is not served.
            why: What applications are told.
        """
        if name in self._choices:
            self._withdrawn[name] = why
            self._engine.withdraw(self._choices[name].place, why)

    async def health(self, _request: Request) -> Response:
        """Say whether answers are being computed.

        Args:
            _request: Unused.

        Returns:
            200 or 503.
        """
        alive = self._engine.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    async def models(self, request: Request) -> Response:
        """List the models that the key opens.

        Args:
            request: The request.

        Returns:
            OpenAI's list.
        """
        key: ApiKey = request.scope["holdfast.key"]
        shown = [
            self._describe(choice)
            for choice in self._choices.values()
            if key.opens(choice) and choice.id not in self._withdrawn
        ]
        return JSONResponse({"object": "list", "data": shown})

    async def model(self, request: Request) -> Response:
        """Describe one model.

        Args:
            request: The request.

        Returns:
            OpenAI's model object.
        """
        return JSONResponse(self._describe(self._opened(request, request.path_params["name"])))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation.

        Args:
            request: The request.

        Returns:
            The answer, whole or as a stream.
        """
        asked = schemas.read(schemas.ChatRequest, await self._body(request), self._limits.body_bytes)
        choice = self._opened(request, asked.model)
        turns = [{"role": message.role, "content": message.text} for message in asked.messages]
        prompt = await asyncio.to_thread(self._chat_prompt, choice, turns)
        document: dict[str, Json] = {"messages": [dict(turn) for turn in turns]}
        answer = await self._ask(request, asked, choice, prompt, document)
        return await self._reply(
            request, asked, answer, ChatForm(choice.id, answer.request.seq, int(self._clock()))
        )

    async def complete(self, request: Request) -> Response:
        """Continue a text.

        Args:
            request: The request.

        Returns:
            The continuation, whole or as a stream.
        """
        asked = schemas.read(schemas.CompletionRequest, await self._body(request), self._limits.body_bytes)
        choice = self._opened(request, asked.model)
        weights = self._engine.weights[choice.model.id]
        prompt = await asyncio.to_thread(partial(weights.tokenize, asked.prompt, begin=True))
        answer = await self._ask(request, asked, choice, prompt, {"prompt": asked.prompt})
        return await self._reply(
            request, asked, answer, TextForm(choice.id, answer.request.seq, int(self._clock()))
        )

    async def _body(self, request: Request) -> bytes:
        return await read_body(request, self._limits.body_bytes)

    def _opened(self, request: Request, name: str) -> Choice:
        key: ApiKey = request.scope["holdfast.key"]
        choice = self._choices.get(name)
        if choice is None or not key.opens(choice):
            raise NotFound(
                "serve.model-unknown",
                f"The model {name[:260]!r} does not exist, or your key does not open it.",
                remedy="GET /v1/models lists those that it opens.",
                param="model",
                code="model_not_found",
            )
        if name in self._withdrawn:
            raise self._withdrawn[name]
        return choice

    def _chat_prompt(self, choice: Choice, turns: list[dict[str, str]]) -> list[int]:
        template = self._templates.get(choice.model.id)
        if template is None:
            raise UntrustedRequest(
                "serve.no-template",
                f"The model {choice.id} has no chat template.",
                remedy="Use /v1/completions.",
                param="model",
                code="no_chat_template",
            )
        # The template writes all special tokens itself, as transformers' tokenizers assume too.
        return self._engine.weights[choice.model.id].tokenize(template.render(turns), begin=False)

    async def _ask(
        self,
        request: Request,
        asked: schemas.ChatRequest | schemas.CompletionRequest,
        choice: Choice,
        prompt: list[int],
        document: dict[str, Json],
    ) -> Answer:
        if self._paused:
            raise NotRecorded(
                "serve.paused", "The audit log takes no new acts.", remedy="Try again when it does."
            )
        most = self._room(choice, len(prompt), asked.most)
        seed = secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed
        sampling = Sampling(
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=seed % _SEED_RANGE,
        )
        understood: dict[str, Json] = {
            **document,
            "model": choice.id,
            "max_tokens": most,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "stop": list(asked.stops),
            "user": asked.user,
        }
        key: ApiKey = request.scope["holdfast.key"]
        return await self._desk.ask(
            Question(
                choice,
                key,
                prompt,
                most,
                sampling,
                asked.stops,
                canonical.encode(understood),
                asked.user or "",
            )
        )

    def _room(self, choice: Choice, prompt: int, wanted: int | None) -> int:
        """Give the most tokens of the answer, or refuse with the numbers."""
        context = choice.model.context
        longest = min(self._limits.prompt_tokens, context - 1)
        if not 0 < prompt <= longest:
            raise UntrustedRequest(
                "serve.prompt-length",
                f"The prompt has {prompt} tokens; 1 to {longest} are allowed (the context of {choice.id} has {context}).",
                remedy="Send a prompt that fits.",
                param="messages",
                code="context_length_exceeded" if prompt else "empty_prompt",
                prompt_tokens=prompt,
                allowed_tokens=longest,
                context_tokens=context,
            )
        if wanted is not None and wanted > self._limits.new_tokens:
            raise UntrustedRequest(
                "serve.answer-length",
                f"An answer of {wanted} tokens is asked for; {self._limits.new_tokens} are allowed.",
                remedy="Ask for fewer.",
                param="max_tokens",
                code="invalid_value",
            )
        return min(self._limits.new_tokens if wanted is None else wanted, context - prompt)

    async def _reply(
        self,
        request: Request,
        asked: schemas.ChatRequest | schemas.CompletionRequest,
        answer: Answer,
        form: Form,
    ) -> Response:
        headers = _headers(answer)
        cancel = partial(self._desk.cancel, answer)
        if asked.streams:
            return EventStream(_events(answer, form, counted=asked.wants_usage), headers, cancel)
        text = await until_gone(request.receive, _whole(answer), cancel)
        if text is None:
            return JSONResponse({}, 499)  # nobody is there to read it
        return JSONResponse(
            form.whole(text, answer) | {"usage": usage(answer), "holdfast": receipts(answer)}, 200, headers
        )

    async def _refuse(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HoldfastError):  # Starlette chose this handler by the class
            raise error
        self._count(request, error.http_status, error.key)
        return refusals.response(error)

    async def _refuse_http(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        self._count(request, status, "serve.route-unknown" if status == NOT_FOUND else "serve.method")
        headers = error.headers if isinstance(error, HTTPException) else None
        return JSONResponse({"error": _refused_form(status)}, status, headers)

    def _count(self, request: Request, status: int, reason: str) -> None:
        """Count what was asked for without a key, or is not there for the key."""
        key: ApiKey | None = request.scope.get("holdfast.key")
        if key is None or status == NOT_FOUND:
            self._refused.note(reason, key.id if key else None)

    def _describe(self, choice: Choice) -> dict[str, Json]:
        return {
            "id": choice.id,
            "object": "model",
            "created": self._since,
            "owned_by": OWNER,
            "holdfast": {
                "digest": choice.model.digest,
                "adapter_digest": choice.adapter.digest if choice.adapter else None,
                "release": choice.release,
                "label": choice.label.to_json(),
            },
        }


async def _whole(answer: Answer) -> str:
    return "".join([piece async for piece in answer.pieces()])


async def _events(answer: Answer, form: Form, *, counted: bool) -> AsyncIterator[bytes]:
    without: dict[str, Json] = {"usage": None} if counted else {}
    first = form.first()
    if first is not None:
        yield event(first | without)
    try:
        async for piece in answer.pieces():
            yield event(form.piece(piece) | without)
    except HoldfastError as error:
        yield event(refusals.body(error))
        return
    record: dict[str, Json] = {"holdfast": receipts(answer)}
    if counted:
        yield event(form.last(answer) | without)
        yield event(form.counts() | {"usage": usage(answer)} | record)
    else:
        yield event(form.last(answer) | record)
    yield DONE


def _headers(answer: Answer) -> dict[str, str]:
    choice = answer.question.choice
    headers = {
        "x-holdfast-request-receipt": str(answer.request.seq),
        "x-holdfast-label": quote(str(choice.label), safe=" /@,"),
        "x-holdfast-model-digest": choice.model.digest,
    }
    if choice.adapter is not None:
        headers["x-holdfast-adapter-digest"] = choice.adapter.digest
    if choice.release is not None:
        headers["x-holdfast-release"] = str(choice.release)
    return headers


def _refused_form(status: int) -> dict[str, Json]:
    words = {NOT_FOUND: "There is no such path here.", 405: "This path does not take this method."}
    return {
        "message": words.get(status, "The request is refused."),
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found" if status == NOT_FOUND else "refused",
    }


async def _refuse_fault(_request: Request, error: Exception) -> Response:
    return refusals.response(
        OperationFailed("serve.fault", type(error).__name__, remedy="See the worker's log.")
    )
