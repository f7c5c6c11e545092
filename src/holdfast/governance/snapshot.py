"""Snapshots: the whole fold as bytes, from which folding goes on as if it had seen every event before.

The form is RFC 8785 JSON: ``{"schema", "state"}`` and in it every attribute of the fold by name. Numbers, texts, truth values
and null stand for themselves; anything else is an array that begins with what it is: ``d`` (dictionary: keys and values in
turn, in its order), ``l`` (list), ``t`` (tuple), ``s`` and ``f`` (set and frozen set, sorted), ``m`` (moment), ``e`` (enumeration:
its name and a value), ``o`` (dataclass: its name and its fields in their order). Invariants: a state has one form, and what is
not that form is refused; what is read has the attributes of the fold and, in dataclasses, the types that they declare; only
types of this package and the artefact's are ever made. Whether it is the right state, the log says, by its digest. Pure.
"""

from __future__ import annotations

import sys
from collections import abc
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Literal, NoReturn, Union, cast, get_args, get_origin, get_type_hints

from holdfast import canonical
from holdfast.errors import HoldfastError, UntrustedInput, VerificationFailed
from holdfast.governance.state import State

if TYPE_CHECKING:
    from holdfast.canonical import Json

SCHEMA = "holdfast.state/1"
MAX_SNAPSHOT = 2**30  # bytes: a million acts of 1 KB
MAX_DEPTH = canonical.MAX_DEPTH - 2  # arrays in arrays; two objects stand around them
_HOME = "holdfast."
_ROOMS = ("holdfast.artefact", "holdfast.governance.")  # modules whose types may be written and read
_KINDS = 256  # types whose names are remembered
_PLAIN = (str, int, float, bool, NoneType)
_SEQUENCES: dict[str, type] = {"l": list, "t": tuple, "s": set, "f": frozenset}
_TAGS = {kind: tag for tag, kind in _SEQUENCES.items()}


class _AnyJson:
    """Stands for ``Json`` where a declared type is compared."""


def encode(state: State) -> bytes:
    """Write a fold down.

    Args:
        state: The fold.

    Returns:
        Its bytes. Folds of the same events have the same bytes.

    Raises:
        UntrustedInput: If something in it has no form in canonical JSON, or is nested too deep.
    """
    folded = {name: _write(value, MAX_DEPTH) for name, value in state.content().items()}
    return canonical.encode({"schema": SCHEMA, "state": folded})


def _write(value: object, depth: int) -> Json:
    """Write a value down. A fold holds plain data and records alone: anything else is a mistake of ours."""
    if isinstance(value, Enum):
        return ["e", _name(type(value)), value.value]
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, datetime):
        return ["m", value.isoformat()]
    if depth == 0:
        raise UntrustedInput(
            "state.depth",
            f"Something that the log recorded is nested deeper than {MAX_DEPTH} levels.",
            remedy="Keep the log as it is: it can't be archived.",
        )
    if is_dataclass(value) and not isinstance(value, type):
        told = (_write(getattr(value, one.name), depth - 1) for one in fields(value))
        return ["o", _name(type(value)), *told]
    if isinstance(value, dict):
        return ["d", *(_write(one, depth - 1) for pair in value.items() for one in pair)]
    tag = _TAGS.get(type(value))
    if tag is None:
        raise TypeError(f"a fold holds a {type(value).__name__}, which no snapshot can hold")
    parts = [_write(one, depth - 1) for one in cast("abc.Iterable[object]", value)]
    return [tag, *(sorted(parts, key=canonical.encode) if tag in "sf" else parts)]


def _name(kind: type) -> str:
    if _kind(found := f"{kind.__module__.removeprefix(_HOME)}.{kind.__qualname__}") is not kind:
        raise TypeError(f"a fold holds a {kind.__name__} of {kind.__module__}, which no snapshot can hold")
    return found


@lru_cache(_KINDS)
def _kind(name: str) -> type | None:
    """Find a type by its name; the fold has imported the module of everything that it holds."""
    module, _, called = name.rpartition(".")
    home = _HOME + module
    found = vars(sys.modules[home]).get(called) if home.startswith(_ROOMS) and home in sys.modules else None
    if not isinstance(found, type) or found.__module__ != home:
        return None
    return found if is_dataclass(found) or issubclass(found, Enum) else None


def decode(data: bytes) -> State:
    """Read a fold.

    Args:
        data: What ``encode`` gave.

    Returns:
        A fold equal to the one that was written, ready for the next event.

    Raises:
        VerificationFailed: If the bytes are not the one form of a fold.
    """
    told = canonical.decode(data, limit=MAX_SNAPSHOT, what="The snapshot", error=VerificationFailed)
    if not isinstance(told, dict) or set(told) != {"schema", "state"} or told["schema"] != SCHEMA:
        _refuse(f"it is not of the schema {SCHEMA}")
    body = told["state"]
    state = State()
    if not isinstance(body, dict):
        _refuse("it holds no state")
    _fill(state, {name: _read(value) for name, value in body.items()}, state.content())
    try:
        again = encode(state)
    except (UntrustedInput, TypeError) as error:
        raise _bad("what it holds has no form") from error
    if again != data:
        _refuse("it is not in the one form of its state")
    return state


def _fill(folded: object, told: dict[str, object], fresh: dict[str, object]) -> None:
    """Set the attributes of the fold, or of a part of it, each of the type that it has in an empty one."""
    if set(told) != set(fresh):
        _refuse("it has other attributes than the fold")
    for name, value in told.items():
        known = getattr(folded, name)
        if known is not None and known is not fresh[name]:  # a part of the fold
            if not isinstance(value, dict):
                _refuse(f"{name} is not a part of the fold")
            _fill(known, value, cast("dict[str, object]", fresh[name]))
        elif known is not None and type(known) is not type(value):
            _refuse(f"{name} is not of its type")
        else:
            setattr(folded, name, value)


def _read(value: Json) -> object:
    if isinstance(value, _PLAIN):
        return value
    if not isinstance(value, list) or not value:
        _refuse("it holds something without a type")
    tag, *parts = value
    match tag:
        case "d":
            return _dictionary([_read(one) for one in parts])
        case "l" | "t" | "s" | "f":
            return _sequence(tag, [_read(one) for one in parts])
        case "m" if len(parts) == 1 and isinstance(parts[0], str):
            return _moment(parts[0])
        case "e" if len(parts) == 2 and all(isinstance(one, str) for one in parts):  # noqa: PLR2004 - a name and a value
            return _choice(str(parts[0]), str(parts[1]))
        case "o" if parts and isinstance(parts[0], str):
            return _record(parts[0], [_read(one) for one in parts[1:]])
    raise _bad("it holds a value of an unknown type")


def _dictionary(parts: list[object]) -> dict[object, object]:
    keys = parts[::2]
    try:
        found: dict[object, object] = dict(zip(keys, parts[1::2], strict=True))
    except (TypeError, ValueError) as error:  # a key that can't be one, or the last one has no value
        raise _bad("a dictionary in it is malformed") from error
    if len(found) != len(keys):
        _refuse("a dictionary in it names a key twice")
    return found


def _sequence(tag: str, parts: list[object]) -> object:
    try:
        return _SEQUENCES[tag](parts)
    except TypeError as error:
        raise _bad("a set in it holds what no set can hold") from error


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise _bad(f"{text[:40]!r} in it is no moment") from error


def _choice(name: str, value: str) -> object:
    kind = _kind(name)
    if kind is None or not issubclass(kind, Enum):
        _refuse(f"it holds a {name[:80]!r}, which is unknown")
    try:
        return kind(value)
    except ValueError as error:
        raise _bad(f"{value[:40]!r} in it is no {name}") from error


def _record(name: str, told: list[object]) -> object:
    kind = _kind(name)
    if kind is None or not is_dataclass(kind):
        _refuse(f"it holds a {name[:80]!r}, which is unknown")
    hints = _hints(kind)
    named = [one.name for one in fields(kind)]
    if len(told) != len(named) or not all(
        _fits(value, hints[field]) for field, value in zip(named, told, strict=True)
    ):
        _refuse(f"a {name} in it has other fields")
    try:
        return kind(**dict(zip(named, told, strict=True)))
    except HoldfastError as error:
        raise _bad(f"a {name} in it contradicts itself: {error.message}") from error


@lru_cache(_KINDS)
def _hints(kind: type) -> dict[str, object]:
    """Give the declared types of a dataclass's fields, also of those that are imported for the type checker alone."""
    own = vars(sys.modules[kind.__module__])
    known: dict[str, object] = {"datetime": datetime, **vars(abc)}
    for module in [name for name in sys.modules if name.startswith(_ROOMS)]:
        known |= {
            name: one
            for name, one in vars(sys.modules[module]).items()
            if isinstance(one, type) and one.__module__ == module
        }
    missing = {name: one for name, one in known.items() if name not in own}
    return get_type_hints(kind, localns={**missing, "Json": _AnyJson})


def _fits(value: object, hint: object) -> bool:
    """Tell whether a value is of a declared type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin in (dict, abc.Mapping):
        return isinstance(value, dict) and all(
            _fits(key, inner[0]) and _fits(one, inner[1]) for key, one in value.items()
        )
    if origin is tuple and inner[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if isinstance(origin, type):
        parts = cast("abc.Iterable[object]", value)
        return isinstance(value, origin) and all(_fits(one, inner[0]) for one in parts)
    if hint is _AnyJson:
        return _is_json(value)
    if isinstance(value, bool) and hint is not object:
        return hint is bool
    return isinstance(hint, type) and isinstance(value, (int, float) if hint is float else hint)


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(one) for key, one in value.items())
    if isinstance(value, list):
        return all(_is_json(one) for one in value)
    return type(value) in _PLAIN


def _refuse(why: str) -> NoReturn:
    raise _bad(why)


def _bad(why: str) -> VerificationFailed:
    return VerificationFailed(
        "state.snapshot",
        f"The snapshot of the state is refused: {why}.",
        remedy="Restore the home's log folder from a backup.",
    )
