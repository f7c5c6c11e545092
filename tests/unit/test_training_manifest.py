from __future__ import annotations

from holdfast.training import manifest


def environment(threads: int = 2) -> manifest.Environment:
    return manifest.Environment({"torch": "2.13.0"}, "3.11.7", "x86_64", "AVX512", ["amx_bf16"], threads, 1)


PLAN = manifest.Plan(examples=20, rows=10, tokens=1003, steps=7)


def built(threads: int = 2, base: str = "b") -> dict:
    return manifest.build({"name": "r"}, {"base": base, "data": {"x": "d"}}, environment(threads), PLAN)


def test_a_run_is_named_by_what_determines_it():
    assert manifest.digest(built()) == manifest.digest(built())
    assert manifest.digest(built()) != manifest.digest(built(threads=1))
    assert manifest.digest(built()) != manifest.digest(built(base="c"))


def test_differences_name_each_value_that_differs():
    assert manifest.differences(built(), built()) == []
    assert manifest.differences(built(), built(threads=1, base="c")) == [
        'digests.base: "b" → "c"',
        "environment.threads: 2 → 1",
    ]


def test_tokens_are_exact_at_the_end_of_every_epoch():
    per_epoch = 4  # 10 rows, 3 at a time
    assert PLAN.tokens_at(0, 3) == 0
    assert PLAN.tokens_at(per_epoch, 3) == 1003
    assert PLAN.tokens_at(2 * per_epoch, 3) == 2006
    assert PLAN.tokens_at(per_epoch + 1, 3) == 1003 + 301
