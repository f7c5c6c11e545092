"""What sections about acts of two persons share: what was asked for in a table, the selected one in words below.

The table's rows are numbered as the log numbers the requests. What was just asked for here is gone to once it is listed. A key that
decides means the selected row if it waits for a decision; else, if just one row does, that one.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.widgets import DataTable, Static

from holdfast_tui.reading import number, plain
from holdfast_tui.screens.dialogs import Reading
from holdfast_tui.screens.section import Section, columns, selected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from textual.widget import Widget

    from holdfast.canonical import Json


class SecondedSection(Section):
    """A section about what one person asks for and a second decides on; its ``FOCUS`` is the table ``#<ONE>s``."""

    ONE: ClassVar[str]  # what is asked for, in one word
    HEADS: ClassVar[tuple[tuple[str, int], ...]]  # names and widths of the columns
    EMPTY: ClassVar[str]  # what to do while nothing was asked for
    WAITING: ClassVar[tuple[str, str]] = ("state", "open")  # what one says that waits for a decision

    def __init__(self) -> None:
        super().__init__()
        self.listed: Mapping[int, dict[str, Json]] = {}
        self.new: int | None = None  # what was just asked for here, to be selected once it is listed

    @abstractmethod
    def cells(self, request: int, one: dict[str, Json]) -> Sequence[object]:
        """Give a row.

        Args:
            request: The request's number.
            one: It, as the daemon lists it.

        Returns:
            A cell for each of ``HEADS``.
        """

    @abstractmethod
    def next_step(self, one: dict[str, Json]) -> str:
        """Say what can be done about a request.

        Args:
            one: It, as the daemon lists it.

        Returns:
            A few lines.
        """

    @abstractmethod
    async def whole(self, request: int) -> tuple[str, str]:
        """Read a request with all that it rests on. Runs in a worker: touches no widget.

        Args:
            request: Its number.

        Returns:
            A title, and the text.
        """

    def body(self) -> Iterator[Widget]:
        """Lay out the table and the lines below.

        Yields:
            The widgets.
        """
        yield from columns(f"{self.ONE}s", self.HEADS)
        yield Static("", id=f"{self.ONE}-line", markup=False)

    def enlist(self, found: Mapping[int, dict[str, Json]]) -> None:
        """Show what was asked for.

        Args:
            found: Requests by their numbers, in the order of the rows.
        """
        self.listed = found
        rows = [(str(request), self.cells(request, one)) for request, one in found.items()]
        self.fill(self.FOCUS, rows, self.EMPTY, at=str(self.new) if self.new in found else None)
        if self.new in found:
            self.new = None
        self.draw()

    def chosen(self) -> dict[str, Json] | None:
        """Give the selected request.

        Returns:
            It, or None if there is none.
        """
        key = selected(self.query_one(self.FOCUS, DataTable))
        return self.listed.get(int(key)) if key is not None else None

    def waiting(self) -> int | None:
        """Find which request is to be decided on, or say that it must be selected.

        Returns:
            Its number; None if that is not clear.
        """
        name, value = self.WAITING
        one = self.chosen()
        if one is not None and one.get(name) == value:
            return number(one.get("request"))
        found = [request for request, one in self.listed.items() if one.get(name) == value]
        if len(found) == 1:
            return found[0]
        article = "an" if self.ONE[0] in "aeiou" else "a"
        text = f"Select {article} {self.ONE} that is {value}." if found else f"No {self.ONE} is {value}."
        self.notify(text, markup=False)
        return None

    def draw(self) -> None:
        """Say what can be done about the selected request."""
        one = self.chosen()
        self.query_one(f"#{self.ONE}-line", Static).update(plain(self.next_step(one)) if one else "")

    def person_changed(self) -> None:
        """Say what the other person can do."""
        self.draw()

    @on(DataTable.RowHighlighted)
    def _highlighted(self, message: DataTable.RowHighlighted) -> None:
        if f"#{message.data_table.id}" == self.FOCUS:
            self.draw()

    @on(DataTable.RowSelected)
    def _picked(self, message: DataTable.RowSelected) -> None:
        key = message.row_key.value
        if f"#{message.data_table.id}" == self.FOCUS and key is not None:
            self.console_app.begin(f"reading the {self.ONE}", partial(self._read, int(key)))

    async def _read(self, request: int) -> None:
        self.app.push_screen(Reading(*await self.whole(request)))
