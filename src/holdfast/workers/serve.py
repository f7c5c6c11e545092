"""The serve worker: answers applications over HTTP on a listening socket that it inherits.

Order: ``{"settings": serving.spec.Settings, "keys": [serving.keys.ApiKey ...], "threads": n, "fds": {"listen": n,
"audit": n}}``. It loads the models and says so with the progress step ``ready``. Requests: ``{"op": "open"}`` begins to take
connections, ``{"op": "keys", "keys": [...]}`` replaces the keys, ``{"op": "withdraw", "models": {id: {"message", "remedy"}}}``
refuses those models from then on and ends what they are answering, ``{"op": "pause", "paused": bool}`` refuses every question as
long as the audit log takes none, ``{"op": "drain"}`` leaves the socket to whoever else listens on it, ``{"op": "status"}`` counts;
each is answered by ``{"id", "reply"}`` or ``{"id", "error"}``. A worker that drains has taken its last connection when it replies;
it answers what it was asked, for ``DRAIN_SECONDS`` at most, and returns. When it is cancelled, or the daemon is gone, it takes no
new connection, lets the requests in flight end for ``GRACE_SECONDS``, and returns. Invariants: it opens no socket and prints nothing; every intent that it recorded has its
outcome recorded before it returns, unless the log is gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from holdfast.audit.producer import Producer
from holdfast.errors import HoldfastError, UntrustedBundle, UsageRefused, WorkerFailed
from holdfast.serving import keys, spec
from holdfast.serving.answer import Desk
from holdfast.serving.engine import Engine
from holdfast.serving.gate import Vault
from holdfast.serving.openai import Endpoint, Withdrawn
from holdfast.serving.record import AuditRecorder
from holdfast.serving.refused import Refused, counting_protocol
from holdfast.serving.template import MAX_TEMPLATE, ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

GRACE_SECONDS = 10  # for requests in flight when serving stops; a longer answer is recorded as cancelled
DRAIN_SECONDS = (
    1800  # for them when another worker takes over: the longest answers that are allowed take as long
)
LINGER_SECONDS = (
    1.0  # for a request that is on its way on a connection that was taken; then idle ones are closed
)
OPEN_SECONDS = 60.0  # for the event loop to do what a request asks of it
MAX_CONNECTIONS = 1024  # open at once; each holds a descriptor and some kilobytes
IDLE_SECONDS = 30  # that a connection may be kept without a request
MAX_HEAD = 16 * 2**10  # bytes of a request's line and headers
BACKLOG = 256  # connections that wait to be accepted


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Serve until told to stop.

    Args:
        channel: Messages to and from the daemon.
        order: See the module's description.

    Returns:
        ``served``: requests that were answered.
    """
    settings = spec.parse(order.get("settings"))
    vault = Vault(keys.KeyRing(keys.parse_all(order.get("keys"))))
    listening, appending = _descriptors(order.get("fds"))
    threads = order.get("threads")
    engine = Engine(settings, threads if isinstance(threads, int) and threads > 0 else os.cpu_count() or 1)
    try:
        service = _Service(channel, settings, engine, vault)
        return asyncio.run(service.run(listening, appending, _templates(engine, settings)))
    finally:
        engine.close()


class _Server(uvicorn.Server):
    """uvicorn that begins when it is told, and can leave its socket to another process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told = asyncio.Event()  # to begin, or never to
        self.listening = asyncio.Event()
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def open(self) -> None:
        """Begin to take connections."""
        self.told.set()
        await self.listening.wait()

    async def drain(self) -> None:
        """Take no more connections, and end once what was asked is answered.

        Whoever goes on asking over a kept connection is told with the next answer to come by another one; only who was
        silent for ``LINGER_SECONDS`` finds it closed.
        """
        self._draining = True
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        self.config.timeout_graceful_shutdown = DRAIN_SECONDS
        for server in self.servers if self.listening.is_set() else ():
            server.close()
        await asyncio.sleep(LINGER_SECONDS)
        for connection in list(self.server_state.connections):
            connection.shutdown()  # an idle one at once, another one after its answer
        self.should_exit = True
        self.told.set()

    def end(self) -> None:
        """Stop; what is being answered has ``GRACE_SECONDS``."""
        if self._draining:

            def force() -> None:
                self.force_exit = True

            asyncio.get_running_loop().call_later(GRACE_SECONDS, force)
        self.should_exit = True
        self.told.set()


class _Service:
    def __init__(self, channel: Channel, settings: spec.Settings, engine: Engine, vault: Vault) -> None:
        self._channel, self._settings, self._engine, self._vault = channel, settings, engine, vault
        self._endpoint: Endpoint | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: _Server | None = None

    async def run(
        self, listening: socket.socket, appending: socket.socket, templates: dict[str, ChatTemplate]
    ) -> dict[str, Json]:
        recorder = AuditRecorder(Producer(appending))
        desk = Desk(self._engine, recorder)
        refused = Refused(recorder.fact, time.monotonic)
        self._endpoint = Endpoint(self._settings, self._engine, desk, templates, time.time, refused=refused)
        config = uvicorn.Config(
            self._endpoint.app(self._vault),
            loop="asyncio",
            http=counting_protocol(refused),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        server = self._server = _Server(config)
        loop = self._loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._listen, args=(lambda: _stop(loop, server),), name="requests", daemon=True
        ).start()
        self._engine.start(lambda: _stop(loop, server))
        self._channel.progress("ready", 1, 1)
        try:
            await server.told.wait()
            if not server.should_exit:
                await server.serve(sockets=[listening])
        finally:
            await asyncio.to_thread(self._engine.stop)
            await desk.drain()
            await refused.close()
        if self._engine.crashed:
            raise WorkerFailed(
                "serve.crashed",
                "The engine failed while computing.",
                remedy="Read the job's log; start serving again.",
            )
        return {"served": self._engine.served}

    def _listen(self, stop: Callable[[], None]) -> None:
        while (message := self._channel.request()) is not None:
            number, asked = message.get("id"), message.get("request")
            try:
                reply = self._reply(asked if isinstance(asked, dict) else {})
                self._channel.send({"id": number, "reply": reply})
            except HoldfastError as error:
                plain: dict[str, Json] = error.to_dict()  # type: ignore[assignment]  # fields are JSON by their own type
                self._channel.send({"id": number, "error": plain})
            except OSError:  # the daemon is gone; the next request says so
                continue
        stop()

    def _reply(self, asked: dict[str, Json]) -> dict[str, Json]:
        match asked.get("op"):
            case "keys":
                accepted = keys.parse_all(asked.get("keys"))
                self._vault.ring = keys.KeyRing(accepted)
                return {"keys": len(accepted)}
            case "withdraw":
                return self._withdraw(asked.get("models"))
            case "pause":
                return self._pause(asked.get("paused") is True)
            case "open":
                self._on_loop(lambda server: server.open())
                return {"open": True}
            case "drain":
                self._on_loop(lambda server: server.drain())
                return {"draining": True}
            case "status":
                return self._engine.status()
        raise UsageRefused(
            "serve.operation",
            "The serve worker does not know this operation.",
            remedy="Send open, keys, withdraw, pause, drain or status.",
        )

    def _on_loop(self, work: Callable[[_Server], Coroutine[None, None, None]]) -> None:
        """Do something where the server runs, and wait for it."""
        if self._server is None or self._loop is None or self._loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(work(self._server), self._loop).result(OPEN_SECONDS)
        except (TimeoutError, CancelledError) as error:
            raise WorkerFailed(
                "serve.loop", "The serve worker's server does not react.", remedy="Start serving again."
            ) from error

    def _pause(self, paused: bool) -> dict[str, Json]:  # noqa: FBT001 - what the request says
        if self._endpoint is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._endpoint.pause, paused)
        return {"paused": paused}

    def _withdraw(self, models: Json) -> dict[str, Json]:
        told = (
            {name: why for name, why in models.items() if isinstance(why, dict)}
            if isinstance(models, dict)
            else {}
        )
        for name, why in told.items():
            if self._endpoint is not None:  # requests are read once it is there
                self._endpoint.withdraw(
                    name,
                    Withdrawn(
                        "serve.revoked",
                        str(why.get("message")),
                        remedy=str(why.get("remedy")),
                        param="model",
                        code="model_revoked",
                    ),
                )
        return {"withdrawn": list(told)}


def _stop(loop: asyncio.AbstractEventLoop, server: _Server) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(server.end)


def _descriptors(value: Json) -> tuple[socket.socket, socket.socket]:
    numbers = [value.get("listen"), value.get("audit")] if isinstance(value, dict) else []
    if len(numbers) != 2 or not all(isinstance(number, int) for number in numbers):  # noqa: PLR2004 - listen and audit
        raise WorkerFailed(
            "serve.order", "The order lacks the descriptors listen and audit.", remedy="Start serving again."
        )
    listening, appending = (socket.socket(fileno=number) for number in numbers if isinstance(number, int))
    return listening, appending


def _templates(engine: Engine, settings: spec.Settings) -> dict[str, ChatTemplate]:
    found = {model.id: _template(engine, model) for model in settings.models}
    return {name: template for name, template in found.items() if template is not None}


def _template(engine: Engine, model: spec.ModelSpec) -> ChatTemplate | None:
    weights = engine.weights[model.id]
    source = weights.template()
    if model.template is not None:
        try:
            with Path(model.template).open(encoding="utf-8") as file:
                source = file.read(MAX_TEMPLATE + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise UntrustedBundle(
                "serve.template",
                f"The chat template of {model.id} can't be read: {error}.",
                remedy="Import the model again.",
            ) from error
    return None if source is None else ChatTemplate(source, weights.special_texts())
