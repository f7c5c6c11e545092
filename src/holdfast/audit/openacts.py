"""The acts that have begun and have no outcome yet.

Invariant: an outcome is taken once, and only for an open intent of its own act. Any thread may ask. No I/O.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdfast.errors import Conflict

if TYPE_CHECKING:
    from holdfast.audit.actions import Action


class OpenActs:
    """See the module's description.

    Args:
        found: Intents without an outcome: action by sequence number.
    """

    def __init__(self, found: dict[int, str]) -> None:
        self._found = found
        self._lock = threading.Lock()

    def begin(self, seq: int, act: str) -> None:
        """Note an intent that is on disk.

        Args:
            seq: Its sequence number.
            act: Its action.
        """
        with self._lock:
            self._found[seq] = act

    def end(self, action: Action, cause: int | None) -> None:
        """Take an outcome.

        Args:
            action: The outcome's action.
            cause: What it says of its intent.

        Raises:
            Conflict: If that is no open intent of this act.
        """
        with self._lock:
            if cause is None or self._found.get(cause) != action.act:
                raise Conflict(
                    "audit.outcome",
                    f"{action.name} can't be recorded: event {cause} is no open {action.act}.",
                    remedy="Record one outcome per act, with the intent's sequence number as its cause.",
                )
            del self._found[cause]

    def seqs(self) -> list[int]:
        """List the open intents.

        Returns:
            Their sequence numbers, in order.
        """
        with self._lock:
            return sorted(self._found)
