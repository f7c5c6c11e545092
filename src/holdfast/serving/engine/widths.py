"""How many sequences may share a step without moving a bit of anyone's scores, found by trying.

llama.cpp multiplies by one kernel for a single row and by others for more, and they may sum in another order; which, and
from which count on, depends on the machine and on the model's types. So widths are measured on the machine that serves,
against pairs: a count of rows is used only if it gave the very same scores. Float matrices, as adapters have, are
multiplied by another kernel from two rows on everywhere; the difference is small enough to hide from a short measurement,
so with an adapter no step has a single row. Nor has one whose sequence is longer than ``SOLO``: there, and nowhere else, the
flash kernels share out the cells of a single row over the threads. llama.cpp computes sequences together only if their numbers
follow one another, so steps are runs of such numbers, and rows that nobody reads fill up what is too short and bridge small gaps.

A step of a single row of a small model is shorter than what its threads wait for each other, and the other cores have the answers to
send; so such steps are timed, and computed by one thread where all of them together are not half as fast again.

What was measured once is used again where all that it depends on is the same (``machine``) and some scores, computed alone, in a
pair and in the widest step, still have the same bits.

Source: ``ggml_compute_forward_flash_attn_ext_f16`` of the pinned llama.cpp; its split wants 512 cells, and cells are counted in
steps of 256.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfast import hashing
from holdfast.serving.engine.llama import Row
from holdfast.serving.engine.prefix import CHUNK, TOGETHER
from holdfast.serving.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.serving.engine.llama import Context
    from holdfast.serving.engine.logprobs import Scores

SAMPLES = 32  # tokens compared for each width; about a second of a model of 0.3 billion weights
PAIR = 2
SOLO = 256  # cells up to which a single row is computed as in company
GAP = 2  # missing numbers that are bridged: so many rows cost less than another step
TIMED = 9  # steps of a single row, of which the median counts
WORTH = 1.5  # times as fast as one thread that all together must be, for a step of a single row
_SCATTER = 7919  # a prime, to scatter the samples over the vocabulary


@dataclass(frozen=True)
class Widths:
    """Rows of a step that computes answers.

    Args:
        least: A step of fewer is filled up with a row that nobody reads; 1 or 2.
        most: More are spread over several steps.
        chunks: Whether chunks of several prompts may share a step, if they are equally long: llama.cpp splits others anew.
        alone: Whether a step of a single row is computed by one thread.
    """

    least: int
    most: int
    chunks: bool = False
    alone: bool = False

    def with_adapter(self) -> Widths:
        """Give the widths of the same model with an adapter.

        Returns:
            Pairs at least, where there are pairs; chunks each alone, since only the model alone was measured.
        """
        return Widths(min(PAIR, self.most), self.most)


def steps(sequences: Iterable[int], widths: Widths) -> list[list[int]]:
    """Spread sequences over steps.

    Args:
        sequences: Their numbers, ascending.
        widths: Rows of a step; at least 1 or 2.

    Returns:
        For each step, numbers that follow one another. Numbers that were not given fill up; they exceed the largest given
        by at most one.
    """
    found: list[list[int]] = []
    for number in sequences:
        step = found[-1] if found else []
        if step:
            gap = range(step[-1] + 1, number)
            if len(gap) <= GAP and len(step) + len(gap) < widths.most:
                step.extend(gap)
            elif len(step) < widths.least:
                step.append(step[-1] + 1)
        if not step or step[-1] + 1 != number or len(step) >= widths.most:
            step = []
            found.append(step)
        step.append(number)
    if found and len(found[-1]) < widths.least:
        found[-1].append(found[-1][-1] + 1)
    return found


def measure(context: Context, vocabulary: int) -> Widths:
    """Measure a model's widths.

    Args:
        context: A context of the model alone, without sequences in use.
        vocabulary: Number of tokens, V.

    Returns:
        Its widths.
    """
    sequences = context.sequences
    if sequences == 1:
        return Widths(1, 1)
    pairs = _scores(context, vocabulary, PAIR)
    least = 1 if _same(pairs, _scores(context, vocabulary, 1)) else PAIR
    alone = least == 1 and context.threads > 1 and _alone(context, vocabulary, pairs)
    most, width = PAIR, PAIR
    while width < sequences:
        width = min(2 * width, sequences)
        if not _same(pairs, _scores(context, vocabulary, width)):
            break
        most = width
    return Widths(least, most, _chunks(context, vocabulary), alone)


def _alone(context: Context, vocabulary: int, pairs: list[Scores]) -> bool:
    """Tell whether one thread gives the very scores that all give, and is nearly as fast; the context is left as that says."""
    together = _seconds(context, vocabulary)
    context.single(alone=True)
    alone = _seconds(context, vocabulary) < WORTH * together and _same(pairs, _scores(context, vocabulary, 1))
    context.single(alone=alone)
    return alone


def _seconds(context: Context, vocabulary: int) -> float:
    """Time a step of a single row."""
    found = []
    for position in range(TIMED):
        began = time.perf_counter()
        context.compute([Row(0, _SCATTER * (1 + position) % vocabulary, position, scored=True)])
        found.append(time.perf_counter() - began)
    _clear(context)
    return statistics.median(found)


def settle(context: Context, vocabulary: int, key: str, kept: Measured | None) -> Measured:
    """Take what was measured before if it still holds; else measure.

    Args:
        context: A context of the model alone, without sequences in use.
        vocabulary: Number of tokens, V.
        key: Digest of what the bits of scores depend on here.
        kept: What was measured before.

    Returns:
        What holds here.
    """
    if kept is not None and kept.key == key and kept.most <= context.sequences:
        context.single(alone=kept.alone)
        if kept.sample == sample(context, vocabulary, kept.most):
            return kept
        context.single(alone=False)
    found = measure(context, vocabulary)
    return Measured(
        key,
        sample(context, vocabulary, found.most),
        found.least,
        found.most,
        chunks=found.chunks,
        alone=found.alone,
    )


def sample(context: Context, vocabulary: int, most: int) -> str:
    """Compute a few scores: of a row alone, of a pair, and of the widest step.

    Args:
        context: A context of the model alone, without sequences in use.
        vocabulary: Number of tokens, V.
        most: Rows of the widest step.

    Returns:
        Digest of their bits.
    """
    found = []
    for count in sorted({1, min(PAIR, most), most}):
        rows = [Row(at, _SCATTER * (1 + at) % vocabulary, 0, scored=True) for at in range(count)]
        found += [np.asarray(one, np.float32).tobytes() for one in context.compute(rows)]
        _clear(context)
    return hashing.sha256(b"".join(found))


def _chunks(context: Context, vocabulary: int) -> bool:
    """Tell whether chunks that share a step give the very scores that they give alone, short ones and long ones."""
    for length in (PAIR, CHUNK // 2, CHUNK):
        if length > context.length:
            continue
        count = min(context.sequences, TOGETHER // length)
        prompts = [
            [
                Row(at, _SCATTER * (1 + place + at * length) % vocabulary, place, scored=place == length - 1)
                for place in range(length)
            ]
            for at in range(count)
        ]
        alone = [np.array(context.compute(rows)[0]) for rows in prompts]
        _clear(context)
        together = context.compute([row for rows in prompts for row in rows])
        same = _same(alone, list(together))
        _clear(context)
        if not same:
            return False
    return True


def _clear(context: Context) -> None:
    for at in range(context.sequences + 1):
        context.trim(at, 0)


def _scores(context: Context, vocabulary: int, width: int) -> list[Scores]:
    """Compute every sample in steps of so many rows; in order of position, then sequence."""
    found: list[Scores] = []
    for position in range(max(1, SAMPLES // context.sequences)):
        for step in steps(range(context.sequences), Widths(min(width, PAIR), width)):
            rows = [
                Row(
                    at,
                    (_SCATTER * (1 + at + position * context.sequences)) % vocabulary,
                    position,
                    scored=True,
                )
                for at in step
            ]
            computed = context.compute(rows)
            found += [np.array(row) for at, row in zip(step, computed, strict=True) if at < context.sequences]
    _clear(context)
    return found


def _same(one: list[Scores], other: list[Scores]) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(one, other, strict=True))
