"""The child process in which loose files are read; run as a module.

It reads one JSON document from its standard input, ``{"memory", "seconds", "files": {name: descriptor}}``, binds itself to the
limits, and writes one to its standard output: by each file's name its ``form``, ``facts`` and ``findings``. Only after the
limits are set does it look at a file.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import TYPE_CHECKING

from holdfast.formats import inspection
from holdfast.store.hashfile import read_exactly

if TYPE_CHECKING:
    from holdfast.canonical import Json

EXHAUSTED = 77  # the exit code of one that ran out of memory in an orderly way
ANSWER = 64 * 2**20  # bytes that it may write: its answer


def main() -> None:
    """Judge the files of the order."""
    order = json.loads(sys.stdin.buffer.read())
    for limit, most in (
        (resource.RLIMIT_AS, order["memory"]),
        (resource.RLIMIT_CPU, order["seconds"]),
        (resource.RLIMIT_FSIZE, ANSWER),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    try:
        json.dump(judge(order["files"]), sys.stdout)
    except MemoryError:
        sys.exit(EXHAUSTED)


def judge(handles: dict[str, int]) -> dict[str, Json]:
    """Judge open files.

    Args:
        handles: A descriptor of each, by its name; of one folder.

    Returns:
        By each file's name its ``form``, ``facts`` and ``findings``.
    """
    sizes = {name: os.fstat(handle).st_size for name, handle in handles.items()}
    found = inspection.inspect_loose(
        sizes, lambda name, offset, length: read_exactly(handles[name], offset, length)
    )
    answer: dict[str, Json] = {}
    for name, report in found.files.items():
        own = [*report.refusals, *(one for one in found.together if one.fields.get("file") == name)]
        findings: list[Json] = [{"key": one.key, "message": one.message, "remedy": one.remedy} for one in own]
        answer[name] = {"form": report.form, "facts": report.facts, "findings": findings}
    return answer


if __name__ == "__main__":
    main()
