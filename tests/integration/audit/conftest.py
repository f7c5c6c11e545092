"""A log in a scratch folder, and drafts to put into it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests import recorded

from holdfast.audit import actions
from holdfast.audit.event import Actor, Draft
from holdfast.audit.log import Log
from holdfast.audit.signer import LogSigner

ORIGIN = "holdfast.example/test/0"
SIGNER = LogSigner.generate()


def _clock():
    return datetime.now(UTC), "host"


@pytest.fixture
def signer():
    return SIGNER


@pytest.fixture
def keys():
    return SIGNER.keys(ORIGIN)


@pytest.fixture
def open_log():
    """Open logs that are closed at the end whatever happens."""
    opened = []

    def open_one(folder, **options):
        log = Log.open(folder, **{"origin": ORIGIN, "signer": SIGNER, "clock": _clock, **options})
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def draft():
    """Make a draft; those of denied access tell by their uid which one they are."""

    def make(number, action="access.denied", **fields):
        told = {"uid": number} if action == "access.denied" else {}
        params = recorded.sample(action, **told) if action in actions.REGISTRY else told
        return Draft(action, Actor("alice", 1000, "operator", "s"), params=params, **fields)

    return make
