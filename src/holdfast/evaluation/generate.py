"""What both engines share: prompts, and the order in which they are worked off.

Invariants: answers come back in the order of the prompts; the longest prompts go first and together, so that little is
padded; an answer does not depend on the prompts that it was generated with. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from holdfast.evaluation.spec import Suite


class Engine(Protocol):
    """A model that answers."""

    def answers(self, suite: Suite, progress: Callable[[int], None]) -> list[str]:
        """Answer every item of a suite greedily.

        Args:
            suite: The suite.
            progress: Called with the number of items done; may raise to stop.

        Returns:
            One answer per item, in the suite's order, without special tokens.
        """

    def close(self) -> None:
        """Free the model."""


def check_room(suite: Suite, lengths: Sequence[int], context: int) -> None:
    """Check that every prompt and its answer fit into the model's context.

    Args:
        suite: The suite.
        lengths: Tokens of each item's prompt.
        context: Tokens that the model can hold.

    Raises:
        UntrustedRecipe: If one does not fit.
    """
    room = context - suite.spec.generation.max_new_tokens
    for item, length in zip(suite.items, lengths, strict=True):
        if length > room:
            raise UntrustedRecipe(
                "suite.too-long",
                f"Item {item.id!r} of suite {suite.spec.name!r} has {length} tokens; with "
                f"{suite.spec.generation.max_new_tokens} to generate this model has room for {room}.",
                remedy="Lower max_new_tokens in [generation], or shorten the item.",
                item=item.id,
                tokens=length,
                room=room,
            )


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Group prompts of like length.

    Args:
        lengths: Tokens of each prompt.
        size: The most prompts of one group.

    Yields:
        Positions of prompts, the longest first.
    """
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    for start in range(0, len(order), size):
        yield order[start : start + size]
