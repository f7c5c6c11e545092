"""A conversation, with the receipts of every answer."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.widgets import Static

MAX_TURNS = 600  # lines of conversation that are kept on the screen; the log keeps all


class Transcript(VerticalScroll):
    """Questions, answers as they come, receipts. What belongs to an earlier turn than the last is not shown any more."""

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self._answer = ""
        self._turn = 0
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

    def ask(self, person: str, question: str) -> int:
        """Begin a turn.

        Args:
            person: Who asks.
            question: What.

        Returns:
            The turn's number.
        """
        self._turn += 1
        self._say(f"{person}: {question}", "asked")
        self._answer = ""
        self._shown = self._say("…", "answered")
        return self._turn

    def more(self, turn: int, text: str) -> None:
        """Show another piece of the answer.

        Args:
            turn: The turn that it belongs to.
            text: The piece.
        """
        if turn == self._turn and self._shown is not None:
            self._answer += text
            self._shown.update(self._answer)
            self.call_after_refresh(self.scroll_end, animate=False)

    def close(self, turn: int, receipts: str) -> None:
        """End a turn.

        Args:
            turn: The turn.
            receipts: What stands under the answer.
        """
        if turn == self._turn and self._shown is not None:
            if not self._answer:
                self._shown.update("(no answer)")
            self._say(receipts, "receipts")
            self._shown = None

    def forget(self) -> None:
        """Show nothing of the conversation any more."""
        self._shown, self._answer = None, ""
        self.remove_children()
