"""The two lines at the bottom: what is going on, and which keys do what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from holdfast_tui import actions

if TYPE_CHECKING:
    from collections.abc import Sequence


class Activity(Static):
    """What is being done now, in one line."""

    def __init__(self) -> None:
        super().__init__("", id="activity", markup=False)

    def show(self, signs: Sequence[str]) -> None:
        """Show what is being done.

        Args:
            signs: One text per piece of work, the newest last.
        """
        self.update(
            Text(("… " + "  |  ".join(reversed(signs))) if signs else "", no_wrap=True, overflow="ellipsis")
        )


class KeyLine(Static):
    """The keys of a section; those that the person's role refuses are dimmed and in brackets.

    Args:
        section: The section.
    """

    def __init__(self, section: str) -> None:
        super().__init__("", id="keys", markup=False)
        self._section = section

    def show(self, roles: Sequence[str]) -> None:
        """Show the keys.

        Args:
            roles: The person's roles.
        """
        line = Text(no_wrap=True, overflow="ellipsis")
        for action in actions.of(self._section):
            if not action.shown:
                continue
            if actions.refusal(action, roles):
                line.append(f"({action.key} {action.label}) ", style="dim")
            else:
                line.append(action.key, style="bold reverse")
                line.append(f" {action.label} ")
        self.update(line)
