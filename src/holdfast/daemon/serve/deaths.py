"""How often a process may die before it is given up: what died lately, and how long to wait before its place is filled again.

Invariant: only deaths within ``WINDOW_SECONDS`` count, so that what crashes less often than that is always started again.
"""

from __future__ import annotations

import time

MAX_DEATHS = 3  # within the window; what dies as often dies of what it is given
WINDOW_SECONDS = 600.0  # a process that crashes less often than that is worth restarting
FIRST_PAUSE = 0.25  # seconds before the first restart; each further one takes as long times PAUSE_GROWS
PAUSE_GROWS = 6.0


class Deaths:
    """The deaths of whatever filled one place."""

    def __init__(self) -> None:
        self._moments: list[float] = []  # monotonic seconds

    def __len__(self) -> int:
        """Tell how many there were within the window that the last one ended."""
        return len(self._moments)

    def add(self) -> int:
        """Count one.

        Returns:
            How many there were within the window.
        """
        now = time.monotonic()
        self._moments = [one for one in self._moments if now - one < WINDOW_SECONDS] + [now]
        return len(self)

    def forget(self) -> None:
        """Begin anew."""
        self._moments.clear()

    @property
    def too_many(self) -> bool:
        """Whether the place is to stay empty."""
        return len(self) >= MAX_DEATHS

    @property
    def pause(self) -> float:
        """Seconds to wait before the place is filled again."""
        return FIRST_PAUSE * PAUSE_GROWS ** (len(self) - 1)
