"""Sessions with a clock in hand."""

from __future__ import annotations

import pytest

from holdfast.daemon import sessions
from holdfast.daemon.sessions import Sessions
from holdfast.errors import NotAuthenticated
from holdfast.governance import sessions as statement
from holdfast.governance.people import Person, Role
from holdfast.governance.state import State
from holdfast.keys import person

UID = 1000


@pytest.fixture(scope="module")
def pair():
    return person.generate("olga")


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def desk(pair, clock):
    state = State()
    state.site = "Harbour"
    state.people["olga"] = Person(
        "olga", (Role.OPERATOR,), (UID, 7), pair.public.to_json(), pair.public.fingerprint
    )
    return Sessions(state, lambda: clock[0])


def answer(desk, pair, challenge=None):
    challenge = challenge or desk.challenge("olga")["challenge"]
    payload = statement.payload(site="Harbour", person="olga", challenge=challenge)
    return "olga", challenge, [*person.sign(pair, statement.DOMAIN, payload)]


def test_a_session_is_one_persons_from_one_local_user_until_it_ends(desk, pair, clock):
    session, token = desk.open(*answer(desk, pair), UID)
    assert desk.find(token, UID) is session
    assert session.actor("train.run").role == "operator"
    for other in (7, 0):
        with pytest.raises(NotAuthenticated):
            desk.find(token, other)
    with pytest.raises(NotAuthenticated):
        desk.find(session.name, UID)
    assert token not in repr(vars(desk))
    clock[0] = sessions.SESSION_SECONDS
    with pytest.raises(NotAuthenticated):
        desk.find(token, UID)
    assert desk.open_count == 0


def test_a_local_user_who_is_not_the_persons_is_refused_with_the_right_key(desk, pair):
    with pytest.raises(NotAuthenticated):
        desk.open(*answer(desk, pair), 1001)


def test_a_challenge_lasts_a_minute_and_is_used_once_even_by_a_failure(desk, pair, clock):
    late = answer(desk, pair)
    clock[0] = sessions.CHALLENGE_SECONDS
    with pytest.raises(NotAuthenticated):
        desk.open(*late, UID)
    who, challenge, signed = answer(desk, pair)
    with pytest.raises(NotAuthenticated):
        desk.open(who, challenge, [], UID)
    with pytest.raises(NotAuthenticated):
        desk.open(who, challenge, signed, UID)


def test_challenges_are_bounded_and_ended_sessions_are_forgotten(desk, pair, clock):
    first = desk.challenge("olga")["challenge"]
    for _ in range(sessions.MAX_CHALLENGES):
        desk.challenge("anybody")
    with pytest.raises(NotAuthenticated):
        desk.open(*answer(desk, pair, first), UID)
    for _ in range(3):
        desk.open(*answer(desk, pair), UID)
        clock[0] += sessions.SESSION_SECONDS
    assert len(desk._sessions) == 1
    assert len(desk._challenges) <= sessions.MAX_CHALLENGES


def test_closing_ends_it_at_once(desk, pair):
    _, token = desk.open(*answer(desk, pair), UID)
    desk.close(token)
    desk.close(token)
    with pytest.raises(NotAuthenticated):
        desk.find(token, UID)
