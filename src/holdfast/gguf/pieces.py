"""Whether joining by scores gives the same as joining by a list of merges. Pure.

llama.cpp joins the two neighbours whose joined text is the piece with the highest score, leftmost first; it knows no list of
merges. BPE joins the neighbours whose *pair* stands first in its list, leftmost first. ``problem`` demands what makes both
take the same steps but for ties:

1. Every way to split a piece of the vocabulary into two parts that can stand beside each other (each a piece, or a single
   character) is in the list. Then both may join the same neighbours.
2. All pairs that make one piece stand together in the list. Then the pieces' order is a score.

Lists made from SentencePiece files keep both; lists that a BPE trainer made lack splits, and are refused. A tie is left: of
two places where one same piece can be made from different pairs, the list takes its first pair and llama.cpp the leftmost
place. Neither's outcome follows from the list alone, so that ``trials`` writes texts in which such places meet, and the ids
of both are compared on them.

Source: llama.cpp ``llm_tokenizer_spm_session``; tokenizers ``models/bpe/word.rs`` (``merge_all``).
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SPACE = "\u2581"  # ▁, written for a space
UNREACHABLE = -1e9  # score of tokens that nothing is joined into
MAX_MERGES = 2**24  # beyond it float32, in which llama.cpp keeps scores, can't tell two neighbours apart
MAX_TRIALS = 4096  # texts; comparing so many short ones takes about a second


def scores(merges: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Give each piece the score of its place in the list of merges.

    Args:
        merges: The pairs in their order.

    Returns:
        Score by piece: 0 for the first, -1 for the next.
    """
    found: dict[str, float] = {}
    for left, right in merges:
        found.setdefault(left + right, -float(len(found)))
    return found


def problem(
    vocabulary: Collection[str], merges: Sequence[tuple[str, str]], apart: Collection[str] = ()
) -> str:
    """Check that scores can stand for a list of merges.

    Args:
        vocabulary: Every token's text, added ones included.
        merges: The pairs in their order.
        apart: Added tokens, which are cut out of a text before anything is joined.

    Returns:
        The rule that is broken, as the rest of a sentence; empty if both are kept.
    """
    known, listed = frozenset(vocabulary), frozenset(merges)
    if len(listed) != len(merges) or len(merges) > MAX_MERGES:
        return "its list of merges is too long, or names a pair twice"
    if any(left not in known or right not in known or left + right not in known for left, right in merges):
        return "a merge does not join known pieces into a known one"
    made = [left + right for left, right in merges]
    runs = 1 + sum(before != after for before, after in pairwise(made))
    if merges and runs != len({*made}):
        return "its merges are not in an order of pieces, by which llama.cpp joins"
    joined = known - frozenset(apart)
    for piece in joined:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            met = all((len(part) == 1 and part not in known) or part in joined for part in (left, right))
            if met and (left, right) not in listed:
                return f"its merges lack {left[:40]!r} + {right[:40]!r}, which llama.cpp would join"
    return ""


def trials(merges: Sequence[tuple[str, str]]) -> list[str]:
    """Write texts in which places meet where one piece can be made from different pairs.

    Args:
        merges: The pairs in their order.

    Returns:
        At most ``MAX_TRIALS`` texts, with spaces for ``▁``: of pieces from the whole list, evenly.
    """
    ways = Counter(left + right for left, right in merges)
    several = [piece for piece, count in ways.items() if count > 1]
    texts = []
    step = max(1, len(several) * 4 // MAX_TRIALS)
    for piece in several[::step]:
        middle = len(piece) // 2
        texts += [piece * 2, piece * 3, piece[:middle] + piece, piece + piece[middle:]]
    return [text.replace(SPACE, " ") for text in texts[:MAX_TRIALS]]
