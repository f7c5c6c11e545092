"""Errors in OpenAI's form, without internal detail.

What the client did wrong is said in full; what went wrong on our side is said in one general sentence, because the
particulars (paths, sizes, libraries) are the operator's business and are in the worker's log. Invariant: the statuses are
those of ``STATUSES`` and no other; whoever is told to come again is told when.

Source: the OpenAI API reference, "Error codes"; RFC 9110, section 10.2.3 (``Retry-After``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from holdfast.errors import HoldfastError, NotAuthenticated, NotRecorded, UntrustedInput

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.errors import Field

LOGGER = logging.getLogger("holdfast.serving")
STATUSES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    410: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "server_error",
    503: "server_error",
}
MAX_AFTER = 86_400  # seconds; who is told to come again in more than a day is told a day
AFTER = 3  # seconds, where nobody knows better
_SERVER, _BUSY, _UNAVAILABLE = 500, 429, 503
_LATE, _FULL = 504, 507  # of our own parts; clients know 503
_SOON: dict[str, tuple[str, None, str]] = {  # said by an engine as plain failures, with what is ours to know
    "serve.deadline": ("The answer was not complete in time.", None, "deadline_exceeded"),
    "serve.stopped": ("The model is being replaced or stopped.", None, "unavailable"),
}
_NAMED = {_BUSY: "busy", _UNAVAILABLE: "unavailable"}  # what a client is told to come again for
# Whatever was wrong with it.
_NO_KEY = "No valid key was presented. Send one as `Authorization: Bearer hf-...`."


def status(error: HoldfastError) -> int:
    """Give the HTTP status of an error.

    Args:
        error: What happened.

    Returns:
        One of ``STATUSES``.
    """
    found = error.http_status
    if found in {_LATE, _FULL} or error.key in _SOON:
        return _UNAVAILABLE
    ours = not isinstance(error, UntrustedInput) and found < _SERVER and found != _BUSY
    return _SERVER if ours or found not in STATUSES else found


def body(error: HoldfastError) -> dict[str, Json]:
    """Describe an error for a client.

    Args:
        error: What happened.

    Returns:
        ``{"error": {"message", "type", "param", "code"}}``.
    """
    code = status(error)
    if isinstance(error, NotAuthenticated):
        return form(code, _NO_KEY, None, "invalid_api_key")
    if isinstance(error, NotRecorded):
        return form(code, "The request can't be recorded now, so it is not answered.", None, "not_recorded")
    if error.key in _SOON or error.http_status == _FULL:
        return form(
            code, *_SOON.get(error.key, ("There is no memory for the answer now.", None, "no_memory"))
        )
    if code in _NAMED:
        return form(code, str(error), None, error.fields.get("code") or _NAMED[code])
    if isinstance(error, UntrustedInput) and code < _SERVER:
        return form(code, str(error), error.fields.get("param"), error.fields.get("code") or error.key)
    return form(code, "The request could not be answered.", None, "internal_error")


def response(error: HoldfastError) -> JSONResponse:
    """Answer with an error, and log it where it is ours.

    Args:
        error: What happened.

    Returns:
        The response.
    """
    code = status(error)
    log(error)
    headers = {"cache-control": "no-store"}
    if isinstance(error, NotAuthenticated):
        headers["www-authenticate"] = "Bearer"
    if code in _NAMED:
        headers["retry-after"] = str(_after(error.fields.get("retry_after")))
    return JSONResponse(body(error), code, headers)


def log(error: HoldfastError) -> None:
    """Write down an error that the client is not told the particulars of.

    Args:
        error: What happened.
    """
    if status(error) >= _SERVER:
        LOGGER.error("%s: %s", error.key, error.message)


def form(code: int, message: str, param: Field, name: Field) -> dict[str, Json]:
    """Write an error as OpenAI does.

    Args:
        code: The HTTP status, one of ``STATUSES``.
        message: What is wrong.
        param: The parameter that is.
        name: OpenAI's code, or our key.

    Returns:
        The object.
    """
    told = {"message": message, "type": STATUSES[code]}
    return {"error": {**told, "param": _short(param), "code": _short(name)}}


def _short(value: Field) -> str | None:
    return None if value is None else str(value)[:200]


def _after(value: Field) -> int:
    return min(max(1, int(value)), MAX_AFTER) if isinstance(value, int | float) else AFTER
