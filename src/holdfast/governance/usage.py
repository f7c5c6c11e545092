"""What applications' keys have used, as the log tells it: requests and tokens of each key on the last two days.

A request and its prompt count on the day (UTC) on which the request was recorded, the answer on the day on which that was. What
only looks at texts (``tokenize``, ``detokenize``) is a request and takes no tokens. Invariants: pure; plain data; of the days only
the two are kept that were begun last, so that midnight takes nothing away that somebody may still ask for; an event of another
room changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.canonical import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from holdfast.audit.event import Event
    from holdfast.canonical import Json

DAYS = 2  # that are kept
REQUEST = "answer"
ANSWERS = frozenset({"answer.done", "answer.cancelled", "answer.failed"})
COMPUTING = frozenset({"chat", "completion", "embedding"})  # kinds of requests whose tokens count


@dataclass(frozen=True)
class Used:
    """What one key used on one day.

    Args:
        requests: Requests that were recorded.
        tokens: Tokens of prompts and answers.
    """

    requests: int = 0
    tokens: int = 0


class Usage:
    """The fold of what applications' keys have used."""

    def __init__(self) -> None:
        self.days: dict[
            str, dict[str, Used]
        ] = {}  # by day (YYYY-MM-DD), then by key; the day begun last stands last

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        if event.action == REQUEST:
            counts = event.params.get("kind") in COMPUTING
            self._add(event, 1, _count(event.params.get("prompt_tokens")) if counts else 0)
        elif event.action in ANSWERS:
            self._add(event, 0, _count(event.params.get("completion_tokens")))

    def _add(self, event: Event, requests: int, tokens: int) -> None:
        key = event.actor.person.rpartition("/")[2]  # an answer's actor is its tenant and its key
        day = self.days.setdefault(event.time[:10], {})
        found = day.get(key, Used())
        summed = min(
            found.tokens + tokens, MAX_SAFE_INTEGER
        )  # a forged count must not make what no message can carry
        day[key] = replace(found, requests=found.requests + requests, tokens=summed)
        while len(self.days) > DAYS:
            del self.days[next(iter(self.days))]

    def of(self, day: str, key: str) -> Used:
        """Tell what a key used.

        Args:
            day: The day, ``YYYY-MM-DD``.
            key: The key's id.

        Returns:
            What it used; nothing if the day is none of those that are kept.
        """
        return self.days.get(day, {}).get(key, Used())

    def tokens(self, day: str) -> dict[str, int]:
        """Tell what every key used.

        Args:
            day: The day, ``YYYY-MM-DD``.

        Returns:
            Tokens by key.
        """
        return {key: one.tokens for key, one in self.days.get(day, {}).items()}


def _count(value: Json) -> int:
    return value if type(value) is int and value > 0 else 0
