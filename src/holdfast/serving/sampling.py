"""Choosing the next token from the model's scores.

Invariants: temperature 0 takes the highest score, the lowest id among equals, and uses no randomness; any other choice is
determined by the scores, the settings, the seed and the number of tokens chosen before. All arithmetic is in float64.

Source: nucleus sampling as in Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020): temperature first,
then the smallest set of most probable tokens whose mass reaches ``top_p``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holdfast.errors import WorkerFailed

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        temperature: 0 for the highest score, else what scores are divided by.
        top_p: Probability mass that is kept, in (0, 1].
        seed: Begins the random sequence; 0 to 2**64 - 1.
    """

    temperature: float
    top_p: float
    seed: int


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: How.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))

    def choose(self, scores: Scores) -> int:
        """Choose the next token.

        Args:
            scores: The model's logits, [vocabulary].

        Returns:
            A token id.

        Raises:
            WorkerFailed: If the highest score is not a number: the model or its adapter is damaged.
        """
        best = int(np.argmax(scores))
        if not np.isfinite(scores[best]):
            raise WorkerFailed(
                "serve.scores",
                "The model gave scores that are not numbers.",
                remedy="Check the model and its adapter; import them again if they are damaged.",
            )
        if self._sampling.temperature == 0:
            return best
        draw = (
            self._random.random()
        )  # one draw for each token, whatever the settings: the sequence stays aligned
        shifted = (scores.astype(np.float64) - float(scores[best])) / self._sampling.temperature
        weights = np.exp(shifted)
        if self._sampling.top_p == 1:
            return _draw(weights, draw)
        order = np.argsort(-weights, kind="stable")
        mass = np.cumsum(weights[order])
        kept = int(np.searchsorted(mass, self._sampling.top_p * mass[-1])) + 1
        return int(order[_draw(weights[order[:kept]], draw)])


def _draw(weights: npt.NDArray[np.float64], draw: float) -> int:
    """Find where a point of [0, 1) falls when the weights lie end to end."""
    mass = np.cumsum(weights)
    return min(int(np.searchsorted(mass, draw * mass[-1], side="right")), len(weights) - 1)
