"""Dialogs with a table: one of a few things to pick, things to look at one after the other, the rows of an answer by the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from holdfast_tui.reading import line, plain, row
from holdfast_tui.screens.dialogs import Dialog, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from textual.widget import Widget

PAGE = 50  # rows that are drawn at once; more would hold up the keys
WIDEST = 36  # columns of a cell; Enter shows it whole
CUT = 400  # characters of a cell that go into a table at all


class _Table(Dialog[str | None]):
    """A title, a table, a note and the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "back")]

    def __init__(self, title: str, heads: Sequence[tuple[str, int]], keys: str) -> None:
        super().__init__()
        self._title, self._heads, self._keys = title, heads, keys

    def compose(self) -> Iterator[Widget]:
        """Lay out the dialog.

        Yields:
            The widgets.
        """
        table: DataTable[Text] = DataTable(id="listing", cursor_type="row", cell_padding=0)
        for head, width in self._heads:
            table.add_column(Text(head), width=width + 1)
        with Vertical(id="listed"):
            yield Static(plain(self._title), classes="dialog-title", markup=False)
            yield table
            yield Static("", id="listing-note", markup=False)
            yield Static(self._keys, classes="field-label", markup=False)

    def on_mount(self) -> None:
        """Begin at the first row. Notices go: nothing lies over what is read."""
        self.app.clear_notifications()
        self._fill()
        self.query_one(DataTable).focus()

    def _fill(self) -> None:
        """Put the rows in."""

    def _put(self, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        table = self.query_one(DataTable)
        table.clear()
        for key, cells in rows:
            shown = (Text(line(cell[:CUT]), no_wrap=True, overflow="ellipsis") for cell in cells)
            table.add_row(*shown, key=key)

    def action_leave(self) -> None:
        """Close without a choice."""
        self.dismiss(None)


class Picking(_Table):
    """Asks for one of a few things.

    Args:
        title: What they are.
        heads: Names and widths of the columns.
        rows: Key and cells of each.
        notes: What is said of each below the table, by key.
    """

    def __init__(
        self,
        title: str,
        heads: Sequence[tuple[str, int]],
        rows: Sequence[tuple[str, Sequence[str]]],
        notes: dict[str, str],
    ) -> None:
        super().__init__(title, heads, "Arrows: move   Enter: go on   Esc: back")
        self._rows, self._notes = rows, notes

    def _fill(self) -> None:
        self._put(self._rows)

    @on(DataTable.RowHighlighted)
    def _highlighted(self, message: DataTable.RowHighlighted) -> None:
        note = self._notes.get(message.row_key.value or "", "")
        self.query_one("#listing-note", Static).update(plain(note))

    @on(DataTable.RowSelected)
    def _picked(self, message: DataTable.RowSelected) -> None:
        self.dismiss(message.row_key.value)


class Listing(_Table):
    """Lists things; Enter opens one over the list, which stays.

    Args:
        title: What they are.
        heads: Names and widths of the columns.
        rows: Key and cells of each.
        notes: What is said of each below the table, by key.
        look: Is given the key of the one that is opened.
        empty: What to do next where there is nothing.
    """

    KEYS: ClassVar[str] = "Enter: open   Arrows: move   Esc: back"

    def __init__(
        self,
        title: str,
        heads: Sequence[tuple[str, int]],
        rows: Sequence[tuple[str, Sequence[str]]],
        notes: Mapping[str, str],
        *,
        look: Callable[[str], None],
        empty: str,
    ) -> None:
        super().__init__(title, heads, self.KEYS)
        self._rows, self._notes, self._look, self._empty = rows, notes, look, empty

    @property
    def chosen(self) -> str | None:
        """Key of the row under the cursor."""
        at = self.query_one(DataTable).cursor_row
        return self._rows[at][0] if 0 <= at < len(self._rows) else None

    def _fill(self) -> None:
        self._put(self._rows)
        if not self._rows:
            self.query_one(DataTable).display = False
            self.query_one("#listing-note", Static).update(plain(self._empty))

    @on(DataTable.RowHighlighted)
    def _highlighted(self, message: DataTable.RowHighlighted) -> None:
        note = self._notes.get(message.row_key.value or "", "")
        self.query_one("#listing-note", Static).update(plain(note))

    @on(DataTable.RowSelected)
    def _opened(self, message: DataTable.RowSelected) -> None:
        if message.row_key.value is not None:
            self._look(message.row_key.value)


class Rows(_Table):
    """Shows the rows of an answer.

    Args:
        title: What was asked.
        heads: Names of the columns.
        rows: Their cells, as text.
        note: What the rows are good for.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "turn(1)", "next"),
        Binding("b", "turn(-1)", "back"),
    ]

    def __init__(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
        self._names, self._rows, self._note, self._page = heads, rows, note, 0
        widest = [
            max([len(head), *(min(len(one[at]), WIDEST) for one in rows)]) for at, head in enumerate(heads)
        ]
        keys = "Enter: whole row   Arrows: move   Esc: back"
        more = "n, b: pages   " if len(rows) > PAGE else ""
        super().__init__(
            title, [(line(head), width) for head, width in zip(heads, widest, strict=True)], more + keys
        )

    def _fill(self) -> None:
        first = self._page * PAGE
        shown = self._rows[first : first + PAGE]
        self._put([(str(at), one) for at, one in enumerate(shown, first)])
        count = len(self._rows)
        where = f"rows {first + 1} to {first + len(shown)} of {count}" if count > PAGE else f"{count} rows"
        where = "no row fits" if not count else "1 row" if count == 1 else where
        self.query_one("#listing-note", Static).update(plain(f"{where} · {self._note}"))

    def action_turn(self, pages: int) -> None:
        """Turn pages.

        Args:
            pages: How many, forward.
        """
        last = max(0, (len(self._rows) - 1) // PAGE)
        page = min(max(0, self._page + pages), last)
        if page != self._page:
            self._page = page
            self._fill()

    @on(DataTable.RowSelected)
    def _open(self, message: DataTable.RowSelected) -> None:
        at = int(message.row_key.value or 0)
        under = max(len(name) for name in self._names) + 2
        text = "\n".join(
            row(line(name), line(cell), min(under, 24))
            for name, cell in zip(self._names, self._rows[at], strict=True)
        )
        self.app.push_screen(Reading(f"Row {at + 1}", text))
