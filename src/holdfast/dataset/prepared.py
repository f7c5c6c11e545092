"""Prepared rows, as training reads them: canonical lines of one form.

A line is ``{"at": "path:line", ...}`` with exactly the form's fields. Invariants: a file is taken whole or not at all; every
size is bounded; nothing but ``UntrustedRecipe`` is ever raised. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.dataset.forms import FORMS, Row, content_of
from holdfast.dataset.messages import load_object, text_of
from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from holdfast.dataset.forms import Form

ROWS = "rows.jsonl"  # to train on
HELD_OUT = "heldout.jsonl"  # kept apart by the split; absent if nothing is
QUARANTINE = "quarantine.jsonl"  # malformed rows and why; absent if there is none
PROFILE = "profile.json"

MAX_FILE = 2**30  # bytes of one prepared file, which is held in memory
MAX_LINE = 32 * 2**20  # bytes of one line: as many characters as a row may have, each escaped or in UTF-8
MAX_ROWS = 2_000_000  # rows of one data set, which are held in memory
MAX_AT = 320  # characters of a row's origin: a path and a line


def form_of(value: object, *, name: str) -> Form:
    """Check the form that a data set's record states.

    Args:
        value: What the record says.
        name: The data set, for the message.

    Returns:
        The form.

    Raises:
        UntrustedRecipe: If it is none.
    """
    for form in FORMS:
        if value == form:
            return form
    raise UntrustedRecipe(
        "dataset.form",
        f"The data set {name} has the form {str(value)[:40]!r}; expected one of {', '.join(FORMS)}.",
        remedy="Prepare it here with `holdfast dataset prepare`.",
    )


def read(data: bytes, *, form: Form, file: str) -> list[Row]:
    """Read a file of prepared rows.

    Args:
        data: The bytes of ``rows.jsonl`` or ``heldout.jsonl``.
        form: The data set's form.
        file: The file's name, for messages.

    Returns:
        The rows, in order; at least one.

    Raises:
        UntrustedRecipe: If a line is not such a row, or the file is too large or empty.
    """
    if len(data) > MAX_FILE:
        raise _refused(file, 1, f"the file has {len(data)} bytes and {MAX_FILE} are allowed")
    found: list[Row] = []
    lines = data.split(b"\n")
    if lines.pop():
        raise _refused(file, len(lines) + 1, "the last line has no end")
    if len(lines) > MAX_ROWS:
        raise _refused(file, 1, f"there are more than {MAX_ROWS} rows")
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_row(line, form))
        except ValueError as error:
            raise _refused(file, number, str(error)) from error
    if not found:
        raise _refused(file, 1, "there is no row in it")
    return found


def _row(line: bytes, form: Form) -> Row:
    if len(line) > MAX_LINE:
        raise ValueError(f"the line has {len(line)} bytes and {MAX_LINE} are allowed")
    value = load_object(line)
    at = text_of(value.pop("at", None), "'at'")
    if len(at) > MAX_AT:
        raise ValueError(f"'at': expected at most {MAX_AT} characters")
    return Row(at, content_of(value, form))


def _refused(file: str, line: int, why: str) -> UntrustedRecipe:
    return UntrustedRecipe(
        "dataset.prepared",
        f"{file}:{line}: {why}.",
        remedy="Prepare the data set again with `holdfast dataset prepare`.",
        file=file,
        line=line,
    )
