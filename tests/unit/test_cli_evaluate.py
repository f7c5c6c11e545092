"""What ``holdfast eval`` prints and writes without a daemon."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tests import suites

from holdfast.cli import comparison
from holdfast.cli.suiteexport import export
from holdfast.errors import Conflict, NotFound, UntrustedRecipe
from holdfast.evaluation import compare

HEAD = suites.head(
    "quiz",
    {"facts": 'metric = "exact"\nprimary = true', "forms": 'metric = "regex"\nprimary = false'},
)


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "quiz"
    folder.mkdir()
    (folder / "suite.toml").write_text(HEAD)
    asked = {"messages": [{"role": "user", "content": "Fee?"}]}
    rows = [
        {"id": "f", "section": "facts", "answers": ["9 crowns"], **asked},
        {"id": "p", "section": "forms", "pattern": "B-[0-9]", **asked},
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(*words):
    return CliRunner().invoke(export, [str(word) for word in words], catch_exceptions=True)


def test_a_section_is_exported_to_a_folder_of_its_own(suite, tmp_path):
    out = tmp_path / "out"
    done = run(suite, "--out", out, "--section", "facts", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert sorted(path.name for path in out.iterdir()) == told["files"]
    assert "quiz_facts.yaml" in told["files"]
    again = run(suite, "--out", out, "--section", "facts")
    assert isinstance(again.exception, Conflict)


@pytest.mark.parametrize("sections", [(), ("forms",), ("nothing",)])
def test_what_the_harness_can_not_say_is_refused_and_nothing_is_written(suite, tmp_path, sections):
    options = [word for one in sections for word in ("--section", one)]
    done = run(suite, "--out", tmp_path / "out", *options)
    assert isinstance(done.exception, UntrustedRecipe)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_suite_is_named(suite, tmp_path):
    (suite / "items.jsonl").unlink()
    done = run(suite, "--out", tmp_path / "out")
    assert isinstance(done.exception, NotFound)
    assert "items.jsonl" in done.exception.message


def result(outcomes: str) -> dict:
    ids = [f"an-item-with-a-long-name-{at}" for at in range(len(outcomes))]
    return {
        "suite": {"name": "quiz", "version": "1"},
        "primary": ["categories"],
        "ids": ids,
        "of": ["categories"] * len(ids),
        "outcomes": outcomes,
    }


def test_a_comparison_is_read_in_eighty_columns():
    sections = compare.sections(result("1" * 60), result("1" * 54 + "0" * 6))
    example = {
        "change": "broken",
        "id": "an-item-with-a-long-name-59",
        "section": "categories",
        "question": "Which of these is a place?\n" + "A mill, a paper, or a gate? " * 8,
        "expected": ["a mill", "the mill"],
        "answers": ["a mill", "x" * 300],
    }
    side = {"evaluation": "sha512:" + "a" * 128, "name": "lesson@1", "column": "after-transformers"}
    suite = {
        "name": "quiz",
        "digest": "sha512:" + "b" * 128,
        "sections": sections,
        "examples": [example],
        "left_out": 5,
    }
    found = {"first": side, "second": side | {"column": "q8_0"}, "suites": [suite], "withheld": False}
    lines = [*comparison._lines(found)]
    assert max(map(len, lines)) < 80
    text = "\n".join(lines)
    assert "categories  60     1.000  0.900  -0.100  +0 -6    0.031  regression" in text
    assert "expected  a mill | the mill" in text
    assert "place?\\nA mill" in text
    assert text.endswith("5 more items changed.")
    held_back = found | {"suites": [suite | {"examples": []}], "withheld": True}
    assert [*comparison._lines(held_back)][-1] == "Examples are shown to operators and auditors."
