"""What engines measured: read strictly, kept within bounds, and used only where all is the same."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_serving_widths import Fake

from holdfast import canonical
from holdfast.daemon.serve import measures
from holdfast.serving import measured, spec
from holdfast.serving.engine import machine, widths
from holdfast.serving.measured import Measured
from holdfast.store.disk import HostDisk

KEY, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FOUND = Measured(KEY, OTHER, 1, 8, chunks=True, alone=False)


def test_what_was_written_is_read_back():
    assert measured.parse(FOUND.plain()) == FOUND


@pytest.mark.parametrize(
    "change",
    [
        {"key": "sha256:" + "A" * 64},
        {"sample": "b" * 64},
        {"least": 0},
        {"least": 3},
        {"least": True},
        {"least": 2, "most": 1},
        {"most": 0},
        {"most": spec.MAX_PARALLEL + 1},
        {"most": 8.0},
        {"most": 2**70},
        {"chunks": 1},
        {"chunks": None},
        {"further": 1},
    ],
)
def test_what_is_beyond_its_bounds_is_no_measurement(change):
    assert measured.parse(FOUND.plain() | change) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*FOUND.plain(), "x"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_said_is_a_measurement_within_bounds_or_none(said):
    found = measured.parse(said)
    assert found is None or 1 <= found.least <= found.most <= spec.MAX_PARALLEL


class Counting(Fake):
    """Counts the rows that are computed; ``shift`` moves all scores, as another kernel would."""

    def __init__(self, odd=(), shift=0.0):
        super().__init__(odd)
        self.rows, self.shift = 0, shift

    def compute(self, rows):
        self.rows += len(rows)
        return [one + self.shift for one in super().compute(rows)]


def test_what_still_holds_is_not_measured_again():
    first, second = Counting(), Counting()
    found = widths.settle(first, 100, KEY, None)
    assert widths.settle(second, 100, KEY, found) == found
    assert second.rows == 1 + 2 + 8
    assert first.rows > 5 * second.rows


@pytest.mark.parametrize(
    ("context", "key"),
    [(Counting(), OTHER), (Counting(shift=0.25), KEY), (Counting({8}), KEY), (Counting({1}), KEY)],
)
def test_what_does_not_hold_any_more_is_measured_again(context, key):
    found = widths.settle(Counting(), 100, KEY, None)
    again = widths.settle(context, 100, key, found)
    assert again == widths.settle(context, 100, key, None) != found


def test_a_wider_step_than_there_are_sequences_is_not_believed():
    found = widths.settle(Counting(), 100, KEY, None)
    wide = Measured(found.key, found.sample, 1, 9, chunks=True, alone=False)
    context = Counting()
    assert widths.settle(context, 100, KEY, wide) == found
    first = Counting()
    widths.settle(first, 100, KEY, None)
    assert context.rows == first.rows  # it was not even tried: a context has no room for such a step


def test_what_is_written_again_is_the_last_to_go(tmp_path):
    path = tmp_path / "measured.json"
    for name in ("a", "b", "a", *map(str, range(measures.MAX_KEPT - 1))):
        measures.keep(path, name, FOUND)
    assert (measures.find(path, "a"), measures.find(path, "b")) == (FOUND, None)


def test_it_is_kept_for_the_same_weights_and_the_oldest_goes(tmp_path):
    path = tmp_path / "engines" / "measured.json"
    assert measures.find(path, "a") is None
    for number in range(measures.MAX_KEPT + 1):
        measures.keep(path, f"weights {number}", FOUND)
    assert measures.find(path, "weights 0") is None
    assert measures.find(path, "weights 1") == FOUND
    measures.keep(path, "weights 1", Measured(OTHER, KEY, 2, 2, chunks=False, alone=True))
    measures.keep(path, "weights x", FOUND)
    assert measures.find(path, "weights 1") == Measured(OTHER, KEY, 2, 2, chunks=False, alone=True)
    assert measures.find(path, "weights 2") is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < measures.MAX_FILE


ENTRY = {"weights": "w", **FOUND.plain()}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"schema":"holdfast.measured/1","measured":{}}',
        b'{"schema":"holdfast.measured/1","measured":[1,{"weights":"w"}]}',
        canonical.encode({"schema": "holdfast.measured/2", "measured": [ENTRY]}),
        canonical.encode({"schema": measures.SCHEMA, "measured": [ENTRY | {"most": 65}]}),
        canonical.encode({"schema": measures.SCHEMA, "measured": [{"weights": "v"}] * 64 + [ENTRY]}),
        canonical.encode({"schema": measures.SCHEMA, "measured": [ENTRY]}) + b" " * measures.MAX_FILE,
    ],
)
def test_a_file_of_another_form_counts_as_empty_and_is_replaced(tmp_path, data):
    path = tmp_path / "measured.json"
    path.write_bytes(data)
    assert measures.find(path, "w") is None
    measures.keep(path, "w", FOUND)
    assert measures.find(path, "w") == FOUND


class Full(HostDisk):
    """Takes nothing."""

    def write(self, handle, data, offset):
        del handle, data, offset
        raise OSError(errno.ENOSPC, "no space left")


def test_a_full_disk_costs_the_next_engine_a_measurement_and_nothing_else(tmp_path):
    path = tmp_path / "measured.json"
    measures.keep(path, "w", FOUND)
    measures.keep(path, "v", FOUND, Full())
    assert (measures.find(path, "w"), measures.find(path, "v")) == (FOUND, None)
    (tmp_path / ".measured.json.0.draft").write_bytes(b"of a crash")
    measures.keep(path, "v", FOUND)
    assert [one.name for one in tmp_path.iterdir()] == ["measured.json"]


CPUINFO = """processor\t: {0}
vendor_id\t: GenuineIntel
model name\t: {1}
cpu MHz\t\t: {0}600.000
core id\t\t: {0}
flags\t\t: fpu {2}
"""


def test_processors_differ_by_what_they_can_and_not_by_their_number():
    one, two = CPUINFO.format(0, "Xeon", "avx2"), CPUINFO.format(1, "Xeon", "avx2")
    assert machine.processors(f"{one}\n{two}\n") == machine.processors(f"{one}\n")
    assert len(machine.processors(f"{one}\n{CPUINFO.format(1, 'Xeon', 'avx2 amx_tile')}\n")) == 2
    assert machine.processors(one) != machine.processors(CPUINFO.format(0, "Xeon", "avx"))
