"""Saved queries of the audit log: a text with typed parameters, and the fold of those that auditors keep.

A query is one SELECT under comment lines: first what it answers, then its parameters, one line each::

    -- Who did what, the newest first.
    -- $person text: Whose deeds.
    -- $since time = 2000-01-01: From then on.

Invariants: a parameter is bound, never pasted into the text; a value that is not of the stated type is refused before anything
runs; names and sizes are bounded. What the SELECT itself may do is judged where it runs. Pure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.canonical import MAX_SAFE_INTEGER
from holdfast.errors import Conflict, NotFound, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.audit.event import Event
    from holdfast.canonical import Json

MAX_SQL = 16_384  # bytes of one query: the event that records it has 65,535, and escapes take room
MAX_SAVED = 200  # queries that a site keeps; they live in the fold
MAX_PARAMETERS = 32  # of one query; a person sets them by hand
MAX_VALUE = 1_000  # characters of a parameter's value
MAX_ABOUT = 500  # characters that say what a query answers
TYPES = ("text", "integer", "number", "time", "flag")

_NAME = re.compile(r"[a-z][a-z0-9-]{0,47}")
_PARAMETER = re.compile(r"\$([a-z][a-z0-9_]{0,31}) ([a-z]+)(?: = (.*?))?: (.+)")
_INTEGER = re.compile(r"-?[0-9]{1,16}")

Bound = dict[str, str | int | float | bool | datetime]


@dataclass(frozen=True)
class Parameter:
    """What may be set in a query.

    Args:
        name: As the text names it, without ``$``.
        type: One of ``TYPES``.
        default: The value if none is given, as text; None where one must be given.
        about: What it means.
    """

    name: str
    type: str
    default: str | None
    about: str

    def to_json(self) -> dict[str, Json]:
        """Give the parameter as plain data.

        Returns:
            All fields.
        """
        return {"name": self.name, "type": self.type, "default": self.default, "about": self.about}


@dataclass(frozen=True)
class Query:
    """A named query.

    Args:
        name: Its name.
        sql: Its whole text, comment lines included.
        about: What it answers.
        parameters: What may be set.
        saved_by: Who saved it; None for one that comes with the software.
        seq: The event that saved it; None for one that comes with the software.
    """

    name: str
    sql: str
    about: str
    parameters: tuple[Parameter, ...] = ()
    saved_by: str | None = None
    seq: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Give the query as plain data.

        Returns:
            All fields.
        """
        return {
            "name": self.name,
            "sql": self.sql,
            "about": self.about,
            "parameters": [one.to_json() for one in self.parameters],
            "saved_by": self.saved_by,
            "seq": self.seq,
        }


def parse(name: str, sql: str, about: str | None = None) -> Query:
    """Read a query's text.

    Args:
        name: Its name.
        sql: The text.
        about: What it answers; the comment lines before the parameters unless given.

    Returns:
        The query; whether its SELECT can be run is not known yet.

    Raises:
        UsageRefused: If name, size or a parameter's line is not as it should be.
    """
    if not _NAME.fullmatch(name):
        raise _refused(f"the name {name[:60]!r} is not 1 to 48 small letters, digits and hyphens")
    words, parameters = _head(sql)
    told = about if about is not None else words
    if not 0 < len(told) <= MAX_ABOUT or not told.isprintable():
        raise _refused(f"it does not say in 1 to {MAX_ABOUT} printable characters what it answers")
    return Query(name, sql, told, parameters)


def parameters(sql: str) -> tuple[Parameter, ...]:
    """Read the parameters that a text declares.

    Args:
        sql: The text.

    Returns:
        Them, in order.

    Raises:
        UsageRefused: If a line is malformed, or the text is too large.
    """
    return _head(sql)[1]


def _head(sql: str) -> tuple[str, tuple[Parameter, ...]]:
    if len(sql.encode("utf-8", "surrogatepass")) > MAX_SQL:
        raise _refused(f"it has more than {MAX_SQL} bytes")
    words: list[str] = []
    found: dict[str, Parameter] = {}
    for line in sql.lstrip().split("\n"):
        if not line.startswith("--"):
            break
        text = line[2:].strip()
        if not text.startswith("$"):
            words += [text] if text and not found else []
            continue
        one = _parameter(text)
        if one.name in found or len(found) >= MAX_PARAMETERS:
            raise _refused(f"${one.name} is stated twice, or is more than the {MAX_PARAMETERS}th parameter")
        found[one.name] = one
    return " ".join(words), tuple(found.values())


def _parameter(text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if not match or match[2] not in TYPES:
        raise _refused(
            f"the line {text[:80]!r} does not state a parameter: $name, one of {', '.join(TYPES)}, = default, : meaning"
        )
    one = Parameter(match[1], match[2], match[3], match[4])
    if one.default is not None:
        _value(one, one.default)
    return one


def bind(sql: str, given: Mapping[str, str]) -> Bound:
    """Type the values of a query's parameters.

    Args:
        sql: The text, whose comment lines declare the types. A parameter that it does not declare is a text.
        given: Values by name.

    Returns:
        What is to be bound, by name.

    Raises:
        UsageRefused: If a value is not of its type, or one is missing.
    """
    declared = {one.name: one for one in _head(sql)[1]}
    bound: Bound = {}
    for name, text in given.items():
        one = declared.get(name) or Parameter(name, "text", None, "")
        if declared and name not in declared:
            raise _refused(
                f"it has no parameter ${name[:40]}; it has {', '.join('$' + each for each in declared)}"
            )
        bound[name] = _value(one, text)
    for name, one in declared.items():
        if name not in bound:
            if one.default is None:
                raise _refused(f"${name} is not set ({one.type}: {one.about})")
            bound[name] = _value(one, one.default)
    return bound


def _value(one: Parameter, text: str) -> str | int | float | bool | datetime:
    if len(text) > MAX_VALUE:
        raise _refused(f"the value of ${one.name} has more than {MAX_VALUE} characters")
    try:
        return _typed(one.type, text)
    except ValueError as error:
        raise _refused(f"${one.name} is to be of type {one.type}, and {text[:60]!r} is not") from error


def _typed(kind: str, text: str) -> str | int | float | bool | datetime:
    """Read a value; raises ``ValueError`` if it is not of the type."""
    if kind == "integer":
        if not _INTEGER.fullmatch(text) or abs(int(text)) > MAX_SAFE_INTEGER:
            raise ValueError
        return int(text)
    if kind == "number":
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
        return number
    if kind == "time":
        moment = datetime.fromisoformat(text)
        try:
            return (moment.astimezone(UTC) if moment.tzinfo else moment).replace(
                tzinfo=None
            )  # as the index keeps it
        except OverflowError as error:
            raise ValueError from error
    if kind == "flag":
        if text not in {"true", "false"}:
            raise ValueError
        return text == "true"
    return text


@dataclass
class SavedQueries:
    """The part of the fold that keeps what auditors saved.

    Args:
        saved: Queries by name.
    """

    saved: dict[str, Query] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Fold one event in.

        Args:
            event: The next event of the log.
        """
        if event.action == "audit.query.saved":
            name, sql, about = (str(event.params.get(key, "")) for key in ("name", "sql", "about"))
            try:
                found = parse(name, sql, about)
            except UsageRefused:  # its form was another when it was saved; the event remains
                return
            self.saved[name] = Query(
                found.name, found.sql, found.about, found.parameters, event.actor.person, event.seq
            )
        elif event.action == "audit.query.removed":
            self.saved.pop(str(event.params.get("name")), None)

    def find(self, name: str) -> Query:
        """Find a saved query.

        Args:
            name: Its name.

        Returns:
            It.

        Raises:
            NotFound: If there is none.
        """
        found = self.saved.get(name)
        if found is None:
            raise NotFound(
                "query.unknown",
                f"There is no saved query {name[:60]!r}.",
                remedy="See `holdfast audit queries list`.",
            )
        return found

    def require_room(self, name: str) -> None:
        """Refuse a name that is taken, and more queries than a site keeps.

        Args:
            name: Of the query to be saved.

        Raises:
            Conflict: If it can't be saved.
        """
        if name in self.saved:
            raise Conflict(
                "query.taken",
                f"A query {name} is saved already.",
                remedy=f"Remove it first with `holdfast audit queries remove {name}`, or choose another name.",
            )
        if len(self.saved) >= MAX_SAVED:
            raise Conflict(
                "query.many", f"{MAX_SAVED} queries are saved already.", remedy="Remove one that nobody uses."
            )


def _refused(why: str) -> UsageRefused:
    return UsageRefused(
        "query.form",
        f"The query is refused: {why}.",
        remedy="See `holdfast audit queries show acts-of` for an example.",
    )
