"""Holdfast as it serves on a site: daemon, front and engine as processes of their own, confined, with the audit log on.

Order of operations: a home is founded, a daemon started in it, an application's key created over the control socket, the model
served. Invariants: the model and its adapters come from a plan made by hand, because a bench has no medium that brings them;
everything from the plan on is what ``holdfast serve start`` does.
"""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from scripts.kills.daemon import PEOPLE, Daemon, found_home
from scripts.kills.serving_daemon import MODEL, SETTINGS
from scripts.serving_bench import workload
from scripts.serving_bench.client import BenchError, Target, ask_all
from scripts.serving_bench.figures import measure

from holdfast.client.connection import Client
from holdfast.keys import person

if TYPE_CHECKING:
    from scripts.serving_bench.figures import Reply
    from scripts.serving_bench.generated import Served
    from scripts.serving_bench.workload import Setting

    from holdfast.canonical import Json

TRIES = 2  # of each number of threads; the faster one counts


class Ours:
    """A home that serves a model; a context that ends it.

    Args:
        served: The model.
        threads: Threads that the engine computes with.
        scratch: Folder in which homes are made.
    """

    name = "holdfast"

    def __init__(self, served: Served, threads: int, scratch: Path) -> None:
        self._served, self._threads = served, threads
        self.place = Path(tempfile.mkdtemp(prefix="home-", dir=scratch))
        self._adapters = [path.stem for path in served.adapters]
        self._daemon: Daemon | None = None
        self._target = Target("", 0)

    async def __aenter__(self) -> Self:
        models = self.place / "models"
        models.mkdir()
        for path in (self._served.model, *self._served.adapters):
            (models / path.name).hardlink_to(path)
        limits = {"parallel": workload.PARALLEL, "queue": 4 * workload.PARALLEL}
        (models / SETTINGS).write_text(json.dumps({"context": workload.CONTEXT, "limits": limits}))
        pairs = {name: person.generate(name) for name in PEOPLE}
        home = found_home(self.place, pairs, [f"threads = {self._threads}", "[serving]", "port = 0"])
        self._daemon = await Daemon.spawn(home, models)
        if not (said := await self._daemon.told()).get("ready"):
            raise BenchError(f"the daemon does not start: {said}; see {self.place / 'daemon.log'}")
        async with Client(home) as client:
            await client.login(pairs["otto"])
            wanted: dict[str, Json] = {"tenant": "bench", "level": "internal"}
            key = str((await client.call("POST", "/v1/serving/keys", wanted))["secret"])
        told = await self._daemon.ask("serve")
        address = urlsplit(str(told.get("address")))
        if address.hostname is None or address.port is None:
            raise BenchError(f"nothing is served: {told}; see {self.place / 'daemon.log'}")
        self._target = Target(address.hostname, address.port, key)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._daemon is not None:
            await self._daemon.end(signal.SIGTERM)

    async def ask(self, setting: Setting, bodies: list[list[dict[str, Any]]]) -> list[Reply]:
        """Ask everything.

        Args:
            setting: Whether adapters are asked.
            bodies: For each asker, requests.

        Returns:
            The answers.
        """
        models = [MODEL] * len(bodies)
        if setting.adapters:
            models = [f"{MODEL}:{self._adapters[at % len(self._adapters)]}" for at in range(len(bodies))]
        asked = [
            [{**body, "model": name} for body in mine] for mine, name in zip(bodies, models, strict=True)
        ]
        return await ask_all(self._target, workload.PATH, asked)


async def calibrate(
    served: Served, cores: int, scratch: Path, *, quick: bool = False
) -> tuple[int, list[str]]:
    """Find Holdfast's best number of threads at the most parallel answers; it has no other such setting.

    Args:
        served: The model.
        cores: Of the machine.
        scratch: Folder in which homes are made.
        quick: Whether to try nothing, and take a thread for each core.

    Returns:
        Threads, and a line on each number that was tried.
    """
    rates: dict[int, float] = {}
    for threads in () if quick else range(max(cores // 2, 1), cores + 1):
        async with Ours(served, threads, scratch) as ours:
            found = [
                measure(
                    await ours.ask(
                        workload.MOST, workload.questions(workload.MOST, served.vocabulary, 1, -seed)
                    )
                )
                for seed in range(1, TRIES + 1)
            ]
        rates[threads] = max(one.rate for one in found)
    told = [f"threads = {threads}: {rate:.1f} tokens/s" for threads, rate in rates.items()]
    return max(rates, key=lambda threads: rates[threads], default=cores), told
