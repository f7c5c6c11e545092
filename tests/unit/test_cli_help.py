"""The help: every command of every group is told by a whole sentence, in the order in which it is written."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from holdfast import cli


def groups(command: click.Command, path: tuple[str, ...] = ()):
    if isinstance(command, click.Group):
        yield path
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from groups(command.get_command(context, name), (*path, name))


@pytest.mark.parametrize("path", groups(cli.root), ids=lambda path: " ".join(path) or "holdfast")
def test_each_command_is_told_by_a_whole_sentence(path):
    shown = CliRunner().invoke(cli.root, [*path, "--help"], catch_exceptions=False)
    listed = shown.stdout.partition("Commands:\n")[2]
    entries = listed.replace("\n   ", " ").splitlines()  # wrapped lines are indented further
    assert shown.exit_code == 0
    assert entries
    for entry in entries:
        assert entry.rstrip().endswith("."), entry
        assert "..." not in entry


def test_the_order_is_that_of_the_work():
    shown = CliRunner().invoke(cli.root, ["train", "--help"], catch_exceptions=False).stdout
    places = [shown.index(f"\n  {name} ") for name in ("check", "run", "estimate", "resume", "replay")]
    assert places == sorted(places)
