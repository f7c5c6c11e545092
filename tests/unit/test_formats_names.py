"""Names of files: plain on every file system, and none that meets another."""

from __future__ import annotations

import pytest

from holdfast.formats import names


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors", "model-00001-of-00002.safetensors", "a/b/c.jsonl", "LICENSE", "con-troversy.md", "auxiliary.txt",
        "common.md", "com10.txt", "a b.md", "x" * 120,
    ],
)  # fmt: skip
def test_a_plain_name_is_accepted(path):
    assert names.check([path]) == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/./b", "", "a/", ".hidden", "a/.b/c", "a\\b", "a\0b", "a\nb",
        "C:x", "a:stream", "a?", "a*", "a|b", "<a>", 'a"', "CON", "nul.txt", "a/Aux/b", "com1", "LPT9.log", "COM\u00b2.x", "conin$",
        "a.", "a ", "a./b", "caf\u00e9", "\u202ea", "x" * 121, "a/" + "x" * 121, "x/" * 120 + "x",
    ],
)  # fmt: skip
def test_an_odd_name_is_refused(path):
    found = names.check([path])
    assert [problem.key for problem in found] == ["formats.name"]
    assert found[0].remedy


@pytest.mark.parametrize(
    "paths",
    [
        ["a.md", "A.md"],
        ["a/b", "A/c"],
        ["dir/x", "DIR"],
        ["stra\u00dfe", "strasse"],
        ["a", "a/b"],
    ],
)
def test_names_that_meet_are_refused(paths):
    assert "formats.name" in [problem.key for problem in names.check(paths)]


@pytest.mark.parametrize(
    ("one", "other"),
    [("A", "a"), ("\u00e9", "e\u0301"), ("\ufb01", "fi"), ("\u212a", "k"), ("\u1e9e", "ss"), ("\uff41", "A")],
)
def test_what_a_careless_file_system_takes_for_the_same_is_folded_alike(one, other):
    assert names.fold(one) == names.fold(other)


def test_all_that_is_odd_is_told_at_once():
    assert len(names.check([".a", "nul", "b.md", "B.md", "ok.md"])) == 3
