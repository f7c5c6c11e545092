"""Requests under way in the engine, and the answers to each.

Invariants: a request ends with exactly one ``Done`` or ``Failed``, whatever becomes of its choices; what it costs is counted
once, whichever choice it was for. Only the computing thread changes it, but for ``cancelled``, which others set.
"""

from __future__ import annotations

import codecs
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.serving import link
from holdfast.serving.engine import faults, logprobs
from holdfast.serving.engine.prefix import CHUNK
from holdfast.serving.engine.sampling import Sampler
from holdfast.serving.engine.speech import Speech

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.errors import HoldfastError
    from holdfast.serving.engine.grammar import State
    from holdfast.serving.engine.logprobs import Ranked, Scores
    from holdfast.serving.engine.prefix import Slot
    from holdfast.serving.engine.vocabulary import Vocabulary


@dataclass(eq=False)
class Asked:
    """One request for answers.

    Args:
        request: As it came.
        prompt: Token ids, at least one.
        text: The prompt as it is echoed.
        most: Tokens to answer with at most.
        grammar: What the answers must look like, at its beginning.
        emit: Takes what is to be sent, and the words of a choice that has some; called from the computing thread.
        received: When it came, in monotonic seconds.
    """

    request: link.Generate
    prompt: Sequence[int]
    text: str
    most: int
    grammar: State | None
    emit: Callable[[link.Event | link.Failed | Speech], None]
    received: float
    cancelled: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)
    cached: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    first: float | None = field(default=None, init=False)
    processor: float = field(default=0.0, init=False)  # seconds over all threads
    open: int = field(init=False)
    deadline: float = field(init=False)  # when it must have ended, in monotonic seconds
    scores: Scores | None = field(default=None, init=False)  # after the prompt, while choices wait for them
    leader: Run | None = field(default=None, init=False)
    echoed: list[link.Logprob] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.open = self.request.choices
        self.deadline = self.received + self.request.seconds

    def over(self, now: float) -> bool:
        """Tell whether nothing more is to be computed for it.

        Args:
            now: Monotonic seconds.

        Returns:
            True if it was cancelled, has ended, or has taken too long.
        """
        return self.cancelled or self.ended or now >= self.deadline

    @property
    def scored(self) -> bool:
        """Whether the scores after every token of the prompt are wanted."""
        return self.request.echo and self.request.logprobs is not None

    def close(self) -> None:
        """Count one choice as ended; with the last the request ends."""
        self.open -= 1
        if not self.open:
            self.done()

    def done(self) -> None:
        """End the request, if it has not ended."""
        if self.ended:
            return
        self.ended, self.scores = True, None
        self.emit(self._took())

    def expire(self) -> None:
        """End the request because it was cancelled or took too long, if it has not ended."""
        if self.cancelled:
            self.done()
        else:
            self.fail(faults.late(self.request.seconds))

    def fail(self, why: HoldfastError) -> None:
        """End the request as failed, if it has not ended.

        Args:
            why: What it is told.
        """
        if not self.ended:
            self.ended, self.scores = True, None
            self.emit(link.Failed(self.request.id, why, self._took()))

    def _took(self) -> link.Done:
        now = time.monotonic()
        return link.Done(
            id=self.request.id,
            prompt_tokens=len(self.prompt),
            cached_tokens=self.cached,
            completion_tokens=self.tokens,
            milliseconds=round((now - self.received) * 1000),
            first_ms=0 if self.first is None else round((self.first - self.received) * 1000),
            processor_ms=round(self.processor * 1000, 3),
            cancelled=self.cancelled,
        )


@dataclass(frozen=True, eq=False)
class Job:
    """One answer to compute."""

    asked: Asked
    choice: int


class Run:
    """A job that has a sequence.

    Args:
        job: What is computed.
        slot: Its sequence.
        computed: Tokens of the sequence whose cells are filled.
        vocabulary: The model's.
    """

    def __init__(self, job: Job, slot: Slot, computed: int, vocabulary: Vocabulary) -> None:
        asked = self.asked = job.asked
        self.choice = job.choice
        self.slot = slot
        self.computed = computed
        self.next = -1  # the token chosen last, not yet computed
        self._vocabulary = vocabulary
        request = asked.request
        self._sampler = Sampler(
            request.sampling,
            choice=job.choice,
            prompt=asked.prompt,
            size=vocabulary.size,
            grammar=None if asked.grammar is None else asked.grammar.fresh(),
            logprobs=request.logprobs,
        )
        self._speech = Speech(
            request.id,
            job.choice,
            vocabulary,
            stops=request.stops,
            after=asked.prompt[-1] if asked.grammar is None else None,
            offset=len(asked.text) if request.echo else 0,
        )
        self._tokens = 0
        # Of the prompt's tokens that were described: their characters.
        self._counting = codecs.getincrementaldecoder("utf-8")("replace")
        self._echoed = 0

    @property
    def prefilled(self) -> bool:
        """Whether the whole prompt is computed."""
        return self.computed >= len(self.asked.prompt)

    @property
    def ranked(self) -> bool:
        """Whether every token of the prompt is ranked here, for all choices."""
        return self.asked.scored and self.choice == 0

    @property
    def chunk(self) -> range:
        """Positions of the next chunk of the prompt."""
        return range(self.computed, min(self.computed + CHUNK, len(self.asked.prompt)))

    def filled(self, count: int) -> None:
        """Note that cells were filled, and of which whole chunks of the prompt.

        Args:
            count: Tokens, from ``computed`` on.
        """
        self.computed += count
        self.slot.filled = max(self.slot.filled, self.computed)
        prompt, chunks = self.asked.prompt, self.slot.chunks
        for at in range(len(chunks) * CHUNK, min(self.computed, len(prompt)) - CHUNK + 1, CHUNK):
            chunks.append(tuple(prompt[at : at + CHUNK]))

    def entry(self, token: int, ranked: Ranked | None) -> link.Logprob:
        """Describe a token of the prompt; to be called for one after the other.

        Args:
            token: The token.
            ranked: How likely it was; None for the first.

        Returns:
            What is sent of it.
        """
        entry = logprobs.entry(self._vocabulary, token, ranked, min(self._echoed, len(self.asked.text)))
        self._echoed += len(self._counting.decode(self._vocabulary.piece(token)))
        return entry

    def echo(self, entries: Sequence[link.Logprob], *, first: bool) -> None:
        """Send the prompt, or the log-probabilities of some of its tokens.

        Args:
            entries: These tokens.
            first: Whether the text goes with them.
        """
        text = self.asked.text if first else ""
        self.asked.emit(link.Piece(self.asked.request.id, self.choice, text, tuple(entries)))

    def choose(self, scores: Scores) -> link.Ending | None:
        """Choose the next token.

        Args:
            scores: The model's, [V].

        Returns:
            Why the answer has ended, if it has.

        Raises:
            HoldfastError: If no token can be chosen.
        """
        chosen = self._sampler.choose(scores)
        if self._vocabulary.ends(chosen.token):
            return self._finish(link.Ending.STOP)
        asked = self.asked
        self.next = chosen.token
        self._tokens += 1
        asked.tokens += 1
        if asked.first is None:
            asked.first = time.monotonic()
        stopped = self._speech.add(chosen)
        if not self._speech.waiting:
            asked.emit(self._speech)
        if stopped:
            return self._finish(link.Ending.STOP)
        if self._tokens >= asked.most:
            return self._finish(link.Ending.LENGTH)
        return None

    def _finish(self, ending: link.Ending) -> link.Ending:
        self._speech.end()
        if not self._speech.waiting:
            self.asked.emit(self._speech)
        return ending
