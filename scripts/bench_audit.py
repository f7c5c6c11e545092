"""Measure the audit log over its real append path: producer processes, socketpairs, segments, group fdatasync.

Each of five rounds measures a raw ``fdatasync`` loop, then 1, 16 and 8 producers with 1, 1 and 64 events in flight, and 16 while an
auditor exports the log; the figures of the last line are medians. Then a log of ``--events`` events is filled, proven from, verified and indexed, each in a
process of its own whose peak memory is taken; seconds are scaled to a million events. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.threadproducer import ThreadProducer

from holdfast.audit import export, verify
from holdfast.audit.channel import ProducerServer
from holdfast.audit.event import Actor, Draft, Subject
from holdfast.audit.log import Log
from holdfast.audit.sealed import SealedStore
from holdfast.audit.signer import LogSigner
from holdfast.governance.labels import Label

if TYPE_CHECKING:
    from concurrent.futures import Future

    from holdfast.audit.appender import Receipt
    from holdfast.canonical import Json

ORIGIN = "holdfast.example/bench/0"
SHAPES = ((1, 1), (16, 1), (8, 64))  # producers, events in flight at each
MODEL = "sha512:" + 128 * "5"
ANSWER = Draft(  # what a served model's worker records before it answers
    "answer",
    Actor("tenant/key-1", None, "application"),
    subject=Subject("gguf", MODEL),
    label=Label("internal", frozenset({"claims"}), frozenset({"site"})),
    params={
        "model": "base:adapter",
        "model_digest": MODEL,
        "adapter_digest": None,
        "tenant": "tenant",
        "key": "key-1",
        "kind": "chat",
        "prompt_tokens": 128,
        "commitments": {"prompt": "sha256:" + 64 * "6"},
        "sealed_for": 64 * "7",
    },
)
FACT = Draft(  # what may be recorded a million times without an act to end
    "access.denied",
    Actor("bench", 1000, "operator", "s"),
    params={"reason": "people.role", "route": "/v1/bundles", "uid": 1000, "person": "bench"},
)
RECORD = 976  # bytes of that answer, as it is stored
EXPORTED = 50_000  # events in a log before it is exported
EXPORT_SECONDS = 1.0  # between one export and the next
MILLION = 1_000_000
WINDOW = 4_096  # events in flight while a large log is filled
PROOFS = 200  # proofs of random events


def produce(descriptor: int, seconds: float, in_flight: int) -> None:
    """Be one producer process: append for a while, then print each event's latency in seconds."""
    producer = ThreadProducer(socket.socket(fileno=descriptor))
    waiting: deque[tuple[float, Future[Receipt]]] = deque()
    latencies, end = [], time.perf_counter() + seconds
    while waiting or time.perf_counter() < end:
        while len(waiting) < in_flight and time.perf_counter() < end:
            waiting.append((time.perf_counter(), producer.submit(ANSWER)))
        begun, future = waiting.popleft()
        future.result()
        latencies.append(time.perf_counter() - begun)
    print(json.dumps(latencies))


def open_log(folder: Path) -> Log:
    """Open a log of its own."""
    return Log.open(
        folder / "log", origin=ORIGIN, signer=LogSigner.generate(), clock=lambda: (datetime.now(UTC), "host")
    )


def appended(log: Log, folder: Path, producers: int, in_flight: int, seconds: float) -> tuple[float, float]:
    """Give acknowledged events per second and the median latency in seconds."""
    store, children, servers = SealedStore(folder / "keys", folder / "sealed"), [], []
    for _ in range(producers):
        ours, theirs = socket.socketpair()
        servers.append(ProducerServer(ours, log, "serve", store))
        servers[-1].start()
        command = [
            sys.executable,
            "-m",
            "scripts.bench_audit",
            "--part",
            "produce",
            str(theirs.fileno()),
            str(seconds),
            str(in_flight),
        ]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]))
        theirs.close()
    latencies = [latency for child in children for latency in json.loads(child.communicate()[0])]
    for server in servers:
        server.stop()
    return len(latencies) / seconds, statistics.median(latencies)


def beside_export(folder: Path, seconds: float) -> tuple[float, float]:
    """Give acknowledged events per second of 16 producers, alone and while the whole log is exported once a second."""
    log, over = open_log(folder), threading.Event()
    last = [log.submit(FACT) for _ in range(EXPORTED)][-1]
    last.result()

    def auditor() -> None:
        for number in itertools.count():
            if over.wait(EXPORT_SECONDS):
                return
            export.write_evidence(log, folder / "log", folder / f"evidence{number}", 0, log.size)

    alone, _ = appended(log, folder, 16, 1, seconds)
    exporting = threading.Thread(target=auditor)
    exporting.start()
    beside, _ = appended(log, folder, 16, 1, seconds)
    over.set()
    exporting.join()
    log.close()
    return alone, beside


def raw_sync(folder: Path, seconds: float) -> float:
    """Give the median seconds of appending one event's bytes and ``fdatasync``."""
    handle = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        os.write(handle, bytes(RECORD))
        os.fdatasync(handle)
        times.append(time.perf_counter() - begun)
    os.close(handle)
    return statistics.median(times)


def fill(folder: Path, events: int) -> dict[str, Json]:
    """Be the process that fills a log; gives its peak memory on the way, and how long proofs take at the end."""
    signer = LogSigner.generate()
    log = Log.open(folder / "log", origin=ORIGIN, signer=signer, clock=lambda: (datetime.now(UTC), "host"))
    waiting: deque[Future[Receipt]] = deque()
    peaks = {}
    for number in range(1, events + 1):
        waiting.append(log.submit(FACT))
        if len(waiting) == WINDOW or number in {events // 10, events}:
            while waiting:
                waiting.popleft().result()
        if number in {events // 10, events}:
            peaks[number] = peak_mb()
    log.checkpoint()
    times = []
    for seq in random.Random(0).sample(range(events), min(PROOFS, events)):
        begun = time.perf_counter()
        log.prove(seq)
        times.append(time.perf_counter() - begun)
    log.close()
    return {
        "proof_ms": round(statistics.median(times) * 1e3, 3),
        "proof_max_ms": round(max(times) * 1e3, 3),
        "rss_mb": [peaks[events // 10], peaks[events]],
    }


def check(folder: Path) -> dict[str, Json]:
    """Be the process that verifies a log."""
    keys = verify.parse_keys((folder / "log" / "log.pub").read_bytes())
    begun = time.perf_counter()
    verdict = verify.verify_log(folder / "log", keys)
    seconds = time.perf_counter() - begun
    if not verdict.ok:
        raise SystemExit(str(verdict))
    return {"seconds": seconds, "rss_mb": peak_mb()}


def rebuild(folder: Path, events: int) -> dict[str, Json]:
    """Be the process that builds the index of a log."""
    from holdfast.index.ingest import Index

    (folder / "index").mkdir()
    begun = time.perf_counter()
    index = Index(folder / "log", folder / "index")
    index.ingest(events)
    index.close()
    return {"seconds": time.perf_counter() - begun, "rss_mb": peak_mb()}


def peak_mb() -> int:
    """Give the most memory that this process has had resident, in MiB; not what its parent had, as ``getrusage`` does."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def in_child(part: str, *given: object) -> dict[str, Json]:
    """Run a part in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench_audit", "--part", part, *map(str, given)]
    found: dict[str, Json] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def large(events: int) -> dict[str, Json]:
    """Measure what grows with a log."""
    with tempfile.TemporaryDirectory() as scratch:
        filled = in_child("fill", scratch, events)
        print(f"log of {events}: {json.dumps(filled)}")
        checked = [in_child("check", scratch) for _ in range(3)]
        print(f"verify: {json.dumps(checked)}")
        built = in_child("rebuild", scratch, events)
        print(f"rebuild: {json.dumps(built)}")
    scale = MILLION / events
    return {
        "verify_1m_s": round(statistics.median(float(str(one["seconds"])) for one in checked) * scale, 2),
        "rebuild_1m_s": round(float(str(built["seconds"])) * scale, 2),
        "proof_ms": filled["proof_ms"],
        "log_rss_mb": filled["rss_mb"],
        "verify_rss_mb": checked[0]["rss_mb"],
        "rebuild_rss_mb": built["rss_mb"],
    }


def part(name: str, *given: str) -> None:
    """Be one process of the bench."""
    if name == "produce":
        produce(int(given[0]), float(given[1]), int(given[2]))
    elif name == "fill":
        print(json.dumps(fill(Path(given[0]), int(given[1]))))
    elif name == "check":
        print(json.dumps(check(Path(given[0]))))
    else:
        print(json.dumps(rebuild(Path(given[0]), int(given[1]))))


def main() -> None:
    """Run the bench, or one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--events", type=int, default=MILLION, help="of the large log")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        part(*chosen.part)
        return
    rates: dict[str, list[float]] = {f"{n}x{k}": [] for n, k in SHAPES}
    ratios, kept = [], []
    for number in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            raw = raw_sync(Path(scratch), chosen.seconds)
            print(f"round {number}: raw fdatasync p50 {raw * 1e3:.3f} ms")
            for producers, in_flight in SHAPES:
                shape, folder = f"{producers}x{in_flight}", Path(scratch) / f"{producers}x{in_flight}"
                folder.mkdir()
                log = open_log(folder)
                rate, latency = appended(log, folder, producers, in_flight, chosen.seconds)
                log.close()
                print(f"round {number}: {shape} {rate:.0f} acked/s, p50 {latency * 1e3:.3f} ms")
                rates[shape].append(rate)
                if shape == "1x1":
                    ratios.append(latency / raw)
            (Path(scratch) / "exported").mkdir()
            alone, beside = beside_export(Path(scratch) / "exported", chosen.seconds)
            print(f"round {number}: 16x1 {alone:.0f} acked/s alone, {beside:.0f} beside exports")
            kept.append(beside / alone)
    figures = {
        "acked_per_s": {shape: round(statistics.median(found)) for shape, found in rates.items()},
        "p50_ratio_1x1": round(statistics.median(ratios), 2),
        "export_ratio_16x1": round(statistics.median(kept), 2),
        **large(chosen.events),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
