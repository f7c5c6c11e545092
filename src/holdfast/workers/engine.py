"""The engine worker: computes the answers of one set of weights.

Order: ``{"model": serving.spec.ModelSpec, "limits": serving.spec.Limits, "threads": n, "memory_bytes": n, "measured":
serving.measured.Measured or null, "fds": {"link": n, "files": n}}``. It refuses what does not fit into its memory before the
model is opened, loads it, measures it unless ``measured`` still holds, and says so with the progress step ``ready``, whose
``memory`` holds ``weights``, ``cache``, ``compute`` and ``total`` in bytes, and whose ``measured`` is to be kept. Then it answers the
front over the link (``serving.link``). Requests of the daemon, each answered by ``{"id", "reply"}`` or ``{"id", "error"}``:

- ``{"op": "attach", "lane", "scale"}`` serves an adapter, whose file came before as one datagram on ``files``: ``{"lane",
  "digest", "size"}`` with the open file;
- ``{"op": "detach", "lane"}`` ends that once its last request has ended;
- ``{"op": "budget", "bytes"}`` replaces ``memory_bytes``;
- ``{"op": "forget", "tenant"}`` overwrites what is kept of a tenant's prompts;
- ``{"op": "status"}`` counts;
- ``{"op": "ping"}`` says in ``step`` for how many seconds the step under way has lasted. It waits for nothing; the others wait
  for that step, and for each other.

It ends when the front closes the link, or it is cancelled, or the daemon is gone. Invariants: it sees one model's prompts, and
no key, log or other model; an adapter is used only if its bytes have the digest that was announced.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, cast

from holdfast.errors import HoldfastError, UsageRefused
from holdfast.serving import measured, spec
from holdfast.serving.engine.files import Files
from holdfast.serving.engine.host import Host
from holdfast.workers.inherited import sockets
from holdfast.workers.orders import Order

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

LOGGER = logging.getLogger("holdfast.engine")
SWITCH_SECONDS = 0.0005  # after which a thread that tokenizes hands the interpreter to the one that computes


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Compute until told to stop.

    Args:
        channel: Messages to and from the daemon.
        order: See the module's description.

    Returns:
        ``served``: requests that were answered.
    """
    asked = Order(order, "serve.order")
    model, limits = spec.parse_model(order.get("model")), spec.parse_limits(order.get("limits"))
    sock, files = sockets(order.get("fds"), "link", "files")
    threads, budget = asked.count("threads", os.cpu_count() or 1), asked.count("memory_bytes", 1)
    kept = measured.parse(order.get("measured"))
    sys.setswitchinterval(SWITCH_SECONDS)
    with sock, files:
        return _serve(channel, Host(model, limits, threads, budget, kept), sock, files)


def _serve(channel: Channel, host: Host, sock: socket.socket, files: socket.socket) -> dict[str, Json]:
    try:
        # Before it is ready the daemon asks nothing, so requests are read from here on.
        threading.Thread(
            target=_listen, args=(channel, host, Files(files)), name="requests", daemon=True
        ).start()
        gc.freeze()  # what is loaded stays; looking through it for garbage would hold up steps
        found = None if host.measured is None else host.measured.plain()
        channel.progress("ready", 1, 1, memory=host.need.plain(1, 0), measured=found)
        host.run(sock)
    finally:
        host.close()
    return {"served": host.served}


def _listen(channel: Channel, host: Host, files: Files) -> None:
    with ThreadPoolExecutor(1, "operations") as doing:
        while (message := channel.request()) is not None:
            number, asked = message.get("id"), message.get("request")
            order = Order(asked if isinstance(asked, dict) else {}, "serve.operation")
            if order.fields.get("op") == "ping":
                _answer(channel, number, lambda: {"step": round(host.stepping, 3)})
            else:
                doing.submit(_answer, channel, number, partial(_reply, host, files, order)).add_done_callback(
                    _noted
                )
        host.stop()


def _answer(channel: Channel, number: Json, work: Callable[[], dict[str, Json]]) -> None:
    with contextlib.suppress(OSError):  # the daemon is gone; the next request says so
        try:
            channel.send({"id": number, "reply": work()})
        except HoldfastError as error:
            channel.send({"id": number, "error": cast("Json", error.to_dict())})


def _noted(future: Future[None]) -> None:
    if not future.cancelled() and (fault := future.exception()) is not None:
        LOGGER.error("an operation failed", exc_info=fault)


def _reply(host: Host, files: Files, asked: Order) -> dict[str, Json]:
    match asked.fields.get("op"):
        case "attach":
            lane, scale = _text(asked, "lane"), asked.fields.get("scale", 1.0)
            if not isinstance(scale, int | float) or not 0 < scale <= spec.MAX_SCALE:
                raise asked.refused("scale is no number within its bounds")
            with files.take(lane) as path:
                host.attach(lane, float(scale), path)
            return {"attached": lane}
        case "detach":
            lane = _text(asked, "lane")
            host.detach(lane)
            return {"detached": lane}
        case "budget":
            budget = asked.count("bytes", 0)
            host.limit(budget)
            return {"budget": budget}
        case "forget":
            host.forget(None if asked.fields.get("tenant") is None else _text(asked, "tenant"))
            return {"forgotten": True}
        case "status":
            return host.status()
    raise UsageRefused(
        "serve.operation",
        "The engine worker does not know this operation.",
        remedy="Send attach, detach, budget, forget, status or ping.",
    )


def _text(asked: Order, name: str) -> str:
    value = asked.fields.get(name)
    if not isinstance(value, str):
        raise asked.refused(f"{name} is no text")
    return value
