"""A request's body, read: bytes in, one of the classes of ``requests`` out, or a refusal in OpenAI's words.

Invariant: whatever the bytes are, the work is bounded by their number, and a list is left at its first wrong item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from holdfast import canonical
from holdfast.errors import UntrustedRequest
from holdfast.serving.api.parameters import ParameterError, Strict

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from holdfast.canonical import Json

MAX_SHOWN = 200  # characters of a parameter that a message names

_R = TypeVar("_R", bound=Strict)


def read(kind: type[_R], body: bytes, limit: int) -> _R:
    """Read a request's body.

    Args:
        kind: What it should be.
        body: The bytes received.
        limit: The most bytes allowed.

    Returns:
        The request.

    Raises:
        UntrustedRequest: If it is no JSON, or a parameter is unknown, missing or out of bounds. The fields ``param`` and
            ``code`` are those of OpenAI's errors.
    """
    value = canonical.decode(body, limit=limit, what="The request", error=UntrustedRequest)
    if not isinstance(value, dict):
        raise refused(None, "The request is not a JSON object.", "invalid_type")
    try:
        return kind.model_validate(value)
    except ValidationError as problem:
        mistakes = problem.errors(include_url=False, include_input=False)
        cause = problem
    if any(
        mistake["type"] == "int_type" for mistake in mistakes
    ):  # JSON knows no integers: 1.0 is one as well
        try:
            return kind.model_validate(_whole(value))
        except ValidationError as problem:
            mistakes = problem.errors(include_url=False, include_input=False)
            cause = problem
    raise _worded(_telling(mistakes)) from cause


def refused(param: str | None, message: str, code: str) -> UntrustedRequest:
    """Refuse a request for one of its parameters.

    Args:
        param: Which one; None for the body as a whole.
        message: What is wrong.
        code: OpenAI's code.

    Returns:
        The refusal, not raised.
    """
    return UntrustedRequest(
        f"serve.{code.replace('_', '-')}",
        message,
        remedy="See /openapi.json for the parameters that this server takes.",
        param=param,
        code=code,
    )


def _whole(value: Json) -> Json:
    """Write whole numbers without a point."""
    match value:
        case dict():
            return {name: _whole(one) for name, one in value.items()}
        case list():
            return [_whole(one) for one in value]
        case float() if value.is_integer() and abs(value) <= canonical.MAX_SAFE_INTEGER:
            return int(value)
    return value


def _telling(mistakes: list[ErrorDetails]) -> ErrorDetails:
    """Choose the mistake to name: the first; of several forms that a value may have, the one it comes closest to."""
    first = mistakes[0]
    if not any(map(_is_form, first["loc"])):
        return first
    same = [mistake for mistake in mistakes if mistake["loc"][:1] == first["loc"][:1]]
    return max(same, key=lambda mistake: (not mistake["type"].endswith("_type"), len(mistake["loc"])))


def _is_form(part: str | int) -> bool:
    """Tell whether a part of a mistake's place names a form of the value instead of a member."""
    return isinstance(part, str) and (part in {"str", "constrained-str"} or "[" in part)


def _worded(mistake: ErrorDetails) -> UntrustedRequest:
    cause = mistake.get("ctx", {}).get("error")
    if isinstance(cause, ParameterError):
        return refused(cause.name, f"The parameter {cause}.", "invalid_value")
    name = str(mistake["loc"][0])[:MAX_SHOWN]
    where = ".".join(str(part) for part in mistake["loc"] if not _is_form(part))[:MAX_SHOWN]
    if mistake["type"] in {"extra_forbidden", "none_required"}:
        return refused(where, f"The parameter {where} is not supported here.", "unsupported_parameter")
    if mistake["type"] == "missing":
        return refused(where, f"The parameter {where} is missing.", "missing_required_parameter")
    return refused(name, f"The parameter {where} is refused: {mistake['msg']}.", "invalid_value")
