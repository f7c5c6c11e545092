"""Types, overrides, and the choice of the smallest file that keeps a floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import UntrustedRequest
from holdfast.gguf import quantizations
from holdfast.gguf.choice import CALIBRATED, CANDIDATES, Closeness, Floor, Row, choose, fits, refusal
from holdfast.gguf.quantizations import MAX_OVERRIDES, NAMES, Override, find, parse_overrides

FIGURE = st.floats(0, 1)
ROWS = st.lists(
    st.builds(
        lambda size, kl, top1: (size, Closeness(100, kl=kl, top1=top1)), st.integers(1, 10**9), FIGURE, FIGURE
    ),
    max_size=6,
)


def rows(found) -> list[Row]:
    return [Row(NAMES[at], size, 4.5, close, 1.0, 1.0) for at, (size, close) in enumerate(found)]


def test_names_are_found_in_any_case_and_others_are_refused_with_the_list():
    assert find("Q4_K_M") is find("q4_k_m")
    with pytest.raises(UntrustedRequest) as caught:
        find("q4_k")
    assert caught.value.key == "quantize.type"
    assert "q4_k_m" in caught.value.remedy


def test_types_are_told_apart_and_the_default_candidates_are_among_them():
    assert len({one.file_type for one in quantizations.ALL}) == len(NAMES) == len({*NAMES})
    assert not any(find(name).calibrated for name in CANDIDATES)
    assert all(find(name).calibrated for name in CALIBRATED)
    bits = [find(name).bits for name in CANDIDATES]
    assert bits == sorted(bits, reverse=True)


def test_overrides_are_read_in_their_order():
    found = parse_overrides(["blk.*.ffn_down.weight=Q6_K", "a=b=f16"])
    assert found == (Override("blk.*.ffn_down.weight", "q6_k"), Override("a=b", "f16"))


@pytest.mark.parametrize(
    "texts",
    [
        ["output.weight"],
        ["=q6_k"],
        ["a=q4_k_m"],
        ["a="],
        ["x" * 201 + "=f16"],
        ["a=f16"] * (MAX_OVERRIDES + 1),
    ],
)
def test_a_malformed_override_is_refused(texts):
    with pytest.raises(UntrustedRequest) as caught:
        parse_overrides(texts)
    assert caught.value.key == "quantize.override"


@given(ROWS, FIGURE, FIGURE, st.none() | st.integers(1, 10**9))
def test_the_choice_is_the_smallest_that_keeps_floor_and_ceiling(found, kl, top1, memory):
    floor, table = Floor(kl=kl, top1=top1), rows(found)
    good = [
        row
        for row in table
        if row.closeness.kl <= kl and row.closeness.top1 >= top1 and (memory is None or row.size <= memory)
    ]
    chosen = choose(table, floor, memory)
    assert (chosen is None) is not bool(good)
    if chosen is not None:
        assert chosen in good
        assert chosen.size == min(row.size for row in good)


def test_a_refusal_holds_the_table():
    table = {row.name: row.to_json(Floor()) for row in rows([(10, Closeness(9, kl=0.5, top1=0.25))])}
    error = refusal(table, Floor(), 5)
    assert error.key == "quantize.none-keeps"
    assert "within 5 bytes" in error.message
    assert error.fields["table"] == ["f32: KL 0.5, same top token 0.25, 10 bytes"]
    other = refusal({"q8_0": {"cosine": 0.5, "size": 1}}, Floor(), None)
    assert "cosine of at least 0.99" in other.message


@pytest.mark.parametrize(
    ("close", "kept"),
    [
        (Closeness(9, kl=0.05, top1=0.85), True),
        (Closeness(9, kl=0.0501, top1=1.0), False),
        (Closeness(9, kl=0.0, top1=0.8499), False),
        (Closeness(9, kl=float("nan"), top1=1.0), False),
        (Closeness(9, cosine=0.99), True),
        (Closeness(9, cosine=0.98), False),
        (Closeness(9, cosine=float("nan")), False),
        (Closeness(9), False),
        (None, False),
    ],
)
def test_the_default_floor_needs_every_figure(close, kept):
    row = Row("q8_0", 10, 8.5, close, 1.0, None)
    assert fits(row, Floor(), None) is kept


def test_a_line_tells_only_what_was_measured():
    floor = Floor()
    assert "kl" not in Row("f16", 10, 16.0, None, 1.0, 2.0).to_json(floor)
    told = Row("q8_0", 10, 8.5, Closeness(7, cosine=0.995), 1.04, None, score=0.5).to_json(floor)
    assert told == {
        "size": 10, "bits_per_weight": 8.5, "prefill": 1.0, "decode": None, "cosine": 0.995, "tokens": 7,
        "within_floor": True, "score": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_figures_that_are_no_numbers_are_told_apart(bad):
    assert Closeness(1, kl=0.1, top1=0.9).is_number()
    for broken in (Closeness(1, kl=bad, top1=0.9), Closeness(1, kl=0.1, top1=bad), Closeness(1, cosine=bad)):
        assert not broken.is_number()
