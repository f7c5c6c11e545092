"""One sentence about one event, for people: who did what to what, with the parameters that tell most.

A template is text with slots. ``{who}`` is the actor's person, ``{it}`` the subject, ``{cause}`` the number of the event that led
to this one; every other slot names a parameter (``{path}``), a field of one (``{exception.reason}``) or how many items it has
(``{artefacts#}``). What stands in brackets is left out when a slot in it has nothing to show. Invariants: a template is checked
against its action's parameters when it is made, so that it can't name what an event does not have, and a slot that may be empty
stands in brackets; a sentence is one bounded line of printable characters, whatever an event holds. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.audit.params import (
    Choice,
    Digest,
    Either,
    Flag,
    Hex,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Record,
    Text,
    Time,
    Type,
    Whole,
)

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_SHOWN = 160  # characters of one text in a sentence; the event has the whole
MAX_LISTED = 4  # items of a list that are named; the others are counted
MAX_SENTENCE = 800  # characters
_DIGITS = 16  # of bytes in hexadecimal that are shown
_PART = re.compile(r"\{([a-z0-9_.]+)(#?)\}|\[([^\[\]]*)\]|([^\[\]{}]+)")
_SCALARS = (Text, Choice, Whole, Number, Flag, Digest, Hex, Time, Either)
_GIVEN = ("who", "it", "cause")  # slots that every event fills; ``it`` and ``cause`` may be empty

Show = Callable[[Mapping[str, "Json"]], "str | None"]


@dataclass(frozen=True)
class _Slot:
    """A place to fill.

    Args:
        show: Gives its text; None if there is nothing to show.
        sure: Whether there always is something.
    """

    show: Show
    sure: bool


class Template:
    """A sentence with slots; see the module's description.

    Args:
        text: The template.
        params: The action's parameters.

    Raises:
        ValueError: If a slot names no parameter, or one that can't be shown, or one that may be empty outside brackets.
    """

    def __init__(self, text: str, params: Record) -> None:
        self.text = text
        self._parts = _parse(text, params, inside=False)

    def fill(self, event: Mapping[str, Json]) -> str:
        """Write the sentence.

        Args:
            event: An event as plain data; fields may be missing.

        Returns:
            One line.
        """
        told = "".join(part if isinstance(part, str) else part(event) or "" for part in self._parts)
        return told if len(told) <= MAX_SENTENCE else told[: MAX_SENTENCE - 1] + "…"


def _parse(text: str, params: Record, *, inside: bool) -> list[str | Show]:
    parts: list[str | Show] = []
    at = 0
    for found in _PART.finditer(text):
        if found.start() != at:
            break
        at = found.end()
        name, counted, group, plain = found.groups()
        if plain is not None:
            parts.append(plain)
        elif group is not None:
            if inside or "{" not in group:
                raise ValueError(f"a group in {text!r} holds a group or no slot")
            parts.append(_group(_parse(group, params, inside=True)))
        else:
            slot = _given(name) if name in _GIVEN else _parameter(name, params, counted=bool(counted))
            if not (slot.sure or inside):
                raise ValueError(f"{name} may be empty, so it stands in brackets in {text!r}")
            parts.append(slot.show)
    if at != len(text):
        raise ValueError(f"a bracket or brace is open in {text!r}")
    return parts


def _group(parts: list[str | Show]) -> Show:
    def show(event: Mapping[str, Json]) -> str | None:
        told = [part if isinstance(part, str) else part(event) for part in parts]
        return None if None in told else "".join(one or "" for one in told)

    return show


def _given(name: str) -> _Slot:
    def who(event: Mapping[str, Json]) -> str:
        actor = event.get("actor")
        return _plain(actor.get("person") if isinstance(actor, Mapping) else None) or "somebody"

    def it(event: Mapping[str, Json]) -> str | None:
        subject = event.get("subject")
        if not isinstance(subject, Mapping):
            return None
        return f"{_plain(subject.get('kind'))} {_digest(subject.get('digest'))}"

    def cause(event: Mapping[str, Json]) -> str | None:
        number = event.get("cause")
        return str(number) if isinstance(number, int) else None

    return {"who": _Slot(who, sure=True), "it": _Slot(it, sure=False), "cause": _Slot(cause, sure=False)}[
        name
    ]


def _parameter(path: str, params: Record, *, counted: bool) -> _Slot:
    names = path.split(".")
    kind: Type = params
    sure = True
    for name in names:
        if not isinstance(kind, Record) or name not in kind.types:
            raise ValueError(f"there is no parameter {path}")
        sure = sure and name in kind.required
        kind = kind.types[name]
        if isinstance(kind, Nullable):
            kind, sure = kind.item, False
    show = _shower(kind, path, counted=counted)
    # A list that may be empty and a text without a letter say nothing; only what has a fixed form is sure to say something.
    sure = sure and (counted or not isinstance(kind, ListOf | MapOf))

    def find(event: Mapping[str, Json]) -> str | None:
        value: object = event.get("params")
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return None if value is None else show(value) or ("" if sure else None)

    return _Slot(find, sure)


def _shower(kind: Type, path: str, *, counted: bool) -> Callable[[object], str | None]:
    if counted:
        if not isinstance(kind, ListOf | MapOf):
            raise ValueError(f"{path} has no items to count")
        return lambda value: str(len(value)) if isinstance(value, list | dict) else None
    if isinstance(kind, Digest):
        return _digest
    if isinstance(kind, Hex):
        return lambda value: _plain(value)[:_DIGITS]
    if isinstance(kind, MapOf):
        return lambda value: _listed(list(value), _plain) if isinstance(value, dict) else None
    if isinstance(kind, ListOf):
        one = _shower(kind.item, path, counted=False)
        return lambda value: _listed(value, one) if isinstance(value, list) else None
    if isinstance(kind, _SCALARS):
        return _plain
    raise ValueError(f"{path} is no value that one line can show")


def _listed(items: list[object], show: Callable[[object], str | None]) -> str:
    told = ", ".join(show(item) or "" for item in items[:MAX_LISTED])
    return f"{told} and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else told


def _digest(value: object) -> str:
    text = _plain(value)
    return hashing.short(text) if text.partition(":")[2] else text


def _plain(value: object) -> str:
    """Write a value on one line, with nothing that a terminal would obey."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping | list) or value is None:
        return ""
    text = str(value)
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(
        one if one.isprintable() else " " if one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in cut
    )
