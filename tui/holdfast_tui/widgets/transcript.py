"""A conversation, with the receipts of every answer."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.widgets import Static

MAX_TURNS = 600  # lines of conversation that are kept on the screen; the log keeps all


class Transcript(VerticalScroll):
    """Questions, answers as they come, receipts."""

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self._answer = ""
        self._shown: Static | None = None

    @property
    def answer(self) -> str:
        """The answer that came last, as far as it came."""
        return self._answer

    def _say(self, text: str, kind: str) -> Static:
        line = Static(text, classes=kind, markup=False)
        self.mount(line)
        for old in list(self.query(Static))[:-MAX_TURNS]:
            old.remove()
        self.call_after_refresh(self.scroll_end, animate=False)
        return line

    def ask(self, person: str, question: str) -> None:
        """Begin a turn.

        Args:
            person: Who asks.
            question: What.
        """
        self._say(f"{person}: {question}", "asked")
        self._answer = ""
        self._shown = self._say("…", "answered")

    def more(self, text: str) -> None:
        """Show another piece of the answer.

        Args:
            text: The piece.
        """
        self._answer += text
        if self._shown is not None:
            self._shown.update(self._answer)
            self.call_after_refresh(self.scroll_end, animate=False)

    def close(self, receipts: str) -> None:
        """End a turn.

        Args:
            receipts: What stands under the answer.
        """
        if self._shown is not None and not self._answer:
            self._shown.update("(no answer)")
        self._say(receipts, "receipts")
        self._shown = None
