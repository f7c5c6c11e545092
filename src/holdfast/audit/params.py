"""The language in which an event's parameters are typed.

A type says which JSON values it takes, and says so for people and for programs. Invariants: every type is bounded (characters,
items, bytes), so that what an action may write is bounded too; a value that is taken is taken whole: a record has exactly its
fields, a map and a list nothing of another type; ``check`` never raises, whatever it is given. Types are immutable and may be
shared. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeGuard

from holdfast import canonical
from holdfast.errors import UntrustedInput

if TYPE_CHECKING:
    from holdfast.canonical import Json

LARGEST = canonical.MAX_SAFE_INTEGER
MAX_KEY = 256  # characters of a map's key
MAX_DEPTH = 32  # arrays and objects in each other in a document; what reads an event takes 64 in all
_DIGEST = re.compile(r"sha512:[0-9a-f]{128}|sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]*")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True)
class Wrong:
    """Why a value is not of a type.

    Args:
        path: Where in the value: names after points, positions in brackets; empty for the value itself.
        expected: What should be there, as it follows "is not".
    """

    path: str
    expected: str

    def within(self, place: str) -> Wrong:
        """Say the same of what holds the value.

        Args:
            place: A name, or a position in brackets.

        Returns:
            The fault, its path from one level up.
        """
        inner = self.path if not self.path or self.path.startswith("[") else f".{self.path}"
        return Wrong(place + inner, self.expected)


class Type(Protocol):
    """What every type does."""

    def check(self, value: object) -> Wrong | None:
        """Decide whether a value is of this type.

        Args:
            value: Anything.

        Returns:
            What is wrong, or None.
        """

    def words(self) -> str:
        """Say what is taken.

        Returns:
            A noun with its article.
        """

    def to_json(self) -> dict[str, Json]:
        """Say it for programs.

        Returns:
            ``type`` and the type's bounds and parts.
        """


@dataclass(frozen=True)
class Text:
    """A text.

    Args:
        limit: Characters at most.
    """

    limit: int

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        return None if type(value) is str and len(value) <= self.limit else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return f"a text of at most {self.limit} characters"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "text", "characters": self.limit}


@dataclass(frozen=True)
class Choice:
    """One of some texts.

    Args:
        values: The texts.
    """

    values: tuple[str, ...]

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        return None if type(value) is str and value in self.values else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return f"one of {', '.join(self.values)}"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "choice", "values": list(self.values)}


@dataclass(frozen=True)
class Whole:
    """A whole number that a double holds exactly.

    Args:
        name: What it counts or names, for people and programs.
        article: That with its article.
    """

    name: str
    article: str

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        return None if type(value) is int and 0 <= value <= LARGEST else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return f"{self.article} (a whole number from 0 to 2**53 - 1)"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": self.name}


@dataclass(frozen=True)
class Number:
    """A number, whole or not, of either sign."""

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        good = type(value) in {int, float} and -LARGEST <= value <= LARGEST  # type: ignore[operator]  # it is a number
        return None if good else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return "a number between ±(2**53 - 1)"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "number"}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        return None if type(value) is bool else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return "a flag (true or false)"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "flag"}


@dataclass(frozen=True)
class Digest:
    """A digest, with the name of its algorithm."""

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        return None if type(value) is str and _DIGEST.fullmatch(value) else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return "a digest (sha512: or sha256: and hexadecimal digits)"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "digest"}


@dataclass(frozen=True)
class Hex:
    """Bytes in lower-case hexadecimal digits.

    Args:
        size: Bytes.
    """

    size: int

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        good = type(value) is str and len(value) == 2 * self.size and _HEX.fullmatch(value)
        return None if good else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return f"{self.size} bytes as {2 * self.size} lower-case hexadecimal digits"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "hex", "bytes": self.size}


@dataclass(frozen=True)
class Time:
    """A moment, RFC 3339."""

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        if type(value) is str and _TIME.fullmatch(value):
            try:
                datetime.fromisoformat(value)
            except ValueError:
                return Wrong("", self.words())
            return None
        return Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return "a time (RFC 3339)"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "time"}


@dataclass(frozen=True)
class ListOf:
    """Any number of values of one type.

    Args:
        item: Their type.
        limit: Items at most.
    """

    item: Type
    limit: int

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        if type(value) is not list or len(value) > self.limit:
            return Wrong("", self.words())
        for at, one in enumerate(value):
            wrong = self.item.check(one)
            if wrong is not None:
                return wrong.within(f"[{at}]")
        return None

    def words(self) -> str:
        """See ``Type.words``."""
        return f"a list of at most {self.limit} items, each {self.item.words()}"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "list", "items": self.limit, "of": self.item.to_json()}


@dataclass(frozen=True)
class MapOf:
    """Values of one type by names that are data.

    Args:
        item: Their type.
        limit: Names at most, each of at most ``MAX_KEY`` characters.
    """

    item: Type
    limit: int

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        if type(value) is not dict or len(value) > self.limit:
            return Wrong("", self.words())
        for name, one in value.items():
            if type(name) is not str or len(name) > MAX_KEY:
                return Wrong("", self.words())
            wrong = self.item.check(one)
            if wrong is not None:
                return wrong.within(f"[{_shown(name)}]")
        return None

    def words(self) -> str:
        """See ``Type.words``."""
        return f"a map of at most {self.limit} names, each to {self.item.words()}"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "map", "names": self.limit, "of": self.item.to_json()}


@dataclass(frozen=True)
class Nullable:
    """A value of a type, or null where there is none to tell.

    Args:
        item: The type.
    """

    item: Type

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        if value is None:
            return None
        wrong = self.item.check(value)
        return Wrong("", self.words()) if wrong is not None and not wrong.path else wrong

    def words(self) -> str:
        """See ``Type.words``."""
        return f"{self.item.words()}, or null"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {**self.item.to_json(), "null": True}


@dataclass(frozen=True)
class Either:
    """A value of one of some types.

    Args:
        items: The types.
    """

    items: tuple[Type, ...]

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        return None if any(one.check(value) is None for one in self.items) else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return ", or ".join(one.words() for one in self.items)

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "either", "of": [one.to_json() for one in self.items]}


@dataclass(frozen=True)
class Document:
    """A JSON value whose form is given elsewhere.

    Args:
        form: Where its form is given, as it follows "a".
        limit: Bytes of its canonical form at most.
    """

    form: str
    limit: int

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        try:
            good = _is_json(value) and len(canonical.encode(value)) <= self.limit
        except UntrustedInput:
            good = False
        return None if good else Wrong("", self.words())

    def words(self) -> str:
        """See ``Type.words``."""
        return f"a {self.form}, JSON of at most {self.limit} bytes"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        return {"type": "document", "form": self.form, "bytes": self.limit}


@dataclass(frozen=True)
class Optional:
    """A parameter or field that may be left out; stands in records only.

    Args:
        item: Its type where it is there.
    """

    item: Type


Fields = Mapping[str, "Type | Optional"]


class Record:
    """Named values, each of its own type, and nothing else.

    Args:
        fields: Types by name.
        name: What such a record is called, if several actions have it.
    """

    def __init__(self, fields: Fields, name: str = "") -> None:
        self.name = name
        self.required = frozenset(name for name, one in fields.items() if not isinstance(one, Optional))
        self.types: dict[str, Type] = {
            name: one.item if isinstance(one, Optional) else one for name, one in fields.items()
        }

    def check(self, value: object) -> Wrong | None:
        """See ``Type.check``."""
        if type(value) is not dict:
            return Wrong("", self.words())
        types = self.types
        for name, one in value.items():
            known = types.get(name)
            if known is None:
                return Wrong(_shown(name), f"one of those that there are: {', '.join(types) or 'none'}")
            wrong = known.check(one)
            if wrong is not None:
                return wrong.within(name)
        if not self.required <= value.keys():
            name = min(self.required - value.keys())
            return Wrong(name, f"there; it should be {types[name].words()}")
        return None

    def words(self) -> str:
        """See ``Type.words``."""
        if self.name:
            return f"a record ({self.name})"
        parts = (
            f"{name}{'' if name in self.required else '?'}: {one.words()}" for name, one in self.types.items()
        )
        return "{" + "; ".join(parts) + "}"

    def to_json(self) -> dict[str, Json]:
        """See ``Type.to_json``."""
        named: dict[str, Json] = {"name": self.name} if self.name else {}
        return {"type": "record", **named, "fields": self.described()}

    def described(self) -> dict[str, Json]:
        """Say the fields for programs.

        Returns:
            Each field's type by its name, with ``optional`` where it may be left out.
        """
        return {
            name: one.to_json() | ({} if name in self.required else {"optional": True})
            for name, one in self.types.items()
        }


def _shown(name: object) -> str:
    """Write a name that nobody knows: it may be empty, or hold what a terminal would obey."""
    text = str(name)[:40]
    return text if text.isprintable() and text else ascii(text)


def _is_json(value: object) -> TypeGuard[Json]:
    """Tell whether a value is plain JSON that nests no deeper than ``MAX_DEPTH``, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        deeper: list[object] = []
        for one in level:
            if type(one) is list:
                deeper += one
            elif type(one) is dict:
                if not all(type(name) is str for name in one):
                    return False
                deeper += one.values()
            elif not (one is None or type(one) in {str, int, float, bool}):
                return False
        if not deeper:
            return True
        level = deeper
    return False


COUNT = Whole("count", "a count")
SEQ = Whole("sequence", "a sequence number")
NUMBER, FLAG, DIGEST, TIME = Number(), Flag(), Digest(), Time()
