"""Canonical JSON (RFC 8785) out, strict bounded JSON in.

Invariants: ``encode`` gives one byte string per value, so that digests and signatures over it are stable; ``decode``
accepts only what ``encode`` could have been given (no duplicate keys, no NaN, no floats beyond binary64, no halves of
surrogate pairs, integers within ±(2**53 - 1)) and never reads past the stated limit. No I/O.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import NoReturn, cast

import rfc8785

from holdfast.errors import HoldfastError, UntrustedInput

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

MAX_SAFE_INTEGER = (
    2**53 - 1
)  # RFC 8785, appendix D: beyond it a reader in another language may see another number
_EXPONENT = 1e21  # from here on RFC 8785 writes floats with an exponent
MAX_DEPTH = 64  # nested containers; deeper documents are attacks on the parser's stack
MAX_DIGITS = 40  # of an integer that is read as a float; libraries write 10**30 where they mean "no limit"
_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_PLAIN = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"))
_SIMPLE = frozenset({str, bool, type(None)})
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
_REMEDY = "Have it made again, by the program that wrote it."
_ESCAPED_PAIR = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def encode(value: Json) -> bytes:
    """Serialise a value as RFC 8785 bytes.

    Args:
        value: Plain JSON data.

    Returns:
        The canonical UTF-8 bytes, without a trailing newline.

    Raises:
        UntrustedInput: If the value holds something that canonical JSON can't express.
    """
    try:
        return _dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise UntrustedInput(
            "canonical.encode",
            f"The value can't be written as canonical JSON: {error}.",
            remedy="Use text, finite numbers and integers within ±(2**53 - 1).",
        ) from error


def decode(
    data: bytes, *, limit: int, what: str, error: type[HoldfastError] = UntrustedInput, wide: bool = False
) -> Json:
    """Parse untrusted JSON strictly.

    Args:
        data: The bytes as received.
        limit: The most bytes accepted; checked before anything is parsed.
        what: What this document is, for the message ("the manifest").
        error: The class to raise, by who is at fault.
        wide: Whether an integer beyond the bound, of at most ``MAX_DIGITS`` digits, is read as a float; for files of
            other makers.

    Returns:
        The value.

    Raises:
        HoldfastError: As ``error``, with a key that begins with ``json.``.
    """
    try:
        return _decoded(data, limit, _WIDE if wide else _STRICT)
    except _RefusedError as refused:
        raise error(f"json.{refused.key}", f"{what} is refused: {refused.why}.", remedy=_REMEDY) from None


def _decoded(data: bytes, limit: int, decoder: json.JSONDecoder) -> Json:
    if len(data) > limit:
        raise _RefusedError("too-large", f"it has {len(data)} bytes and {limit} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _RefusedError("encoding", "it is not UTF-8") from None
    if _too_deep(text):
        raise _RefusedError("depth", f"it nests deeper than {MAX_DEPTH} levels")
    try:
        value: Json = decoder.decode(text)
    except json.JSONDecodeError as problem:
        raise _RefusedError(
            "syntax", f"line {problem.lineno}, column {problem.colno}: {problem.msg}"
        ) from None
    if _ESCAPED_PAIR.search(text) and _HALF_PAIR.search(json.dumps(value, ensure_ascii=False)):
        raise _RefusedError("surrogate", "a text holds half of a surrogate pair")
    return value


class _RefusedError(Exception):
    """A document is no strict JSON.

    Args:
        key: The last part of the error's key.
        why: For people.
    """

    def __init__(self, key: str, why: str) -> None:
        super().__init__()
        self.key, self.why = key, why


def _pairs(items: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(items)
    if len(found) != len(items):
        raise _RefusedError("duplicate-key", "an object names the same key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:  # noqa: PLR2004 - 16 digits and a sign
        raise _RefusedError("integer", f"an integer is beyond ±{MAX_SAFE_INTEGER}")
    return int(text)


def _wide_integer(text: str) -> int | float:
    if len(text) <= MAX_DIGITS and (len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER):  # noqa: PLR2004 - as above
        return float(text)
    return _integer(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError("number", "a number is beyond what binary64 holds")
    return value


def _constant(name: str) -> NoReturn:
    raise _RefusedError("constant", f"{name} is not JSON")


# Made once: making a decoder takes longer than reading a short message.
_STRICT, _WIDE = (
    json.JSONDecoder(
        object_pairs_hook=_pairs, parse_int=integer, parse_constant=_constant, parse_float=_number
    )
    for integer in (_integer, _wide_integer)
)


def _dumps(value: Json) -> bytes:
    if _is_plain(value):  # the C encoder gives the same bytes here, many times faster
        return _PLAIN.encode(value).encode("utf-8")
    if _has_wide_float(value):
        raise rfc8785.CanonicalizationError("a float would be written as an integer beyond ±(2**53 - 1)")
    return bytes(rfc8785.dumps(value))


def _is_plain(value: object) -> bool:
    """Tell whether a value has nothing that RFC 8785 writes differently: no floats, large integers, non-ASCII keys."""
    kind = type(value)
    if kind in _SIMPLE:
        return True
    if kind is int:
        return -MAX_SAFE_INTEGER <= cast("int", value) <= MAX_SAFE_INTEGER
    if kind is dict:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str or not key.isascii():
                return False
            if type(item) not in _SIMPLE and not _is_plain(item):
                return False
        return True
    return kind is list and all(map(_is_plain, cast("list[object]", value)))


def _has_wide_float(value: object) -> bool:
    """Tell whether a float would be written without point or exponent, as an integer that ``decode`` refuses."""
    if isinstance(value, float):
        return MAX_SAFE_INTEGER < abs(value) < _EXPONENT
    if isinstance(value, dict):
        return any(map(_has_wide_float, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_wide_float, value))


def _too_deep(text: str) -> bool:
    """Tell whether brackets outside strings nest too deep, up to the first that does and without recursion."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    brackets = _TEXT.sub("", text).encode("ascii", "ignore").translate(None, _NO_BRACKET)
    return any(map(MAX_DEPTH.__lt__, accumulate(map(_STEPS.__getitem__, brackets))))
