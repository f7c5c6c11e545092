"""Chance with a name: every random decision of the generators goes through a seeded `random.Random`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

EVEN = 0.5


def happens(rng: Random, probability: float = EVEN) -> bool:
    """Toss a coin.

    Args:
        rng: The source of chance.
        probability: How often the answer is yes, from 0 to 1.

    Returns:
        Yes or no.
    """
    return rng.random() < probability


def kind_of(rng: Random, shares: dict[str, float]) -> str:
    """Draw one of several kinds.

    Args:
        rng: The source of chance.
        shares: Kind to the upper end of its share, ascending, the last one 1.0.

    Returns:
        The kind drawn.
    """
    return rng.choices(list(shares), cum_weights=list(shares.values()))[0]
