"""The page on suites says what is so: its examples are one suite, and it has one for every metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import harness
from holdfast.evaluation.spec import read_suite

PAGE = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")


def blocks(kind: str) -> str:
    return "".join(re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


SUITE = read_suite(blocks("toml").encode(), blocks("json").encode(), file="suite.toml")


def test_the_examples_are_a_suite_with_every_metric():
    assert [one.metric for one in SUITE.spec.section] == [
        "exact", "normalised", "numeric", "regex", "json_schema", "choice", "bits_per_byte", "code",
    ]  # fmt: skip
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == [one.metric for one in SUITE.spec.section]


def test_what_the_harness_can_not_express_is_refused_with_a_reason():
    with pytest.raises(UntrustedRecipe) as caught:
        harness.export(SUITE)
    told = caught.value.fields["refused"]
    assert isinstance(told, list)
    assert [str(one).split("'")[1] for one in told] == ["fee", "date", "record", "program"]
    assert caught.value.key == "suite.export"
    with pytest.raises(UntrustedRecipe, match="no such section"):
        harness.export(SUITE, ["form", "other"])


def test_the_rest_is_one_task_for_each_section():
    files = harness.export(SUITE, ["form", "keeper", "colour", "statutes"])
    tasks = [f"counter_{name}" for name in ("form", "keeper", "colour", "statutes")]
    assert sorted(files) == sorted(
        [*(f"{one}.{end}" for one in tasks for end in ("yaml", "jsonl")), "README.md", "utils.py"]
    )
    compile(files["utils.py"], "utils.py", "exec")
    assert b'"answers": ["ada finch"]' in files["counter_keeper.jsonl"]
    assert b"max_length=512" in files["README.md"]


def test_a_conversation_of_several_turns_is_refused():
    row = (
        b'{"id": "x", "section": "form", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},'
        b' {"role": "user", "content": "c"}], "answers": ["d"]}\n'
    )
    suite = read_suite(blocks("toml").encode(), row + blocks("json").encode(), file="suite.toml")
    with pytest.raises(UntrustedRecipe, match="'x' is a conversation of several turns"):
        harness.export(suite, ["form"])
