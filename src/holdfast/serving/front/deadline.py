"""How long a client waits: the header ``x-request-timeout``, in seconds. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "x-request-timeout"
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")


def read(headers: Mapping[str, str]) -> float | None:
    """Read a request's deadline.

    Args:
        headers: Its headers.

    Returns:
        Seconds from its arrival; None if it names none.

    Raises:
        UntrustedRequest: If it is no positive decimal number.
    """
    text = headers.get(HEADER)
    if text is None:
        return None
    if not _SECONDS.fullmatch(text) or not (seconds := float(text)):
        raise UntrustedRequest(
            "serve.deadline-malformed",
            f"The header {HEADER} is not a number of seconds.",
            remedy="Send seconds as a decimal number above 0, below 1,000,000.",
            code="invalid_value",
        )
    return seconds
