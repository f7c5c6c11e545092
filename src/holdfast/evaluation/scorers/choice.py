"""Metric ``choice``: the model finds the right choice likelier than every other.

Each choice has a log-likelihood as the continuation of the question (natural logarithm). It is compared as it is, or per
character or per UTF-8 byte of the choice, so that long choices are not at a disadvantage. Of equal ones the first counts. A
log-likelihood that is no number makes the item wrong. No I/O.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from holdfast.evaluation.scorers import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence


def chosen(texts: Sequence[str], logs: Sequence[float], *, normalise: str) -> int | None:
    """Give the choice that the model finds likeliest.

    Args:
        texts: The choices.
        logs: The log-likelihood of each, in nats.
        normalise: ``none``, ``characters`` or ``bytes``.

    Returns:
        Its position, or None if a log-likelihood is no number.
    """
    if any(math.isnan(one) for one in logs):
        return None
    sizes = {
        "none": [1] * len(texts),
        "characters": [len(one) for one in texts],
        "bytes": [len(one.encode("utf-8", "replace")) for one in texts],
    }[normalise]
    weighed = [one / size for one, size in zip(logs, sizes, strict=True)]
    return weighed.index(max(weighed))


def judge(texts: Sequence[str], logs: Sequence[float], right: int, *, normalise: str) -> Verdict:
    """Tell whether the right choice is the likeliest.

    Args:
        texts: The choices.
        logs: The log-likelihood of each, in nats.
        right: Position of the right one.
        normalise: ``none``, ``characters`` or ``bytes``.

    Returns:
        The verdict.
    """
    found = chosen(texts, logs, normalise=normalise)
    if found is None:
        return Verdict(correct=False, told="a log-likelihood is no number")
    return Verdict(found == right)
