"""The time floor: what raises it alone, and what two people must agree on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from holdfast.errors import NotPermitted, UntrustedBundle, UsageRefused
from holdfast.trust import floor

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_now_is_never_before_the_floor():
    assert floor.now(NOW, None) == NOW
    assert floor.now(NOW, NOW - DAY) == NOW
    assert floor.now(NOW, NOW + DAY) == NOW + DAY


def test_a_manifest_raises_the_floor_to_its_own_time():
    assert floor.raised(NOW, None, NOW - 9 * DAY, NOW + DAY) == NOW - 9 * DAY
    assert floor.raised(NOW, NOW - 9 * DAY, NOW - DAY, NOW + DAY) == NOW - DAY
    assert floor.raised(NOW, NOW - DAY, NOW - 9 * DAY, NOW + DAY) == NOW - DAY


def test_the_expiry_caps_what_a_manifest_says():
    assert floor.raised(NOW, None, NOW + 90 * DAY, NOW + DAY) == NOW + DAY


def test_a_jump_needs_two_people_and_the_remedy_says_how():
    assert floor.raised(NOW, None, NOW + floor.MAX_JUMP, NOW + 900 * DAY) == NOW + floor.MAX_JUMP
    with pytest.raises(UntrustedBundle) as caught:
        floor.raised(NOW, None, NOW + 401 * DAY, NOW + 900 * DAY)
    assert caught.value.key == "trust.floor-jump"
    assert "holdfast exception ask floor 2028-04-05T12:00:00Z" in caught.value.remedy
    agreed = floor.set_by_two(NOW + 401 * DAY, ("Ada", "Bo"))
    assert floor.raised(NOW, agreed, NOW + 401 * DAY, NOW + 900 * DAY) == NOW + 401 * DAY


def test_the_floor_itself_is_what_a_jump_is_measured_from():
    assert floor.raised(NOW - 5000 * DAY, NOW, NOW + 9 * DAY, NOW + 90 * DAY) == NOW + 9 * DAY


def test_the_log_raises_the_floor_and_never_far():
    assert floor.witnessed(None, NOW) == NOW
    assert floor.witnessed(NOW, NOW + DAY) == NOW + DAY
    assert floor.witnessed(NOW, NOW - DAY) == NOW
    assert floor.witnessed(NOW, NOW + 401 * DAY) == NOW


def test_two_people_raise_and_lower_it():
    assert floor.set_by_two(NOW - 300 * DAY, ["Ada", "Bo"]) == NOW - 300 * DAY
    assert floor.set_by_two(NOW + 3000 * DAY, {"Ada", "Bo", "Cy"}) == NOW + 3000 * DAY
    east = NOW.astimezone(timezone(timedelta(hours=2))).replace(microsecond=7)
    assert floor.set_by_two(east, ("Ada", "Bo")) == NOW
    assert floor.set_by_two(east, ("Ada", "Bo")).tzinfo is UTC


@pytest.mark.parametrize("people", [(), ("Ada",), ("Ada", "Ada")])
def test_one_person_can_not(people):
    with pytest.raises(NotPermitted) as caught:
        floor.set_by_two(NOW, people)
    assert caught.value.key == "trust.floor-alone"


@pytest.mark.parametrize(
    "wanted",
    [datetime(1970, 1, 1, tzinfo=UTC), datetime(2207, 3, 1, tzinfo=UTC), NOW.replace(tzinfo=None)],
)
def test_two_people_can_not_agree_on_nonsense(wanted):
    with pytest.raises(UsageRefused) as caught:
        floor.set_by_two(wanted, ("Ada", "Bo"))
    assert caught.value.key == "trust.floor-range"
