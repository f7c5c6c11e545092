"""QR codes as text: two modules in one character cell, so that a code is square and small on a terminal.

Invariants: every code has version 5 (37 x 37 modules) and the quiet zone of four light modules that the standard asks for, so
that all codes of a set have one size and fit 80 x 24 with a line to spare; light modules are drawn, dark ones left out, as fits
light letters on dark ground. No I/O.

Source: ISO/IEC 18004 (symbol, quiet zone).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 5  # 37 modules a side; takes frames of 154 characters
QUIET = 4  # modules of the quiet zone on each side
WIDTH = 37 + 2 * QUIET  # columns of a drawn code
HEIGHT = (WIDTH + 1) // 2  # lines of a drawn code
_CELLS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def draw(text: str) -> list[str]:
    """Draw one code.

    Args:
        text: What it says: upper-case letters, digits and ``$%*+-./:``, as of a frame.

    Returns:
        ``HEIGHT`` lines of ``WIDTH`` characters.
    """
    import segno

    code = segno.make_qr(text, version=VERSION, error="l", mode="alphanumeric", boost_error=False)
    dark = [[False] * QUIET + [bool(module) for module in row] + [False] * QUIET for row in code.matrix]
    blank = [False] * WIDTH
    rows = [*[blank] * QUIET, *dark, *[blank] * QUIET]
    return cells([[not module for module in row] for row in rows])


def cells(light: Sequence[Sequence[bool]]) -> list[str]:
    """Draw a picture with two rows of it in each line.

    Args:
        light: Rows of the picture; True where it is light. The row that an odd number of rows lacks is dark.

    Returns:
        The lines.
    """
    rows = [*light] + [[False] * len(light[0])] * (len(light) % 2)
    return [
        "".join(_CELLS[upper, lower] for upper, lower in zip(rows[at], rows[at + 1], strict=True))
        for at in range(0, len(rows), 2)
    ]
