"""What commands print: one JSON document or lines for people on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError

BAR = 24  # characters of the progress bar
WRAPPED = "  "
WIDTH = 80  # columns of the narrowest terminal that is served
NARROWEST = 24  # characters; a last column with less room than that is put below the others
BELOW = "      "


def json_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--json``.

    Args:
        function: The command's function; it receives ``as_json``.

    Returns:
        The decorated function.
    """
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def emit(data: Json, as_json: bool, lines: Callable[[], Iterable[str]]) -> None:  # noqa: FBT001 - a click flag
    """Print a result.

    Args:
        data: The result.
        as_json: Whether to print it as one JSON document.
        lines: Makes the lines for people; what a terminal would obey in them is written out.
    """
    if as_json:
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        for line in lines():
            click.echo(plain(line))


def show_error(error: HoldfastError) -> None:
    """Print an error on stderr: what and where, then the remedy; as one JSON document where ``--json`` was asked for.

    Args:
        error: The error.
    """
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": error.to_dict()}, ensure_ascii=False), err=True)
        return
    head, *listed = _told(error)
    click.echo(click.style("Refused: ", fg="red", bold=True) + plain(head), err=True)
    for one in listed:
        click.echo(WRAPPED + plain(one), err=True)
    if error.remedy:
        click.echo(WRAPPED + plain(error.remedy), err=True)


def _told(error: HoldfastError) -> list[str]:
    """Give an error's message; where it lists mistakes, each of them in a line of its own below their number."""
    found = error.fields.get("mistakes")
    listed = [str(one) for one in found] if isinstance(found, list) else []
    joined = "; ".join(listed)
    if len(listed) < 2 or not error.message.startswith(joined):  # noqa: PLR2004 - one mistake is the message itself
        return [error.message]
    rest = error.message.removeprefix(joined).strip(";. ")
    return [f"{len(listed)} mistakes" + (f", {rest}:" if rest else ":"), *listed]


def plain(text: str) -> str:
    """Write out what a terminal would obey: errors repeat what is in files that nobody has vouched for.

    Args:
        text: Any text.

    Returns:
        It, with every character that can't be printed escaped; lines stay lines.
    """
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lay rows out in columns. A row is one line, whatever is in its cells; on a terminal its last cell goes on below.

    Args:
        head: The columns' names.
        rows: The cells.

    Returns:
        The lines, the head first.
    """
    cells = [
        [_cell(name) for name in head],
        *([_cell("" if cell is None else cell) for cell in row] for row in rows),
    ]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    left = sum(widths[:-1]) + 2 * (len(head) - 1)
    wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    lines = []
    for row in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if not 0 < wide < len(text) or not row[-1]:
            lines.append(text)
        elif wide - left < NARROWEST:
            below = textwrap.wrap(row[-1], wide - len(BELOW), break_on_hyphens=False)
            lines += [text[:left].rstrip(), *(BELOW + one for one in below)]
        else:
            first, *more = textwrap.wrap(row[-1], wide - left, break_on_hyphens=False)
            lines += [text[:left] + first, *(" " * left + one for one in more)]
    return lines


def records(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lay rows out in columns; on a terminal that is too narrow for them, each row as lines of name and value.

    Args:
        head: The columns' names.
        rows: The cells.

    Returns:
        The lines.
    """
    taken = [*rows]
    lines = table(head, taken)
    if not sys.stdout.isatty() or max(map(len, lines)) <= shutil.get_terminal_size().columns:
        return lines
    names = [_cell(name) for name in head]
    width = max(map(len, names))
    return [
        line
        for row in taken
        for line in (
            *(
                f"{name:<{width}}  {_cell('' if cell is None else cell)}".rstrip()
                for name, cell in zip(names, row, strict=True)
            ),
            "",
        )
    ][:-1]


def wrapped(indent: str, text: str) -> list[str]:
    """Break a sentence into lines of at most ``WIDTH`` columns.

    Args:
        indent: What its first line begins with; the others are set in by two more.
        text: The sentence.

    Returns:
        The lines.
    """
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + WRAPPED,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _cell(value: object) -> str:
    return plain(str(value)).replace("\n", "\\n")


def size(count: int) -> str:
    """Write a number of bytes for people.

    Args:
        count: Bytes.

    Returns:
        For example ``13.4 MB``.
    """
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:  # noqa: PLR2004 - SI prefixes
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


class Progress:
    """One line on stderr that follows a job's stream; plain lines where stderr is no terminal."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._step = ""
        self._open = False

    def __call__(self, step: str, done: int, total: int) -> None:
        """Show how far the work is.

        Args:
            step: What is being done.
            done: Units done.
            total: Units in all; 0 if unknown.
        """
        if self._terminal:
            filled = BAR * done // total if total else 0
            bar = "█" * filled + "·" * (BAR - filled)
            click.echo(f"\r\x1b[2K{bar} {step}", nl=False, err=True)
            self._open = True
        elif step.split(" ", 1)[0] != self._step:
            self._step = step.split(" ", 1)[0]
            click.echo(f"{step} …", err=True)

    def entry(self, entry: Mapping[str, Json]) -> None:
        """Show one entry of a job's stream.

        Args:
            entry: The entry.
        """
        kind = entry["kind"]
        if kind == "metric" and "loss" in entry:
            step, steps = entry.get("step"), entry.get("steps")
            parts = [f"step {step}/{steps}", f"loss {_float(entry['loss']):.3f}"]
            if "tokens_per_second" in entry:
                parts.append(f"{_float(entry['tokens_per_second']):.0f} tokens/s")
            if "eta_s" in entry:
                parts.append(f"{_float(entry['eta_s']):.0f} s left")
            self("  ".join(parts), int(_float(step)), int(_float(steps)))
        elif kind == "progress":
            self(plain(str(entry["step"])), int(_float(entry["done"])), int(_float(entry["total"])))
        elif kind == "note":
            self.end()
            click.echo(plain(str(entry["text"])), err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._open:
            click.echo("\r\x1b[2K", nl=False, err=True)
            self._open = False


def _float(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
