"""From what stands in a file to rows: the mapping of columns, the form, and what is set aside.

Invariants: one data set has one form, that of the first value which holds all fields of a form that is allowed; with a mapping
of columns the columns that it does not name are passed over and listed, without one an unknown key is a mistake; every value
becomes a row or a mistake, never both and never neither. No I/O.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from holdfast import canonical
from holdfast.dataset.forms import FIELDS, content_of
from holdfast.dataset.messages import MAX_ID, Blank, text_of
from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.canonical import Json
    from holdfast.dataset.forms import Content, Form

Reason = Literal["malformed", "empty"]

MAX_UNUSED = 100  # columns passed over that are listed
MAX_TOLD = 50  # mistakes listed in a message; more would not be read
MAX_RAW = 2**16  # bytes of a malformed row that are kept with it
MAX_ALL_RAW = 2**26  # bytes of all malformed rows that are kept; of further ones digest and size
MAX_MISTAKES = 200_000  # malformed rows of one data set; with more of them it is of another kind


@dataclass(frozen=True)
class Mistake:
    """A row that could not be taken.

    Args:
        file: The file that it stands in.
        line: Its line there, or its row where a file has no lines; counted from 1.
        why: What was expected.
        reason: ``empty`` if a field is there and blank, else ``malformed``.
        size: Bytes of the row.
        sha256: Of the row's bytes, in hexadecimal.
        raw: The row itself, or None if it is too large to be kept.
    """

    file: str
    line: int
    why: str
    reason: Reason
    size: int
    sha256: str
    raw: bytes | None

    @property
    def told(self) -> str:
        """File, line and what was expected, for people."""
        return f"{self.file}:{self.line}: {self.why}"

    def to_line(self) -> bytes:
        """Give the mistake as ``quarantine.jsonl`` holds it.

        Returns:
            One line of canonical JSON: the row as ``row``, or as ``base64`` if it is no UTF-8; neither if it was too large.
        """
        found: dict[str, Json] = {
            "at": f"{self.file}:{self.line}",
            "file": self.file,
            "line": self.line,
            "reason": self.reason,
            "why": self.why,
            "bytes": self.size,
            "sha256": self.sha256,
        }
        if self.raw is not None:
            try:
                found["row"] = self.raw.decode("utf-8")
            except UnicodeDecodeError:
                found["base64"] = base64.b64encode(self.raw).decode("ascii")
        return canonical.encode(found) + b"\n"


class Mistakes:
    """The mistakes of one data set, bounded in number and in what is kept of each."""

    def __init__(self) -> None:
        self.found: list[Mistake] = []
        self._kept = 0

    def add(self, file: str, line: int, error: ValueError, raw: bytes) -> None:
        """Note a mistake.

        Args:
            file: The file.
            line: The line or row, counted from 1.
            error: What was expected.
            raw: The row's bytes.

        Raises:
            UntrustedRecipe: If there are more than ``MAX_MISTAKES``.
        """
        keep = len(raw) <= MAX_RAW and self._kept + len(raw) <= MAX_ALL_RAW
        self._kept += len(raw) if keep else 0
        self.note(
            Mistake(
                file,
                line,
                str(error),
                "empty" if isinstance(error, Blank) else "malformed",
                len(raw),
                hashlib.sha256(raw).hexdigest(),
                raw if keep else None,
            )
        )

    def note(self, mistake: Mistake) -> None:
        """Note a mistake that was described elsewhere.

        Args:
            mistake: The mistake.

        Raises:
            UntrustedRecipe: If there are more than ``MAX_MISTAKES``.
        """
        self.found.append(mistake)
        if len(self.found) > MAX_MISTAKES:
            raise refusal(self.found, more="and it was not read further")


class Intake:
    """Turns values into contents of one form.

    Args:
        forms: The forms that are allowed, the preferred one first.
        columns: Our field to the column that stands for it; empty if fields go by their own names.
    """

    def __init__(self, forms: Sequence[Form], columns: Mapping[str, str]) -> None:
        self.form: Form | None = forms[0] if len(forms) == 1 else None
        self.unused: dict[str, None] = {}
        self._forms = tuple(forms)
        self._columns = dict(columns)

    def columns(self, present: Iterable[str]) -> list[str] | None:
        """Say which columns of a table are needed.

        Args:
            present: All that it has.

        Returns:
            Their names; None if there is no mapping, so that all count.
        """
        if not self._columns:
            return None
        fields = {name for form in self._forms for name in FIELDS[form]}
        wanted = set(self._columns.values()) | (fields - set(self._columns))
        listed = list(present)
        self._pass_over(name for name in listed if name not in wanted)
        return [name for name in listed if name in wanted]

    def take(self, value: Mapping[str, object]) -> Content:
        """Read one value.

        Args:
            value: Fields or columns of one row.

        Returns:
            The content.

        Raises:
            ValueError: With what was expected, if it is no row of the data set's form.
        """
        fields = self._mapped(value) if self._columns else _without_id(value)
        if "chosen" in fields and "preference" in self._forms:
            fields = _plain_preference(fields)
        if self.form is None:
            self.form = self._decided(fields)
        if self._columns:
            extra = [name for name in fields if name not in FIELDS[self.form]]
            self._pass_over(extra)
            fields = {name: fields[name] for name in fields if name not in extra}
        return content_of(fields, self.form)

    def _mapped(self, value: Mapping[str, object]) -> dict[str, object]:
        found: dict[str, object] = {}
        used = set()
        for ours, theirs in self._columns.items():
            if theirs not in value:
                raise ValueError(f"column {theirs!r}, which stands for {ours!r}, is missing")
            found[ours] = value[theirs]
            used.add(theirs)
        rest = {name: one for name, one in value.items() if name not in used}
        fields = {name for form in self._forms for name in FIELDS[form]}
        self._pass_over(name for name in rest if name not in fields)
        return {name: one for name, one in rest.items() if name in fields} | found

    def _decided(self, fields: Mapping[str, object]) -> Form:
        for form in self._forms:
            if set(FIELDS[form]) <= set(fields):
                return form
        wanted = " or ".join(", ".join(map(repr, FIELDS[form])) for form in self._forms)
        found = ", ".join(repr(name[:60]) for name in sorted(fields)[:8]) or "none"
        hint = "" if self._columns else "; what is called otherwise is named in the recipe's [data.columns]"
        raise ValueError(f"expected the keys {wanted}, found {found}{hint}")

    def _pass_over(self, names: Iterable[str]) -> None:
        for name in names:
            if len(self.unused) < MAX_UNUSED:
                self.unused[name[:60]] = None


def from_cell(name: str, value: object) -> object:
    """Read a cell of a table: where messages are expected, JSON text stands for them.

    Args:
        name: Our field.
        value: The cell.

    Returns:
        The value; the cell itself if it is no text, or not meant as JSON.

    Raises:
        ValueError: If it is meant as JSON and is none.
    """
    if name != "messages" or not isinstance(value, str):
        return value
    try:
        return cast("object", json.loads(value))
    except RecursionError as error:
        raise ValueError("'messages': values are nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"'messages': expected a list of messages as JSON: {error.msg}") from error


def listed(mistakes: Iterable[Mistake]) -> tuple[list[str], int]:
    """Tell malformed rows: those of one file that are wrong in the same way are told once.

    Args:
        mistakes: The mistakes, in the order of their rows.

    Returns:
        A sentence for each file and reason, at most ``MAX_TOLD``, and how many rows these do not speak of.
    """
    groups: dict[tuple[str, str], list[int]] = {}  # first line, last line, rows
    rest = 0
    for one in mistakes:
        place = (one.file, one.why)
        if place in groups:
            groups[place][1:] = [one.line, groups[place][2] + 1]
        elif len(groups) < MAX_TOLD:
            groups[place] = [one.line, one.line, 1]
        else:
            rest += 1
    return [
        f"{file}:{first}: {why}" + (f" (so {rows - 1} more, to line {last})" if rows > 1 else "")
        for (file, why), (first, last, rows) in groups.items()
    ], rest


def refusal(mistakes: Sequence[Mistake], *, more: str = "") -> UntrustedRecipe:
    """Make the error that lists malformed rows.

    Args:
        mistakes: At least one.
        more: What else there is to say.

    Returns:
        The error, not raised.
    """
    told, rest = listed(mistakes)
    parts = [*told, *([f"and {rest} more"] if rest else []), *([more] if more else [])]
    return UntrustedRecipe(
        "dataset.row",
        "; ".join(parts) + ".",
        remedy="Correct these rows, or set them aside with --quarantine; nothing was taken.",
        file=mistakes[0].file,
        line=mistakes[0].line,
        mistakes=told,
    )


def _without_id(value: Mapping[str, object]) -> dict[str, object]:
    if "id" in value and len(text_of(value["id"], "'id'")) > MAX_ID:
        raise ValueError(f"'id': expected at most {MAX_ID} characters")
    return {name: one for name, one in value.items() if name != "id"}


def _plain_preference(fields: dict[str, object]) -> dict[str, object]:
    """Write a preference whose answers are conversations with the prompt apart and the answers as texts."""
    chosen, rejected = fields["chosen"], fields.get("rejected")
    if not (isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected):
        return fields
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("expected 'chosen' and 'rejected' to differ in their last message alone")
    if chosen[:-1] and "prompt" in fields and fields["prompt"] != chosen[:-1]:
        raise ValueError("expected the prompt either apart or within the answers, found two that differ")
    answers = {"chosen": _answer(chosen[-1], "chosen"), "rejected": _answer(rejected[-1], "rejected")}
    return fields | ({"prompt": chosen[:-1]} if chosen[:-1] else {}) | answers


def _answer(value: object, name: str) -> object:
    if not isinstance(value, dict) or set(value) != {"role", "content"} or value["role"] != "assistant":
        raise ValueError(f"{name!r}: expected the last message to be the assistant's")
    return value["content"]
