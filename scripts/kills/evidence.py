"""What must hold of a log after every kill: nothing acknowledged is lost, nothing is there twice, every act has one end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.audit import actions, verify
from holdfast.audit.actions import Phase

if TYPE_CHECKING:
    from scripts.kills.load import Acked

VERIFY = Path(verify.__file__)


class Broken(Exception):  # noqa: N818 - what a round says
    """Something that must hold does not."""


@dataclass
class Seen:
    """What the log held at the last look; a later look must find the same at its beginning.

    Args:
        leaves: Leaf hashes of all events.
    """

    leaves: list[str] = field(default_factory=list)


def check(log: Path, acked: Acked, seen: Seen) -> list[dict[str, object]]:
    """Look at a log whose daemon has reconciled and records nothing else meanwhile.

    Args:
        log: The folder.
        acked: What clients were told.
        seen: What the last look found; this look's is noted there.

    Returns:
        All events.

    Raises:
        Broken: Naming what does not hold.
    """
    verdict = subprocess.run(  # the one file, as an auditor runs it
        [sys.executable, str(VERIFY), str(log), "--json"], capture_output=True, text=True, check=False
    )
    if verdict.returncode:
        raise Broken(f"verify.py: {verdict.stdout}{verdict.stderr}")
    events: list[dict[str, object]] = []
    leaves: list[str] = []
    for path in verify.segments(log):
        _, _, data, offset = verify.read_segment(path)
        for record in verify.records(data, offset):
            if record.fault is None:
                events.append(json.loads(record.body))
                leaves.append(f"sha256:{record.leaf.hex()}")
    if leaves[: len(seen.leaves)] != seen.leaves:
        raise Broken("events that were there before are gone or others")
    seen.leaves = leaves
    _acknowledged(events, leaves, acked)
    _ended(events)
    _counted(events)
    return events


def _acknowledged(events: list[dict[str, object]], leaves: list[str], acked: Acked) -> None:
    def action(seq: int) -> object:
        return events[seq]["action"] if seq < len(events) else None

    for what, seqs in (("store.scrub", acked.scrubs), ("answer", acked.asked)):
        lost = [seq for seq in seqs if action(seq) != what]
        if lost:
            raise Broken(f"acknowledged {what} is not there: {sorted(lost)[:10]}")
    for seq, (intent, leaf) in acked.answered.items():
        if action(seq) != "answer.done" or leaves[seq] != leaf or events[seq]["cause"] != intent:
            raise Broken(f"the acknowledged answer {seq} is not there")
    marks = {
        str(event["params"]["request"].get("sql", "")).partition("'")[2].partition("'")[0]  # type: ignore[index]  # as the daemon records it
        for event in events
        if event["action"] == "audit.read"
    }
    if lost_reads := acked.reads - marks:
        raise Broken(f"acknowledged reads are not there: {sorted(lost_reads)[:10]}")


def _ended(events: list[dict[str, object]]) -> None:
    ends = Counter(
        event["cause"] for event in events if actions.get(str(event["action"])).phase is Phase.OUTCOME
    )
    begun = {event["seq"] for event in events if actions.get(str(event["action"])).phase is Phase.INTENT}
    if open_ := begun - ends.keys():
        raise Broken(f"intents without outcome: {sorted(open_)[:10]}")  # type: ignore[type-var]  # numbers
    if doubled := [seq for seq, count in ends.items() if count != 1 or seq not in begun]:
        raise Broken(f"more than one outcome, or no intent: {doubled[:10]}")


def _counted(events: list[dict[str, object]]) -> None:
    """Every producer counted its events without a gap, in each of its runs."""
    runs: dict[tuple[str, str], int] = {}
    for event in events:
        source = event["source"]
        if isinstance(source, dict):
            run = (source["name"], source["run"])
            if source["count"] != runs.get(run, -1) + 1:
                raise Broken(
                    f"event {event['seq']} is number {source['count']} of {run}, after {runs.get(run)}"
                )
            runs[run] = source["count"]


def index_digest(leaves: list[str]) -> str:
    """Give the digest that the index must have over all its events."""
    return sha256("".join(leaves).encode()).hexdigest()
