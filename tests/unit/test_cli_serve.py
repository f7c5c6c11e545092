"""What ``holdfast serve status`` writes for people when something is amiss."""

from __future__ import annotations

from tests.tui.served import engines

from holdfast.cli.serve import lines

FOUND = {
    "running": True,
    "address": "http://127.0.0.1:8600",
    "models": [],
    "left_out": {"permits": "its adapter was revoked"},
    "budget": 4_000_000_000,
    "parallel": 8,
    "front": {"pid": 7, "deaths": 2},
    "active": 1,
    "queued": 0,
    "served": 5,
    "ended": None,
}


def test_what_was_taken_out_lacks_an_adapter_or_died_is_told():
    listed = [
        {
            **one,
            "lacking": [{"adapter": "sha512:aa", "why": "It takes no adapter.", "remedy": "Merge it."}] * at,
        }
        for at, one in enumerate(engines(trouble=True))
    ]
    told = lines({**FOUND, "engines": listed})
    assert "  permits is not served: its adapter was revoked" in told
    assert "  See the daemon's log; bring it back with `holdfast serve load wide`." in told
    assert told[told.index("  It takes no adapter.") + 1] == "  Merge it."
    assert told[-2:] == [
        "Engines may take 4.0 GB together; each computes 8 sequences side by side.",
        "active 1  queued 0  served 5  deaths of the front 2",
    ]
    shown = {"certificate": "sha256:" + "ab" * 32, "until": "2027-03-01T12:30:00.000000Z"}
    told = lines({**FOUND, "engines": [], "certificate": shown})
    assert told[-2] == "Certificate sha256:abababababababab, valid until 2027-03-01 12:30 UTC."
    space = {"level": "stopped", "free": 6_000_000, "low": 9, "reserve": 67_000_000, "failure": None}
    told = lines({**FOUND, "engines": [], "space": space})
    assert told[-1] == (
        "Nothing is answered: no acts begin: 6.0 MB free beside the audit log, less than its reserve of 67.0 MB;"
        " free some space"
    )
    assert not any(
        "answered" in line for line in lines({**FOUND, "engines": [], "space": {**space, "level": "low"}})
    )
    failed = lines({**FOUND, "engines": [], "space": {**space, "level": "low", "failure": "It is full."}})
    assert failed[-1].startswith("Nothing is answered: It is full.")
    assert lines({"running": False, "ended": "The front ended 3 times."})[0] == "The front ended 3 times."
