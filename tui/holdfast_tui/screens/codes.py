"""A document as QR codes, one after the other, drawn in exact cells: white on black whatever the theme.

Order of operations: the codes are drawn in a thread before the dialog opens; each fills the screen but its last line. Invariant:
no cell of a code is styled, wrapped or cut: where it does not fit or can't be drawn, the dialog says how to have a file instead.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import Static

from holdfast.audit import qr, witness
from holdfast_tui.reading import plain
from holdfast_tui.screens.dialogs import Dialog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual import events
    from textual.widget import Widget

_LIGHT = Style(color="#ffffff", bgcolor="#000000")
_UNDRAWABLE = ("vt", "dumb", "ansi", "cons")  # beginnings of TERM whose fonts have no half blocks


def drawable() -> bool:
    """Tell whether the terminal has the half blocks that a code is drawn with.

    Returns:
        False for serial and legacy terminals; a Linux console has them.
    """
    return not os.environ.get("TERM", "").startswith(_UNDRAWABLE)


def drawn(document: str) -> list[list[str]]:
    """Draw a document. Takes some tenths of a second: call it in a thread.

    Args:
        document: A checkpoint, or a witness's request.

    Returns:
        The lines of each code.
    """
    return [qr.draw(frame) for frame in witness.frames_of(document.encode())]


class Codes(Dialog[None]):
    """Shows codes.

    Args:
        codes: The lines of each.
        what: What they hold, in a few words.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space,n,right", "turn(1)", "next"),
        Binding("b,left", "turn(-1)", "back"),
        Binding("escape,q", "leave", "end"),
    ]

    def __init__(self, codes: Sequence[Sequence[str]], what: str) -> None:
        super().__init__()
        self._codes, self._what, self._at = codes, what, 0

    def compose(self) -> Iterator[Widget]:
        """Lay out the code and the line below.

        Yields:
            The widgets.
        """
        yield Static("", id="code", markup=False)
        yield Static("", id="code-note", markup=False)

    def on_mount(self) -> None:
        """Begin with the first code. Notices go: nothing lies over a code."""
        self.app.clear_notifications()

    def on_resize(self, message: events.Resize) -> None:
        """Draw anew where there is other room.

        Args:
            message: The new size.
        """
        fits = message.size.width >= qr.WIDTH and message.size.height > qr.HEIGHT
        self._draw(fits=fits)

    def _draw(self, *, fits: bool) -> None:
        code = self.query_one("#code", Static)
        if fits:
            lines = [Text(line, style=_LIGHT, no_wrap=True, end="") for line in self._codes[self._at]]
            code.update(Text("\n", no_wrap=True).join(lines))
        else:
            code.update(f"A code needs {qr.WIDTH} columns and {qr.HEIGHT + 1} lines. Esc, then f: to a file.")
        where = f"{self._at + 1}/{len(self._codes)}"
        self.query_one("#code-note", Static).update(
            plain(f"{where} {self._what} · Enter: next  b: back  Esc: end")
        )

    def action_turn(self, step: int) -> None:
        """Show another code.

        Args:
            step: How many further on; the first follows the last.
        """
        self._at = (self._at + step) % len(self._codes)
        self._draw(fits=self.size.width >= qr.WIDTH and self.size.height > qr.HEIGHT)

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(None)
