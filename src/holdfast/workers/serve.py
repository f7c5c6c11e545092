"""The front of serving: answers applications over HTTP on a listening socket that it inherits; engines compute elsewhere.

Order: ``{"settings": serving.spec.Settings, "withdrawn": {id: {"message", "remedy"}}, "keys": [serving.keys.ApiKey …], "used":
{"day", "tokens": {key: n}}, "tls": serving.pem.Pem or null, "fds": {"listen", "audit", "links"}}``. It says with the progress step
``ready`` that it could begin. Engines' links come over ``links`` (SOCK_SEQPACKET), each as ``{"engine": name}`` with one
descriptor. Requests, each answered by ``{"id", "reply"}`` or ``{"id", "error"}``:

- ``open`` begins to take connections;
- ``settings`` replaces what is served, and what of it is withdrawn;
- ``renew`` replaces what TLS is spoken with on new connections;
- ``keys`` replaces the keys, and ends what revoked ones are being answered;
- ``withdraw`` refuses models, and ends what they, and files named by digest, are answering;
- ``pause`` refuses every question as long as the audit log takes none;
- ``engine`` says that one is taken out and why, or is expected, and which lanes it lacks and why;
- ``idle`` tells which of some lanes are in use;
- ``forget`` has engines overwrite what they keep of prompts;
- ``status`` counts; ``ping`` shows that the event loop turns.

When it is cancelled, or the daemon is gone, it takes no new connection, lets the requests in flight end for
``server.GRACE_SECONDS``, and returns. Invariants: it holds no model, opens no socket and prints nothing; every intent that it
recorded has its outcome recorded before it returns, unless the log is gone.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.audit.producer import Producer
from holdfast.errors import HoldfastError, UsageRefused, WorkerFailed
from holdfast.serving import keys, pem, spec
from holdfast.serving.front import tls
from holdfast.serving.front.faults import Unavailable
from holdfast.serving.front.house import House, withdrawn
from holdfast.serving.front.record import AuditRecorder
from holdfast.serving.front.server import Server
from holdfast.workers.inherited import sockets

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

REACT_SECONDS = 60.0  # for the event loop to do what a request asks of it
MAX_LINK = 4096  # bytes of a datagram that brings a link; it holds one name
MAX_LANES = 4096  # that one request asks about
AWAY_SECONDS = 60  # after which to ask again for an engine that was taken out


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Serve until told to stop.

    Args:
        channel: Messages to and from the daemon.
        order: See the module's description.

    Returns:
        ``served``: requests that were answered.
    """
    return asyncio.run(_Service(channel, order).run())


class _Service:
    def __init__(self, channel: Channel, order: dict[str, Json]) -> None:
        self._channel = channel
        self._order = order
        self._settings = spec.parse(order.get("settings"))
        self._ring = keys.KeyRing(keys.parse_all(order.get("keys")))
        self._listening, self._appending, self._links = sockets(order.get("fds"), "listen", "audit", "links")
        self._links.setblocking(False)
        self._tls = self._context(order.get("tls")) if self._settings.access.tls else None
        self._tasks: set[asyncio.Task[None]] = set()

    def _context(self, told: Json) -> ssl.SSLContext:
        return tls.context(pem.parse(told), clients=self._settings.access.clients)

    async def run(self) -> dict[str, Json]:
        self._loop = asyncio.get_running_loop()
        recorder = AuditRecorder(await Producer.open(self._appending))
        house = self._house = House(
            self._settings, withdrawn(self._order.get("withdrawn")), self._ring, recorder, recorder.fact
        )
        _seed(house, self._order.get("used"))
        self._server = Server(house.app(), self._listening, house.refused, self._tls)
        house.metrics.gauge("connections", "Connections open.", lambda: self._server.connections)
        self._loop.add_reader(self._links.fileno(), self._link)
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        gc.freeze()  # what is loaded stays; looking through it for garbage would hold up answers
        self._channel.progress("ready", 1, 1)
        try:
            await self._server.run_when_told()
        finally:
            self._loop.remove_reader(self._links.fileno())
            await house.close()
        return {"served": house.desk.served}

    def _link(self) -> None:
        """Take an engine's link."""
        try:
            data, found, _, _ = socket.recv_fds(self._links, MAX_LINK, 4)
        except BlockingIOError:
            return
        except OSError:
            data, found = b"", []
        sockets = [socket.socket(fileno=number) for number in found]
        if not data:  # the daemon is gone; its channel says so too
            self._loop.remove_reader(self._links.fileno())
        else:
            name = canonical.decode(data, limit=MAX_LINK, what="A link's name", error=WorkerFailed)
            if isinstance(name, dict) and isinstance(name.get("engine"), str) and len(sockets) == 1:
                task = asyncio.ensure_future(self._house.engines.attach(str(name["engine"]), sockets.pop()))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        for one in sockets:
            one.close()

    def _listen(self) -> None:
        """Do what the daemon asks, one request after the other."""
        while (message := self._channel.request()) is not None:
            number, asked = message.get("id"), message.get("request")
            try:
                reply = self._on_loop(asked if isinstance(asked, dict) else {})
                self._channel.send({"id": number, "reply": reply})
            except HoldfastError as error:
                plain: dict[str, Json] = error.to_dict()  # type: ignore[assignment]  # fields are JSON by their own type
                self._channel.send({"id": number, "error": plain})
            except OSError:  # the daemon is gone; the next request says so
                continue
        self._loop_does(self._server.end)

    def _on_loop(self, asked: dict[str, Json]) -> dict[str, Json]:
        """Do something where the server runs, and wait for it."""
        try:
            return asyncio.run_coroutine_threadsafe(self._reply(asked), self._loop).result(REACT_SECONDS)
        except (TimeoutError, CancelledError, RuntimeError) as error:
            raise WorkerFailed(
                "serve.loop", "The front's event loop does not react.", remedy="Start serving again."
            ) from error

    def _loop_does(self, work: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    async def _reply(self, asked: dict[str, Json]) -> dict[str, Json]:
        house = self._house
        match asked.get("op"):
            case "open":
                await self._server.open()
                return {"open": True}
            case "settings":
                house.settings(spec.parse(asked.get("settings")), withdrawn(asked.get("withdrawn")))
                return {"settings": True}
            case "renew":
                self._server.renew(self._context(asked.get("tls")))
                return {"renewed": True}
            case "keys":
                accepted = keys.parse_all(asked.get("keys"))
                house.keys(keys.KeyRing(accepted))
                return {"keys": len(accepted)}
            case "withdraw":
                told = withdrawn(asked.get("models"))
                house.withdraw(told, withdrawn(asked.get("files")))
                return {"withdrawn": list(told)}
            case "pause":
                paused = asked.get("paused") is True
                house.pause(paused=paused)
                return {"paused": paused}
            case "engine":
                return self._engine(asked)
            case "forget":
                tenant = asked.get("tenant")
                house.engines.forget(tenant if isinstance(tenant, str) else None)
                return {"forgotten": True}
            case "idle" | "status" | "ping":
                return self._look(asked)
        raise UsageRefused(
            "serve.operation",
            "The front does not know this operation.",
            remedy="Send open, settings, renew, keys, withdraw, pause, engine, idle, forget, ping or status.",
        )

    def _look(self, asked: dict[str, Json]) -> dict[str, Json]:
        if asked.get("op") == "idle":
            return {"busy": [list(lane) for lane in self._house.routing.busy(_lanes(asked.get("lanes")))]}
        return {**self._house.status(), "connections": self._server.connections}

    def _engine(self, asked: dict[str, Json]) -> dict[str, Json]:
        name, lacking = str(asked.get("engine")), asked.get("lacking")
        missing = {
            lane: why
            for lane, told in (lacking.items() if isinstance(lacking, dict) else ())
            if isinstance(told, dict) and (why := _away("serve.adapter-out", told)) is not None
        }
        self._house.engine(name, _away("serve.engine-out", asked), missing)
        return {"engine": name}


def _away(key: str, told: dict[str, Json]) -> Unavailable | None:
    """Read why something can't be had; None where no reason is given."""
    why, remedy = told.get("why"), told.get("remedy")
    if not isinstance(why, str):
        return None
    return Unavailable(key, why, remedy=str(remedy or ""), retry_after=AWAY_SECONDS)


def _seed(house: House, used: Json) -> None:
    """Take over what keys have used today already."""
    tokens = used.get("tokens") if isinstance(used, dict) else None
    if isinstance(used, dict) and isinstance(tokens, dict):
        counted = {key: number for key, number in tokens.items() if isinstance(number, int)}
        house.vault.quotas.seed(str(used.get("day")), counted)


def _lanes(value: Json) -> list[tuple[str, str]]:
    found = []
    for one in value[:MAX_LANES] if isinstance(value, list) else ():
        match one:
            case [str(engine), str(lane)]:
                found.append((engine, lane))
    return found
