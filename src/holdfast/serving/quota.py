"""How much one key may ask for: requests in any minute, tokens on a day, requests at once. Pure: the clocks are injected.

Order of operations for one request: ``begin`` counts it or refuses it; ``accept`` counts its prompt and sets aside what its
answer may take; ``end`` counts what the answer took and gives the rest back. What no model is asked is counted by ``count`` alone.
Invariants: in no 60 seconds more requests begin than a key's quota says, wherever the 60 seconds are cut, and no sooner and no
later than it is told may a refused one come again; what is counted and set aside never exceeds the tokens of the day, so that the
day's quota holds however many answers are under way; what is refused here counts for nothing; a day never comes twice, also when
the clock is set back. The day is that of UTC. Belongs to one event loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.canonical import Json

WINDOW = 60 * 10**9  # nanoseconds in which requests are counted
DAY = 86_400  # seconds
MAX_REQUESTS = 60_000  # a minute, of one key; their moments are held, and no appliance answers as many
MAX_UNASKED = 600  # a minute, of a key without that quota, that no model is asked: each is two events, 1.5 KB of the log
MAX_TOKENS = 10**12  # a day; a hundred times what the fastest appliances compute
MAX_PARALLEL = 4096  # requests at once; no more than can wait in a queue
LIMITS = {"requests_per_minute": MAX_REQUESTS, "tokens_per_day": MAX_TOKENS, "parallel": MAX_PARALLEL}
_EPOCH = date(1970, 1, 1)
SOON = 1  # seconds after which to try again when nobody can know when there is room


@dataclass(frozen=True)
class Quota:
    """What a key may take; None where nothing limits it.

    Args:
        requests_per_minute: Requests that may begin within any 60 seconds.
        tokens_per_day: Tokens read and written on a day (UTC), those that were found in a cache among them.
        parallel: Requests under way at once.
    """

    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    parallel: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Give the quota as plain data.

        Returns:
            All fields.
        """
        return {name: getattr(self, name) for name in LIMITS}


UNLIMITED = Quota()


def parse(value: object) -> Quota:
    """Read a quota from plain data.

    Args:
        value: What ``Quota.to_json`` gives.

    Returns:
        The quota.

    Raises:
        UntrustedRequest: If a field is missing, unknown or out of its bounds.
    """
    if not isinstance(value, dict) or set(value) != set(LIMITS):
        raise _malformed("its fields are not exactly " + ", ".join(LIMITS))
    for name, most in LIMITS.items():
        one = value[name]
        if one is not None and (type(one) is not int or not 1 <= one <= most):
            raise _malformed(f"{name} is neither null nor a whole number from 1 to {most}")
    return Quota(**value)


class OverQuota(UntrustedRequest):
    """A key asks for more than its quota; ``fields["retry_after"]`` says in how many whole seconds to come again."""

    http_status = 429


@dataclass
class _Taken:
    """What one key has taken."""

    tokens: int = 0  # on the day that counts
    aside: int = 0  # for answers under way
    running: int = 0
    begun: deque[int] = field(default_factory=deque)  # moments within the window, in order


class Ticket:
    """One request that was let in; made by ``Quotas.begin``.

    Args:
        quotas: Where it is counted.
        key: The key's id.
        quota: What the key may take.
    """

    def __init__(self, quotas: Quotas, key: str, quota: Quota) -> None:
        self._quotas = quotas
        self._key = key
        self._quota = quota
        self._aside = 0
        self._ended = False

    def accept(self, prompt: int, most: int) -> None:
        """Count the prompt, and set aside what the answer may take.

        Args:
            prompt: Tokens of the prompt, of all prompts together.
            most: Tokens that all answers to it may have together.

        Raises:
            OverQuota: If that exceeds what is left of the day; nothing is counted then.
        """
        if not self._ended:
            self._quotas.take(self._key, self._quota, prompt, most)
            self._aside += most

    def end(self, completion: int = 0) -> None:
        """Count what was written and give the rest back; from the second time on, do nothing.

        Args:
            completion: Tokens of all answers.
        """
        if not self._ended:
            self._ended = True
            self._quotas.leave(self._key, self._aside, completion)


class Quotas:
    """What every key has taken.

    Args:
        monotonic: A clock in nanoseconds that never goes back.
        wall: Seconds since 1970, UTC.
    """

    def __init__(self, monotonic: Callable[[], int], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._taken: dict[str, _Taken] = {}
        self._day = -1

    def seed(self, day: str, used: Mapping[str, int]) -> None:
        """Take over what was counted before this process began.

        Args:
            day: The day on which it was used, ``YYYY-MM-DD``; what was used on another day than today counts for nothing.
            used: Tokens by key.
        """
        if self._today() != day_number(day):
            return
        for key, tokens in used.items():
            found = self._taken.setdefault(key, _Taken())
            found.tokens = max(found.tokens, tokens)

    def begin(self, key: str, quota: Quota) -> Ticket:
        """Let a request in, or refuse it.

        Args:
            key: The key's id.
            quota: What it may take.

        Returns:
            Its ticket, which must be ended.

        Raises:
            OverQuota: If the key has taken all that it may for the time being.
        """
        self._today()
        taken, now = self._taken.setdefault(key, _Taken()), self._monotonic()
        if quota.tokens_per_day is not None and taken.tokens >= quota.tokens_per_day:
            raise self._spent(quota.tokens_per_day)
        _require_room(taken.begun, quota.requests_per_minute, now)
        if quota.parallel is not None and taken.running >= quota.parallel:
            raise OverQuota(
                "serve.quota-parallel",
                f"This key may have {quota.parallel} requests under way at once.",
                remedy="Wait until one of them is answered.",
                retry_after=SOON,
                code="rate_limit_exceeded",
            )
        if quota.requests_per_minute is not None:
            taken.begun.append(now)
        taken.running += 1
        return Ticket(self, key, quota)

    def count(self, key: str, quota: Quota) -> None:
        """Count a request that no model is asked, or refuse it: those of a key without a quota are bounded too.

        Args:
            key: The key's id.
            quota: What it may take.

        Raises:
            OverQuota: If the key has had all requests that it may have for the time being.
        """
        self._today()
        taken, now = self._taken.setdefault(key, _Taken()), self._monotonic()
        if quota.requests_per_minute is None:
            wait = _wait(taken.begun, MAX_UNASKED, now)
            if wait:
                raise OverQuota(
                    "serve.unasked",
                    f"This key has had {MAX_UNASKED} requests in a minute that asked no model, or were refused.",
                    remedy=f"Try again in {wait} seconds, with what is not refused.",
                    retry_after=wait,
                    code="rate_limit_exceeded",
                )
        else:
            _require_room(taken.begun, quota.requests_per_minute, now)
        taken.begun.append(now)

    def take(self, key: str, quota: Quota, prompt: int, most: int) -> None:
        """Count a prompt and set tokens aside; called by tickets.

        Args:
            key: The key's id.
            quota: What it may take.
            prompt: Tokens to be counted.
            most: Tokens to be set aside.

        Raises:
            OverQuota: If they exceed what is left of the day.
        """
        self._today()
        taken = self._taken[key]
        if quota.tokens_per_day is not None:
            if taken.tokens >= quota.tokens_per_day:
                raise self._spent(quota.tokens_per_day)
            left = quota.tokens_per_day - taken.tokens - taken.aside
            if prompt + most > left:
                raise OverQuota(
                    "serve.quota-tokens",
                    f"This key has {max(left, 0)} tokens left for today; the prompt has {prompt} and its answer may have {most}.",
                    remedy="Ask for fewer tokens (max_tokens), or wait until the answers under way have ended.",
                    retry_after=SOON if taken.aside else self._until_tomorrow(),
                    code="rate_limit_exceeded",
                )
        taken.tokens += prompt
        taken.aside += most

    def leave(self, key: str, aside: int, completion: int) -> None:
        """Count an answer and give back what was set aside for it; called by tickets.

        Args:
            key: The key's id.
            aside: Tokens that were set aside.
            completion: Tokens that were written.
        """
        self._today()
        taken = self._taken[key]
        taken.aside -= aside
        taken.tokens += completion
        taken.running -= 1

    def running(self, key: str) -> int:
        """Tell how many requests of a key are under way.

        Args:
            key: The key's id.

        Returns:
            Them.
        """
        taken = self._taken.get(key)
        return 0 if taken is None else taken.running

    def tokens(self, key: str) -> int:
        """Tell how many tokens of today a key has taken.

        Args:
            key: The key's id.

        Returns:
            Them, without what is set aside.
        """
        self._today()
        taken = self._taken.get(key)
        return 0 if taken is None else taken.tokens

    def _today(self) -> int:
        """Give the day, and begin to count anew if it is a new one; what nobody uses is forgotten then."""
        today = max(self._day, int(self._wall() // DAY))
        if today != self._day:
            self._day = today
            edge = self._monotonic() - WINDOW
            self._taken = {
                key: one
                for key, one in self._taken.items()
                if one.running or (one.begun and one.begun[-1] > edge)
            }
            for one in self._taken.values():
                one.tokens = 0
        return today

    def _until_tomorrow(self) -> int:
        return max(SOON, -int((self._wall() - (self._day + 1) * DAY) // 1))

    def _spent(self, limit: int) -> OverQuota:
        wait = self._until_tomorrow()
        return OverQuota(
            "serve.quota-tokens",
            f"This key has used its {limit} tokens of today.",
            remedy=f"The next day (UTC) begins in {wait} seconds; or ask for a larger quota.",
            retry_after=wait,
            code="insufficient_quota",
        )


def day_number(day: str) -> int:
    """Count days.

    Args:
        day: ``YYYY-MM-DD``.

    Returns:
        Days since 1970-01-01.

    Raises:
        UntrustedRequest: If it is no day.
    """
    try:
        return (date.fromisoformat(day) - _EPOCH).days
    except ValueError as error:
        raise _malformed(f"{day[:20]!r} is no day") from error


def _require_room(begun: deque[int], limit: int | None, now: int) -> None:
    """Refuse a request for which there is no place in the window."""
    wait = 0 if limit is None else _wait(begun, limit, now)
    if wait:
        raise OverQuota(
            "serve.quota-requests",
            f"This key may begin {limit} requests in a minute.",
            remedy=f"Try again in {wait} seconds.",
            retry_after=wait,
            code="rate_limit_exceeded",
        )


def _wait(begun: deque[int], limit: int, now: int) -> int:
    """Tell how many whole seconds a request has to wait for its place in the window; forgets what has left it."""
    while begun and now - begun[0] >= WINDOW:
        begun.popleft()
    if len(begun) < limit:
        return 0
    return -(-(begun[-limit] + WINDOW - now) // 10**9)


def _malformed(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "serve.quota", f"A key's quota is refused: {why}.", remedy="Leave out what shall not be limited."
    )
