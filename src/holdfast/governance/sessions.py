"""What a person signs to open a session. Pure."""

from __future__ import annotations

from holdfast import canonical

DOMAIN = "holdfast.session/1"


def payload(*, site: str, person: str, challenge: str) -> bytes:
    """Give the bytes of a challenge's answer.

    Args:
        site: The site's name, so that an answer is worth nothing elsewhere.
        person: Who opens the session.
        challenge: The daemon's random text.

    Returns:
        RFC 8785 bytes.
    """
    return canonical.encode({"schema": DOMAIN, "site": site, "person": person, "challenge": challenge})
