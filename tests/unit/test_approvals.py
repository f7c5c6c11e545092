"""When a signed statement approves a request, with the clock in hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.errors import NotPermitted, UntrustedRequest
from holdfast.governance import approvals
from holdfast.governance.approvals import Statement
from holdfast.governance.people import Person, Role

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOB = Person("bob", (Role.ADMINISTRATOR,), (1,), {}, "f")
EXPECTED = Statement("Site", 7, "bundle.admit", "sha512:" + "0" * 128, "alice", "")


def until(**span):
    return replace(EXPECTED, expires=(NOW + timedelta(**span)).isoformat())


def refusal(statement, approver=BOB):
    with pytest.raises(NotPermitted) as caught:
        approvals.judge(statement, EXPECTED, approver, NOW)
    return caught.value.key


def test_a_statement_about_the_request_counts_until_it_expires():
    approvals.judge(until(hours=1), EXPECTED, BOB, NOW)
    approvals.judge(until(days=7), EXPECTED, BOB, NOW)
    assert refusal(until(seconds=0)) == "approval.expired"
    assert refusal(until(days=7, seconds=1)) == "approval.too-long"


@pytest.mark.parametrize("expires", ["", "soon", "2026-03-01T13:00:00", "2026-13-01T00:00:00Z"])
def test_an_expiry_is_a_time_with_a_zone(expires):
    assert refusal(replace(EXPECTED, expires=expires)) == "approval.expiry"


@pytest.mark.parametrize(
    "change", [{"site": "S"}, {"request": 8}, {"action": "x"}, {"digest": "d"}, {"requester": "olga"}]
)
def test_a_statement_fits_one_request(change):
    assert refusal(replace(until(hours=1), **change)) == "approval.other-request"


def test_nobody_approves_their_own_request_and_a_role_is_needed():
    assert refusal(until(hours=1), replace(BOB, name="alice")) == "approval.own-request"
    assert refusal(until(hours=1), replace(BOB, roles=(Role.OPERATOR,))) == "role.missing"


def test_a_statement_reads_back_and_its_bytes_change_with_every_field():
    statement = until(hours=1)
    assert approvals.parse(statement.to_json()) == statement
    changed = [
        replace(statement, **{name: value})
        for name, value in {"site": "x", "request": 1, "expires": "x"}.items()
    ]
    assert len({one.payload() for one in (statement, *changed)}) == 4


@pytest.mark.parametrize(
    "change", [{"request": "7"}, {"request": True}, {"schema": "x"}, {"more": 1}, {"site": None}]
)
def test_a_malformed_statement_is_refused(change):
    with pytest.raises(UntrustedRequest):
        approvals.parse(until(hours=1).to_json() | change)
    with pytest.raises(UntrustedRequest):
        approvals.parse([])


def test_two_names_with_one_key_are_one_person():
    key = {"ed25519": "aa", "ml-dsa-87": "bb"}
    alice = Person("alice", (Role.ADMINISTRATOR,), (1,), key, "a")
    twin = Person("bob", (Role.ADMINISTRATOR,), (2,), {"ed25519": "cc", "ml-dsa-87": "bb"}, "b")
    other = Person("bob", (Role.ADMINISTRATOR,), (1,), {"ed25519": "cc", "ml-dsa-87": "dd"}, "c")
    approvals.judge(until(hours=1), EXPECTED, other, NOW, requester=alice)
    with pytest.raises(NotPermitted) as caught:
        approvals.judge(until(hours=1), EXPECTED, twin, NOW, requester=alice)
    assert caught.value.key == "approval.same-key"
