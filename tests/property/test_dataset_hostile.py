from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from holdfast.dataset import intake, overlap, prepared
from holdfast.dataset.forms import FORMS, Row
from holdfast.errors import UntrustedRecipe
from holdfast.evaluation.spec import read_suite
from holdfast.training import packing, spec

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
messages_like = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "x"]), "content": st.text() | json_values}
    ),
    max_size=5,
)


@given(st.binary(max_size=300))
def test_bytes_raise_only_our_error(data):
    for read in (
        lambda: prepared.read(data, form="text", file="rows.jsonl"),
        lambda: overlap.questions(data, suite="s"),
        lambda: spec.read_recipe(data, file="r.toml"),
        lambda: read_suite(data, data, file="s.toml"),
    ):
        with contextlib.suppress(UntrustedRecipe):
            read()


@given(st.text(alphabet="[]{}=\"'\\#.\n a1", max_size=120))
def test_almost_toml_raises_only_our_error(text):
    with contextlib.suppress(UntrustedRecipe):
        spec.read_recipe(text.encode(), file="r.toml")


@given(
    st.lists(
        st.fixed_dictionaries({"at": st.just("d:1"), "messages": messages_like}) | json_values, max_size=4
    )
)
def test_what_is_taken_is_what_was_written(values):
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    try:
        rows = prepared.read(data, form="messages", file="rows.jsonl")
    except UntrustedRecipe:
        return
    assert [{"at": row.at, **row.content.to_json()} for row in rows] == values


FIELDS = ("messages", "prompt", "completion", "text", "chosen", "rejected", "id")


@given(
    st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=5) | messages_like | json_values),
    st.sets(st.sampled_from(FORMS), min_size=1),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from([*FIELDS, "x"]), max_size=2),
)
def test_a_value_becomes_a_row_that_is_read_again_or_a_mistake(value, forms, columns):
    found = intake.Intake(sorted(forms), columns)
    try:
        content = found.take(value)
    except ValueError:
        return
    assert content.form == found.form
    row = Row("d:1", content)
    assert prepared.read(row.line(), form=content.form, file="rows.jsonl") == [row]


@given(st.lists(st.integers(1, 64), max_size=60), st.integers(64, 100))
def test_packing_keeps_every_example_once_and_within_the_row(lengths, capacity):
    rows = packing.pack(lengths, capacity)
    assert sorted(at for row in rows for at in row) == list(range(len(lengths)))
    used = [sum(lengths[at] for at in row) for row in rows]
    assert all(0 < size <= capacity for size in used)
    # Best fit never leaves two rows that would fit into one.
    assert sum(size <= capacity // 2 for size in used) <= 1
    assert packing.pack(lengths, capacity) == rows
