"""A group of commands whose help tells a command's whole first sentence, in the order in which the commands are written."""

from __future__ import annotations

import click

LONGEST = 300  # characters of a first sentence; the help wraps it


class Group(click.Group):
    """A group of commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the commands' names in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write each command with its first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(LONGEST)) for name, command in self.commands.items()]
            )
