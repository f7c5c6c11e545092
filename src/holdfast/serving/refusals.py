"""Errors in OpenAI's form, without internal detail.

What the client did wrong is said in full; what went wrong on our side is said in one general sentence, because the
particulars (paths, sizes, libraries) are the operator's business and are in the worker's log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from holdfast.errors import HoldfastError, NotAuthenticated, NotFound, NotRecorded, UntrustedInput
from holdfast.serving.engine import Busy

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.errors import Field

LOGGER = logging.getLogger("holdfast.serving")
_SERVER = 500


def body(error: HoldfastError) -> dict[str, Json]:
    """Describe an error for a client.

    Args:
        error: What happened.

    Returns:
        ``{"error": {"message", "type", "param", "code"}}``.
    """
    if isinstance(error, NotAuthenticated):
        return _form("Authentication failed.", "authentication_error", None, "invalid_api_key")
    if isinstance(error, Busy):
        return _form(str(error), "rate_limit_error", None, "busy")
    if isinstance(error, NotRecorded):
        return _form(
            "The request can't be recorded now, so it is not answered.", "server_error", None, "not_recorded"
        )
    if isinstance(error, UntrustedInput) and error.http_status < _SERVER and error.http_status != 422:  # noqa: PLR2004 - below
        kind = "not_found_error" if isinstance(error, NotFound) else "invalid_request_error"
        return _form(str(error), kind, error.fields.get("param"), error.fields.get("code") or error.key)
    return _form("The request could not be answered.", "server_error", None, "internal_error")


def status(error: HoldfastError) -> int:
    """Give the HTTP status of an error.

    Args:
        error: What happened.

    Returns:
        A status; 422 (an artefact of ours is at fault) counts as ours.
    """
    return _SERVER if error.http_status == 422 else error.http_status  # noqa: PLR2004 - what UntrustedBundle carries


def response(error: HoldfastError) -> JSONResponse:
    """Answer with an error, and log it where it is ours.

    Args:
        error: What happened.

    Returns:
        The response.
    """
    code = status(error)
    if code >= _SERVER:
        LOGGER.error("%s: %s", error.key, error.message)
    headers = {}
    if isinstance(error, NotAuthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, Busy):
        headers["retry-after"] = str(error.fields["retry_after"])
    return JSONResponse(body(error), code, headers)


def _form(message: str, kind: str, param: Field, code: Field) -> dict[str, Json]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}  # type: ignore[dict-item]  # fields are JSON
