"""Dialogs over a section: a form, a text to read, a decision. Arrows, Enter and Esc suffice for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen, ScreenResultType
from textual.widgets import Input, Static

from holdfast_tui.reading import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textual.widget import Widget


MAX_FIELD = 4096  # characters; the longest path that Linux takes
ROOMY = 6  # lines of a form that the smallest screen holds with space between them
YES = "yes"  # the answer of a switch that is on


@dataclass(frozen=True)
class Field:
    """One line of a form.

    Args:
        name: Its name in the answer.
        label: What to type.
        value: What it begins with.
        secret: Whether what is typed is hidden.
        optional: Whether it may stay empty.
        switch: Whether it is on or off, ``YES`` or empty; then ``label`` says what on means.
    """

    name: str
    label: str
    value: str = ""
    secret: bool = False
    optional: bool = False
    switch: bool = False


class Switch(Static, can_focus=True):
    """Something that is on or off: Space turns it, Enter goes on.

    Args:
        field: The line of the form that it is.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,x", "turn", "on or off", show=False),
        Binding("enter", "go_on", "on", show=False),
    ]

    class GoneOn(Message):
        """Enter was pressed.

        Args:
            switch: Where.
        """

        def __init__(self, switch: Switch) -> None:
            super().__init__()
            self.switch = switch

    def __init__(self, field: Field) -> None:
        super().__init__("", id=f"field-{field.name}", markup=False)
        self._label = field.label
        self.value = field.value

    def on_mount(self) -> None:
        """Show how it stands."""
        self._tell()

    def _tell(self) -> None:
        self.update(f"[{'x' if self.value else ' '}] {plain(self._label)}")

    def action_turn(self) -> None:
        """Turn it."""
        self.value = "" if self.value else YES
        self._tell()

    def action_go_on(self) -> None:
        """Tell the form to go on."""
        self.post_message(self.GoneOn(self))


class Dialog(ModalScreen[ScreenResultType]):
    """A screen over a section, which closes once: keys that were on their way to it change nothing beneath."""

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close, unless it is closed already.

        Args:
            result: The answer.

        Returns:
            What can be waited for.
        """
        return super().dismiss(result) if self.is_current else AwaitComplete()


class Form(Dialog[dict[str, str] | None]):
    """Asks for a few lines of text.

    Args:
        title: What it is for.
        fields: Its lines.
        note: What a person should know before they answer.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back"),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]

    def __init__(self, title: str, fields: Sequence[Field], note: str = "") -> None:
        super().__init__()
        self._title = title
        self._fields = fields
        self._note = note

    def compose(self) -> Iterator[Widget]:
        """Lay out the form.

        Yields:
            The widgets.
        """
        with Vertical(id="dialog", classes="dense" if len(self._fields) > ROOMY else ""):
            yield Static(plain(self._title), classes="dialog-title", markup=False)
            if self._note:
                yield Static(plain(self._note), markup=False)
            for one in self._fields:
                if one.switch:
                    yield Switch(one)
                    continue
                yield Static(plain(one.label), classes="field-label", markup=False)
                yield Input(
                    one.value, password=one.secret, id=f"field-{one.name}", max_length=MAX_FIELD, compact=True
                )
            turn = "Space: on or off   " if any(one.switch for one in self._fields) else ""
            yield Static(f"{turn}Enter: go on   Esc: back", id="form-note", markup=False)

    def _line(self, field: Field) -> Input | Switch:
        at = f"#field-{field.name}"
        return self.query_one(at, Switch) if field.switch else self.query_one(at, Input)

    def on_mount(self) -> None:
        """Begin at the first line that is still empty."""
        asked = (one for one in self._fields if not (one.value or one.optional or one.switch))
        self._line(next(asked, self._fields[0])).focus()

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        self._go_on(message.input)

    @on(Switch.GoneOn)
    def _gone_on(self, message: Switch.GoneOn) -> None:
        self._go_on(message.switch)

    def _go_on(self, line: Input | Switch) -> None:
        """Go to the next line, or to one that is still needed, or end."""
        answer = {one.name: self._line(one).value for one in self._fields}
        at = next(place for place, one in enumerate(self._fields) if line.id == f"field-{one.name}")
        for one in (*self._fields[at:], *self._fields[:at]):
            if not (answer[one.name].strip() or one.optional or one.switch):
                self.query_one("#form-note", Static).update(f"Still needed: {one.label}   Esc: back")
                self._line(one).focus()
                return
        if at + 1 < len(self._fields):
            self._line(self._fields[at + 1]).focus()
            return
        self.dismiss(answer)

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


class Reading(Dialog[None]):
    """Shows a text.

    Args:
        title: What it is.
        text: The text, as long as it likes to be.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,question_mark", "leave", "back")]
    KEYS: ClassVar[str] = "Arrows: scroll   Esc: back"

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> Iterator[Widget]:
        """Lay out the text.

        Yields:
            The widgets.
        """
        with Vertical(id="reading"):
            yield Static(plain(self._title), classes="dialog-title", markup=False)
            with VerticalScroll(id="reading-body"):
                yield Static(plain(self._text), markup=False)
            yield Static(self.KEYS, classes="field-label", markup=False)

    def on_mount(self) -> None:
        """Let the arrows scroll. Notices go: nothing lies over what is read."""
        self.app.clear_notifications()
        self.query_one("#reading-body").focus()

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(None)


class Decision(Dialog[bool]):
    """Shows what a person answers for, and asks whether they do it. Enter reads on, and decides only at the text's end.

    Args:
        title: What it is.
        text: What to know, as long as it likes to be.
        deed: What Enter does at the end, for example ``sign``.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "go_on", "on"),
        Binding("escape,q", "leave", "back"),
    ]

    def __init__(self, title: str, text: str, deed: str) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._deed = deed

    def compose(self) -> Iterator[Widget]:
        """Lay out the text.

        Yields:
            The widgets.
        """
        with Vertical(id="reading"):
            yield Static(plain(self._title), classes="dialog-title", markup=False)
            with VerticalScroll(id="reading-body"):
                yield Static(plain(self._text), markup=False)
            yield Static("", id="decision-note", classes="field-label", markup=False)

    def on_mount(self) -> None:
        """Let the arrows scroll, and say what Enter does. Notices go: nothing lies over what is signed."""
        self.app.clear_notifications()
        body = self.query_one("#reading-body", VerticalScroll)
        body.focus()
        self.watch(body, "scroll_y", self._tell, init=False)
        self.call_after_refresh(self._tell)

    @property
    def _at_end(self) -> bool:
        body = self.query_one("#reading-body", VerticalScroll)
        return body.scroll_target_y >= body.max_scroll_y

    def _tell(self) -> None:
        what = f"Enter: {self._deed}" if self._at_end else "Enter: read on"
        self.query_one("#decision-note", Static).update(f"{what}   Arrows: scroll   Esc: back")

    def action_go_on(self) -> None:
        """Read on, or decide at the end."""
        if self._at_end:
            self.dismiss(True)
        else:
            self.query_one("#reading-body", VerticalScroll).scroll_page_down(animate=False)

    def action_leave(self) -> None:
        """Close, nothing is decided."""
        self.dismiss(False)
