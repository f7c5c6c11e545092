"""A log in a scratch folder, and drafts to put into it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

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
    """Make a draft that tells which one it is."""

    def make(number, action="access.denied", **fields):
        return Draft(action, Actor("alice", 1000, "operator", "s"), params={"number": number}, **fields)

    return make
