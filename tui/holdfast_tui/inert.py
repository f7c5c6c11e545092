"""Nothing that a terminal would obey reaches it: log, media, models and files name what they like.

Invariant: whatever a widget draws, the line that is written holds no control character and nothing that reorders text. What a
person should notice is written out before (``reading.plain``); this is the last wall, for every widget there is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual.filter import LineFilter

if TYPE_CHECKING:
    from rich.segment import Segment
    from textual.color import Color

# C0, DEL and C1 (ECMA-48), marks and overrides of direction (UAX 9), separators of lines, surrogates.
_OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


class Inert(LineFilter):
    """Takes out of each line what a terminal would obey; such characters have no width, so nothing moves."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - textual's signature
        """Clean a line.

        Args:
            segments: Its pieces.
            background: The background's colour.

        Returns:
            The pieces, with nothing but what is shown.
        """
        return [
            one
            if one.control or not _OBEYED.search(one.text)
            else one._replace(text=_OBEYED.sub("", one.text))
            for one in segments
        ]


INERT = Inert()
