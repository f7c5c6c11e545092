"""The child process in which loose files are read; run as a module.

Of an order ``{"files": {name: descriptor}}`` it makes the answer (see ``boundedchild``): by each file's name its ``form``,
``facts`` and ``findings``.
"""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING, cast

from holdfast import boundedchild
from holdfast.formats import inspection
from holdfast.store.hashfile import read_exactly

if TYPE_CHECKING:
    from holdfast.canonical import Json

ANSWER = 64 * 2**20  # bytes that it may write: its answer


def judge(order: dict[str, Json]) -> dict[str, Json]:
    """Judge open files.

    Args:
        order: ``files``: a descriptor of each, by its name; of one folder.

    Returns:
        By each file's name its ``form``, ``facts`` and ``findings``.
    """
    handles = cast("dict[str, int]", order["files"])
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
    boundedchild.serve(judge, memory=resource.RLIMIT_AS, written=ANSWER)
