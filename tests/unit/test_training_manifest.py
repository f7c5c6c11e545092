from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.training import manifest, software

DIGEST = "sha512:" + "a" * 128


def environment(threads: int = 2) -> manifest.Environment:
    return manifest.Environment(
        software={"version": "1", "digest": DIGEST},
        packages={"torch": "2.13.0"},
        python="3.11.7",
        machine="x86_64",
        cpu_capability="AVX512",
        cpu_features=["amx_bf16"],
        settings={},
        device={"type": "cpu"},
        threads=threads,
        world_size=1,
    )


PLAN = manifest.Plan(
    examples=20,
    rows=10,
    rows_per_step=3,
    tokens=1003,
    learnt=500,
    padding=0.1,
    held_out=0,
    set_aside=0,
    steps=7,
)


def built(threads: int = 2, base: str = "b") -> dict:
    return manifest.build({"name": "r"}, {"base": base, "data": {"x": "d"}}, environment(threads), PLAN)


def test_a_run_is_named_by_what_determines_it():
    assert manifest.digest(built()) == manifest.digest(built())
    assert manifest.digest(built()) != manifest.digest(built(threads=1))
    assert manifest.digest(built()) != manifest.digest(built(base="c"))


def test_differences_name_each_value_that_differs():
    here = environment().to_json()
    assert manifest.differences(here, here) == []
    there = here | {
        "threads": 1,
        "software": {"version": "1", "digest": "sha512:" + "b" * 128},
        "cpu_features": ["amx_bf16", "avx2"],
        "packages": {"torch": "2.13.0", "peft": "1"},
        "device": {"type": "cuda", "name": "H"},
    }
    assert manifest.differences(there, here) == [
        "cpu_features: the run had avx2, which is not here.",
        "device.name: the run had H, here it is none.",
        "device.type: the run had cuda, here it is cpu.",
        "packages.peft: the run had 1, here it is none.",
        "software.digest: the run had bbbbbbbbbbbb, here it is aaaaaaaaaaaa.",
        "threads: the run had 1, here it is 2.",
    ]


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=2), _VALUE, max_size=3),
    st.dictionaries(st.text(max_size=2), _VALUE, max_size=3),
)
def test_any_recorded_environment_can_be_compared(there, here):
    found = manifest.differences(there, here)
    assert len(found) <= manifest.MAX_DIFFERENCES
    if there == here:
        assert found == []


def test_tokens_are_exact_at_the_end_of_every_epoch():
    per_epoch = 4  # 10 rows, 3 at a time
    assert PLAN.tokens_at(0) == 0
    assert PLAN.tokens_at(per_epoch) == 1003
    assert PLAN.tokens_at(2 * per_epoch) == 2006
    assert PLAN.tokens_at(per_epoch + 1) == 1003 + 301


def test_the_software_is_named_by_its_files():
    found = software.identity()
    assert found.keys() == {"version", "digest"}
    assert found["digest"].startswith("sha512:")
    software.identity.cache_clear()
    assert software.identity()["version"] == found["version"]
