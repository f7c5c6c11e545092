"""Metric ``json_schema``: the answer is JSON that the item's schema accepts.

Source: JSON Schema, draft 2020-12. Stricter than the draft, because schemas and answers are untrusted: references lead to a
schema within the schema, patterns are RE2's, ``format`` asserts nothing, keywords that are not known are mistakes, and an
application of more than ``MAX_STEPS`` steps says no. Order of operations for a schema: size, depth, the draft's own
meta-schema, then its words. No I/O: nothing is ever fetched.
"""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, cast

from jsonschema import Draft202012Validator, FormatChecker, exceptions, validators
from referencing import Registry

from holdfast.evaluation.scorers import Verdict, regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.canonical import Json

    Keyword = Callable[..., Iterator[exceptions.ValidationError] | None]
    Subschema = bool | dict[str, object]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA = 64 * 2**10  # characters of a schema; a person writes a few thousand
MAX_DEPTH = 64  # values within values, of a schema and of an answer
MAX_STEPS = 50_000  # keywords applied to one answer, counted by the size of what they look at: about a second
VALUES_OF_A_STEP = 50  # values, or characters of a text, that one keyword looks at for one step
MAX_ANSWER = 64 * 2**10  # characters of an answer; 4,096 tokens have about 16,000
MAX_DIGITS = 300  # digits of one number: arithmetic then stays within floating-point numbers

_ONE = {"additionalProperties", "items", "contains", "not", "if", "then", "else", "propertyNames"}
_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems"}
_MAPS = {"properties", "patternProperties", "$defs", "dependentSchemas"}
_PLAIN = {
    "$ref", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format",
    "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties",
    "minProperties", "required", "dependentRequired",
}  # fmt: skip
_FENCE = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_steps: ContextVar[tuple[list[int], dict[int, int]]] = ContextVar("steps")  # used so far; values by identity


class _TooLongError(Exception):
    """Applying a schema took more steps than are allowed."""


def check(value: object) -> dict[str, Json]:
    """Check an item's schema.

    Args:
        value: What was read.

    Returns:
        The schema, without ``$schema``.

    Raises:
        ValueError: With what was expected, if it can't be used.
    """
    if not isinstance(value, dict):
        raise ValueError("'schema': expected an object")  # noqa: TRY004 - callers turn one class into a line's mistake
    schema = dict(value)
    if schema.pop("$schema", DRAFT) != DRAFT:
        raise ValueError(f"'schema': expected $schema to be {DRAFT!r}, or none")
    if len(json.dumps(schema)) > MAX_SCHEMA:
        raise ValueError(f"'schema': expected at most {MAX_SCHEMA} characters")
    if _depth(schema) > MAX_DEPTH:
        raise ValueError(f"'schema': expected at most {MAX_DEPTH} values within one another")
    try:
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except exceptions.SchemaError as error:
        raise ValueError(f"'schema': {error.message[:200]} (at {error.json_path[:80]})") from error
    except (RecursionError, OverflowError) as error:
        raise ValueError("'schema': expected one that is less deep, with smaller numbers") from error
    places = dict(_schemas(schema))
    for place, one in places.items():
        _check_words(one, place, places)
    return cast("dict[str, Json]", schema)


def judge(answer: str, schema: dict[str, Json], *, extract: str) -> Verdict:
    """Tell whether an answer is JSON that a schema accepts.

    Args:
        answer: What was generated.
        schema: What ``check`` gave.
        extract: ``whole``, or ``fenced`` for the first ``` block, if there is one.

    Returns:
        The verdict.
    """
    if len(answer) > MAX_ANSWER:
        return Verdict(correct=False, told=f"longer than {MAX_ANSWER} characters")
    fenced = _FENCE.search(answer) if extract == "fenced" else None
    try:
        value = _parse(fenced[1] if fenced else answer)
    except (ValueError, RecursionError) as error:
        return Verdict(correct=False, told=f"not JSON: {str(error)[:120]}")
    if _depth(value) > MAX_DEPTH:
        return Verdict(correct=False, told="its values are nested too deeply")
    sizes: dict[int, int] = {}
    _measure(value, sizes)
    token = _steps.set(([0], sizes))
    try:
        validator = _Validator(schema, registry=Registry())
        mistake = next(validator.iter_errors(value), None)
    except (RecursionError, _TooLongError):
        return Verdict(correct=False, told="the schema takes too long to apply")
    except (OverflowError, ZeroDivisionError):
        return Verdict(correct=False, told="a number is out of bounds")
    finally:
        _steps.reset(token)
    if mistake is None:
        return Verdict(correct=True)
    return Verdict(
        correct=False, told=f"{mistake.json_path[:80]}: {mistake.validator or 'false'} does not hold"
    )


def _schemas(schema: object, place: str = "#") -> Iterator[tuple[str, dict[str, object]]]:
    """Give every schema within a schema, with the pointer that leads to it."""
    if not isinstance(schema, dict):
        return  # true and false are schemas too, without words
    yield place, schema
    for word, value in schema.items():
        if word in _ONE:
            yield from _schemas(value, f"{place}/{word}")
        elif word in _LISTS:
            for at, one in enumerate(value):
                yield from _schemas(one, f"{place}/{word}/{at}")
        elif word in _MAPS:
            for name, one in value.items():
                escaped = str(name).replace("~", "~0").replace("/", "~1")
                yield from _schemas(one, f"{place}/{word}/{escaped}")


def _check_words(schema: dict[str, object], place: str, places: dict[str, dict[str, object]]) -> None:
    if unknown := sorted(set(schema) - _ONE - _LISTS - _MAPS - _PLAIN):
        raise ValueError(f"'schema': keyword {unknown[0][:40]!r} is not taken (at {place[:80]})")
    if "$ref" in schema and schema["$ref"] not in places:
        raise ValueError(
            f"'schema': expected $ref to name a schema within this one, such as '#/$defs/name' (at {place[:80]})"
        )
    patterns = schema.get("patternProperties", {})
    for pattern in [schema.get("pattern"), *(patterns if isinstance(patterns, dict) else [])]:
        if pattern is not None:
            regex.check(str(pattern))


def _parse(text: str) -> object:
    return json.loads(
        text, parse_constant=_refuse, parse_int=_integer, parse_float=_float, object_pairs_hook=_distinct
    )


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _float(text: str) -> float:
    found = float(text)
    if len(text) > MAX_DIGITS or found in {float("inf"), float("-inf")}:
        raise ValueError("a number is out of bounds")
    return found


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _depth(value: object) -> int:
    """Count the values within one another, without recursion."""
    deepest, open_ = 0, [(value, 1)]
    while open_:
        one, depth = open_.pop()
        deepest = max(deepest, depth)
        if depth <= MAX_DEPTH and isinstance(one, dict | list):
            inner = one.values() if isinstance(one, dict) else one
            open_ += [(each, depth + 1) for each in inner]
    return deepest


def _measure(value: object, sizes: dict[int, int]) -> int:
    """Count the values in every object and list, by its identity."""
    if not isinstance(value, dict | list):
        return 1
    inner = value.values() if isinstance(value, dict) else value
    sizes[id(value)] = size = 1 + sum(_measure(one, sizes) for one in inner)
    return size


def _counted(apply: Keyword) -> Keyword:
    def counting(
        validator: Draft202012Validator, value: object, instance: object, schema: object
    ) -> Iterator[exceptions.ValidationError]:
        used, sizes = _steps.get()
        size = len(instance) if isinstance(instance, str) else sizes.get(id(instance), 1)
        used[0] += 1 + size // VALUES_OF_A_STEP
        if used[0] > MAX_STEPS:
            raise _TooLongError
        yield from apply(validator, value, instance, schema) or ()

    return counting


def _found(pattern: str, text: str) -> bool:
    return regex.compiled(pattern, ignore_case=False).search(text.encode("utf-8", "replace")) is not None


def _pattern(
    _: Draft202012Validator, value: str, instance: object, __: object
) -> Iterator[exceptions.ValidationError]:
    if isinstance(instance, str) and not _found(value, instance):
        yield exceptions.ValidationError("the pattern does not match")


def _pattern_properties(
    validator: Draft202012Validator, value: dict[str, Subschema], instance: object, _: object
) -> Iterator[exceptions.ValidationError]:
    if isinstance(instance, dict):
        for pattern, schema in value.items():
            for name, one in instance.items():
                if _found(pattern, name):
                    yield from validator.descend(one, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Draft202012Validator, value: Subschema, instance: object, schema: dict[str, dict[str, object]]
) -> Iterator[exceptions.ValidationError]:
    if not isinstance(instance, dict):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, one in instance.items():
        if name in named or any(_found(pattern, name) for pattern in patterns):
            continue
        if value is False:
            yield exceptions.ValidationError("a property is not among those named")
        else:
            yield from validator.descend(one, value, path=name)


def _unique_items(
    _: Draft202012Validator, value: object, instance: object, __: object
) -> Iterator[exceptions.ValidationError]:
    if value and isinstance(instance, list):
        keys = {json.dumps(_plain(one), sort_keys=True) for one in instance}
        if len(keys) < len(instance):
            yield exceptions.ValidationError("two items are equal")


def _plain(value: object) -> object:
    """Write numbers that are equal alike: JSON knows no difference between 1 and 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


_OWN: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_Validator = validators.extend(  # type: ignore[no-untyped-call]  # it has no type hints
    Draft202012Validator,
    {
        name: _counted(_OWN.get(name) or apply)
        for name, apply in Draft202012Validator.VALIDATORS.items()
        if apply
    },
)
