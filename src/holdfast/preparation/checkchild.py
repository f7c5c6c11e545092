"""The child process in which a recipe's data are looked at before a run; run as a module.

Of an order ``{"files": [{"shown", "path", "format"}], "forms", "columns", "licence", "held_out", "over", "suites"}`` it makes the
answer (see ``boundedchild``): ``mistakes`` (the first, for people), ``count`` (of all), and the ``profile``, or the ``error``
that stopped it. Nothing else is written.
"""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

from holdfast import boundedchild
from holdfast.dataset.intake import listed
from holdfast.errors import HoldfastError
from holdfast.preparation import columns, commas, prepare  # noqa: F401 - all is loaded before memory is bounded
from holdfast.preparation.order import PrepareOrder

if TYPE_CHECKING:
    from holdfast.canonical import Json

WRITTEN = 2**28  # bytes of a file that it may write: its answer, and the language model's scratch file


class _Silence:
    """A reporter that nobody listens to."""

    cancelled = False

    def progress(self, step: str, done: int, total: int) -> None:
        """Tell nothing.

        Args:
            step: What is being done.
            done: Units done.
            total: Units in all.
        """


def look(wanted: dict[str, Json]) -> dict[str, Json]:
    """Read and describe data.

    Args:
        wanted: See the module's description.

    Returns:
        The answer.
    """
    asked = PrepareOrder.model_validate({**wanted, "quarantine": True, "out": "/"})
    answer: dict[str, Json] = {"mistakes": [], "count": 0, "profile": None, "error": None}
    try:
        taken = prepare.read(asked, _Silence())
        answer["mistakes"] = [*listed(taken.mistakes)[0]]
        answer["count"] = len(taken.mistakes)
        prepare.require(taken, quarantine=True)
        answer["profile"] = prepare.examine(taken, asked, _Silence()).profile
    except HoldfastError as error:
        answer["error"] = json.loads(json.dumps(error.to_dict()))
    return answer


if __name__ == "__main__":
    boundedchild.serve(look, memory=resource.RLIMIT_DATA, written=WRITTEN)
