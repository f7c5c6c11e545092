"""Log-probabilities: how likely the model itself found a token, and what it would rather have said.

They are those of the model's own scores, before bias, penalties, grammar and temperature, so that they can be compared
between requests and with other implementations. Exponentials are in float32, summed in blocks whose sums are added in
float64: the result is off by less than the scores' own rounding. Invariants: alternatives come the most
probable first, the lowest id first among equals; a log-probability is finite: one of a token that is impossible is given
as ``LEAST``.

Source: log softmax(x)_i = x_i - max(x) - log Σ_j exp(x_j - max(x)), and OpenAI's API reference for what is listed.
Shapes: V = vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from holdfast.errors import WorkerFailed
from holdfast.serving import link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.serving.engine.vocabulary import Vocabulary

Scores = npt.NDArray[np.float32]

_ROWS = 64  # scores of a column, of which the highest is taken: the fewer, the fewer others a threshold lets through
_BLOCK = 256  # exponentials summed in float32
LEAST = -9999.0  # OpenAI's number for a token that can't be


@dataclass(frozen=True)
class Ranked:
    """How likely one token was.

    Args:
        token: Its id.
        logprob: Its log-probability.
        top: The most probable tokens in its place, ids and log-probabilities.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def rank(scores: Scores, token: int, top: int) -> Ranked:
    """Say how likely a token was.

    Args:
        scores: The model's scores, [V].
        token: The token that was chosen, or that stood there.
        top: How many alternatives to list.

    Returns:
        Its rank.

    Raises:
        WorkerFailed: If the scores are not numbers.
    """
    best = float(np.max(scores))
    if not np.isfinite(best):
        raise not_numbers()
    with np.errstate(over="ignore"):
        weights = np.exp(scores - np.float32(best))
    shift = best + math.log(
        np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)).sum(dtype=np.float64)
    )
    return Ranked(
        token,
        _finite(float(scores[token]) - shift),
        tuple((int(at), _finite(float(scores[at]) - shift)) for at in highest(scores, top)),
    )


def highest(scores: Scores, count: int) -> npt.NDArray[np.intp]:
    """Find the highest scores without sorting the others.

    Args:
        scores: [V].
        count: How many, at most V.

    Returns:
        Their ids, [count], by falling score and rising id: as a stable sort of all of them would give.
    """
    count = min(count, len(scores))
    if count == 0:
        return np.empty(0, np.intp)
    least = threshold(scores, count)
    found = np.flatnonzero(scores >= least)  # ids rise, so of equals the stable sort keeps the lowest first
    return found[np.argsort(-scores[found], kind="stable")][:count]


def threshold(scores: Scores, count: int) -> float:
    """Find a score that at least ``count`` scores reach, and not many more.

    Args:
        scores: [V].
        count: From 1 to V.

    Returns:
        At most the score at the place ``count`` of all scores by falling order.
    """
    size = len(scores)
    columns = size // _ROWS
    if count <= columns // 4:
        # The maxima of columns are scores themselves: as many of them as ``count`` reach the one at that place.
        maxima = scores[: columns * _ROWS].reshape(_ROWS, columns).max(axis=0)
        return float(np.partition(maxima, columns - count)[columns - count])
    return float(np.partition(scores, size - count)[size - count])


def prompt_ranks(rows: Sequence[Scores], tokens: Sequence[int], top: int) -> list[Ranked]:
    """Say how likely the tokens of a prompt were.

    Args:
        rows: For each token, the scores after the token before it, [V] each.
        tokens: As many ids.
        top: How many alternatives to list.

    Returns:
        Their ranks.

    Raises:
        WorkerFailed: If scores are not numbers.
    """
    return [rank(row, token, top) for row, token in zip(rows, tokens, strict=True)]


def entry(vocabulary: Vocabulary, token: int, ranked: Ranked | None, offset: int) -> link.Logprob:
    """Write what is sent for one token.

    Args:
        vocabulary: The model's.
        token: The token.
        ranked: How likely it was; None for the first token of a prompt, which follows nothing.
        offset: Characters of the choice's text before it.

    Returns:
        What crosses the link.
    """
    octets = vocabulary.piece(token)
    top: list[link.Alternative] = []
    for other, logprob in ranked.top if ranked else ():
        piece = vocabulary.piece(other)
        top.append(link.Alternative(other, piece.decode("utf-8", "replace"), tuple(piece), logprob))
    return link.Logprob(
        token,
        octets.decode("utf-8", "replace"),
        tuple(octets),
        None if ranked is None else ranked.logprob,
        tuple(top),
        offset,
    )


def not_numbers() -> WorkerFailed:
    """Say that a model gave no scores.

    Returns:
        The error.
    """
    return WorkerFailed(
        "serve.scores",
        "The model gave scores that are not numbers.",
        remedy="Check the model and its adapter; import them again if they are damaged.",
    )


def _finite(logprob: float) -> float:
    return max(LEAST, logprob)
