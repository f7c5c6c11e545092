"""What the command line says of a revoked model: why, since when, and what to use instead."""

from __future__ import annotations

from holdfast.cli import model, serve

REVOKED = {
    "digest": "sha512:" + "1" * 128,
    "kind": "base",
    "name": "tiny",
    "reason": "It leaks.",
    "since": "2026-03-01T12:00:00Z",
    "instead": None,
    "bundle": "late 3",
    "message": "The model tiny was stopped: It leaks.",
    "remedy": "Use base small instead.",
    "advice": "Use base small instead.",
    "excepted": False,
}
LABEL = {"level": "public", "compartments": [], "zones": ["site"]}
RECORD = {
    "kind": "gguf",
    "name": "tiny",
    "version": "1",
    "short": "1111",
    "size": 1,
    "active": True,
    "label": LABEL,
}


def test_a_list_of_models_says_which_are_revoked():
    states = [
        model._rows([RECORD | {"revoked": revoked}])[0][5]
        for revoked in (None, REVOKED, REVOKED | {"excepted": True})
    ]
    assert states == ["active", "REVOKED", "revoked, excepted"]


def test_the_page_of_one_model_says_why_and_what_to_do():
    text = "\n".join(model._revocation(REVOKED))
    assert "revoked since 2026-03-01T12:00:00Z by late 3" in text
    assert "It leaks." in text
    assert "Use base small instead." in text
    assert model._revocation(None) == []


def test_the_status_of_serving_says_what_was_stopped():
    lines = serve._models([{"id": "tiny", "revoked": REVOKED}, {"id": "small", "revoked": None}])
    assert lines == [
        "  tiny  STOPPED",
        "    The model tiny was stopped: It leaks.",
        "    Use base small instead.",
        "  small",
    ]
