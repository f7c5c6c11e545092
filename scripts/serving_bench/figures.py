"""The bench's arithmetic: percentiles, medians and ratios. Pure.

A measurement is what one server did at one setting in one round. Ratios are taken within a round, between measurements that lie
minutes apart at most, and the median of the rounds' ratios is what counts: a machine that is slower for a while is slower for both.
"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MIXED = "mixed_adapters"


@dataclass(frozen=True)
class Reply:
    """One answer as the client saw it.

    Args:
        asked: Just before the connection was opened, seconds of a steady clock.
        arrived: When each piece of text arrived, ascending.
        ended: When the answer was complete.
        tokens: Tokens of the answer, as the server counts them.
    """

    asked: float
    arrived: tuple[float, ...]
    ended: float
    tokens: int


@dataclass(frozen=True)
class Measurement:
    """What one server did at one setting in one round.

    Args:
        rate: Tokens of all answers together a second, from the first question to the last answer's end.
        first: Median time to the first piece of text, seconds.
        gap: Median time between two pieces of an answer, seconds.
        long_gap: The 99th percentile of these times, seconds.
    """

    rate: float
    first: float
    gap: float
    long_gap: float


@dataclass(frozen=True)
class Ratios:
    """Ours to the rival's.

    Args:
        rate: Of tokens a second; above 1, ours is faster.
        first: Of times to the first piece; below 1, ours is faster.
        long_gap: Of 99th percentiles of gaps; below 1, ours is steadier.
    """

    rate: float
    first: float
    long_gap: float


def percentile(values: Iterable[float], share: float) -> float:
    """Give the smallest value that at least a share of all values do not exceed (nearest rank).

    Args:
        values: At least one.
        share: Above 0, at most 1.

    Returns:
        One of the values.
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def measure(replies: Sequence[Reply]) -> Measurement:
    """Sum up the answers of one round.

    Args:
        replies: At least one, each with at least two pieces.

    Returns:
        The figures.
    """
    wall = max(reply.ended for reply in replies) - min(reply.asked for reply in replies)
    gaps = [later - earlier for reply in replies for earlier, later in itertools.pairwise(reply.arrived)]
    return Measurement(
        rate=sum(reply.tokens for reply in replies) / wall,
        first=statistics.median(reply.arrived[0] - reply.asked for reply in replies),
        gap=statistics.median(gaps),
        long_gap=percentile(gaps, 0.99),
    )


def compare(ours: Sequence[Measurement], rival: Sequence[Measurement]) -> Ratios:
    """Compare two servers at one setting.

    Args:
        ours: A measurement for each round.
        rival: The other server's, in the same order.

    Returns:
        Medians of the rounds' ratios.
    """
    pairs = list(zip(ours, rival, strict=True))
    return Ratios(
        rate=statistics.median(mine.rate / other.rate for mine, other in pairs),
        first=statistics.median(mine.first / other.first for mine, other in pairs),
        long_gap=statistics.median(mine.long_gap / other.long_gap for mine, other in pairs),
    )


def summary(found: Mapping[str, Ratios]) -> dict[str, object]:
    """Sum up all settings of a model.

    Args:
        found: Setting to ratios; at least one.

    Returns:
        ``ratio`` for each setting, and ``ttft_ratio`` and ``itl_p99_ratio`` of the setting where ours is worst.
    """
    return {
        "ratio": {setting: round(ratios.rate, 3) for setting, ratios in found.items()},
        "ttft_ratio": round(max(ratios.first for ratios in found.values()), 3),
        "itl_p99_ratio": round(max(ratios.long_gap for ratios in found.values()), 3),
    }
