"""What the computing thread has to tell the front, gathered between two frames.

A frame wakes the front, which wakes the client; where a step takes less than a millisecond, doing that for every token would take
the cores from the computation. So the words of an answer that come shortly after one another go as one text. Invariants: events of
one answer are sent in the order in which they were put; words wait for others no longer than ``PACE`` and one step, an end for
nobody. Belongs to one thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.serving import link
from holdfast.serving.engine.speech import Speech

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        self._waiting: list[link.Event | Speech] = []
        self._ends = False  # whether an end is among them
        self._sent = -PACE

    def put(self, event: link.Event | Speech) -> None:
        """Take an event, or the words of a choice; what is said until they are sent goes with them.

        Args:
            event: A text, an end, or words that do not wait here yet.
        """
        if isinstance(event, Speech):
            event.waiting = True
        elif not isinstance(event, link.Piece):
            self._ends = True
        self._waiting.append(event)

    @property
    def due(self) -> bool:
        """Whether it is time to send what there is."""
        return bool(self._waiting) and (self._ends or self._clock() - self._sent >= PACE)

    def pace(self) -> None:
        """Send what there is if it is time."""
        if self.due:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        if not self._waiting:
            return
        events = tuple(self._said())
        self._waiting.clear()
        self._ends = False
        if events:
            self._sent = self._clock()
            self._send(link.Events(events))

    def _said(self) -> Iterator[link.Event]:
        for event in self._waiting:
            if not isinstance(event, Speech):
                yield event
                continue
            event.waiting = False
            if (piece := event.take()) is not None:
                yield piece
