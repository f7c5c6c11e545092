"""Documents cut into passages: the rows of a text file.

A passage begins at a Markdown heading, or at a blank line once the passage before it is long enough. Invariants: passages in
order are the document, character for character; a change in one section leaves the passages of the others as they are, so that
their digests, and the split that hangs on them, stay. No I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = 4000  # characters after which the next blank line ends a passage: about a printed page and a half

_HEADING = re.compile(r"#{1,6}\s")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # Unicode knows further ends of lines, editors do not


def cut(text: str) -> Iterator[tuple[int, str]]:
    """Cut a document.

    Args:
        text: The whole document.

    Yields:
        The line that a passage begins at, counted from 1, and the passage.
    """
    start, length, body = 1, 0, False
    lines: list[str] = []
    after_blank = False
    for number, found in enumerate(_LINE.finditer(text), start=1):
        line = found[0]
        heading = _HEADING.match(line) is not None
        if body and ((heading and after_blank) or (after_blank and length > LENGTH and line.strip())):
            yield start, "".join(lines)
            start, length, body, lines = number, 0, False, []
        lines.append(line)
        length += len(line)
        after_blank = not line.strip()
        body = body or not (heading or after_blank)
    if lines:
        yield start, "".join(lines)
