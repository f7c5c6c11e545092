"""What the endpoint refused, on the record: counted, one event a second at most, so that nobody fills the log by knocking.

Counted are requests without a valid key, requests that are no HTTP, and what a valid key asked for that is not there for it; of
the latter also which key it was. What a valid key only worded wrongly is the application's own business.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from holdfast.audit.counted import Counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.audit.refusals import Tally
    from holdfast.canonical import Json

ACTION = "serve.refused"


class Refused:
    """Counts refusals. Belongs to one event loop.

    Args:
        record: Puts parameters of ``serve.refused`` on the record.
        monotonic: A clock in seconds.
    """

    def __init__(
        self, record: Callable[[str, dict[str, Json]], Awaitable[object]], monotonic: Callable[[], float]
    ) -> None:
        self._counted = Counted(partial(self._record, record), monotonic)

    @staticmethod
    async def _record(
        record: Callable[[str, dict[str, Json]], Awaitable[object]], tally: Tally, seconds: float
    ) -> None:
        params: dict[str, Json] = {
            "count": tally.count,
            "seconds": seconds,
            "reasons": dict(tally.reasons),
            "keys": dict(tally.callers),
        }
        await record(ACTION, params)

    def note(self, reason: str, key: str | None = None) -> None:
        """Count one refusal.

        Args:
            reason: The error's key.
            key: The public part of the valid key that was presented, if one was.
        """
        self._counted.add(reason, key)

    def pause(self, *, paused: bool) -> None:
        """Keep counts back while the log takes none.

        Args:
            paused: Whether it takes none.
        """
        self._counted.pause(paused=paused)

    async def close(self) -> None:
        """Put the last count on the record."""
        await self._counted.close()
