"""Kill the daemon, its index worker, its front and its engine under load, again and again, and see that nothing acknowledged is lost.

Each round: a real daemon with a served model, and clients that act, read and ask; at a random moment SIGKILL for the daemon,
the index worker, the front or the engine (for these the load goes on, and the daemon is killed or stopped a little later); a second
daemon is refused; sometimes two are started at once where none is. Then the next start, and what must hold (see
``scripts/kills/evidence.py``): ``verify.py`` is content, every acknowledged event is there under its own number, nothing that
was there before has changed, every intent has exactly one outcome, every producer counted without a gap, the start says how
the last life ended, and the index holds what the segments hold. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # it has no type hints
from scripts.kills import evidence
from scripts.kills.daemon import PEOPLE, START_SECONDS, Daemon, found_home
from scripts.kills.evidence import Broken, Seen
from scripts.kills.load import Acked, Load
from scripts.kills.serving_daemon import SETTINGS

from holdfast.client.connection import Client
from holdfast.errors import HoldfastError
from holdfast.keys import person

if TYPE_CHECKING:
    from holdfast.canonical import Json

VICTIMS = ("daemon", "daemon", "index", "serve", "engine")
GOES_ON = 20  # acknowledgements after a worker was killed that show that the daemon goes on
PAUSE = 0.05  # seconds between two looks
SERVED = {
    "context": 512,  # of the tiny model
    "limits": {"prompt_tokens": 400, "new_tokens": 64, "parallel": 4, "queue": 16, "body_bytes": 65536},
}
LOCKED = 6  # exit code of a daemon that finds another one
HOME_ROUNDS = 25  # rounds in one home; then a new one, so that a look at a whole log stays quick


class Soak:
    """Rounds in one home after the other.

    Args:
        folder: Scratch.
        seed: Of all choices.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._random = folder, random.Random(seed)
        self._models = folder / "models"
        self._pairs = {name: person.generate(name) for name in PEOPLE}
        self._homes = 0
        self.acked, self.seen, self.previous, self.key = Acked(), Seen(), "none", ""
        self.counts: Counter[str] = Counter()

    def prepare(self) -> None:
        """Write the tiny model."""
        from tests.integration.serving.crafted import write_model

        from holdfast.gguf.quantize import quantize

        self._models.mkdir()
        write_model(self._folder / "f16.gguf")
        quantize(self._folder / "f16.gguf", self._models / "base.gguf", "q8_0", 1)
        (self._models / SETTINGS).write_text(json.dumps(SERVED))

    async def found(self) -> None:
        """Begin a new home."""
        shutil.rmtree(self._folder / f"{self._homes}", ignore_errors=True)
        self._homes += 1
        place = self._folder / f"{self._homes}"
        place.mkdir()
        lines = ["threads = 1", "[serving]", "port = 0", "[audit]", "heartbeat_seconds = 1"]
        self.home = found_home(place, self._pairs, lines)
        self.acked, self.seen, self.previous = Acked(), Seen(), "none"
        daemon = await self._start()
        async with Client(self.home) as client:
            await client.login(self._pairs["otto"])
            body: dict[str, Json] = {"tenant": "soak", "level": "internal"}
            self.key = str((await client.call("POST", "/v1/serving/keys", body))["secret"])
        await self._end(daemon, signal.SIGTERM)

    async def _start(self) -> Daemon:
        """Start a daemon; now and then two at once, of which one must be refused."""
        racing = self._random.random() < 0.3  # noqa: PLR2004 - now and then
        daemons = [await Daemon.spawn(self.home, self._models) for _ in range(1 + racing)]
        told = [await one.told() for one in daemons]
        up = [one for one, words in zip(daemons, told, strict=True) if words.get("ready")]
        for one, words in zip(daemons, told, strict=True):
            if one not in up:
                self.counts["refused"] += 1
                if await one.process.wait() != LOCKED:
                    raise Broken(f"a daemon did not start, and not because of another: {words}")
        if len(up) != 1:
            raise Broken(f"{len(up)} daemons of {len(daemons)} run")
        return up[0]

    async def _end(self, daemon: Daemon, number: signal.Signals) -> None:
        await daemon.end(number)
        self.previous = "stopped" if number is signal.SIGTERM else "unexplained"
        self.counts["stopped" if number is signal.SIGTERM else "killed daemon"] += 1

    async def round(self, victim: str) -> None:
        """Kill once under load, and look at what is left.

        Args:
            victim: ``daemon``, ``index``, ``serve`` or ``engine``.

        Raises:
            Broken: If something that must hold does not.
        """
        daemon = await self._start()
        load = Load(self.home, self._pairs, self.acked, self.key)
        try:
            load.start(4, 4)
            load.address = str((await daemon.ask("serve"))["address"])
            await asyncio.sleep(self._random.uniform(0.1, 1.5))  # the moment of the kill
            if self._random.random() < 0.2:  # noqa: PLR2004 - now and then
                await self._second()
            if victim != "daemon":
                await self._kill_worker(daemon, victim, load)
        finally:
            stop = victim != "daemon" and self._random.random() < 0.5  # noqa: PLR2004 - as often as not
            if stop:
                await load.stop()
            await self._end(daemon, signal.SIGTERM if stop else signal.SIGKILL)
            await load.stop()
        await self._look()

    async def _second(self) -> None:
        """Start another daemon beside the one that runs."""
        other = await Daemon.spawn(self.home, self._models)
        words = await other.told()
        if await other.process.wait() != LOCKED:
            raise Broken(f"a second daemon was not refused: {words}")
        self.counts["refused"] += 1

    async def _kill_worker(self, daemon: Daemon, victim: str, load: Load) -> None:
        pid = (await daemon.ask("pids"))[victim]
        if isinstance(pid, int):
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor = psutil.Process(pid)
                tree = [*supervisor.children(recursive=True), supervisor]
                self._random.choice(tree).kill()
            self.counts[f"killed {victim}"] += 1
        before = len(self.acked)
        if victim == "serve":
            async with asyncio.timeout(START_SECONDS):
                while (told := await daemon.ask("serve")).get("address") is None:
                    if "error" not in told:
                        raise Broken(f"serving did not start again: {told}")
                    await asyncio.sleep(PAUSE)  # that the worker is gone was not noticed yet
            load.address = str(told["address"])
        async with asyncio.timeout(START_SECONDS):
            while len(self.acked) < before + GOES_ON or not self.acked.of_each:  # noqa: ASYNC110 - the clients tell nobody
                await asyncio.sleep(PAUSE)

    async def _look(self) -> None:
        """Start again with nobody there, and compare log, memory of the clients and index."""
        expected = self.previous
        daemon = await self._start()
        events = evidence.check(self.home.log, self.acked, self.seen)
        started = [event for event in events if event["action"] == "daemon.started"][-1]
        if started["params"]["previous"] != expected:  # type: ignore[index]  # as the daemon records it
            raise Broken(f"the daemon was {expected}, and says {started['params']}")
        leaves = self.seen.leaves
        sql = f"SELECT count(*), sha256(string_agg(leaf, '' ORDER BY seq)) FROM events WHERE seq < {len(leaves)}"  # noqa: S608 - a number of ours
        async with Client(self.home) as client:
            await client.login(self._pairs["aude"])
            rows = (await client.call("POST", "/v1/audit/sql", {"sql": sql}))["rows"]
        if rows != [[len(leaves), evidence.index_digest(leaves)]]:
            raise Broken(f"the index is not what the segments hold: {rows}, {len(leaves)} events")
        await self._end(daemon, self._random.choice((signal.SIGTERM, signal.SIGKILL)))

    async def run(self, rounds: int, victims: tuple[str, ...] = VICTIMS) -> dict[str, object]:
        """Go through rounds.

        Args:
            rounds: How many.
            victims: Whom to kill.

        Returns:
            The figures of the last line.
        """
        begun, events, acked = time.monotonic(), 0, 0
        for number in range(rounds):
            if number % HOME_ROUNDS == 0:
                events, acked = events + len(self.seen.leaves), acked + len(self.acked)
                await self.found()
            victim = self._random.choice(victims)
            await self.round(victim)
            if sys.stderr.isatty() or number % 10 == 9:  # noqa: PLR2004 - a sign of life
                told = f"round {number + 1} of {rounds}: {victim}, {len(self.seen.leaves)} events, {len(self.acked)} acknowledged"
                print(told, file=sys.stderr, flush=True)
        return {
            "rounds": rounds,
            "events": events + len(self.seen.leaves),
            "acknowledged": acked + len(self.acked),
            "kills": {name: count for name, count in sorted(self.counts.items()) if count},
            "seconds": round(time.monotonic() - begun, 1),
        }


def main() -> int:
    """Run.

    Returns:
        0, or 1 if something did not hold; the home is then kept.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-kills-"))
    soak = Soak(folder, chosen.seed)
    try:
        soak.prepare()
        found = asyncio.run(soak.run(chosen.rounds))
    except (Broken, HoldfastError, TimeoutError) as error:
        print(json.dumps({"broken": str(error), "seed": chosen.seed, "kept": str(folder)}))
        return 1
    shutil.rmtree(folder)
    print(json.dumps({**found, "seed": chosen.seed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
