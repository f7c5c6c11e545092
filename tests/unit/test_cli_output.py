"""What commands print: nothing that a terminal obeys, one line for a row, and rows that fit a terminal."""

from __future__ import annotations

import os

import pytest

from holdfast.cli import output
from holdfast.errors import UntrustedRecipe
from holdfast.formats import written

FORGED = "x\n9  2026-01-01  bob\x1b[2J\x9b31m\u202e\udcff"


@pytest.fixture
def terminal(monkeypatch):
    """Let stdout be a terminal of 60 columns."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))


def test_a_cell_can_forge_no_row_and_no_escape():
    lines = output.table(("seq", "what"), [(1, FORGED), (2, "y")])
    assert len(lines) == 3
    assert all(one.isprintable() for one in lines)
    assert "\\n9" in lines[1]


def test_what_a_terminal_obeys_is_written_out_in_every_line(capsys):
    output.emit({}, as_json=False, lines=lambda: [f"in folder {FORGED}"])
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()


@pytest.mark.usefixtures("terminal")
def test_the_last_column_goes_on_below_itself_on_a_terminal():
    words = " ".join(f"word{number}" for number in range(30))
    lines = output.table(("seq", "what"), [(1, words), (2, "short")])
    assert all(len(one) <= 60 for one in lines)
    assert [one[:3] for one in lines[2:-1]] == ["   "] * (len(lines) - 3)
    assert " ".join(one[5:] for one in lines[1:-1]) == words


@pytest.mark.usefixtures("terminal")
def test_a_last_column_without_room_is_put_below():
    lines = output.table(("digest", "what"), [("f" * 50, "some words that are many")])
    assert lines[1:] == ["f" * 50, "      some words that are many"]


@pytest.mark.usefixtures("terminal")
def test_columns_that_no_terminal_holds_are_left_to_it():
    lines = output.table(("digest", "what"), [("f" * 70, "some words"), ("f" * 70, "")])
    assert lines == ["digest", "      what", "f" * 70, "      some words", "f" * 70]


def test_a_row_is_one_line_where_it_is_piped(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert len(output.table(("what",), [("word " * 100,)])) == 2


@pytest.mark.usefixtures("terminal")
def test_rows_that_no_terminal_holds_become_lines_of_name_and_value():
    rows = [(1, "f" * 70, None), (2, "x\ny", "z")]
    assert output.records(("seq", "digest", "note"), rows) == [
        "seq     1",
        f"digest  {'f' * 70}",
        "note",
        "",
        "seq     2",
        "digest  x\\ny",
        "note    z",
    ]
    assert output.records(("seq", "what"), [(1, "x")]) == output.table(("seq", "what"), [(1, "x")])


def test_mistakes_are_told_one_to_a_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["holdfast"])
    found = [(line, f"key 'k{line}' is missing;") for line in range(1, written.MAX_MISTAKES + 3)]
    output.show_error(written.refusal("r.toml", "recipe.form", found))
    first, *lines, remedy = capsys.readouterr().err.splitlines()
    assert first == "Refused: 50 mistakes, and 2 more:"
    assert lines == [f"  r.toml:{line}: key 'k{line}' is missing;" for line in range(1, 51)]
    assert remedy == "  Correct r.toml and try again."
    output.show_error(written.refusal("r.toml", "recipe.form", found[:1]))
    assert capsys.readouterr().err.startswith("Refused: r.toml:1: key 'k1' is missing;.\n")
    output.show_error(UntrustedRecipe("x.y", "Another sentence.", remedy="Do.", mistakes=["a", "b"]))
    assert capsys.readouterr().err == "Refused: Another sentence.\n  Do.\n"
