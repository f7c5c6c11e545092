"""Errors keep their class, key and exit code across a process boundary."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast.errors import HoldfastError, WorkerFailed, from_dict

EXITS = {  # the contract of the command line
    "UntrustedBundle": 3,
    "UntrustedRecipe": 1,
    "UsageRefused": 2,
    "NotAuthenticated": 4,
    "NotPermitted": 4,
    "NotFound": 1,
    "Conflict": 6,
    "VerificationFailed": 3,
    "DaemonUnreachable": 5,
    "Locked": 6,
    "NoSpace": 7,
    "WorkerFailed": 1,
    "NotRecorded": 1,
}


@pytest.mark.parametrize(("name", "code"), EXITS.items())
def test_an_error_crosses_a_boundary_whole(name, code):
    error = getattr(errors, name)("room.case", "It is so.", remedy="Do that.", bytes=7, files=["a"])
    back = from_dict(error.to_dict())
    assert type(back) is type(error)
    assert (back.key, back.message, back.remedy, back.fields) == (
        error.key,
        "It is so.",
        "Do that.",
        error.fields,
    )
    assert back.exit_code == code
    assert str(back) == "It is so. Do that."


@pytest.mark.parametrize(
    "data", [{}, {"type": "SystemExit"}, {"type": 7, "fields": [1]}, {"type": "int", "key": None}]
)
def test_what_is_no_error_of_ours_becomes_a_workers_failure(data):
    assert type(from_dict(data)) is WorkerFailed


def test_the_drawing_at_the_top_names_every_class():
    def below(kind):
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    for kind in below(HoldfastError):
        if kind.__module__ == "holdfast.errors":
            assert kind.__name__ in errors.__doc__
            assert 400 <= kind.http_status < 600
