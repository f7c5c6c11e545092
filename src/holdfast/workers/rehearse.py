"""A worker that does on request what workers do when they go well, and in each way that they go wrong.

The daemon's handling of workers is rehearsed with real processes: ``doctor`` loads the libraries inside the walls, the
tests let it fail. The order's ``act`` names one of ``ACTS``. Invariant: it touches nothing but its own process tree.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRecipe, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

_BLOCK = 2**20  # bytes that are taken at a time until no more are given


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Do what the order says.

    Args:
        channel: Messages to and from the daemon.
        order: ``act``: one of ``ACTS``, with what it needs.

    Returns:
        What the act gives.

    Raises:
        UntrustedRequest: If there is no such act.
    """
    act = ACTS.get(str(order.get("act")))
    if act is None:
        raise UntrustedRequest("rehearse.unknown", "There is no such act.", remedy="Name an act that exists.")
    return act(channel, order)


def _describe(_: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Say what is seen from here, and leave a file if there is an output."""
    output = Path("/out")
    if output.is_dir():
        (output / "left").write_text("by the worker", encoding="utf-8")
    return {
        "order": order,
        "root": [*sorted(entry.name for entry in Path("/").iterdir())],
        "inputs": {entry.name: entry.is_dir() or entry.read_text("utf-8") for entry in Path("/in").iterdir()},
        "environment": dict(os.environ),
        "descriptors": [*sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())],
        "pid": os.getpid(),
        "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir()),
        "capabilities": _status("CapEff"),
        "seccomp": _status("Seccomp"),
    }


def _status(field: str) -> str:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(field + ":"))


def _devices(_: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Say which devices are shown, and what became of one harmless request to each that the order names."""
    requests = order.get("control")
    outcomes: dict[str, Json] = {}
    for name, request in (requests if isinstance(requests, dict) else {}).items():
        with Path(f"/dev/{name}").open("rb") as node:
            try:
                fcntl.ioctl(node, int(str(request)), bytes(8))
                outcomes[name] = "controlled"
            except OSError as error:
                outcomes[name] = errno.errorcode.get(error.errno or 0, str(error))
    return {"nodes": [*sorted(entry.name for entry in Path("/dev").iterdir())], "controlled": outcomes}


def _load(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Import what the other workers need."""
    names = order.get("modules")
    versions: dict[str, Json] = {}
    for done, name in enumerate(names if isinstance(names, list) else []):
        module = importlib.import_module(str(name))
        versions[str(name)] = str(getattr(module, "__version__", ""))
        channel.progress("loading", done + 1, 0, module=name)
    return versions


def _multiply(_: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Multiply matrices on as many threads as were given."""
    import torch

    size = int(str(order.get("size", 512)))
    ones = torch.ones(size, size)
    return {"corner": float((ones @ ones)[0, 0]), "threads": torch.get_num_threads()}


def _answer(channel: Channel, _: dict[str, Json]) -> dict[str, Json]:
    """Answer requests until the daemon asks to stop or is gone."""
    channel.progress("waiting", 0, 0)
    answered = 0
    while not channel.cancelled and (message := channel.request()) is not None:
        channel.send({"id": message["id"], "reply": message["request"]})
        answered += 1
    return {"answered": answered, "cancelled": channel.cancelled}


def _hold(channel: Channel, _: dict[str, Json]) -> NoReturn:
    """Start a process that starts a process, in sessions of their own, and stay whatever happens."""
    for _generation in range(2):
        if os.fork():
            break
        os.setsid()
    else:
        channel.progress("holding", 0, 0)
    while True:
        signal.pause()


def _refuse(_: Channel, __: dict[str, Json]) -> NoReturn:
    raise UntrustedRecipe("rehearse.refused", "The recipe is refused.", remedy="Write another.", line=7)


def _crash(_: Channel, __: dict[str, Json]) -> NoReturn:
    raise ZeroDivisionError("a library's own fault")


def _abort(_: Channel, __: dict[str, Json]) -> NoReturn:
    os.abort()


def _exhaust_memory(_: Channel, __: dict[str, Json]) -> NoReturn:
    taken = []
    while True:
        taken.append(bytearray(_BLOCK))


def _exhaust_file(_: Channel, __: dict[str, Json]) -> NoReturn:
    with Path("/out/large").open("wb") as file:
        while True:
            file.write(bytes(_BLOCK))


def _exhaust_time(_: Channel, __: dict[str, Json]) -> NoReturn:
    while True:
        pass


def _babble(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Write more to the standard output than anybody keeps."""
    lines = int(str(order.get("lines", 1)))
    for number in range(lines):
        os.write(1, f"line {number} of the worker's own output\n".encode())
    channel.metric(step=lines)
    return {}


ACTS: dict[str, Callable[[Channel, dict[str, Json]], dict[str, Json]]] = {
    "describe": _describe,
    "devices": _devices,
    "load": _load,
    "multiply": _multiply,
    "answer": _answer,
    "hold": _hold,
    "refuse": _refuse,
    "crash": _crash,
    "abort": _abort,
    "exhaust-memory": _exhaust_memory,
    "exhaust-file": _exhaust_file,
    "exhaust-time": _exhaust_time,
    "babble": _babble,
}
