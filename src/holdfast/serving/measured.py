"""What an engine measured of its model on its machine, as it is kept for the next one. Pure.

An engine finds out by trying how many rows may share a step without moving a bit of anyone's scores (``engine.widths``). That takes
about as long as a prompt of a thousand tokens, so the result is kept, with a digest of all that it depends on and a digest of some
scores. Invariant: whoever reads one takes nothing for granted but what lies within the bounds below; only an engine whose own
digests are the same uses it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from holdfast.serving.spec import MAX_PARALLEL

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_LEAST = 2  # rows that a step has at least: one, or a pair
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Measured:
    """A measurement.

    Args:
        key: Digest of what it depends on, as far as that can be named.
        sample: Digest of scores that were computed with it, which also changes with what nobody named.
        least: A step of fewer rows is filled up; 1 or 2.
        most: Rows of a step, at most.
        chunks: Whether chunks of several prompts may share a step.
        alone: Whether a step of a single row is computed by one thread.
    """

    key: str
    sample: str
    least: int
    most: int
    chunks: bool
    alone: bool

    def plain(self) -> dict[str, Json]:
        """Give it as plain data.

        Returns:
            Its fields by name.
        """
        return asdict(self)


def parse(value: Json) -> Measured | None:
    """Read one strictly.

    Args:
        value: What was kept, or what an engine said.

    Returns:
        The measurement; None if it is none.
    """
    match value:
        case {
            "key": str(key),
            "sample": str(sample),
            "least": int(least),
            "most": int(most),
            "chunks": bool(chunks),
            "alone": bool(alone),
            **rest,
        } if not rest:
            counts = all(type(one) is int for one in (least, most))
            digests = all(_DIGEST.fullmatch(one) for one in (key, sample))
            if counts and digests and 1 <= least <= min(most, MAX_LEAST) and most <= MAX_PARALLEL:
                return Measured(key, sample, least, most, chunks, alone)
    return None
