"""The execution worker: runs the programs that models wrote, and completes their results.

Order of operations: the process that forks tests is made before any item is read (``evaluation.execution``); then each result
that ``evaluate`` left open is read back, its programs run, its items judged, and its file of outcomes written again. A test's
process can't reach what is expected of it; see there for the walls.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from holdfast.evaluation import code
from holdfast.evaluation.execution import Nursery
from holdfast.workers.channel import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.evaluation.metrics import CodeSection
    from holdfast.evaluation.scorers import Verdict
    from holdfast.evaluation.spec import Suite
    from holdfast.workers.channel import Channel


class ExecuteOrder(BaseModel):
    """What the daemon asks for: ``pending`` as ``evaluate`` gave it, each suite's folder, and where its outcomes lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pending: list[tuple[str, str]]
    suites: dict[str, Path]
    answers: Path
    out: Path


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Run programs.

    Args:
        channel: Whom to report to.
        order: An ``ExecuteOrder`` as plain data.

    Returns:
        ``results`` (run id → suite → what ``score.result`` gives), ``outcomes`` (the names of the files, which replace those
        of ``evaluate``) and ``finished`` (False if it was cancelled).
    """
    nursery = Nursery()  # before anything is read: what it does not know, no program can find
    from holdfast.evaluation import score, suitefolder

    asked = ExecuteOrder.model_validate(order)
    results: dict[str, dict[str, Json]] = {}
    files: list[Json] = []
    finished = True
    try:
        for run, name in asked.pending:
            suite = suitefolder.read(asked.suites[name])
            file = f"{run}-{name}.jsonl"
            rows = [json.loads(line) for line in (asked.answers / file).read_text("utf-8").splitlines()]
            verdicts = _run(nursery, suite, rows, _teller(channel, run, suite))
            results.setdefault(run, {})[name], filled = score.completed(suite, rows, verdicts)
            (asked.out / file).write_text(score.lines(filled), encoding="utf-8")
            files.append(file)
    except Stopped:
        finished = False
    finally:
        nursery.close()
    return {"results": {**results}, "outcomes": files, "finished": finished}


def _teller(channel: Channel, run: str, suite: Suite) -> Callable[[int], None]:
    def told(done: int) -> None:
        channel.progress(f"{run}: running programs of {suite.spec.name}", done, len(suite.items))
        if channel.cancelled:
            raise Stopped

    return told


def _run(
    nursery: Nursery, suite: Suite, rows: list[dict[str, Json]], told: Callable[[int], None]
) -> dict[str, Verdict]:
    """Run every program, and give the verdicts by item."""
    from holdfast.evaluation import metrics
    from holdfast.evaluation.items import Tests

    verdicts: dict[str, Verdict] = {}
    for done, (item, row) in enumerate(zip(suite.items, rows, strict=True)):
        section = suite.section(item.section)
        if isinstance(item.wanted, Tests) and isinstance(section, metrics.CodeSection):
            told(done)
            ended = _tests(nursery, str(row["answer"]), item.wanted.tests, section)
            verdicts[item.id] = code.judge(item.wanted.tests, ended)
    told(len(rows))
    return verdicts


def _tests(
    nursery: Nursery, answer: str, tests: tuple[code.Test, ...], section: CodeSection
) -> list[code.Ended]:
    """Run an item's tests, up to the first that is failed."""
    program = code.program(answer)
    ended: list[code.Ended] = []
    for test in tests if len(program) <= code.MAX_PROGRAM else ():
        ended.append(
            nursery.run(
                program, test, cpu_seconds=section.cpu_seconds, memory_bytes=section.memory_mb * 2**20
            )
        )
        if code.failure(test, ended[-1]):
            break
    return ended
