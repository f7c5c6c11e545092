"""Which sequence a prompt gets: never what another tenant left, and only whole chunks of a prompt."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.serving.engine.fair import FairQueue
from holdfast.serving.engine.prefix import CHUNK, Slots

PROMPT = tuple(range(3 * CHUNK + 10))


def finish(slots, taken, prompt, now=0.0):
    """Compute a prompt in a sequence, and a few tokens of an answer, and give it back."""
    slot = taken.slot
    for at in range(len(slot.chunks) * CHUNK, len(prompt) - CHUNK + 1, CHUNK):
        slot.chunks.append(tuple(prompt[at : at + CHUNK]))
    slot.filled = max(slot.filled, len(prompt) + 5)
    return slots.give(slot, now)


def test_whole_chunks_are_used_again_but_never_the_one_with_the_last_token():
    slots = Slots(1, copies=True)
    finish(slots, slots.take("a", PROMPT), PROMPT)
    assert slots.held(0) == 3 * CHUNK
    for length, reused in ((len(PROMPT), 3), (3 * CHUNK, 2), (CHUNK + 1, 1), (CHUNK, 0)):
        taken = slots.take("a", PROMPT[:length])
        assert (taken.reused, taken.source, taken.overwrite) == (reused * CHUNK, None, 0)
        finish(slots, taken, PROMPT)
    changed = (*PROMPT[: CHUNK + 3], 9999, *PROMPT[CHUNK + 4 :])
    assert slots.take("a", changed).reused == CHUNK


def test_another_tenant_gets_nothing_and_every_cell_is_overwritten_first():
    slots = Slots(1, copies=True)
    finish(slots, slots.take("a", PROMPT), PROMPT)
    taken = slots.take("b", PROMPT)
    assert (taken.reused, taken.source, taken.overwrite) == (0, None, len(PROMPT) + 5)
    finish(slots, taken, PROMPT[:4])
    again = slots.take("a", PROMPT)
    assert (again.reused, again.overwrite) == (0, 9)


def test_what_is_being_computed_elsewhere_is_copied_where_that_is_possible():
    for copies in (True, False):
        slots = Slots(2, copies=copies)
        first = slots.take("a", PROMPT)
        first.slot.chunks = [PROMPT[:CHUNK], PROMPT[CHUNK : 2 * CHUNK]]
        first.slot.filled = 300
        second = slots.take("a", PROMPT)
        assert (second.source, second.reused) == ((0, 2 * CHUNK) if copies else (None, 0))
        assert second.slot.filled == (300 if copies else 0)


def test_what_lay_unused_and_what_is_forgotten_is_overwritten():
    slots = Slots(3, copies=True)
    taken = [slots.take(tenant, PROMPT) for tenant in ("a", "b", "c")]
    finish(slots, taken[0], PROMPT, now=1.0)
    finish(slots, taken[1], PROMPT, now=9.0)
    assert slots.stale(5.0) == [(0, len(PROMPT) + 5)]
    assert slots.stale(5.0) == []
    assert slots.forget("c") == []
    assert finish(slots, taken[2], PROMPT) == [(2, len(PROMPT) + 5)]
    assert slots.forget(None) == [(1, len(PROMPT) + 5)]
    assert slots.held(1) == slots.held(7) == 0


TOKENS = st.lists(st.sampled_from((CHUNK // 2, CHUNK, CHUNK + 1)), min_size=1, max_size=3).flatmap(
    lambda sizes: st.lists(st.integers(0, 1), min_size=len(sizes), max_size=len(sizes)).map(
        lambda values: tuple(value for size, value in zip(sizes, values, strict=True) for _ in range(size))
    )
)


@settings(max_examples=100)
@given(
    st.integers(1, 3),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from("abc"), TOKENS, st.booleans()), max_size=12),
)
def test_cells_never_hold_another_tenants_tokens(count, copies, asked):
    slots = Slots(count, copies=copies)
    cells = [[] for _ in range(count)]  # of each sequence: (tenant, token) for what its bytes hold
    running = []
    for tenant, prompt, wait in asked:
        if len(running) == count:
            slot, given = running.pop(0)
            assert finish_cells(slots, slot, given, cells)
        taken = slots.take(tenant, prompt)
        held = cells[taken.slot.number]
        if taken.overwrite:
            held[: taken.overwrite] = [None] * min(taken.overwrite, len(held))
        if taken.source is not None:
            held[: len(cells[taken.source])] = cells[taken.source]
        assert all(cell is None or cell[0] == tenant for cell in held)
        assert [cell[1] for cell in held[: taken.reused]] == list(prompt[: taken.reused])
        assert taken.reused < len(prompt)
        held[: len(prompt)] = [(tenant, token) for token in prompt]
        running.append((taken.slot, prompt))
        taken.slot.filled = max(taken.slot.filled, len(prompt))
        chunks = [prompt[at : at + CHUNK] for at in range(0, len(prompt) - CHUNK + 1, CHUNK)]
        taken.slot.chunks = [tuple(chunk) for chunk in chunks]
        if not wait:
            slot, given = running.pop()
            assert finish_cells(slots, slot, given, cells)


def finish_cells(slots, slot, given, cells):
    slots.give(slot, 0.0)
    return len(cells[slot.number]) >= len(given)


def test_tenants_are_served_in_turn_and_each_in_its_own_order():
    queue = FairQueue()
    for tenant, item in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)):
        queue.push(tenant, item)
    assert queue.remove(lambda item: item == 2) == [2]
    assert [queue.pop() for _ in range(len(queue))] == [1, 4, 5, 3, 6]
    assert not queue
