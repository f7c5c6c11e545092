"""Measure serving: Holdfast with its audit log on against llama-server of the same source, in interleaved rounds.

    make bench-serving

The first time llama-server is built, on the very libraries that Holdfast computes with, and a model of a third of a billion
weights is generated; both are kept in the cache of the llama.cpp builds. Each model (the generated one in Q4_K_M, and the starter)
is served by both servers from the same files. Each server first finds its best settings on this machine. Then five rounds: at 1, 4,
8 and 16 questions in parallel, and 16 over four adapters, each server in turn is asked the same questions by the same client: 64
tokens each, answered with 96, greedily, streamed. While one is asked the other is idle; who goes first alternates.

The last line is JSON about the generated model: ``ratio`` of tokens a second for each setting (above 1, Holdfast is faster), and
``ttft_ratio`` and ``itl_p99_ratio``, of the times to the first text and of the 99th percentiles of the times between two texts, at
the setting where Holdfast is worst (below 1, it is quicker); ``starter`` holds the same for the starter. All are medians of the
rounds' ratios. ggml's threads wait for one another, so anything else that runs spoils the figures: a line says how busy the machine
was before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from scripts.llama import build, cache, compiler, native, source
from scripts.serving_bench import figures, generated, workload
from scripts.serving_bench.client import BenchError
from scripts.serving_bench.ours import Ours
from scripts.serving_bench.ours import calibrate as calibrate_ours
from scripts.serving_bench.rival import Rival, calibrate

from holdfast.errors import HoldfastError

KNOWN_FAILURES = (
    BenchError,
    HoldfastError,
    TimeoutError,
    compiler.NoCompilerError,
    source.SourceError,
    native.BuildError,
)
WARM = 2  # questions of each asker before anything is measured
BATCHED = ("-npp", str(workload.PROMPT), "-ntg", str(workload.ANSWER), "-npl", "1,4,8,16")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each server at each setting in each round, about"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[one.name for one in workload.SETTINGS],
        help="a setting; may be repeated",
    )
    parser.add_argument("--model", choices=("generated", "starter"), help="only this one")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="no search for the best settings, no bare bench")
    return parser.parse_args()


def told(setting: str, name: str, found: figures.Measurement) -> str:
    """Write a measurement in a line."""
    return (
        f"  {setting:>14}  {name:<12} {found.rate:7.1f} tokens/s   first {found.first * 1e3:7.0f} ms"
        f"   between {found.gap * 1e3:6.1f} ms, p99 {found.long_gap * 1e3:6.1f} ms"
    )


def batched(binaries: Path, served: generated.Served, cores: int) -> None:
    """Print what the bare library does, without any server."""
    size = workload.PARALLEL * workload.CONTEXT
    command = [
        str(binaries / "llama-batched-bench"),
        "-m",
        str(served.model),
        "-c",
        str(size),
        "-t",
        str(cores),
    ]
    done = subprocess.run([*command, *BATCHED], check=False, capture_output=True, text=True)
    for line in (done.stdout + done.stderr).splitlines():
        if line.startswith("|"):
            say(f"  {line}")


async def measured(
    server: Ours | Rival, setting: workload.Setting, asked: list[list[dict[str, Any]]]
) -> figures.Measurement:
    """Ask a server everything, and see that it answered all of it."""
    replies = await server.ask(setting, asked)
    if any(reply.tokens != workload.ANSWER for reply in replies):
        raise BenchError(f"{server.name} gave an answer that is not {workload.ANSWER} tokens long")
    return figures.measure(replies)


async def bench(
    binaries: Path, served: generated.Served, chosen: argparse.Namespace, scratch: Path
) -> dict[str, object]:
    """Compare the two servers with one model.

    Args:
        binaries: Where llama-server is.
        served: The model.
        chosen: The command line.
        scratch: A folder.

    Returns:
        The summary.

    Raises:
        BenchError: If a server does not answer.
    """
    settings = [one for one in workload.SETTINGS if not chosen.only or one.name in chosen.only]
    seconds = chosen.seconds * served.speed  # of the generated model, whose speed the settings know
    say(f"{served.name}: {served.model}")
    if not chosen.quick:
        say("  llama-batched-bench, no server:")
        await asyncio.to_thread(batched, binaries, served, chosen.cores)
    log = scratch / "llama-server.log"
    tuning, lines = await calibrate(binaries, served, chosen.cores, log, quick=chosen.quick)
    for line in lines:
        say(f"  llama-server {line}")
    say(f"  llama-server is at its best with {' '.join(tuning.arguments())}")
    threads, lines = await calibrate_ours(served, chosen.cores, scratch, quick=chosen.quick)
    for line in lines:
        say(f"  holdfast {line}")
    say(f"  holdfast is at its best with threads = {threads}")
    seen: dict[str, dict[str, list[figures.Measurement]]] = {
        one.name: {Ours.name: [], Rival.name: []} for one in settings
    }
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(Ours(served, threads, scratch))
        plain = await stack.enter_async_context(Rival(binaries, served, tuning, log))
        adapted = await stack.enter_async_context(Rival(binaries, served, tuning, log, adapters=True))
        pairs: dict[str, tuple[Ours | Rival, ...]] = {
            one.name: (ours, adapted if one.adapters else plain) for one in settings
        }
        for setting in settings:
            for server in pairs[setting.name]:
                await server.ask(setting, workload.questions(setting, served.vocabulary, WARM, 0))
        for number in range(chosen.rounds):
            say(f"round {number + 1}: {os.getloadavg()[0]:.1f} processes ran before")
            for at, setting in enumerate(settings):
                asked = workload.questions(
                    setting, served.vocabulary, setting.each(seconds), 1 + number * len(settings) + at
                )
                pair = pairs[setting.name]
                for server in pair if (number + at) % 2 else pair[::-1]:
                    found = await measured(server, setting, asked)
                    seen[setting.name][server.name].append(found)
                    say(told(setting.name, server.name, found))
    ratios = {name: figures.compare(both[Ours.name], both[Rival.name]) for name, both in seen.items()}
    for name, ratio in ratios.items():
        say(f"  {name:>14}  ratio {ratio.rate:.3f}, first text {ratio.first:.3f}, p99 {ratio.long_gap:.3f}")
    return figures.summary(ratios)


def main() -> int:
    """Run the bench.

    Returns:
        0, or 1 if a server did not answer.
    """
    chosen = read_arguments()
    root = cache.default_cache(os.environ, Path.home())
    result: dict[str, object] = {}
    try:
        binaries = build.servers(root, lambda line: print(line, file=sys.stderr, flush=True))
        with tempfile.TemporaryDirectory(dir=root, prefix="bench-") as folder:
            scratch = Path(folder)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
                models = {}
                if chosen.model != "starter":
                    models["generated"] = other.submit(generated.generated, root).result()
                if chosen.model != "generated":
                    models["starter"] = other.submit(generated.starter, scratch).result()
            for name, served in models.items():
                found = asyncio.run(bench(binaries, served, chosen, scratch))
                result |= {"starter": found} if name == "starter" and len(models) > 1 else found
    except KNOWN_FAILURES as error:
        print(f"bench-serving: {error}", file=sys.stderr)
        return 1
    say(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
