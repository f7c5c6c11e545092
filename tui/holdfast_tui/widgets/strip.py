"""The trust strip: label, person and daemon on the first line; root, import, log and egress on the second; the sections.

A further line is there while something needs attention: space, revoked models, witnesses, exceptions. It is on every screen,
so that nobody acts without knowing on what ground. Invariant: a daemon that is gone is said here, and nowhere else in the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from holdfast.parts import record
from holdfast_tui.actions import SECTIONS
from holdfast_tui.health import attention
from holdfast_tui.reading import SHOWN_DIGITS, banner, number, texts, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.widget import Widget

    from holdfast.canonical import Json

GONE = "DAEMON GONE · start it with `holdfast up` · trying again every second"
CONNECTING = "connecting to the daemon …"


def ground(status: dict[str, Json]) -> str:
    """Describe what the appliance stands on.

    Args:
        status: The daemon's status.

    Returns:
        One line of at most 80 columns in ordinary life.
    """
    root, log, egress = record(status.get("root")), record(status.get("log")), record(status.get("egress"))
    walls = record(egress.get("walls"))
    missing = sum(state is False for state in walls.values())
    trusted = f"root v{told(root.get('version'))}" if root else "no root pinned"
    last = status.get("last_import")
    imported = f"import #{last} gen {told(status.get('generation'))}" if last is not None else "no import yet"
    head = f"log {number(log.get('size'))} {str(log.get('root'))[:SHOWN_DIGITS]}"
    held = f"{len(walls) - missing}/{len(walls)} walls" if missing else "all walls"
    denied = f"egress {number(egress.get('denials'))} denied, {held}"
    return f"{trusted} · {imported} · {head} · {denied}"


class TrustStrip(Vertical):
    """Label, person, daemon, trust. Two lines, the sections' names below, and what needs attention."""

    def compose(self) -> Iterator[Widget]:
        """Lay out the lines.

        Yields:
            The widgets.
        """
        with Horizontal(id="strip-top"):
            yield Static("", id="banner", markup=False)
            yield Static("", id="site", markup=False)
            yield Static("", id="person", markup=False)
        yield Static(CONNECTING, id="ground", markup=False)
        yield Static("", id="tabs", markup=False)
        with Horizontal(id="attention"):
            yield Static("", id="attention-line", markup=False)
            yield Static(" h more", id="attention-key", markup=False)

    def show_section(self, section: str) -> None:
        """Mark the section that a person is in.

        Args:
            section: Its name.
        """
        line = Text(no_wrap=True)
        for at, name in enumerate(SECTIONS, 1):
            line.append(f" {at} {name.capitalize()} ", style="reverse bold" if name == section else "")
        self.query_one("#tabs", Static).update(line)

    def show(
        self,
        status: dict[str, Json] | None,
        labels: Sequence[Json],
        person: str,
        roles: Sequence[str],
        why: str,
    ) -> None:
        """Show the state of things.

        Args:
            status: The daemon's status; None while it is gone.
            labels: Labels of everything that is held.
            person: Who is at the terminal.
            roles: Their roles.
            why: What to say while there is no status.
        """
        level, text = banner(labels)
        flag = self.query_one("#banner", Static)
        flag.update(f" {text} ")
        flag.set_classes(f"level-{level or 'none'}")
        self.query_one("#person", Static).update(f"{person} ({', '.join(roles) or 'no session'})")
        below = self.query_one("#ground", Static)
        below.set_class(status is None, "gone")
        if status is None:
            below.update(why)
            self._attend(())
            return
        gaps = len(texts(status.get("gaps")))
        self.query_one("#site", Static).update(
            f" {told(status.get('site'))}{f' · gaps: {gaps}' if gaps else ''}"
        )
        below.update(ground(status))
        self._attend(attention(status))

    def _attend(self, parts: Sequence[str]) -> None:
        text = Text(f"! {' · '.join(parts)}", no_wrap=True, overflow="ellipsis")
        self.query_one("#attention-line", Static).update(text)
        self.query_one("#attention").display = bool(parts)
