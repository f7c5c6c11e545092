"""The routes: what each path of the endpoint does with a request that has passed the gate.

Order of operations of a request: body within its limit → parameters → may the key use the model → the desk (a place, the
engine takes it, the intent on the record) → headers → tokens → the outcome on the record → its receipt in the body, or in the
last event of a stream. Invariants: every path that is here is in the OpenAPI document and the other way round; the first byte
of an answer follows the ack of its intent; no error says more than ``refusals`` lets it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from holdfast.errors import HoldfastError, OperationFailed, UntrustedRequest
from holdfast.serving.api import openapi, refusals, requests
from holdfast.serving.api.exchange import Exchange
from holdfast.serving.api.forms import describe
from holdfast.serving.api.reading import read, refused
from holdfast.serving.api.stream import GONE
from holdfast.serving.front import body, deadline
from holdfast.serving.front.gate import KEY
from holdfast.serving.front.visits import VISIT, visit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from holdfast.serving.api.parameters import Strict
    from holdfast.serving.front.desk import Desk
    from holdfast.serving.front.metrics import Metrics
    from holdfast.serving.front.refused import Refused
    from holdfast.serving.front.routing import Routing
    from holdfast.serving.keys import ApiKey
    from holdfast.serving.spec import Choice

LONG_BODY = 64 * 2**10  # bytes; reading a longer one would hold up what others are being sent
NOT_FOUND, NOT_ALLOWED = 404, 405
MISSING = "missing_required_parameter"
ROUTES = {
    "/v1/models": ("GET", "models"),
    "/v1/models/{model}": ("GET", "model"),
    "/v1/chat/completions": ("POST", "chat"),
    "/v1/completions": ("POST", "complete"),
    "/v1/embeddings": ("POST", "embed"),
    "/tokenize": ("POST", "tokenize"),
    "/detokenize": ("POST", "detokenize"),
    "/health": ("GET", "health"),
    "/metrics": ("GET", "metrics"),
    "/openapi.json": ("GET", "openapi"),
}
_T = TypeVar("_T", bound="Strict")


class Endpoint:
    """The routes and what they share.

    Args:
        routing: What model ids mean.
        desk: Takes questions.
        refused: Counts what is refused where nothing is asked for.
        metrics: Counts what is answered.
        healthy: Tells whether answers are computed.
        clock: Gives the time in seconds since 1970.
    """

    def __init__(  # noqa: PLR0917 - each is another part of the front
        self,
        routing: Routing,
        desk: Desk,
        refused: Refused,
        metrics: Metrics,
        healthy: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._routing = routing
        self._desk = desk
        self._refused = refused
        self._metrics = metrics
        self._healthy = healthy
        self._clock = clock
        self._since = int(clock())
        self._document = json.dumps(openapi.document(), ensure_ascii=False).encode()

    def app(self) -> Starlette:
        """Make the ASGI application, to be put behind the gate.

        Returns:
            The application.
        """
        routes = [
            Route(path.replace("{model}", "{model:path}"), getattr(self, name), methods=[method])
            for path, (method, name) in ROUTES.items()  # an id may hold what a segment of a path may not
        ]
        handlers = {HoldfastError: self._refuse, HTTPException: self._refuse_http, Exception: _refuse_fault}
        made = Starlette(routes=routes, exception_handlers=handlers)
        made.router.redirect_slashes = False
        return made

    async def health(self, _request: Request) -> Response:
        """Say whether answers are being computed.

        Args:
            _request: Unused.

        Returns:
            200 or 503.
        """
        well = self._healthy()
        return JSONResponse({"status": "ok" if well else "unavailable"}, 200 if well else 503)

    async def metrics(self, _request: Request) -> Response:
        """Give the counters.

        Args:
            _request: Unused.

        Returns:
            Prometheus' text format.
        """
        data, kind = self._metrics.exposition()
        return Response(data, media_type=kind)

    async def openapi(self, _request: Request) -> Response:
        """Give the OpenAPI document.

        Args:
            _request: Unused.

        Returns:
            The document.
        """
        return Response(self._document, media_type="application/json")

    async def models(self, request: Request) -> Response:
        """List the models that the key opens.

        Args:
            request: The request.

        Returns:
            OpenAI's list.
        """
        shown = [
            describe(choice, self._since) for choice in self._routing.listed(visit_of(request.scope).key)
        ]
        return JSONResponse({"object": "list", "data": shown})

    async def model(self, request: Request) -> Response:
        """Describe one model.

        Args:
            request: The request.

        Returns:
            OpenAI's model object.
        """
        choice = self._routing.find(visit_of(request.scope).key, request.path_params["model"])
        return JSONResponse(describe(choice, self._since))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation.

        Args:
            request: The request.

        Returns:
            The answer, whole or as a stream.
        """
        asked = await self._read(requests.ChatRequest, request)
        return await self._exchange(request, asked.model).chat(asked, self._routing.limits.new_tokens)

    async def complete(self, request: Request) -> Response:
        """Continue one or several texts.

        Args:
            request: The request.

        Returns:
            The continuations, whole or as a stream.
        """
        asked = await self._read(requests.CompletionRequest, request)
        return await self._exchange(request, asked.model).complete(asked, self._routing.limits.new_tokens)

    async def embed(self, request: Request) -> Response:
        """Turn texts into vectors.

        Args:
            request: The request.

        Returns:
            The vectors.
        """
        asked = await self._read(requests.EmbeddingRequest, request)
        return await self._exchange(request, asked.model).embed(asked)

    async def tokenize(self, request: Request) -> Response:
        """Turn a text or a conversation into token ids.

        Args:
            request: The request.

        Returns:
            The token ids.
        """
        asked = await self._read(requests.TokenizeRequest, request)
        return await self._exchange(request, asked.model).tokenize(asked)

    async def detokenize(self, request: Request) -> Response:
        """Turn token ids into text.

        Args:
            request: The request.

        Returns:
            The text.
        """
        asked = await self._read(requests.DetokenizeRequest, request)
        return await self._exchange(request, asked.model).detokenize(asked)

    async def _read(self, kind: type[_T], request: Request) -> _T:
        limit = self._routing.limits.body_bytes
        given = await body.read_body(request, limit)
        if len(given) > LONG_BODY:
            return await asyncio.to_thread(read, kind, given, limit)
        return read(kind, given, limit)

    def _exchange(self, request: Request, model: str | None) -> Exchange:
        visit = visit_of(request.scope)
        choice = self._only(visit.key) if model is None else self._routing.find(visit.key, model)
        return Exchange(
            self._desk, request, visit, choice, deadline.read(request.headers), int(self._clock())
        )

    def _only(self, key: ApiKey) -> Choice:
        """Find the model that is meant when none is named: adapters have their model's vocabulary."""
        found = {choice.model.id: choice for choice in reversed(self._routing.listed(key))}
        if len(found) != 1:
            raise refused(
                "model", f"The parameter model is missing; {len(found)} models are open to the key.", MISSING
            )
        return next(iter(found.values()))

    async def _refuse(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HoldfastError):  # Starlette chose this handler by the class
            raise error
        self._note(request, error)
        return refusals.response(error)

    async def _refuse_http(self, request: Request, error: Exception) -> Response:
        found = error.status_code if isinstance(error, HTTPException) else 500
        if found == NOT_FOUND:
            told, name = "There is no such path here.", "not_found"
        elif found == NOT_ALLOWED:
            told, name = "This path does not take this method.", "method_not_allowed"
        else:
            found, told, name = 400, "The request is refused.", "refused"
        key = {NOT_FOUND: "serve.route-unknown", NOT_ALLOWED: "serve.method"}.get(found, "serve.refused")
        self._note(request, UntrustedRequest(key, told, remedy="See /openapi.json."))
        headers = error.headers if isinstance(error, HTTPException) else None
        return JSONResponse(refusals.form(found, told, None, name), found, headers)

    def _note(self, request: Request, error: HoldfastError) -> None:
        """Take that a request is refused: on the record if it asks for something, else counted."""
        if VISIT in request.scope:
            visit_of(request.scope).refuse(error)
        else:
            key: ApiKey | None = request.scope.get(KEY)
            self._refused.note(error.key, key.id if key else None)


async def _refuse_fault(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):  # nobody is there to be told
        return Response(status_code=GONE)
    fault = OperationFailed("serve.fault", type(error).__name__, remedy="See the worker's log.")
    if VISIT in request.scope:
        visit_of(request.scope).refuse(fault)
    return refusals.response(fault)
