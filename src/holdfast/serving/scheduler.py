"""Continuous batching inside one context: which tokens are computed in the next step.

Order of operations of a step: drop what was cancelled, give free sequences to the longest waiting, compute one chunk of one
prompt, then one token of every answer under way. Invariants: prompts are computed in chunks of ``CHUNK`` tokens counted from
their beginning, alone in their step, steps have only as many rows as ``widths`` allows, and a sequence is cleared before
and after its use, so that neither company nor history moves a bit of an answer; an answer under way waits for at most one chunk of others per token; every job ends
with exactly one ``Finished`` or ``Failed``.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.errors import WorkerFailed
from holdfast.serving.llama import CHUNK, Row
from holdfast.serving.sampling import Sampler
from holdfast.serving.text import TextStream
from holdfast.serving.widths import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.errors import HoldfastError
    from holdfast.serving.llama import Context, Weights
    from holdfast.serving.sampling import Sampling, Scores
    from holdfast.serving.widths import Widths


class Ending(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Piece:
    """Text that may be sent."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The end of an answer.

    Args:
        ending: Why.
        tokens: Tokens computed, the one that ended the answer not counted.
        milliseconds: From the first chunk of the prompt to the end.
    """

    ending: Ending
    tokens: int
    milliseconds: int


@dataclass(frozen=True)
class Failed:
    """The end of an answer that could not be computed."""

    error: HoldfastError


Event = Piece | Finished | Failed


@dataclass(eq=False)
class Job:
    """One answer to compute.

    Args:
        prompt: Token ids, at least one.
        most: Tokens to compute at most.
        sampling: How they are chosen.
        stops: Strings that end the answer.
        emit: Called from the engine's thread with every event; must not block.
    """

    prompt: Sequence[int]
    most: int
    sampling: Sampling
    stops: Sequence[str]
    emit: Callable[[Event], None]
    cancelled: bool = field(default=False, init=False)


class _Running:
    """A job that has a sequence."""

    def __init__(self, job: Job, sequence: int) -> None:
        self.job = job
        self.sequence = sequence
        self.sampler = Sampler(job.sampling)
        self.text = TextStream(job.stops)
        self.began = time.monotonic()
        self.computed = 0  # tokens of the sequence whose cache is filled
        self.tokens = 0  # tokens of the answer
        self.next = -1  # the token chosen last, not yet computed

    @property
    def prefilled(self) -> bool:
        return self.computed >= len(self.job.prompt)

    def chunk(self) -> list[Row]:
        """Give the next chunk of the prompt; only its last token, at the prompt's end, is scored."""
        start, end = self.computed, min(self.computed + CHUNK, len(self.job.prompt))
        last = len(self.job.prompt) - 1
        return [Row(self.sequence, self.job.prompt[at], at, at == last) for at in range(start, end)]


class Lane:
    """One context, its sequences and those who wait for one.

    Args:
        weights: The model, for its vocabulary.
        context: A context of it, which this lane closes.
        widths: Rows of a step.
    """

    def __init__(self, weights: Weights, context: Context, widths: Widths) -> None:
        self._weights = weights
        self._context = context
        self._widths = widths
        self._free = list(range(context.sequences))
        self._running: list[_Running] = []
        self.waiting: deque[Job] = deque()
        self.tokens = 0

    @property
    def active(self) -> int:
        """Sequences in use."""
        return len(self._running)

    def fail(self, why: HoldfastError) -> None:
        """End every job as failed.

        Args:
            why: What they are told.
        """
        self._drop_cancelled()
        for run in list(self._running):
            self._end(run, Failed(why))
        while self.waiting:
            self.waiting.popleft().emit(Failed(why))

    def close(self, why: HoldfastError) -> None:
        """End every job as failed and free the context.

        Args:
            why: What they are told.
        """
        self.fail(why)
        self._context.close()

    def step(self) -> bool:
        """Do one step; see the module's description.

        Returns:
            False if there is nothing to do.
        """
        self._drop_cancelled()
        while self._free and self.waiting:
            run = _Running(self.waiting.popleft(), self._free.pop(0))
            self._context.clear(run.sequence)
            self._running.append(run)
        if not self._running:
            return False
        filling = [run for run in self._running if not run.prefilled]
        if filling:
            self._prefill(filling[0])
        answering = [run for run in self._running if run.prefilled]
        by_sequence = {run.sequence: run for run in answering}
        for step in steps(sorted(by_sequence), self._widths):
            self._decode(step, by_sequence)
        return True

    def _drop_cancelled(self) -> None:
        for run in [run for run in self._running if run.job.cancelled]:
            self._finish(run, Ending.CANCELLED)
        if any(job.cancelled for job in self.waiting):
            gone = [job for job in self.waiting if job.cancelled]
            self.waiting = deque(job for job in self.waiting if not job.cancelled)
            for job in gone:
                job.emit(Finished(Ending.CANCELLED, 0, 0))

    def _prefill(self, run: _Running) -> None:
        rows = run.chunk()
        scores = self._compute(rows, [run])
        if scores is None:
            return
        run.computed += len(rows)
        if run.prefilled:
            self._choose(run, scores[0])
        else:  # one chunk for each prompt in turn
            self._running.remove(run)
            self._running.append(run)

    def _decode(self, step: list[int], answering: dict[int, _Running]) -> None:
        runs = [answering[at] for at in step if at in answering]
        lengths = {run.sequence: run.computed for run in self._running}
        rows = [
            # Rows that fill up are scored too, because only scored rows go through the last layer's products.
            Row(at, answering[at].next if at in answering else 0, lengths.get(at, 0), scored=True)
            for at in step
        ]
        scores = self._compute(rows, runs)
        for at in step:
            if at not in answering:
                self._context.trim(at, lengths.get(at, 0))
        if scores is None:
            return
        for at, row in zip(step, scores, strict=True):
            if at in answering:
                answering[at].computed += 1
                self._choose(answering[at], row)

    def _compute(self, rows: list[Row], runs: Iterable[_Running]) -> list[Scores] | None:
        try:
            return self._context.compute(rows)
        except WorkerFailed as error:
            for run in list(runs):
                self._end(run, Failed(error))
            return None

    def _choose(self, run: _Running, scores: Scores) -> None:
        try:
            token = run.sampler.choose(scores)
        except WorkerFailed as error:
            self._end(run, Failed(error))
            return
        if self._weights.ends(token):
            self._finish(run, Ending.STOP)
            return
        run.next = token
        run.tokens += 1
        self.tokens += 1
        after = run.job.prompt[-1] if run.tokens == 1 else None
        text = run.text.push(self._weights.piece(token, after=after))
        if text:
            run.job.emit(Piece(text))
        if run.text.stopped:
            self._finish(run, Ending.STOP)
        elif run.tokens >= run.job.most:
            self._finish(run, Ending.LENGTH)

    def _finish(self, run: _Running, ending: Ending) -> None:
        rest = run.text.finish()
        if rest and ending is not Ending.CANCELLED:
            run.job.emit(Piece(rest))
        spent = int((time.monotonic() - run.began) * 1000)
        self._end(run, Finished(ending, run.tokens, spent))

    def _end(self, run: _Running, event: Finished | Failed) -> None:
        self._running.remove(run)
        self._context.clear(run.sequence)
        self._free.append(run.sequence)
        run.job.emit(event)
