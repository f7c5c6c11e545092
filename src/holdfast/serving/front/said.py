"""What an engine has said to one request, judged as it comes: it may have been taken over, and says what it likes. Pure.

Invariants: nothing is taken that can't follow from what was asked: another answer than those asked for, more after an answer's end,
more tokens of a prompt than the context holds, more pieces than tokens can make; what is held is bounded; whatever does not fit
raises ``Unbelievable`` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.serving import link
from holdfast.serving.front.question import Question

if TYPE_CHECKING:
    from holdfast.serving.front.question import Query
    from holdfast.serving.spec import Limits

MAX_PIECES = 4096  # of one request beyond its tokens; most have one for each token and a few more
MAX_SAID = 16 * 2**20  # characters of all answers to one request; an engine that says more is out of its mind


class Unbelievable(Exception):  # noqa: N818 - named by what was said
    """An engine said what nobody asked for."""


class Said:
    """What an engine has said to one request.

    Args:
        question: What is asked.
        limits: What it may take.
    """

    def __init__(self, question: Question | Query, limits: Limits) -> None:
        self._question = question
        self._asks = question.asks if isinstance(question, Question) else ()
        self._new_tokens = limits.new_tokens
        self._prompts: dict[int, int] = {}  # tokens of each prompt, by its place
        # Pieces heard, by the prompt's place, until it is told how many tokens they were.
        self._untold: dict[int, int] = {}
        self._texts: dict[int, list[str]] = {}  # by the index of the answer
        self._ended: set[int] = set()  # indices of answers
        self._length = 0
        self._pieces = 0
        self._most_pieces = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(self._prompts.values())

    @property
    def untold(self) -> int:
        """Pieces of which the engine did not say how many tokens they were."""
        return sum(self._untold.values())

    @property
    def texts(self) -> list[str]:
        """The answers so far, by index."""
        return ["".join(self._texts[index]) for index in sorted(self._texts)]

    @property
    def most(self) -> int:
        """Tokens that all answers may have together: of each what is asked for, and what the context leaves."""
        context, total = self._question.choice.model.context, 0
        for at, ask in enumerate(self._asks):
            wanted = self._new_tokens if ask.most is None else ask.most
            total += ask.choices * max(0, min(wanted, context - self._prompts.get(at, 0)))
        return total

    def accept(self, at: int, prompt_tokens: int) -> None:
        """Take how many tokens a prompt has.

        Args:
            at: The prompt's place.
            prompt_tokens: Of it; of all inputs, if they are embedded.

        Raises:
            Unbelievable: If it can't have as many, or was told before.
        """
        context = self._question.choice.model.context
        if isinstance(self._question, Question):
            most = context
        else:
            ask = self._question.ask
            most = context * len(ask.inputs) if isinstance(ask, link.Embed) else 0
        if prompt_tokens > most or at in self._prompts:
            raise Unbelievable
        self._prompts[at] = prompt_tokens
        choices = sum(ask.choices for ask in self._asks)
        self._most_pieces = MAX_PIECES + self.most + choices * self.prompt_tokens  # echoed prompts among them

    def piece(self, at: int, piece: link.Piece) -> int:
        """Take a piece of an answer.

        Args:
            at: The prompt's place.
            piece: The piece.

        Returns:
            The answer's index.

        Raises:
            Unbelievable: If nobody asked for it, or it is too much.
        """
        index = self._index(at, piece.choice)
        self._length += len(piece.text)
        self._pieces += max(1, len(piece.logprobs))
        if self._length > MAX_SAID or self._pieces > self._most_pieces:
            raise Unbelievable
        self._texts.setdefault(index, []).append(piece.text)
        self._untold[at] = self._untold.get(at, 0) + 1
        return index

    def end(self, at: int, end: link.End) -> int:
        """Take the end of an answer.

        Args:
            at: The prompt's place.
            end: The end.

        Returns:
            The answer's index.

        Raises:
            Unbelievable: If nobody asked for it, or it has ended.
        """
        index = self._index(at, end.choice)
        self._ended.add(index)
        return index

    def done(self, at: int) -> None:
        """Take that the engine says how many tokens the answers to a prompt were.

        Args:
            at: The prompt's place.

        Raises:
            Unbelievable: If no answers were asked for.
        """
        if not self._asks:
            raise Unbelievable
        self._untold.pop(at, None)

    def failed(self, at: int) -> None:
        """Take that the engine says how many tokens there were, although a prompt came to nothing, or to no more.

        Args:
            at: The prompt's place.
        """
        self._untold.pop(at, None)

    def result(self, item: link.Embedded | link.Tokenized | link.Detokenized) -> None:
        """Take what is computed at once.

        Args:
            item: The result.

        Raises:
            Unbelievable: If it is not what was asked for.
        """
        ask = None if isinstance(self._question, Question) else self._question.ask
        match item:
            case link.Embedded():
                one_size = len({len(vector) for vector in item.vectors}) == 1
                good = isinstance(ask, link.Embed) and len(item.vectors) == len(ask.inputs) and one_size
            case link.Tokenized():
                good = isinstance(ask, link.Tokenize)
            case link.Detokenized():
                good = isinstance(ask, link.Detokenize)
        if not good:
            raise Unbelievable

    def _index(self, at: int, choice: int) -> int:
        """Number an answer among all of the request."""
        if at >= len(self._asks) or choice >= self._asks[at].choices:
            raise Unbelievable
        index = at * self._asks[at].choices + choice
        if index in self._ended:
            raise Unbelievable
        return index
