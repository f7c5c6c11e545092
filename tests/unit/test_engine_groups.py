"""Which prompts share a step of llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving.engine.prefix import CHUNK, TOGETHER
from holdfast.serving.engine.scheduler import groups


@dataclass(eq=False)
class Prompt:
    number: int
    length: int
    ranked: bool = False

    @property
    def slot(self):
        return SimpleNamespace(number=self.number)

    @property
    def chunk(self):
        return range(self.length)


def shape(found):
    return [[prompt.number for prompt in group] for group in found]


def test_equal_chunks_of_neighbours_share_a_step_up_to_its_rows():
    prompts = [Prompt(at, CHUNK // 2) for at in range(6)]
    assert shape(groups(prompts, shared=True)) == [[0, 1, 2, 3], [4, 5]]
    assert shape(groups(prompts, shared=False)) == [[0], [1], [2], [3], [4], [5]]


def test_what_llama_cpp_would_split_or_what_needs_every_score_goes_alone():
    gap = [Prompt(0, 9), Prompt(2, 9), Prompt(3, 8)]
    assert shape(groups(gap, shared=True)) == [[3], [0], [2]]
    ranked = [Prompt(0, 9), Prompt(1, 9, ranked=True), Prompt(2, 9)]
    assert shape(groups(ranked, shared=True)) == [[0], [1], [2]]
    single = [Prompt(0, 1), Prompt(1, 1)]  # a single row is computed by another kernel than several
    assert shape(groups(single, shared=True)) == [[0], [1]]


@given(st.dictionaries(st.integers(0, 16), st.tuples(st.integers(1, CHUNK), st.booleans()), max_size=16))
def test_everybody_is_in_one_group_and_no_group_is_too_large(given_prompts):
    prompts = [Prompt(at, length, ranked) for at, (length, ranked) in given_prompts.items()]
    found = groups(prompts, shared=True)
    assert sorted(at for group in shape(found) for at in group) == sorted(given_prompts)
    for group in found:
        assert len({prompt.length for prompt in group}) == 1
        assert len(group) == 1 or sum(prompt.length for prompt in group) <= TOGETHER
