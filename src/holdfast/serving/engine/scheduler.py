"""Continuous batching inside one context: which tokens are computed in the next step.

Order of operations of a step: end what was cancelled or took too long; give free sequences to those who wait, one tenant
after the other; compute the last chunk of every prompt that is at its last, and one chunk of a longer one, again one tenant
after the other; then one token of every answer under way. Invariants: prompts are computed in chunks of ``CHUNK`` tokens
counted from their beginning, each alone in its step of llama.cpp or, where ``widths`` found that no bit moves, with equally long ones;
other steps have only as many rows as it allows; a
sequence holds nothing but what the computation of this very prompt leaves (``prefix``), so that neither company nor history
moves a bit of an answer; for each of its tokens an answer under way waits for one chunk of a longer prompt, and for prompts
that are at their last; a step that fails ends the requests in it and no others.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import HoldfastError, WorkerFailed
from holdfast.serving import link
from holdfast.serving.engine import logprobs
from holdfast.serving.engine.asked import Job, Run
from holdfast.serving.engine.fair import FairQueue
from holdfast.serving.engine.llama import Row
from holdfast.serving.engine.prefix import CHUNK, TOGETHER, Slots
from holdfast.serving.engine.widths import PAIR, SOLO, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from holdfast.serving.engine.asked import Asked
    from holdfast.serving.engine.llama import Context, Weights
    from holdfast.serving.engine.prefix import Slot, Taken
    from holdfast.serving.engine.widths import Widths


class Lane:
    """One context, its sequences and those who wait for one.

    Args:
        weights: The model, for its vocabulary.
        context: A context of it, which this lane closes.
        widths: Rows of a step.
        threads: That compute, to count processor time.
        keep: Seconds that what an idle sequence holds is kept.
        flush: Sends what was emitted; called around what takes longer than a step.
        due: Tells whether the computing thread has to do something else than answers.
    """

    def __init__(
        self,
        weights: Weights,
        context: Context,
        widths: Widths,
        *,
        threads: int,
        keep: float,
        flush: Callable[[], None],
        due: Callable[[], bool],
    ) -> None:
        self._weights = weights
        self._context = context
        self._widths = widths
        self._threads = threads
        self._keep = keep
        self._flush = flush
        self._due = due
        self._slots = Slots(context.sequences, copies=context.copies)
        self._running: list[Run] = []
        self.waiting: FairQueue[Job] = FairQueue()
        self.used = time.monotonic()
        self.tokens = 0

    @property
    def active(self) -> int:
        """Sequences in use."""
        return len(self._running)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._running and not self.waiting

    def spare(self, since: float) -> bool:
        """Tell whether the context can be given up.

        Args:
            since: Monotonic seconds.

        Returns:
            True if nothing is computed, and nobody has waited since before that time.
        """
        return not self._running and self._oldest() >= since

    def dismiss(self) -> list[Asked]:
        """Send away those who wait.

        Returns:
            Them, in the order in which they came; none of them has begun.
        """
        return sorted(
            (job.asked for job in self.waiting.remove(lambda _: True)), key=lambda asked: asked.received
        )

    def _oldest(self) -> float:
        """Since when the longest waiting waits; what has begun comes before all others."""
        return min((0.0 if job.choice else job.asked.received for job in self.waiting), default=math.inf)

    def push(self, asked: Asked) -> None:
        """Let a request wait for a sequence; the choices after its first wait for that one.

        Args:
            asked: The request.
        """
        self.waiting.push(asked.request.tenant, Job(asked, 0))

    def fail(self, why: HoldfastError) -> None:
        """End every request as failed.

        Args:
            why: What they are told.
        """
        for run in list(self._running):
            self._fail([run], why)
        for job in self.waiting.remove(lambda _: True):
            job.asked.fail(why)

    def close(self) -> None:
        """Free the context; nothing may be under way."""
        self._context.close()

    def forget(self, tenant: str | None) -> None:
        """Overwrite what is kept of a tenant's prompts; what is in use, as soon as it has ended.

        Args:
            tenant: Whose; None for everybody's.
        """
        self._wipe(self._slots.forget(tenant))

    def tidy(self, now: float) -> None:
        """Overwrite what lay unused for too long.

        Args:
            now: Monotonic seconds.
        """
        self._wipe(self._slots.stale(now - self._keep))

    def step(self, before: float | None = None, *, only: bool = False) -> bool:
        """Do one step; see the module's description.

        Args:
            before: Since when another lane waits for memory; none may begin here while all came later.
            only: Whether no other lane has anything to do. Then more steps of the same answers follow until something else is due,
                so that what only matters from time to time is not looked at for each token.

        Returns:
            False if there is nothing to do.
        """
        self._drop()
        while self.waiting and self._slots.free and (before is None or self._oldest() < before):
            self._begin(self.waiting.pop())
        if not self._running:
            return False
        self.used = time.monotonic()
        self._prefill()
        ready = {run.slot.number: run for run in self._running if run.prefilled}
        plan = steps(sorted(ready), self._widths)
        under_way = len(self._running)
        more = only and not self.waiting and len(ready) == under_way
        while True:
            for step in plan:
                self._decode(step, ready)
            if not more or len(self._running) != under_way or self._due():
                return True

    def _drop(self) -> None:
        now = time.monotonic()
        if self.waiting:
            for job in self.waiting.remove(lambda job: job.asked.over(now)):
                job.asked.expire()
        for run in [run for run in self._running if run.asked.over(now)]:
            self._free(run)
            run.asked.expire()

    def _begin(self, job: Job) -> None:
        """Give a job a sequence that holds as much of its prompt as there is already."""
        asked = job.asked
        leader = asked.leader if self._context.copies and job.choice else None
        taken = self._slots.take(
            asked.request.tenant, asked.prompt, reuse=not asked.scored and leader is None
        )
        if taken is None:
            raise RuntimeError("a sequence was promised that is not there")
        try:
            run = Run(job, taken.slot, 0, self._weights.vocabulary)
        except HoldfastError as error:
            self._wipe([(taken.slot.number, taken.overwrite)])
            self._release(taken.slot)
            asked.fail(error)
            return
        self._running.append(run)
        run.filled(self._prepare(taken, len(asked.prompt), leader))
        if job.choice == 0:
            asked.cached, asked.leader = run.computed, run
        if asked.request.echo and (job.choice or not asked.scored):
            for at in range(0, max(len(asked.echoed), 1), CHUNK):
                run.echo(asked.echoed[at : at + CHUNK], first=at == 0)
        if run.prefilled and asked.scores is not None:
            self._first(run, asked.scores)

    def _prepare(self, taken: Taken, prompt: int, leader: Run | None) -> int:
        """Overwrite, copy and trim what a sequence holds; gives the tokens of the prompt that are there then."""
        slot, source, length = taken.slot, taken.source, taken.reused
        if leader is not None:
            source, length = leader.slot.number, prompt
            slot.filled = max(slot.filled, leader.slot.filled)
        if taken.overwrite:
            self._context.wipe(slot.number, taken.overwrite)
        if source is None:
            self._context.trim(slot.number, length)
        else:
            self._context.copy(source, slot.number, length)
        return length

    def _prefill(self) -> None:
        """Compute the last chunk of every prompt that is at its last, and one chunk of one that is longer.

        So what is short begins at once and together, and a long prompt delays the others by one chunk for each token.
        """
        filling = [run for run in self._running if not run.prefilled]
        if not filling:
            return
        self._flush()
        through = [run for run in filling if len(run.asked.prompt) - run.computed <= CHUNK]
        longer = [run for run in filling if run not in through]
        for group in groups(through, shared=self._widths.chunks):
            self._chunk(group)
        if longer:
            self._chunk(longer[:1])
            turn = longer[0].asked.request.tenant  # comes last from here on
            self._running.sort(key=lambda run: run.asked.request.tenant == turn)
        if through and len(self._running) > 1:  # a first token need not wait until the others have their next
            self._flush()

    def _chunk(self, group: list[Run]) -> None:
        """Compute the next chunk of a prompt, or of several."""
        spans = [run.chunk for run in group]
        rows = [
            Row(
                run.slot.number,
                run.asked.prompt[at],
                at,
                scored=run.ranked or at == len(run.asked.prompt) - 1,
            )
            for run, span in zip(group, spans, strict=True)
            for at in span
        ]
        scores = self._compute(rows, group)
        if scores is None:
            return
        for run, span in zip(group, spans, strict=True):
            run.filled(len(span))
        for place, (run, span) in enumerate(zip(group, spans, strict=True)):
            try:
                if run.ranked:
                    self._rank(run, span, scores)
            except HoldfastError as error:
                self._fail([run], error)
                continue
            if run.prefilled:
                last = scores[-1] if run.ranked else scores[place]
                self._siblings(run, last)
                self._first(run, last)

    def _rank(self, run: Run, span: range, scores: npt.NDArray[np.float32]) -> None:
        """Send the log-probabilities of a chunk's tokens; each is ranked by the scores after the token before it."""
        asked = run.asked
        tokens = asked.prompt[span.start : span.stop]
        before = [] if asked.scores is None else [asked.scores]
        ranks = logprobs.prompt_ranks(
            [*before, *scores[:-1]], tokens[1 - len(before) :], asked.request.logprobs or 0
        )
        nothing = [] if before else [None]  # the first token of all follows none
        entries = [run.entry(token, rank) for token, rank in zip(tokens, [*nothing, *ranks], strict=True)]
        asked.scores = np.array(scores[-1])
        if asked.request.choices > 1:
            asked.echoed += entries
        run.echo(entries, first=span.start == 0)

    def _siblings(self, run: Run, scores: npt.NDArray[np.float32]) -> None:
        """Let the other choices begin where the first one has its prompt computed."""
        asked = run.asked
        if run.choice == 0 and asked.request.choices > 1:
            asked.scores = np.array(scores)
            for choice in range(1, asked.request.choices):
                self.waiting.push(asked.request.tenant, Job(asked, choice))

    def _first(self, run: Run, scores: npt.NDArray[np.float32]) -> None:
        """Choose a first token; all choices by the same scores, however their sequences came by the prompt."""
        if run.choice and run.asked.scores is not None:
            scores = run.asked.scores
        if run.asked.most == 0:
            self._finish(run, link.Ending.LENGTH)
        else:
            self._choose(run, scores)

    def _decode(self, step: list[int], ready: dict[int, Run]) -> None:
        runs = [ready[at] for at in step if at in ready]
        if len(step) == 1 and runs[0].computed >= SOLO and self._widths.most >= PAIR:
            step = [*step, step[0] + 1]
        fillers: dict[int, int] = {}
        if len(runs) < len(step):
            lengths = {run.slot.number: run for run in self._running}
            fillers = {
                at: lengths[at].computed if at in lengths else self._slots.held(at)
                for at in step
                if at not in ready
            }
        rows = [
            # Rows that fill up are scored too, because only scored rows go through the last layer's products.
            Row(at, ready[at].next, ready[at].computed, scored=True)
            if at in ready
            else Row(at, 0, fillers[at], scored=True)
            for at in step
        ]
        scores = self._compute(rows, runs)
        for at, length in fillers.items():
            self._context.trim(at, length)
            self._slots.touch(at, length + 1)
        if scores is None:
            return
        for at, row in zip(step, scores, strict=True):
            if at in ready:
                run = ready[at]
                run.filled(1)
                self._choose(run, row)

    def _compute(self, rows: list[Row], runs: list[Run]) -> npt.NDArray[np.float32] | None:
        alone = self._widths.alone and len(rows) == 1
        # The last row of a long prompt, on its own: threads share its cells, so as many as everywhere.
        shared = alone and rows[0].position >= SOLO
        began = time.perf_counter()
        try:
            if shared:
                self._context.single(alone=False)
            scores = self._context.compute(rows)
        except WorkerFailed as error:
            for run in runs:
                run.slot.chunks.clear()  # nobody knows what became of the cells
            self._fail(runs, error)
            return None
        finally:
            if shared:
                self._context.single(alone=True)
        threads = 1 if alone and not shared else self._threads
        share = (time.perf_counter() - began) * threads / len(runs)
        for run in runs:
            run.asked.processor += share
        return scores

    def _choose(self, run: Run, scores: npt.NDArray[np.float32]) -> None:
        try:
            ending = run.choose(scores)
        except HoldfastError as error:
            self._fail([run], error)
            return
        self.tokens += 1
        if ending is not None:
            self._finish(run, ending)

    def _finish(self, run: Run, ending: link.Ending) -> None:
        asked = run.asked
        asked.emit(link.End(asked.request.id, run.choice, ending))
        self._free(run)
        asked.close()

    def _fail(self, runs: Iterable[Run], why: HoldfastError) -> None:
        """End requests as failed; their other choices end with the next step."""
        for run in list(runs):
            self._free(run)
            run.asked.fail(why)

    def _free(self, run: Run) -> None:
        self._running.remove(run)
        if run.asked.leader is run:
            run.asked.leader = None
        self._release(run.slot)

    def _release(self, slot: Slot) -> None:
        self._context.trim(slot.number, slot.held)
        self._wipe(self._slots.give(slot, time.monotonic()))

    def _wipe(self, sequences: Iterable[tuple[int, int]]) -> None:
        for number, filled in sequences:
            self._context.wipe(number, filled)


def groups(through: Iterable[Run], *, shared: bool) -> list[list[Run]]:
    """Bring together those whose next chunks share a step: equally long ones of neighbouring sequences.

    Args:
        through: Prompts.
        shared: Whether any may share one.

    Returns:
        Those of each step.
    """
    found: list[list[Run]] = []
    for run in sorted(through, key=lambda run: (len(run.chunk), run.slot.number)):
        group, length = found[-1] if found else [], len(run.chunk)
        if (
            shared
            and group
            and len(group[0].chunk) == length >= PAIR
            and group[-1].slot.number + 1 == run.slot.number
            and (len(group) + 1) * length <= TOGETHER
            and not (run.ranked or group[0].ranked)
        ):
            group.append(run)
        else:
            found.append([run])
    return found
