"""Reading data files of every format into rows and mistakes.

Order of operations: every file is opened without following links and its size is added up; it is hashed; it is read row by row
in the order of the names. Invariants: memory is bounded by the bounds of ``dataset``, never by what a file declares; every row of
a file is a row or a mistake; nothing but our own errors is raised for what a file holds.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Protocol

from holdfast.dataset import prepared
from holdfast.dataset.files import MAX_BYTES, MAX_DOCUMENT, MAX_FILES, Format
from holdfast.dataset.forms import Row
from holdfast.dataset.intake import Intake, Mistake, Mistakes
from holdfast.dataset.messages import load_object
from holdfast.dataset.passages import cut
from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.dataset.forms import Form

CHUNK = 2**20  # bytes read at once
BOM = b"\xef\xbb\xbf"
EVERY = 5000  # rows between two reports of progress


class Reporter(Protocol):
    """Whom the work is reported to."""

    @property
    def cancelled(self) -> bool:
        """Whether it is no longer wanted."""
        ...

    def progress(self, step: str, done: int, total: int) -> None:
        """Tell how far the work is.

        Args:
            step: What is being done.
            done: Units done.
            total: Units in all; 0 if unknown.
        """
        ...


@dataclass(frozen=True)
class Source:
    """One file.

    Args:
        shown: Its path beneath the recipe, for people.
        path: Where it lies.
        format: How it is read.
    """

    shown: str
    path: Path
    format: Format


@dataclass
class Taken:
    """All that was read.

    Args:
        form: The rows' form.
        rows: The rows, in the order of files and lines.
        mistakes: What is no row.
        sources: Path, bytes, digest, rows and mistakes of each file.
        unused: Columns that were passed over.
    """

    form: Form | None
    rows: list[Row]
    mistakes: list[Mistake]
    sources: list[dict[str, Json]]
    unused: list[str]

    @property
    def empty(self) -> int:
        """How many mistakes are rows with a blank field."""
        return sum(one.reason == "empty" for one in self.mistakes)


class Sink:
    """Where readers put what they find in one data set.

    Args:
        intake: Reads values.
        reporter: Is told how many rows were read.
    """

    def __init__(self, intake: Intake, reporter: Reporter) -> None:
        self.intake = intake
        self.mistakes = Mistakes()
        self.rows: list[Row] = []
        self._reporter = reporter
        self._bytes = 0
        self._seen = 0

    def check(self) -> None:
        """Stop if the work is no longer wanted."""
        check(self._reporter)

    def value(
        self,
        file: str,
        line: int,
        raw: Callable[[], bytes],
        value: Callable[[], Mapping[str, object]],
    ) -> None:
        """Take one row.

        Args:
            file: The file that it stands in.
            line: Its line or number, counted from 1.
            raw: Gives its bytes, asked for if it is a mistake.
            value: Gives its fields, or raises ``ValueError``.

        Raises:
            UntrustedRecipe: If the data set is too large.
        """
        self._seen += 1
        if self._seen % EVERY == 0:
            self.check()
            self._reporter.progress(f"reading {self._seen} rows", 0, 0)
        try:
            row = Row(f"{file}:{line}", self.intake.take(value()))
        except ValueError as error:
            self.mistakes.add(file, line, error, raw())
            return
        self.rows.append(row)
        self._bytes += row.characters
        if len(self.rows) > prepared.MAX_ROWS or self._bytes > prepared.MAX_FILE:
            raise too_large(f"more than {prepared.MAX_ROWS} rows or {prepared.MAX_FILE} characters are in it")


class Stopped(Exception):  # noqa: N818 - no error: nobody wants the work any more
    """The work was given up, as it was asked to be."""


def check(reporter: Reporter) -> None:
    """Stop if the work is no longer wanted.

    Args:
        reporter: Knows.

    Raises:
        Stopped: If it is not.
    """
    if reporter.cancelled:
        raise Stopped


def read(sources: Sequence[Source], intake: Intake, reporter: Reporter) -> Taken:
    """Read data files.

    Args:
        sources: The files.
        intake: Reads values.
        reporter: Is told how far it is.

    Returns:
        Rows and mistakes.

    Raises:
        UntrustedRecipe: If a file can't be read at all, or there is too much.
    """
    if not 0 < len(sources) <= MAX_FILES:
        raise too_large(f"{len(sources)} files are in it and 1 to {MAX_FILES} are allowed")
    from holdfast.preparation import columns, commas

    readers: dict[Format, Callable[[BinaryIO, str, Sink], None]] = {
        "jsonl": _lines_of_json,
        "csv": commas.read,
        "parquet": columns.read,
        "text": _text,
    }
    sink, total = Sink(intake, reporter), 0
    listed: list[dict[str, Json]] = []
    for number, source in enumerate(sorted(sources, key=lambda one: one.shown)):
        check(reporter)
        reporter.progress(f"reading {source.shown}", number, len(sources))
        rows, mistakes = len(sink.rows), len(sink.mistakes.found)
        with _opened(source) as file:
            size = os.fstat(file.fileno()).st_size
            total += size
            if total > MAX_BYTES:
                raise too_large(f"its files have more than {MAX_BYTES} bytes")
            digest = hashlib.file_digest(file, "sha512").hexdigest()
            file.seek(0)
            readers[source.format](file, source.shown, sink)
        listed.append(
            {
                "path": source.shown,
                "bytes": size,
                "digest": f"sha512:{digest}",
                "rows": len(sink.rows) - rows,
                "mistakes": len(sink.mistakes.found) - mistakes,
            }
        )
    return Taken(intake.form, sink.rows, sink.mistakes.found, listed, list(intake.unused))


def too_large(why: str) -> UntrustedRecipe:
    """Make the error for a data set beyond a bound.

    Args:
        why: What was found and what is allowed.

    Returns:
        The error, not raised.
    """
    return UntrustedRecipe(
        "dataset.too-large",
        f"The data set is too large: {why}.",
        remedy="Split it into several [[data]] entries.",
    )


def unreadable(file: str, why: str) -> UntrustedRecipe:
    """Make the error for a file that can't be read at all.

    Args:
        file: The file.
        why: What is wrong with it.

    Returns:
        The error, not raised.
    """
    return UntrustedRecipe(
        "dataset.file", f"{file} can't be read: {why}.", remedy=f"Correct {file} and try again.", file=file
    )


def physical_lines(file: BinaryIO, name: str, sink: Sink) -> Iterator[tuple[int, bytes]]:
    """Read lines of bounded length; one that is longer is noted as a mistake and passed over.

    Args:
        file: The file, at its beginning.
        name: Its name.
        sink: Takes the mistakes.

    Yields:
        The line's number, counted from 1, and its bytes with its end.
    """
    number = 0
    while line := file.readline(prepared.MAX_LINE + 1):
        number += 1
        if len(line) > prepared.MAX_LINE and not line.endswith(b"\n"):
            sink.mistakes.note(_over_long(file, name, number, line))
        else:
            yield number, line.removeprefix(BOM) if number == 1 else line


def _over_long(file: BinaryIO, name: str, number: int, begun: bytes) -> Mistake:
    """Read a line to its end without keeping it."""
    digest, size = hashlib.sha256(begun), len(begun)
    while more := file.readline(CHUNK):
        text = more.removesuffix(b"\n")
        digest.update(text)
        size += len(text)
        if len(text) < len(more):
            break
    why = f"the line has {size} bytes and {prepared.MAX_LINE} are allowed"
    return Mistake(name, number, why, "malformed", size, digest.hexdigest(), None)


def _opened(source: Source) -> BufferedReader:
    try:
        handle = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(source.shown, str(error.strerror)) from error
    file = open(handle, "rb")  # noqa: SIM115, PTH123 - the caller closes it; opened without following links
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise unreadable(source.shown, "it is no plain file")
    return file


def _lines_of_json(file: BinaryIO, name: str, sink: Sink) -> None:
    for number, line in physical_lines(file, name, sink):
        text = line.strip()
        if text:
            sink.value(name, number, partial(bytes, text), partial(load_object, text))


def _text(file: BinaryIO, name: str, sink: Sink) -> None:
    data = file.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise too_large(f"{name} has more than {MAX_DOCUMENT} bytes, the bound of one text")
    try:
        text = data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        sink.mistakes.add(
            name, line, ValueError(f"expected UTF-8 text, found byte {data[error.start]:#04x}"), data
        )
        return
    found = list(cut(text)) or [(1, "")]
    for line, passage in found:
        sink.value(name, line, partial(passage.encode, "utf-8"), partial(dict, text=passage))
