"""Choosing the next token from the model's scores.

Order of operations: the biases are added; the repetition penalty (over prompt and answer), then the frequency and presence
penalties (over the answer) are applied; what the grammar does not allow gets no chance; the scores are divided by the
temperature; of the tokens the ``top_k`` most probable are kept, of these the fewest whose mass reaches ``top_p``, of these
those at least ``min_p`` times as probable as the best; one of them is drawn. Biases and penalties come before the grammar, so
that it has the last word; the rest is the order of transformers' logits processors.

Invariants: temperature 0 takes the highest score, the lowest id among equals, and uses no randomness; any other choice is
determined by the scores, the settings, the seed, the number of the choice and the tokens chosen before. There is one draw
for each token, whatever the settings. Among equal scores the lowest ids are kept. Kept tokens lie end to end by rising id
when one is drawn. ``scores`` is read, never written. Greedy without penalties and grammar is one search for a maximum.

Arithmetic: penalties, the weights of kept tokens and all sums are in float64. Only where no token has been left out yet the
exponentials of the whole vocabulary are in float32, summed in blocks, because in float64 they would take ten times as long;
the probabilities move by less than one millionth of themselves.

Sources: repetition penalty: Keskar et al., "CTRL" (2019), section 4.1; frequency and presence penalties and bias: OpenAI's
API reference; top-k: Fan et al., "Hierarchical Neural Story Generation" (2018); top-p: Holtzman et al., "The Curious Case of
Neural Text Degeneration" (2020); min-p: Nguyen et al., "Turning Up the Heat" (2024). Shapes: V = vocabulary.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from holdfast.errors import UntrustedRequest
from holdfast.serving.engine.logprobs import Ranked, Scores, not_numbers, rank, threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.serving.engine.grammar import State
    from holdfast.serving.link import Sampling

GREEDY = 1e-5  # temperatures below choose as 0 does: the scores' own rounding would decide
_BLOCK = 256  # scores summed in float32 at once
_NUCLEUS = 256  # tokens in which the nucleus is sought first; it is mostly smaller
_WIDER = 16  # how many times more are tried next
_FLOAT32 = 1e-6  # more than the relative error of a score in float32

Ids = npt.NDArray[np.intp]
Weights = npt.NDArray[np.float64]


class Chosen(NamedTuple):
    """A token, and how likely the model found it.

    Args:
        token: Its id.
        ranked: Its log-probability and the alternatives, if they were asked for.
    """

    token: int
    ranked: Ranked | None


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: How.
        choice: Which of the answers to the prompt, from 0; each has a random sequence of its own.
        prompt: The prompt's token ids.
        size: V.
        grammar: What the answer must look like, at its beginning.
        logprobs: Alternatives to list for each token; None for no log-probabilities.

    Raises:
        UntrustedRequest: If a bias is for a token that the vocabulary does not have.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        choice: int,
        prompt: Sequence[int],
        size: int,
        grammar: State | None = None,
        logprobs: int | None = None,
    ) -> None:
        self._sampling = sampling
        self._size = size
        self._grammar = grammar
        self._logprobs = logprobs
        self._greedy = sampling.temperature < GREEDY
        self._random = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(entropy=sampling.seed, spawn_key=(choice,)))
        )
        self._penalties = _Penalties(sampling, prompt, size)
        self._starts = np.arange(0, size, _BLOCK)

    def choose(self, scores: Scores) -> Chosen:
        """Choose the next token.

        Args:
            scores: The model's logits, [V].

        Returns:
            The token; it counts as part of the answer from here on.

        Raises:
            WorkerFailed: If scores are not numbers: the model or its adapter is damaged.
            UntrustedRequest: If the grammar can't go on within its limits.
        """
        best = int(scores.argmax())  # the first that is not a number, if there is one
        if not math.isfinite(scores[best]):
            raise not_numbers()
        if self._greedy and self._grammar is None and self._penalties.spare(best):
            values = scores
        else:
            values = self._penalties.apply(scores)
        if self._grammar is not None:
            mask = self._grammar.mask()
            values = np.add(values, mask, out=mask)
        if values is not scores:
            best = int(values.argmax())
            if not math.isfinite(values[best]):
                raise not_numbers()
        token = best if self._greedy else self._draw(values, best)
        self._penalties.add(token)
        if self._grammar is not None:
            self._grammar.accept(token)
        return Chosen(token, None if self._logprobs is None else rank(scores, token, self._logprobs))

    def _draw(self, values: Scores, best: int) -> int:
        draw = self._random.random()
        sampling, highest = self._sampling, float(values[best])
        ids: Ids | None = None
        if 0 < sampling.top_k < self._size:
            ids = np.flatnonzero(values >= threshold(values, sampling.top_k))
            ids = ids[_highest(values[ids], sampling.top_k)]
        if sampling.top_p < 1:
            ids = self._nucleus(values, ids, highest)
        if sampling.min_p > 0:
            if ids is None:
                least = highest + sampling.temperature * math.log(sampling.min_p)
                ids = np.flatnonzero(values >= least - _FLOAT32 * (abs(least) + abs(highest)))
            ids = ids[self._weigh(values[ids], highest) >= sampling.min_p]
        if ids is not None:
            return int(ids[_fall(self._weigh(values[ids], highest), draw)])
        return self._draw_of_all(values, highest, draw)

    def _draw_of_all(self, values: Scores, highest: float, draw: float) -> int:
        """Find the block in which the draw falls, then the token in it."""
        weights = self._weigh_all(values, highest)
        blocks = np.add.reduceat(weights, self._starts).astype(np.float64)
        ends = np.cumsum(blocks)
        block = _fall(blocks, draw)
        inside = (draw * float(ends[-1]) - float(ends[block] - blocks[block])) / float(blocks[block])
        start = int(self._starts[block])
        part = weights[start : start + _BLOCK].astype(np.float64)
        return start + _fall(part, min(max(inside, 0.0), 1.0))

    def _nucleus(self, values: Scores, ids: Ids | None, highest: float) -> Ids:
        """Keep the fewest most probable tokens whose mass reaches ``top_p`` of that of ``ids``, or of all."""
        if ids is not None:
            kept = values[ids]
            return ids[_highest(kept, min(self._reach(kept, highest, None), len(kept)))]
        blocks = np.add.reduceat(self._weigh_all(values, highest), self._starts)
        total = float(blocks.sum(dtype=np.float64))
        among = _NUCLEUS
        while True:
            among = min(among, self._size)
            ids = np.flatnonzero(values >= threshold(values, among))
            kept = values[ids]
            count = self._reach(kept, highest, total)
            if count <= len(kept) or among == self._size:
                return ids[_highest(kept, min(count, len(kept)))]
            among *= _WIDER

    def _reach(self, kept: Scores, highest: float, total: float | None) -> int:
        """Count the highest scores needed to reach ``top_p`` of a mass; one more than there are if they don't suffice."""
        mass = np.cumsum(self._weigh(np.sort(kept)[::-1], highest))
        goal = self._sampling.top_p * (float(mass[-1]) if total is None else total)
        return int(np.searchsorted(mass, goal)) + 1

    def _weigh(self, values: Scores, highest: float) -> Weights:
        weights: Weights = np.exp((values.astype(np.float64) - highest) / self._sampling.temperature)
        return weights

    def _weigh_all(self, values: Scores, highest: float) -> Scores:
        weights = _scratch(self._size)
        with np.errstate(over="ignore"):  # a score too low for float32 has no chance either way
            np.subtract(values, np.float32(highest), out=weights)
            if self._sampling.temperature != 1:
                weights /= np.float32(self._sampling.temperature)
            return np.exp(weights, out=weights)


class _Scratch(threading.local):
    """Room for the weights of one vocabulary, used again and again: fresh memory would cost as much as the sums."""

    room: Scores = np.empty(0, np.float32)

    def __call__(self, size: int) -> Scores:
        """Give the room for so many; what it holds is lost."""
        if len(self.room) != size:
            self.room = np.empty(size, np.float32)
        return self.room


_scratch = _Scratch()


class _Penalties:
    """What moves the scores of single tokens: the request's biases, and what was said before."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], size: int) -> None:
        self._sampling = sampling
        self._biased = np.array(sorted(sampling.logit_bias), np.intp)
        if len(self._biased) and not 0 <= self._biased[0] <= self._biased[-1] < size:
            raise UntrustedRequest(
                "serve.token",
                f"logit_bias names a token that there is not: the model has tokens 0 to {size - 1}.",
                remedy="Send ids that /tokenize of the same model gives.",
            )
        self._biases = np.array([sampling.logit_bias[int(token)] for token in self._biased], np.float64)
        self._lowers = all(bias <= 0 for bias in sampling.logit_bias.values())
        self._repeats = sampling.repetition_penalty != 1
        self._counts = self._repeats or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        seen = sorted(set(prompt)) if self._repeats else []
        self._places = {token: place for place, token in enumerate(seen)}
        self._seen = np.array(seen, np.intp)
        self._said = np.zeros(len(seen), np.float64)  # times in the answer, for each token seen

    def spare(self, best: int) -> bool:
        """Tell whether the highest score stays so: nothing moves it, and nothing raises another."""
        return not self._counts and self._lowers and best not in self._sampling.logit_bias

    def add(self, token: int) -> None:
        """Count a token of the answer."""
        if not self._counts:
            return
        place = self._places.setdefault(token, len(self._places))
        if place >= len(self._seen):
            room = max(64, len(self._seen))  # doubled, so that a long answer costs no copy for each token
            self._seen = np.concatenate([self._seen, np.zeros(room, np.intp)])
            self._said = np.concatenate([self._said, np.zeros(room, np.float64)])
        self._seen[place] = token
        self._said[place] += 1

    def apply(self, scores: Scores) -> Scores:
        """Give the scores moved; the same object if nothing moves."""
        seen = self._seen[: len(self._places)]
        if not (len(self._biased) or (self._counts and len(seen))):
            return scores
        moved = scores.copy()
        if len(self._biased):
            moved[self._biased] = moved[self._biased].astype(np.float64) + self._biases
        if self._counts and len(seen):
            said, before = self._said[: len(seen)], moved[seen].astype(np.float64)
            if self._repeats:
                penalty = self._sampling.repetition_penalty
                before = np.where(before > 0, before / penalty, before * penalty)
            before -= self._sampling.frequency_penalty * said
            before -= self._sampling.presence_penalty * (said > 0)
            with np.errstate(over="ignore"):  # beyond float32 is as good as impossible
                moved[seen] = before
        return moved


def _highest(values: Scores, count: int) -> Ids:
    """Give the places of the ``count`` highest scores, of equal ones the first; rising."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= least)
    if len(places) == count:
        return places
    equal = values[places] == least
    equal[np.flatnonzero(equal)[: count - len(places)]] = False  # the last of equal ones are too many
    kept: Ids = places[~equal]
    return kept


def _fall(weights: Weights, draw: float) -> int:
    """Find where a point of [0, 1) falls when the weights lie end to end; never on a weight of 0."""
    mass = np.cumsum(weights)
    last = int(np.searchsorted(mass, mass[-1]))  # the first to reach the whole mass: the last that is not 0
    return min(int(np.searchsorted(mass, draw * mass[-1], side="right")), last)
