"""For all JSON values: one byte string, read back the same; for all bytes: a value or our own error."""

from __future__ import annotations

import json

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical
from holdfast.errors import UntrustedInput

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-canonical.MAX_SAFE_INTEGER, canonical.MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not 2**53 <= abs(x) < 1e21)
    | TEXT
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_has_one_form_which_reads_back_the_same(value):
    data = canonical.encode(value)
    assert data == rfc8785.dumps(value)
    back = canonical.decode(data, limit=10**6, what="it")
    assert back == value
    assert canonical.encode(back) == data


@given(VALUES)
def test_order_and_spacing_do_not_matter(value):
    loose = json.dumps(value, indent=1, ensure_ascii=True).encode()
    assert canonical.encode(canonical.decode(loose, limit=10**6, what="it")) == canonical.encode(value)


@given(st.binary(max_size=200) | st.text('[]{}",:0123456789eE.-\\u nulltrefas', max_size=200).map(str.encode))
def test_any_bytes_give_a_value_that_can_be_written_or_our_error(data):
    try:
        value = canonical.decode(data, limit=1000, what="it")
    except UntrustedInput:
        return
    try:
        written = canonical.encode(value)
    except UntrustedInput:
        return  # half a surrogate pair, or a float as wide as no integer may be
    assert canonical.decode(written, limit=10**5, what="it") == value
