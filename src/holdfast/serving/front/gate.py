"""The gate before every route: who asks, and what for.

Order of operations: a head within its bounds → the key → from here on the request is a visit (``visits``), unless its path is one
of ``WATCHING`` → a scope for its path → no query → the routes → the visit on the record → the first byte. Invariants: what a path
needs is read from one table, and a path that is not in it is not there; every path but ``/health``, and that one too unless a site
opens it, needs a key, unknown paths too, so that nothing can be learnt without one; a key passes only to what one of its scopes
allows; a parameter of a query is refused by its name, because no path takes any; a head is bounded in its bytes and its lines.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from starlette.requests import ClientDisconnect

from holdfast.errors import HoldfastError, NotAuthenticated, NotFound, NotPermitted, UntrustedRequest
from holdfast.serving.api import refusals
from holdfast.serving.api.reading import MAX_SHOWN, refused
from holdfast.serving.front.body import ROOM
from holdfast.serving.front.faults import HeaderTooLarge
from holdfast.serving.front.protocol import CONNECTION, MAX_HEAD, Connection
from holdfast.serving.front.visits import METHODS, OTHER, VISIT, Visit
from holdfast.serving.keys import INFERENCE, METRICS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from holdfast.serving.front.body import Room
    from holdfast.serving.front.metrics import Metrics
    from holdfast.serving.front.refused import Refused
    from holdfast.serving.front.visits import Visits
    from holdfast.serving.keys import ApiKey, KeyRing
    from holdfast.serving.quota import Quotas

HEALTH = "/health"
KEY = "holdfast.key"  # under which a request's scope holds the key that was presented
SCRAPED = "/metrics"
WATCHING = frozenset({HEALTH, SCRAPED})  # asked every few seconds, and of nothing that anybody is served
ANY_SCOPE = ""  # any valid key will do
MAX_HEADERS = 64  # lines of a head; browsers and proxies send some thirty
MAX_AUTHORIZATION = 512  # characters of the authorization header; a key has 75
TWO_LENGTHS = "serve.two-lengths"
_SCHEME = "bearer "
NEEDED = {
    HEALTH: ANY_SCOPE,
    SCRAPED: METRICS,
    "/openapi.json": INFERENCE,
    "/v1/models": INFERENCE,
    "/v1/chat/completions": INFERENCE,
    "/v1/completions": INFERENCE,
    "/v1/embeddings": INFERENCE,
    "/tokenize": INFERENCE,
    "/detokenize": INFERENCE,
}
_MODEL = "/v1/models/"
MODEL = _MODEL + "{model}"


class Vault:
    """Holds the current keys, which are replaced as a whole, and what they have taken.

    Args:
        ring: The keys.
        quotas: What they have taken.
    """

    def __init__(self, ring: KeyRing, quotas: Quotas) -> None:
        self.ring = ring
        self.quotas = quotas

    @property
    def shared(self) -> bool:
        """Whether more than one tenant has a key."""
        return len(self.ring.tenants) > 1


class Gate:
    """ASGI middleware that lets holders of a key pass.

    Args:
        app: What is behind the gate.
        vault: The keys.
        visits: Where what those who have one ask for is recorded.
        refused: Where those who have none are counted.
        metrics: Where responses are counted.
        room: What bodies take while they arrive.
        open_health: Whether ``/health`` needs no key.
    """

    def __init__(  # noqa: PLR0917 - the parts of the front
        self,
        app: ASGIApp,
        vault: Vault,
        visits: Visits,
        refused: Refused,
        metrics: Metrics,
        room: Room,
        *,
        open_health: bool,
    ) -> None:
        self._app = app
        self._vault = vault
        self._visits = visits
        self._refused = refused
        self._metrics = metrics
        self._room = room
        self._open = frozenset({HEALTH}) if open_health else frozenset[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it.

        Args:
            scope: The connection.
            receive: Gives its events.
            send: Takes ours.
        """
        if scope["type"] != "http":
            return  # the server closes it

        connection = scope.get("state", {}).get(CONNECTION)

        replaced = False  # what the application says, by something else

        async def counted(message: Message) -> None:
            nonlocal replaced
            if replaced:
                return
            if message["type"] == "http.response.start":
                if VISIT in scope and (error := await self._visits.end(scope[VISIT], message["status"])):
                    await refusals.response(error)(scope, receive, counted)
                    replaced = True
                    return
                self._metrics.response(message["status"])
            await send(message)
            if isinstance(connection, Connection) and connection.lost:
                raise ClientDisconnect  # what nobody can receive was not sent, and is not recorded as if it had been

        with contextlib.suppress(ClientDisconnect):
            try:
                await self._pass(scope, receive, counted)
            finally:
                if VISIT in scope:
                    self._visits.leave(scope[VISIT])

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _require_small(scope)
            _require_one_length(scope)
            if scope["path"] not in self._open:
                self._require_key(scope)
        except HoldfastError as error:
            self._note(scope, error)
            told = refusals.response(error)
            if error.key == TWO_LENGTHS:
                told.headers["connection"] = "close"
            await told(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _require_key(self, scope: Scope) -> None:
        """Find out who asks, and refuse what the key is not for."""
        key, path = self._vault.ring.match(_presented(scope)), scope["path"]
        if key is None:
            raise NotAuthenticated("serve.key-unknown", "No valid key was presented.", remedy="Present one.")
        scope[KEY], scope[ROOM] = key, self._room
        if path not in WATCHING:
            scope[VISIT] = Visit(key, route(path), scope["method"] if scope["method"] in METHODS else OTHER)
        self._judge(path, key)
        if scope["query_string"]:
            raise _unsupported(bytes(scope["query_string"]))

    def _note(self, scope: Scope, error: HoldfastError) -> None:
        """Take that a request is refused: on the record if it is a visit, else counted."""
        if VISIT in scope:
            scope[VISIT].refuse(error)
        else:
            self._refused.note(error.key, scope[KEY].id if KEY in scope else None)

    @staticmethod
    def _judge(path: str, key: ApiKey) -> None:
        scope = needed(path)
        if scope is None:
            raise NotFound(
                "serve.route-unknown",
                "There is no such path here.",
                remedy="GET /openapi.json lists what there is.",
                code="not_found",
            )
        if scope != ANY_SCOPE and not key.may(scope):
            raise NotPermitted(
                "serve.scope",
                "This key is not for that.",
                remedy=f"Ask for a key with the scope {scope}.",
                code="insufficient_scope",
            )


def route(path: str) -> str:
    """Name a path without anything that a client made up.

    Args:
        path: The path of a request.

    Returns:
        A path of the table, that of one model in general, or ``OTHER``.
    """
    if needed(path) is None:
        return OTHER
    return path if path in NEEDED else MODEL


def needed(path: str) -> str | None:
    """Tell what scope a path needs.

    Args:
        path: The path of a request.

    Returns:
        The scope, ``ANY_SCOPE``, or None if there is no such path.
    """
    return INFERENCE if path.startswith(_MODEL) and len(path) > len(_MODEL) else NEEDED.get(path)


def _unsupported(query: bytes) -> UntrustedRequest:
    """Refuse the first parameter of a query by its name: none of the paths takes any."""
    first = query.decode("latin-1").partition("&")[0].partition("=")[0]
    name = unquote_plus(first)[:MAX_SHOWN]
    return refused(name, f"The parameter {name} is not supported here.", "unsupported_parameter")


def _require_small(scope: Scope) -> None:
    headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(a) + len(b) for a, b in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEAD:
        raise HeaderTooLarge(
            "serve.head-size",
            f"The request's head has more than {MAX_HEADERS} lines or {MAX_HEAD} bytes.",
            remedy="Send fewer or shorter headers.",
            code="invalid_value",
        )


def _require_one_length(scope: Scope) -> None:
    """Refuse a body whose end is said twice: a proxy in front may have believed the other.

    Source: RFC 9112, section 6.1.
    """
    names = [name for name, _ in scope["headers"]]
    chunked = b"transfer-encoding" in names
    if chunked and (b"content-length" in names or scope["http_version"] != "1.1"):
        raise UntrustedRequest(
            TWO_LENGTHS,
            "The request's head says in two ways where its body ends.",
            remedy="Send Content-Length, or Transfer-Encoding over HTTP/1.1.",
            code="invalid_value",
        )


def _presented(scope: Scope) -> str:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1 or len(found[0]) > MAX_AUTHORIZATION:
        return ""
    text = bytes(found[0]).decode("latin-1")
    return text[len(_SCHEME) :].strip() if text.lower().startswith(_SCHEME) else ""
