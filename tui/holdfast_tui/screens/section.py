"""What all sections share: trust strip above, activity and keys below, data loaded by a worker and shown by a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import on
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import DataTable, Static

from holdfast_tui.messages import Loaded
from holdfast_tui.reading import line, plain
from holdfast_tui.widgets.lines import Activity, KeyLine
from holdfast_tui.widgets.strip import TrustStrip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from textual.widget import Widget

    from holdfast.canonical import Json
    from holdfast_tui.app import HoldfastApp
    from holdfast_tui.feed import Feed


FRAME = 3  # parts of the frame that hold the app's state


class Section(Screen[None]):
    """One part of the work."""

    SECTION: ClassVar[str]
    FOCUS: ClassVar[str]  # selector of what is focused when one comes here

    def compose(self) -> Iterator[Widget]:
        """Lay out the frame.

        Yields:
            The widgets.
        """
        yield TrustStrip()
        with Vertical(id="body"):
            yield from self.body()
        yield Activity()
        yield KeyLine(self.SECTION)

    def body(self) -> Iterator[Widget]:
        """Lay out the section's own part.

        Yields:
            The widgets.
        """
        yield from ()

    @property
    def console_app(self) -> HoldfastApp:
        """The app, typed."""
        return cast("HoldfastApp", self.app)

    def on_mount(self) -> None:
        """Show where one is, and take up what the app knows already."""
        self.query_one(TrustStrip).show_section(self.SECTION)
        self.query_one(self.FOCUS).focus()
        self.show_state()

    def on_screen_resume(self) -> None:
        """Come back from another section or from a dialog."""
        self.show_state()
        if self.console_app.status is not None:
            self.reload()

    def show_state(self) -> None:
        """Show the app's state in the frame."""
        if len(self.query("#banner, #keys, #activity")) < FRAME:
            return  # the console is being left
        app = self.console_app
        labels = [one.get("label") for one in app.artefacts.values()]
        self.query_one(TrustStrip).show(app.status, labels, app.link.person, app.link.roles, app.why)
        self.query_one(KeyLine).show(app.link.roles)
        self.query_one(Activity).show(app.signs())

    def reload(self) -> None:
        """Load the section's data anew, in a worker."""
        self.console_app.begin("reading", self._load, group=f"load-{self.SECTION}", quiet=True)

    async def _load(self) -> None:
        self.post_message(Loaded(await self.load()))

    async def load(self) -> dict[str, Json]:
        """Fetch the section's data. Runs in a worker: touches no widget.

        Returns:
            What ``show`` takes.
        """
        return {}

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        if self.query(self.FOCUS):
            self.show(message.data)

    def show(self, data: dict[str, Json]) -> None:
        """Show data.

        Args:
            data: What ``load`` gave.
        """

    def job_moved(self, feed: Feed) -> None:
        """Take note that a job's stream went on.

        Args:
            feed: The job.
        """

    def person_changed(self) -> None:
        """Take note that somebody else sits at the terminal."""

    def handlers(self) -> Mapping[str, Callable[[], None]]:
        """Name what does the section's actions.

        Returns:
            A function for every action of the registry that belongs to this section.
        """
        return {}

    def fill(
        self,
        selector: str,
        rows: Iterable[tuple[str, Sequence[object]]],
        empty: str,
        *,
        at: str | None = None,
    ) -> None:
        """Fill a table, keeping the cursor on its row; or show what to do next where there is nothing.

        Args:
            selector: The table's id, with ``#``; its note has the id ``<table>-empty``.
            rows: Key and cells of each row.
            empty: What to show instead of an empty table.
            at: The row to go to; the one where the cursor is if None.
        """
        table = self.query_one(selector, DataTable)
        listed = list(rows)
        at = at or selected(table)
        table.clear()
        for key, cells in listed:
            table.add_row(*(Text(line(str(cell)), no_wrap=True) for cell in cells), key=key)
        keys = [key for key, _ in listed]
        if at in keys:
            table.move_cursor(row=keys.index(at), animate=False)
        table.display = bool(listed)
        note = self.query_one(f"{selector}-empty", Static)
        note.update(plain(empty))
        note.display = not listed
        if listed and self.focused is None:
            self.query_one(self.FOCUS).focus()


def selected(table: DataTable[Text]) -> str | None:
    """Give the key of the row under the cursor.

    Args:
        table: The table.

    Returns:
        The key, or None if the table is empty.
    """
    if not table.is_valid_coordinate(table.cursor_coordinate):
        return None
    return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value


def columns(name: str, heads: Sequence[tuple[str, int]]) -> tuple[DataTable[Text], Static]:
    """Make a table of rows, and the note that stands in its place while it is empty.

    Args:
        name: The table's id.
        heads: Names and widths of the columns.

    Returns:
        The table and the note.
    """
    table: DataTable[Text] = DataTable(id=name, cursor_type="row", zebra_stripes=False, cell_padding=0)
    for head, width in heads:
        table.add_column(head, width=width + 1, key=head)
    table.display = False
    return table, Static("reading …", id=f"{name}-empty", classes="empty", markup=False)
