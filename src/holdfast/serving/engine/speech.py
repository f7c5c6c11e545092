"""What one choice says: from the tokens that were chosen to the texts that may be sent of them.

Order of operations: a token is noted when it is chosen; only when a frame is about to be sent are the noted ones turned into text,
all at once, so that a token costs the computing thread little more than a place in a list. Where a stop string may end the answer
each token is turned into text as it comes, because the next one depends on it. Invariants: the texts given out, joined, do not
depend on when they were asked for; a token's log-probability goes with the text that it is part of, or with the end. Belongs to
one thread.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from holdfast.serving import link
from holdfast.serving.engine import logprobs
from holdfast.serving.engine.text import TextStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.serving.engine.logprobs import Ranked
    from holdfast.serving.engine.sampling import Chosen
    from holdfast.serving.engine.vocabulary import Vocabulary


class Speech:
    """The words of one choice.

    Args:
        number: The request's.
        choice: Which of its answers.
        vocabulary: The model's.
        stops: Strings that end the answer and are not part of it.
        after: The prompt's last token, if a space that the tokenizer puts between the two is not to be said.
        offset: Characters that are said before the first token: those of an echoed prompt.
    """

    def __init__(
        self,
        number: int,
        choice: int,
        vocabulary: Vocabulary,
        *,
        stops: Sequence[str] = (),
        after: int | None = None,
        offset: int = 0,
    ) -> None:
        self.waiting = False  # whether it is among what is to be sent; its sender's to set
        self._number = number
        self._choice = choice
        self._vocabulary = vocabulary
        self._watched = bool(stops)
        self._text = TextStream(stops)
        self._after = after
        self._noted: list[Chosen] = []
        self._ready = ""
        self._ended = False
        # Of log-probabilities: those that wait for their text, characters before the next token, characters given out.
        self._entries: list[link.Logprob] = []
        self._characters = offset
        self._counting = codecs.getincrementaldecoder("utf-8")("replace")
        self._given = offset

    def add(self, chosen: Chosen) -> bool:
        """Note the next token.

        Args:
            chosen: The token, and how likely it was if that is to be said.

        Returns:
            True if it completed a stop string; nothing may be added then.
        """
        self._noted.append(chosen)
        if not self._watched:
            return False
        self._settle()
        return self._text.stopped

    def end(self) -> None:
        """Note that no token will come; what was held back is said with the next text."""
        self._ended = True

    def take(self) -> link.Piece | None:
        """Give what may be sent, once.

        Returns:
            The text, and the log-probabilities of its tokens; None if there is nothing to be said yet.
        """
        self._settle()
        text, self._ready = self._ready, ""
        if self._ended:
            text += self._text.finish()
        self._given += len(text)
        entries, waiting = self._entries, list[link.Logprob]()
        if self._text.stopped or not self._ended:
            # Those of what is held back wait for it; those of a stop string go with it.
            entries = [entry for entry in self._entries if entry.offset < self._given]
            waiting = self._entries[len(entries) :]
        self._entries = [] if self._ended else waiting
        return link.Piece(self._number, self._choice, text, tuple(entries)) if text or entries else None

    def _settle(self) -> None:
        """Turn what was noted into text."""
        noted = self._noted
        if not noted:
            return
        pieces = [self._vocabulary.piece(chosen.token) for chosen in noted]
        if self._after is not None:
            pieces[0], self._after = self._vocabulary.piece(noted[0].token, after=self._after), None
        for chosen, piece in zip(noted, pieces, strict=True):
            if chosen.ranked is not None:
                self._note(chosen.token, chosen.ranked, piece)
        noted.clear()
        self._ready += self._text.push(b"".join(pieces))

    def _note(self, token: int, ranked: Ranked, piece: bytes) -> None:
        self._entries.append(logprobs.entry(self._vocabulary, token, ranked, self._characters))
        self._characters += len(self._counting.decode(piece))
