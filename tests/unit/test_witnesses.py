"""The site's witnesses, folded from the log, and when it has gone without one for too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.audit.event import Actor, Event, Source
from holdfast.governance.state import State
from holdfast.governance.witnesses import OVERDUE

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ["ada+00000001+AAAA", "ada+00000002+BBBB"]


def fold(*told):
    state = State()
    for seq, (action, moment, params) in enumerate(told):
        state.apply(
            Event(
                action=action,
                actor=Actor("aude", 1000, "auditor"),
                params=params,
                seq=seq,
                time=moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                clock="host",
                source=Source("daemon", "0" * 16, seq),
            )
        )
    return state.witnesses


def added(name="ada", moment=START):
    return "audit.witness.added", moment, {"name": name, "keys": [*KEYS]}


def cosigned(name="ada", size=10, moment=START, origin="log"):
    told = {
        "witness": name,
        "origin": origin,
        "size": size,
        "root": "ab",
        "time": int(moment.timestamp()),
        "note": "n",
    }
    return "audit.cosigned", moment, told


def test_the_fold_keeps_what_each_witness_cosigned_last():
    found = fold(added(), added("bo"), cosigned(size=10), cosigned(size=25)).known
    assert found["ada"].keys == (*KEYS,)
    assert (found["ada"].size, found["ada"].root, found["ada"].origin, found["ada"].note) == (
        25,
        "ab",
        "log",
        "n",
    )
    assert (found["bo"].size, found["bo"].time) == (0, None)


def test_who_is_removed_or_unknown_is_not_there_and_who_comes_again_begins_anew():
    removed = ("audit.witness.removed", START, {"name": "ada", "reason": "retired"})
    assert fold(added(), removed, removed).known == {}
    assert fold(cosigned()).known == {}
    assert fold(added(), cosigned(), removed, cosigned()).known == {}
    assert fold(added(), cosigned(), removed, added()).known["ada"].size == 0


def test_a_site_without_witnesses_is_not_told_of_them():
    assert fold().overdue(START + timedelta(days=1000)) is None


@pytest.mark.parametrize("late", [timedelta(seconds=1), timedelta(days=30)])
def test_nobody_for_a_week_is_told_from_the_last_cosignature_or_the_adding(late):
    found = fold(added())
    assert found.overdue(START + OVERDUE) is None
    assert "ada" in str(found.overdue(START + OVERDUE + late))
    found = fold(added(), added("bo"), cosigned("bo", 99, START + timedelta(days=2)))
    assert found.overdue(START + timedelta(days=2) + OVERDUE) is None
    told = str(found.overdue(START + timedelta(days=2) + OVERDUE + late))
    assert "bo, at 99 events" in told
    assert f"{(OVERDUE + late).days} days" in told
    assert "--witness" in told


def test_a_clock_that_was_set_back_raises_no_alarm():
    assert fold(added(), cosigned()).overdue(START - timedelta(days=400)) is None
