"""An answer under way, as its reader sees it.

The desk's life of the answer puts pieces in, the reader takes them out. While the reader has taken everything and waits for more, a
piece may go straight out through ``outlet`` instead, which wakes nobody: of a short piece, the waking is most of the cost.
Invariants: nothing can be read before the intent is on the record; whoever reads to the end has read an answer whose outcome is on
the record; pieces go out in the order in which they came, whichever way; what is not read yet is bounded, for one answer and for
all of them together, and an answer whose reader falls further behind is ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.serving.front.question import Outcome, Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.errors import HoldfastError
    from holdfast.serving import link
    from holdfast.serving.front.question import Query, Question
    from holdfast.serving.front.record import Receipt

MAX_UNREAD = 64 * 2**20  # bytes, roughly, that wait for one reader; an echoed prompt comes at once
MAX_HELD = 512 * 2**20  # bytes, roughly, of all answers together: a quarter of what a front may take
LITTLE = 2**20  # bytes of one answer, which goes on however much the others hold
_TOKEN = 512  # bytes that the log-probabilities of one token are counted as, and each of its alternatives


class Held:
    """What is held of all answers. Belongs to one event loop."""

    def __init__(self) -> None:
        self.size = 0  # bytes, roughly


class Share:
    """What is held of one answer, or of a part of it.

    Args:
        held: What is held of all.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._closed = False
        self.size = 0  # bytes, roughly

    @property
    def too_much(self) -> bool:
        """Whether no more may be held: too much is held of all of them, and more than a little of this one."""
        return self._held.size > MAX_HELD and self.size > LITTLE

    def add(self, size: int) -> None:
        """Hold more.

        Args:
            size: Bytes, roughly; negative for less.
        """
        if not self._closed:
            self.size += size
            self._held.size += size

    def close(self) -> None:
        """Hold nothing from here on."""
        self.add(-self.size)
        self._closed = True


class Answer:
    """One answer; made by the desk.

    Args:
        question: What was asked.
        on_read: Called when everything that had come is read, once ``ended`` is set.
        held: What is held of all answers.
    """

    def __init__(self, question: Question | Query, on_read: Callable[[], None], held: Held) -> None:
        self.question = question
        self.share = Share(held)
        self.gathered = False  # its reader keeps all of it, and closes the share
        self.prompt_tokens = 0
        self.ended = False  # nothing more comes from the engine
        self.unread = 0  # bytes, roughly
        self.outlet: Callable[[Text], bool] | None = None  # sends a piece at once, or says that it can't
        self._waits = False  # whether the reader has taken everything
        self.begun: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._ready: asyncio.Queue[Text | Outcome | HoldfastError] = asyncio.Queue()
        self._on_read = on_read
        self._outcome: Outcome | None = None

    @property
    def request(self) -> Receipt:
        """The receipt of the request's intent."""
        return self.begun.result()

    @property
    def outcome(self) -> Outcome:
        """How it ended; only once ``events`` is exhausted."""
        if self._outcome is None:
            raise RuntimeError("the answer has not ended")
        return self._outcome

    def put(self, item: Text | Outcome | HoldfastError) -> None:
        """Hand something to the reader.

        Args:
            item: A piece, or how it ended.
        """
        if isinstance(item, Text):
            if self._waits and self.outlet is not None and self.outlet(item):
                return
            self.unread += size_of(item)
            self.share.add(size_of(item))
        self._waits = False
        self._ready.put_nowait(item)

    async def events(self) -> AsyncIterator[Text]:
        """Read the answer as it comes.

        Yields:
            Pieces; after the last one the outcome is on the record.

        Raises:
            HoldfastError: If it could not be computed, or its outcome could not be recorded.
        """
        while True:
            self._waits = self._ready.empty()
            item = await self._ready.get()
            if isinstance(item, Text):
                yield item
                # Only now: the reader has dealt with a piece when it comes for the next.
                size = size_of(item)
                self.unread -= size
                if not self.gathered:
                    self.share.add(-size)
                if self.ended and not self.unread:
                    self._on_read()
            elif isinstance(item, Outcome):
                self._outcome = item
                return
            else:
                raise item


def size_of(piece: Text | link.Piece) -> int:
    """Tell what a piece takes.

    Args:
        piece: It.

    Returns:
        Bytes, roughly.
    """
    return 64 + len(piece.text) + sum(_TOKEN * (1 + len(one.top)) for one in piece.logprobs)
