"""What the computing thread has to tell the front, gathered between two frames.

A frame wakes the front, which wakes the client; where a step takes less than a millisecond, doing that for every token would take
the cores from the computation. So texts of one answer that come shortly after one another go as one. Invariants: events of one
answer are sent in the order in which they were put; a text waits for others no longer than ``PACE`` and one step, an end for
nobody; joined texts are the texts that were put. Belongs to one thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.serving import link

if TYPE_CHECKING:
    from collections.abc import Callable

PACE = 0.002  # seconds between two frames of texts; no one sees less


class Outbox:
    """Events that are to be sent.

    Args:
        send: Sends a frame.
        clock: Monotonic seconds.
    """

    def __init__(
        self, send: Callable[[link.Events], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._clock = clock
        self._events: list[link.Event] = []
        self._texts: dict[
            tuple[int, int], int
        ] = {}  # where the text of a choice is that others may be joined to
        self._ends = False  # whether an end is among them
        self._sent = -PACE

    def put(self, event: link.Event) -> None:
        """Take an event.

        Args:
            event: A text, or an end.
        """
        if not isinstance(event, link.Piece):
            self._ends = True
            self._events.append(event)
            self._texts.clear()  # nothing is put before an end that came after it
            return
        key = event.id, event.choice
        place = self._texts.setdefault(key, len(self._events))
        if place == len(self._events):
            self._events.append(event)
            return
        before = self._events[place]
        if isinstance(before, link.Piece):
            joined = before.text + event.text
            self._events[place] = link.Piece(*key, joined, before.logprobs + event.logprobs)

    def pace(self) -> None:
        """Send what there is if it is time."""
        if self._events and (self._ends or self._clock() - self._sent >= PACE):
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        if not self._events:
            return
        events, self._events = tuple(self._events), []
        self._texts.clear()
        self._ends, self._sent = False, self._clock()
        self._send(link.Events(events))
