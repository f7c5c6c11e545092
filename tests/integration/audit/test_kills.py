"""SIGKILL of the daemon, its index worker, its front and its engine under load: a few rounds of what ``make soak`` does 500 times."""

from __future__ import annotations

import json

import pytest
from scripts.kills import evidence
from scripts.kills.evidence import Broken, Seen
from scripts.kills.load import Acked
from scripts.soak_kills import Soak
from tests import recorded

from holdfast.audit.event import Actor, Draft

ROUNDS = 2  # for each victim
APP = Actor("key-1", None, "application")


@pytest.mark.model
@pytest.mark.timeout(600)
async def test_nothing_acknowledged_is_lost_whoever_is_killed(tmp_path):
    soak = Soak(tmp_path, seed=4)
    soak.prepare()
    await soak.found()
    for victim in (*("daemon", "serve", "index") * ROUNDS, "engine"):
        await soak.round(victim)
    assert soak.counts["killed daemon"] >= ROUNDS
    assert soak.counts["killed serve"] == ROUNDS
    assert soak.counts["killed engine"] == 1
    assert len(soak.acked.answered) > 0
    assert len(soak.acked.scrubs) > 0
    assert len(soak.acked.reads) > 0
    events = evidence.check(soak.home.log, soak.acked, Seen())
    served = {event["source"]["run"] for event in events if event["source"]["name"] == "serve"}
    assert len(served) >= 3 * ROUNDS  # every server counts in a run of its own
    ends = {event["action"] for event in events}
    assert {"answer.done", "answer.interrupted", "daemon.heartbeat"} <= ends


@pytest.fixture
def told(tmp_path, open_log):
    """A log with an answer that was acknowledged, and what its client knows of it."""
    log = open_log(tmp_path / "log")
    intent = log.append(Draft("answer", APP, params=recorded.sample("answer")))
    done = log.append(Draft("answer.done", APP, params=recorded.sample("answer.done"), cause=intent.seq))
    log.checkpoint()
    acked = Acked(asked={intent.seq}, answered={done.seq: (intent.seq, done.leaf)})
    return log, tmp_path / "log", acked


def test_the_look_after_a_kill_sees_what_it_is_to_see(told):
    """Otherwise all rounds would be in vain."""
    log, folder, acked = told
    seen = Seen()
    assert len(evidence.check(folder, acked, seen)) == 2
    for changed, words in (
        (Acked(scrubs={0}), "acknowledged store.scrub"),
        (Acked(asked={7}), "acknowledged answer"),
        (Acked(reads={"mark"}), "acknowledged reads"),
        (Acked(answered={1: (0, "sha256:" + "0" * 64)}), "acknowledged answer 1"),
    ):
        with pytest.raises(Broken, match=words):
            evidence.check(folder, changed, Seen())
    with pytest.raises(Broken, match="gone or others"):
        evidence.check(folder, acked, Seen(["sha256:" + "0" * 64]))
    log.append(Draft("answer", APP, params=recorded.sample("answer")))
    with pytest.raises(Broken, match="without outcome"):
        evidence.check(folder, acked, seen)
    path = next(folder.glob("*.seg"))
    path.write_bytes(path.read_bytes().replace(b'"answer.done"', b'"answer.dome"'))
    with pytest.raises(Broken, match=r"verify\.py"):
        evidence.check(folder, acked, Seen())


def test_a_producer_that_skips_a_count_is_seen():
    def event(count):
        return json.loads(f'{{"seq": {count}, "source": {{"name": "serve", "run": "r", "count": {count}}}}}')

    evidence._counted([event(0), event(1)])
    for counts in ((0, 2), (1,), (0, 0)):
        with pytest.raises(Broken, match="is number"):
            evidence._counted([event(count) for count in counts])
