"""llama-server of the same source, at its best settings for this machine.

Invariants: as many slots as Holdfast has sequences, continuous batching, slots with caches of their own, and nothing kept of an
earlier prompt, which no question here could use. The rest is tried. Adapters are loaded only into the one that is asked for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from scripts.serving_bench import workload
from scripts.serving_bench.client import BenchError, Target, ask_all
from scripts.serving_bench.figures import measure

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.serving_bench.figures import Reply
    from scripts.serving_bench.generated import Served
    from scripts.serving_bench.workload import Setting

READY_SECONDS = 120.0  # for the model to load
TRIES = 2  # of each of its settings; the faster one counts
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Tuning:
    """What is tried.

    Args:
        threads: ``--threads``.
        poll: ``--poll``: how hard waiting threads look for work, 0 to 100.
        flash: ``--flash-attn``.
        sampling: Whether tokens are chosen inside the graph (``--backend-sampling``).
    """

    threads: int
    poll: int = 50
    flash: bool = True
    sampling: bool = False

    def arguments(self) -> list[str]:
        """Write them for the command line.

        Returns:
            The arguments.
        """
        return [
            "--threads", str(self.threads), "--poll", str(self.poll), "--flash-attn", "on" if self.flash else "off",
            *(["--backend-sampling"] if self.sampling else []),
        ]  # fmt: skip


def steps(cores: int) -> list[dict[str, Any]]:
    """List the changes that are tried, each on the best so far.

    Args:
        cores: Of the machine.

    Returns:
        Fields of ``Tuning``.
    """
    threads = [{"threads": count} for count in range(max(cores // 2, 1), cores)]
    return [{"poll": 0}, {"poll": 100}, {"flash": False}, {"sampling": True}, *threads]


class Rival:
    """A llama-server; a context that ends it.

    Args:
        binaries: Where it is.
        served: The model and its adapters.
        tuning: Its settings.
        log: File that gets its words.
        adapters: Whether it loads the adapters, which cost every answer time, asked for or not.
    """

    name = "llama-server"

    def __init__(
        self, binaries: Path, served: Served, tuning: Tuning, log: Path, *, adapters: bool = False
    ) -> None:
        self._adapters = len(served.adapters)
        self._log = log
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.target = Target(HOST, probe.getsockname()[1])
        slots = workload.PARALLEL
        self._command = [
            str(binaries / "llama-server"), "--model", str(served.model), "--host", HOST, "--port", str(self.target.port),
            "--parallel", str(slots), "--ctx-size", str(slots * workload.CONTEXT), "--no-kv-unified", "--cont-batching",
            "--no-cache-prompt", "--cache-ram", "0", "--no-slots", *tuning.arguments(),
        ]  # fmt: skip
        if adapters:
            self._command += ["--lora", ",".join(map(str, served.adapters)), "--lora-init-without-apply"]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log)
        end = time.monotonic() + READY_SECONDS
        while not await self._healthy():
            if self._process.returncode is not None or time.monotonic() > end:
                raise BenchError(f"llama-server does not start: {' '.join(self._command)}")
            await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _healthy(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(self.target.host, self.target.port)
        except OSError:
            return False
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        found = await reader.read(64)
        writer.close()
        return b" 200 " in found

    async def ask(self, setting: Setting, bodies: list[list[dict[str, Any]]]) -> list[Reply]:
        """Ask everything.

        Args:
            setting: Whether adapters are asked.
            bodies: For each asker, requests.

        Returns:
            The answers.
        """
        more: list[dict[str, Any]] = [{} for _ in bodies]
        if setting.adapters:
            more = [{"lora": [{"id": at % self._adapters, "scale": 1.0}]} for at in range(len(bodies))]
        asked = [[body | extra for body in mine] for mine, extra in zip(bodies, more, strict=True)]
        return await ask_all(self.target, workload.PATH, asked)


async def calibrate(
    binaries: Path, served: Served, cores: int, log: Path, *, quick: bool = False
) -> tuple[Tuning, list[str]]:
    """Find llama-server's best settings at the most parallel answers.

    Args:
        binaries: Where it is.
        served: The model.
        cores: Of the machine.
        log: File that gets its words.
        quick: Whether to try nothing, and take a thread for each core.

    Returns:
        The settings, and a line on each that was tried.
    """
    setting = workload.MOST

    async def rate(tuning: Tuning) -> float:
        try:
            async with Rival(binaries, served, tuning, log) as rival:
                found = [
                    measure(
                        await rival.ask(setting, workload.questions(setting, served.vocabulary, 1, -seed))
                    )
                    for seed in range(1, TRIES + 1)
                ]
                return max(one.rate for one in found)
        except BenchError:  # it does not know the setting
            return 0.0

    best = Tuning(cores)
    told: list[str] = []
    if quick:
        return best, told
    fastest = await rate(best)
    told.append(f"{' '.join(best.arguments())}: {fastest:.1f} tokens/s")
    for change in steps(cores):
        tried = replace(best, **change)
        found = await rate(tried)
        told.append(f"{' '.join(tried.arguments())}: {found:.1f} tokens/s")
        if found > fastest:
            best, fastest = tried, found
    return best, told
