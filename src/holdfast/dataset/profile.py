"""What can be said about training examples before they are used. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.dataset.messages import Row


@dataclass(frozen=True)
class Profile:
    """Counts of one file of examples.

    Args:
        rows: Examples.
        messages: Messages in all of them.
        characters: Characters in all messages.
        median_characters: Of one example.
        longest_characters: Of one example.
        duplicates: Examples that repeat an earlier one word for word.
        contradictions: Conversations that are ended by different answers in different examples.
    """

    rows: int
    messages: int
    characters: int
    median_characters: int
    longest_characters: int
    duplicates: int
    contradictions: int

    def to_json(self) -> dict[str, Json]:
        """Give the profile as plain data.

        Returns:
            One figure per field.
        """
        return asdict(self)


def of_rows(rows: Sequence[Row]) -> Profile:
    """Count examples.

    Args:
        rows: At least one example.

    Returns:
        The profile.
    """
    lengths = [sum(len(one.content) for one in row.messages) for row in rows]
    answers: defaultdict[object, set[str]] = defaultdict(set)
    for row in rows:
        answers[row.messages[:-1]].add(row.messages[-1].content)
    return Profile(
        rows=len(rows),
        messages=sum(len(row.messages) for row in rows),
        characters=sum(lengths),
        median_characters=int(statistics.median(lengths)),
        longest_characters=max(lengths),
        duplicates=len(rows) - sum(map(len, answers.values())),
        contradictions=sum(len(found) > 1 for found in answers.values()),
    )
