"""Which sequence a prompt gets, and how much of the prompt is there already. Pure.

A sequence keeps the whole chunks of the last prompt that was computed in it. Invariants: what one tenant's prompt left is
never used for another's; only whole chunks of ``CHUNK`` tokens that were computed as chunks of a prompt, at the same
positions, are used again, so an answer's bits do not depend on what was asked before; the last token of a prompt is always
computed, since its scores are wanted; before a sequence goes to another tenant its cells are overwritten, as many as were
ever filled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 128  # tokens of a prompt computed at once, at fixed positions; an answer's bits depend on it
TOGETHER = 2 * CHUNK  # rows of several prompts in one step; more hardly save time, and cost memory


@dataclass
class Slot:
    """One sequence of a context.

    Args:
        number: Which.
        tenant: Whose tokens its cells hold; None if they hold none.
        chunks: The chunks of a prompt whose keys and values it holds, from the beginning.
        filled: Cells that may hold anything, counted from the first.
        used: When it was last in use, in seconds of any clock.
        busy: Whether something is computed in it.
        forgotten: Whether nothing of it may be kept once it is idle.
    """

    number: int
    tenant: str | None = None
    chunks: list[tuple[int, ...]] = field(default_factory=list)
    filled: int = 0
    used: float = 0.0
    busy: bool = False
    forgotten: bool = False

    @property
    def held(self) -> int:
        """Tokens that it holds while nothing is computed in it."""
        return len(self.chunks) * CHUNK


@dataclass(frozen=True)
class Taken:
    """A sequence for a prompt, and what is to be done with it first.

    Args:
        slot: The sequence; busy from here on.
        reused: Tokens of the prompt that are there already, once done.
        source: The sequence that they are to be copied from; None if they are in place.
        overwrite: Cells to overwrite before anything else.
    """

    slot: Slot
    reused: int
    source: int | None
    overwrite: int


class Slots:
    """The sequences of one context.

    Args:
        count: How many.
        copies: Whether one's beginning can be copied to another.
    """

    def __init__(self, count: int, *, copies: bool) -> None:
        self._slots = [Slot(number) for number in range(count)]
        self._copies = copies

    @property
    def free(self) -> int:
        """Sequences that nothing is computed in."""
        return sum(not slot.busy for slot in self._slots)

    def held(self, number: int) -> int:
        """Count what an idle sequence holds.

        Args:
            number: Which; one beyond the last holds nothing.

        Returns:
            Tokens.
        """
        return self._slots[number].held if number < len(self._slots) else 0

    def touch(self, number: int, filled: int) -> None:
        """Note that cells of a sequence were filled in passing.

        Args:
            number: Which; one beyond the last is nobody's.
            filled: Cells, counted from the first.
        """
        if number < len(self._slots):
            self._slots[number].filled = max(self._slots[number].filled, filled)

    def take(self, tenant: str, prompt: Sequence[int], *, reuse: bool = True) -> Taken | None:
        """Choose a sequence.

        Args:
            tenant: Whose prompt it is.
            prompt: Token ids, at least one.
            reuse: Whether what is there already may be used.

        Returns:
            The choice, to be given back with ``give``; None if all are busy.
        """
        idle = [slot for slot in self._slots if not slot.busy]
        if not idle:
            return None
        shared = {
            slot.number: _shared(slot.chunks, prompt) if reuse and slot.tenant == tenant else 0
            for slot in self._slots
        }
        best = max(shared.values())
        # The one that holds most of it and nothing else; else the one whose loss costs least, the lowest number first,
        # because steps are made of numbers that follow one another.
        whole = [slot for slot in idle if shared[slot.number] == best == len(slot.chunks) and best]
        if whole:
            slot = whole[0]
        else:
            slot = min(idle, key=lambda one: (bool(one.chunks), one.tenant not in (None, tenant), one.used))
        source = None
        if shared[slot.number] < best:
            if self._copies:
                source = next(number for number, count in shared.items() if count == best)
            else:
                holder = max(idle, key=lambda one: shared[one.number])
                slot = holder if shared[holder.number] else slot
                best = shared[slot.number]
        overwrite = slot.filled if slot.tenant not in (None, tenant) else 0
        slot.tenant, slot.busy = tenant, True
        if overwrite:
            slot.filled = 0
        if source is not None:
            slot.filled = max(slot.filled, self._slots[source].filled)
        slot.chunks = [tuple(prompt[at : at + CHUNK]) for at in range(0, best * CHUNK, CHUNK)]
        slot.filled = max(slot.filled, best * CHUNK)
        return Taken(slot, best * CHUNK, source, overwrite)

    def give(self, slot: Slot, now: float) -> list[tuple[int, int]]:
        """Take a sequence back that was in use.

        Args:
            slot: The sequence, which goes on holding its chunks; what else it holds is to be trimmed.
            now: The time.

        Returns:
            Its number and the cells to overwrite, if it was forgotten meanwhile.
        """
        slot.busy, slot.used = False, now
        return [self._empty(slot)] if slot.forgotten else []

    def stale(self, before: float) -> list[tuple[int, int]]:
        """Let go of what lay unused for long.

        Args:
            before: The last time of use until which it is long.

        Returns:
            Numbers of sequences, each with the cells to overwrite.
        """
        return [
            self._empty(slot)
            for slot in self._slots
            if not slot.busy and slot.tenant is not None and slot.used <= before
        ]

    def forget(self, tenant: str | None) -> list[tuple[int, int]]:
        """Let go of what is kept of a tenant's prompts: at once of what is idle, of the rest as soon as it is.

        Args:
            tenant: Whose; None for everybody's.

        Returns:
            Numbers of sequences, each with the cells to overwrite.
        """
        theirs = [slot for slot in self._slots if slot.tenant is not None and tenant in (None, slot.tenant)]
        for slot in theirs:
            slot.forgotten = slot.busy
        return [self._empty(slot) for slot in theirs if not slot.busy]

    def _empty(self, slot: Slot) -> tuple[int, int]:
        filled = slot.filled
        slot.tenant, slot.chunks, slot.filled, slot.forgotten = None, [], 0, False
        return slot.number, filled


def slots_of(sequences: int) -> int:
    """Count the sequences that a context holds: with more than one, one more only fills up steps.

    Args:
        sequences: Sequences in use.

    Returns:
        The count.
    """
    return sequences if sequences == 1 else sequences + 1


def rows_of(sequences: int) -> int:
    """Count the rows of the largest step.

    Args:
        sequences: Sequences in use.

    Returns:
        The count.
    """
    return max(CHUNK if sequences == 1 else TOGETHER, slots_of(sequences))


def _shared(chunks: Sequence[tuple[int, ...]], prompt: Sequence[int]) -> int:
    """Count the chunks that a prompt begins with and need not compute: never the one with its last token."""
    count = 0
    for at, chunk in zip(range(0, len(prompt) - CHUNK, CHUNK), chunks, strict=False):
        if chunk != tuple(prompt[at : at + CHUNK]):
            break
        count += 1
    return count
