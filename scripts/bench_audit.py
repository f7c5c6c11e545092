"""Measure the audit log over its real append path: producer processes, socketpairs, segments, group fdatasync.

Each of five rounds measures a raw ``fdatasync`` loop and then 1, 16 and 8 producers with 1, 1 and 64 events in flight; the
figures of the last line are medians. Then a log of ``--events`` events is verified and its index built, scaled to a million.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.audit import verify
from holdfast.audit.event import Actor, Draft
from holdfast.audit.log import Log
from holdfast.audit.producer import Producer, ProducerServer
from holdfast.audit.sealed import SealedStore
from holdfast.audit.signer import LogSigner

if TYPE_CHECKING:
    from concurrent.futures import Future

    from holdfast.audit.log import Receipt

ORIGIN = "holdfast.example/bench/0"
SHAPES = ((1, 1), (16, 1), (8, 64))  # producers, events in flight at each
EVENT = Draft("answer", Actor("bench", None, "application"), params={"model": "base:adapter", "tokens": 128})
MILLION = 1_000_000


def produce(descriptor: int, seconds: float, in_flight: int) -> None:
    """Be one producer process: append for a while, then print each event's latency in seconds."""
    producer = Producer(socket.socket(fileno=descriptor))
    waiting: deque[tuple[float, Future[Receipt]]] = deque()
    latencies, end = [], time.perf_counter() + seconds
    while waiting or time.perf_counter() < end:
        while len(waiting) < in_flight and time.perf_counter() < end:
            waiting.append((time.perf_counter(), producer.submit(EVENT)))
        begun, future = waiting.popleft()
        future.result()
        latencies.append(time.perf_counter() - begun)
    print(json.dumps(latencies))


def appended(folder: Path, producers: int, in_flight: int, seconds: float) -> tuple[float, float]:
    """Give acknowledged events per second and the median latency in seconds."""
    log = Log.open(
        folder / "log", origin=ORIGIN, signer=LogSigner.generate(), clock=lambda: (datetime.now(UTC), "host")
    )
    store, children, servers = SealedStore(folder / "keys", folder / "sealed"), [], []
    for _ in range(producers):
        ours, theirs = socket.socketpair()
        servers.append(ProducerServer(ours, log, "serve", store))
        servers[-1].start()
        command = [sys.executable, __file__, "--produce", str(theirs.fileno()), str(seconds), str(in_flight)]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]))
        theirs.close()
    latencies = [latency for child in children for latency in json.loads(child.communicate()[0])]
    for server in servers:
        server.stop()
    log.close()
    return len(latencies) / seconds, statistics.median(latencies)


def raw_sync(folder: Path, seconds: float) -> float:
    """Give the median seconds of appending one event's bytes and ``fdatasync``."""
    handle = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        os.write(handle, bytes(400))
        os.fdatasync(handle)
        times.append(time.perf_counter() - begun)
    os.close(handle)
    return statistics.median(times)


def read_back(folder: Path, events: int) -> tuple[float, float]:
    """Give the seconds per million events of verifying a log and of building its index."""
    from holdfast.index.ingest import Index

    signer = LogSigner.generate()
    log = Log.open(folder / "log", origin=ORIGIN, signer=signer, clock=lambda: (datetime.now(UTC), "host"))
    last = [log.submit(EVENT) for _ in range(events)][-1]
    last.result()
    log.close()
    begun = time.perf_counter()
    verdict = verify.verify_log(folder / "log", signer.keys(ORIGIN))
    verified = time.perf_counter() - begun
    if not verdict.ok:
        raise SystemExit(str(verdict))
    (folder / "index").mkdir()
    begun = time.perf_counter()
    index = Index(folder / "log", folder / "index")
    index.ingest(events)
    index.close()
    return verified * MILLION / events, (time.perf_counter() - begun) * MILLION / events


def main() -> None:
    """Run the bench, or one of its producers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--events", type=int, default=MILLION, help="of the log that is verified")
    parser.add_argument("--produce", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.produce:
        produce(int(chosen.produce[0]), float(chosen.produce[1]), int(chosen.produce[2]))
        return
    rates: dict[str, list[float]] = {f"{n}x{k}": [] for n, k in SHAPES}
    ratios = []
    for number in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            raw = raw_sync(Path(scratch), chosen.seconds)
            print(f"round {number}: raw fdatasync p50 {raw * 1e3:.3f} ms")
            for producers, in_flight in SHAPES:
                shape, folder = f"{producers}x{in_flight}", Path(scratch) / f"{producers}x{in_flight}"
                folder.mkdir()
                rate, latency = appended(folder, producers, in_flight, chosen.seconds)
                print(f"round {number}: {shape} {rate:.0f} acked/s, p50 {latency * 1e3:.3f} ms")
                rates[shape].append(rate)
                if shape == "1x1":
                    ratios.append(latency / raw)
    with tempfile.TemporaryDirectory() as scratch:
        verified, rebuilt = read_back(Path(scratch), chosen.events)
    figures = {
        "acked_per_s": {shape: round(statistics.median(found)) for shape, found in rates.items()},
        "p50_ratio_1x1": round(statistics.median(ratios), 2),
        "verify_1m_s": round(verified, 2),
        "rebuild_1m_s": round(rebuilt, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
