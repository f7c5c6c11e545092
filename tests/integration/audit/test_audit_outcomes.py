"""Whatever an act leaves behind, its end is on the record: what its outcome may not say is left out."""

from __future__ import annotations

import asyncio

import pytest
from tests import recorded

from holdfast.audit.event import Actor
from holdfast.daemon.recorder import Cancelled, Recorder
from holdfast.errors import NotFound, OperationFailed, UntrustedRequest
from holdfast.governance.state import State

ALICE = Actor("alice", 1000, "administrator", "s")
STRAY = {"stray": 1, "huge": "x" * 100_000}


@pytest.fixture
def log(tmp_path, open_log):
    return open_log(tmp_path / "log")


async def run(log, outcome, error=None):
    """Let an act leave an outcome and end with an error; gives what was raised, and its last event."""
    recorder, raised = Recorder(log, State()), None
    try:
        async with recorder.act(ALICE, "store.gc", recorded.sample("store.gc")) as act:
            act.outcome = outcome
            if error is not None:
                raise error  # noqa: TRY301 - it is what the act does
    except BaseException as caught:  # noqa: BLE001 - an act may end with any
        raised = caught
    intent, *ended = log.events()
    assert (intent.action, log.unfinished()) == ("store.gc", [])
    assert [one.cause for one in ended] == [intent.seq]
    return raised, ended[-1].action, ended[-1].params


async def test_what_was_done_and_can_be_told_is_told(log):
    assert await run(log, {"spared": [], "freed": 7}) == (None, "store.gc.done", {"spared": [], "freed": 7})


@pytest.mark.parametrize(
    "outcome", [{}, {"spared": []}, {"spared": [], "freed": -1}, {"spared": [], "freed": 1} | STRAY]
)
async def test_an_act_whose_outcome_cannot_be_told_has_failed(log, outcome):
    raised, action, params = await run(log, outcome)
    assert isinstance(raised, OperationFailed)
    assert (action, params["error"]) == ("store.gc.failed", "act.outcome")
    assert "can't be recorded" in params["message"]


@pytest.mark.parametrize("outcome", [{}, {"spared": []}, STRAY, {"spared": 7}])
@pytest.mark.parametrize(
    ("error", "ending", "told"),
    [
        (
            NotFound("x.gone", "It is gone.", remedy=""),
            "failed",
            {"error": "x.gone", "message": "It is gone."},
        ),
        (Cancelled("x", "Stop.", remedy="", by="bob"), "cancelled", {"reason": "Stop.", "by": "bob"}),
        (
            Cancelled("x", "\udcff" * 9_000, remedy=""),
            "cancelled",
            {"reason": ("\\udcff" * 9_000)[:4_000], "by": None},
        ),
        (asyncio.CancelledError(), "interrupted", {"reason": "the daemon stopped"}),
    ],
)
async def test_each_end_is_recorded_with_what_may_be_told(log, outcome, error, ending, told):
    raised, action, params = await run(log, outcome, error)
    assert raised is error
    assert (action, params) == (f"store.gc.{ending}", told | (outcome if outcome == {"spared": []} else {}))


async def test_an_act_that_breaks_has_failed(log):
    raised, action, params = await run(log, STRAY, KeyError("x"))
    assert isinstance(raised, KeyError)
    assert (action, params) == ("store.gc.failed", {"error": "internal", "message": "KeyError"})


async def test_an_act_whose_intent_is_wrong_does_not_begin(log):
    with pytest.raises(UntrustedRequest) as caught:
        async with Recorder(log, State()).act(ALICE, "store.gc", {"keep": "all"}):
            raise AssertionError("it ran")
    assert (caught.value.key, log.size) == ("audit.params", 0)
