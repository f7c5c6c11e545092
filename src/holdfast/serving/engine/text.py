"""From tokens' bytes to text that may be sent: whole characters only, and nothing that a stop string may yet take back.

Invariants, for every way of cutting the same bytes into pieces: the texts given out, joined, are the bytes decoded as
UTF-8 (malformed bytes become U+FFFD) up to the stop string that is complete first; no text given out is taken back.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class TextStream:
    """Decodes one answer as it grows.

    Args:
        stops: Strings that end the answer and are not part of it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """Add the bytes of the next token.

        Args:
            piece: Bytes; a character may be cut anywhere.

        Returns:
            The text that may be sent now; often empty. ``stopped`` tells whether the answer has ended.
        """
        text = self._decoder.decode(piece)
        return self._release(text, final=False) if self._stops else text

    def finish(self) -> str:
        """End the answer.

        Returns:
            The text that was held back.
        """
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, text: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            keep = min(found)[1]  # complete first, so that the pieces' sizes make no difference
        else:
            keep = len(self._held) if final else len(self._held) - self._undecided()
        sent, self._held = self._held[:keep], self._held[keep:]
        return sent

    def _undecided(self) -> int:
        """Count the last characters that may be the beginning of a stop string."""
        longest = 0
        for stop in self._stops:
            for count in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:count]):
                    longest = count
                    break
        return longest
