"""Sessions: a person proves to hold their key; the kernel says as which local user they come.

Order of operations: ``challenge`` gives random text, once and for a minute; ``open`` checks both signatures over it, that
the person is known and may come as that user. Invariants: a challenge is used once; a session belongs to one person and one
uid and is refused from any other; tokens are kept only as hashes; refusals do not say which part was wrong.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.audit.event import Actor
from holdfast.errors import NotAuthenticated
from holdfast.governance import sessions as statement
from holdfast.keys import person as keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.governance.people import Person
    from holdfast.governance.state import State

CHALLENGE_SECONDS = 60.0
SESSION_SECONDS = 8 * 3600.0  # a working day
MAX_CHALLENGES = 256  # open at once; they are asked for without proof, so they are bounded


@dataclass(frozen=True)
class Session:
    """An open session.

    Args:
        name: Public name, recorded in events.
        person: Whose it is.
        uid: The local user that opened it.
        ends: Monotonic time at which it ends.
    """

    name: str
    person: Person
    uid: int
    ends: float

    def actor(self, act: str) -> Actor:
        """Give the actor under which an act is recorded.

        Args:
            act: The act's name.

        Returns:
            The person in the role that grants it.
        """
        return Actor(
            person=self.person.name, uid=self.uid, role=self.person.role_for(act).value, session=self.name
        )

    def visitor(self) -> Actor:
        """Give the actor of what needs no grant: coming and going.

        Returns:
            The person in the first of their roles.
        """
        return Actor(
            person=self.person.name, uid=self.uid, role=self.person.roles[0].value, session=self.name
        )


class Sessions:
    """All open sessions of this daemon's life.

    Args:
        state: The fold, for the people.
        monotonic: A clock in seconds.
    """

    def __init__(self, state: State, monotonic: Callable[[], float]) -> None:
        self._state = state
        self._monotonic = monotonic
        self._challenges: dict[str, tuple[str, float]] = {}
        self._sessions: dict[bytes, Session] = {}

    def challenge(self, person: str) -> dict[str, Json]:
        """Give a challenge to sign.

        Args:
            person: Who will sign. Not checked: an answer for a stranger fails later, without telling why.

        Returns:
            The site's name and the challenge.
        """
        now = self._monotonic()
        self._challenges = {text: found for text, found in self._challenges.items() if found[1] > now}
        while len(self._challenges) >= MAX_CHALLENGES:
            self._challenges.pop(next(iter(self._challenges)))
        text = secrets.token_hex(32)
        self._challenges[text] = (person, now + CHALLENGE_SECONDS)
        return {"site": self._state.site or "", "challenge": text}

    def open(
        self, person: str, challenge: str, signatures: list[dict[str, str]], uid: int
    ) -> tuple[Session, str]:
        """Open a session.

        Args:
            person: Who signed.
            challenge: The text that was signed.
            signatures: Both signatures.
            uid: The local user of the connection.

        Returns:
            The session, and its token, which is not kept.

        Raises:
            NotAuthenticated: If anything is wrong.
        """
        asked, ends = self._challenges.pop(challenge, ("", 0.0))
        known = self._state.people.get(person)
        if asked != person or ends <= self._monotonic() or known is None or uid not in known.uids:
            raise _refused()
        try:
            keys.verify(
                keys.public_from_json(known.key),
                statement.DOMAIN,
                statement.payload(site=self._state.site or "", person=person, challenge=challenge),
                [dict(signature) for signature in signatures],
                error=NotAuthenticated,
            )
        except NotAuthenticated as error:
            raise _refused() from error
        token = secrets.token_urlsafe(32)
        now = self._monotonic()
        self._sessions = {name: one for name, one in self._sessions.items() if one.ends > now}
        session = Session(secrets.token_hex(8), known, uid, now + SESSION_SECONDS)
        self._sessions[_hash(token)] = session
        return session, token

    def find(self, token: str, uid: int) -> Session:
        """Find the session of a request.

        Args:
            token: What the request carries.
            uid: The local user of the connection.

        Returns:
            The session.

        Raises:
            NotAuthenticated: If there is none, it has ended, or it is another user's.
        """
        session = self._sessions.get(_hash(token))
        if session is None or session.uid != uid or session.ends <= self._monotonic():
            raise _refused()
        return session

    def close(self, token: str) -> None:
        """End a session.

        Args:
            token: Its token.
        """
        self._sessions.pop(_hash(token), None)

    @property
    def open_count(self) -> int:
        """Sessions open now."""
        now = self._monotonic()
        return sum(session.ends > now for session in self._sessions.values())


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _refused() -> NotAuthenticated:
    return NotAuthenticated(
        "session.refused",
        "No session was opened or found for this person and local user.",
        remedy="Check the person's name (--as), their key and passphrase, and that site.toml allows your user for them.",
    )
