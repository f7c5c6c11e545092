"""The main job, end to end, by the command line alone: the demo once, then its home in other hands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from holdfast.cli import service
from holdfast.errors import DaemonUnreachable
from holdfast.paths import Home

pytestmark = [pytest.mark.model, pytest.mark.timeout(3000)]

CONTRACT = {
    "bundle": {"digest", "verified", "volumes"},
    "training": {"run", "adapter_digest", "replayed_digest", "steps", "tokens_per_second"},
    "evaluation": {"suite", "before", "after", "general_before", "general_after", "gate"},
    "gguf": {"quantization", "kl", "top1"},
    "serving": {"answer", "tokens_per_second", "receipt_seq"},
    "audit": {"size", "root", "verified"},
    "report": {"pdf", "verified"},
}


class Told:
    """What the demo left, and commands about it."""

    def __init__(self, folder, result):
        self.folder, self.result = folder, result
        self.home = Home(folder / "home")

    def run(self, *words, who=None, code=0, **more):
        environment = {
            **os.environ,
            "HOLDFAST_HOME": str(self.home.root),
            "HOLDFAST_KEYS": str(self.folder / "keys"),
            "HOLDFAST_PASSPHRASE_FILE": str(self.folder / "keys" / "passphrase"),
            **more,
        }
        done = subprocess.run(
            [sys.executable, "-m", "holdfast.cli", *(("--as", who) if who else ()), *words],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-4000:])
        return done

    def json(self, *words, who=None, **more):
        return json.loads(self.run(*words, "--json", who=who, **more).stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo once."""
    folder = tmp_path_factory.mktemp("demo")
    told = Told(folder, {})
    done = told.run("demo", "--json", "--out", str(folder))
    told.result = json.loads(done.stdout)
    yield told
    with suppress(DaemonUnreachable):
        service.stop(told.home)


@pytest.fixture(scope="module")
def up(demo):
    """Bring its home up again."""
    demo.run("up")
    return demo


def test_the_demo_prints_the_contracts_object_and_keeps_its_promises(demo):
    found = demo.result
    assert set(found) == {*CONTRACT, "seconds"}
    for name, keys in CONTRACT.items():
        assert keys <= set(found[name]), name
    training, evaluation = found["training"], found["evaluation"]
    assert training["adapter_digest"] == training["replayed_digest"]
    assert training["adapter_digest"].startswith("sha512:")
    assert evaluation["after"] >= 0.90 > evaluation["before"] + 0.5
    assert evaluation["general_before"] - evaluation["general_after"] <= 0.02
    assert evaluation["gate"] == "go"
    assert found["bundle"]["verified"] is True
    assert found["audit"]["verified"] is True
    assert found["report"]["verified"] is True
    assert found["serving"]["answer"]
    assert found["gguf"]["kl"] < 0.1


def test_it_leaves_no_daemon_behind(demo):
    assert not service.running(demo.home)
    assert not demo.home.socket.exists()


def test_its_log_answer_and_medium_verify_with_no_daemon(demo, tmp_path):
    assert demo.json("audit", "verify", str(demo.home.log))["verified"] is True
    proof, keys = demo.folder / "answer.tlog-proof", demo.home.log / "log.pub"
    assert demo.json("audit", "verify", str(proof), "--keys", str(keys))["verified"] is True
    spoiled = tmp_path / "spoiled"
    data = bytearray(proof.read_bytes())
    data[len(data) // 8] ^= 1  # inside the event, which comes first
    spoiled.write_bytes(bytes(data))
    demo.run("audit", "verify", str(spoiled), "--keys", str(keys), code=3)
    copy = shutil.copytree(demo.home.log, tmp_path / "log")
    segment = max(copy.glob("*.seg"), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 3] ^= 1
    segment.write_bytes(bytes(data))
    assert json.loads(demo.run("audit", "verify", str(copy), "--json", code=3).stdout)["verified"] is False


def test_its_report_verifies_and_a_changed_one_does_not(demo, tmp_path):
    report = demo.folder / "report"
    assert demo.json("report", "verify", str(report))["ok"] is True
    for name in sorted(path.name for path in report.iterdir()):
        copy = shutil.copytree(report, tmp_path / name)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(bytes(data))
        demo.run("report", "verify", str(copy), code=3)
    copy = shutil.copytree(report, tmp_path / "more")
    (copy / "extra.txt").write_text("unlisted")
    demo.run("report", "verify", str(copy), code=3)


def test_the_run_is_shown_with_its_manifest_and_gate(up):
    run = up.result["training"]["run"]
    listed = up.json("train", "list", who="aude")["runs"]
    assert [(one["run"], one["state"], one["gate"]["go"]) for one in listed] == [(run, "done", True)]
    shown = up.json("train", "show", run, who="olga")
    assert shown["result"]["adapter"] == up.result["training"]["adapter_digest"]
    assert shown["gate"]["go"] is True
    assert shown["manifest"]
    assert up.json("train", "show", str(listed[0]["number"]), who="olga")["artefact"] == shown["artefact"]


def test_the_lineage_of_what_was_served_goes_back_to_base_and_data(up):
    adapter = up.result["training"]["adapter_digest"]
    lineage = up.json("model", "lineage", adapter, who="aude")
    assert {one["kind"] for one in lineage} >= {"adapter", "base", "tokenizer", "dataset", "recipe", "run"}
    listed = up.json("model", "list", who="aude")["artefacts"]
    assert all(one["active"] for one in listed)
    assert {one["kind"] for one in listed} >= {"gguf", "evaluation", "suite"}


def test_the_index_agrees_with_the_log(up):
    query = (
        "SELECT action, count(*) AS n FROM events WHERE action LIKE 'train.%' GROUP BY action ORDER BY action"
    )
    rows = up.json("audit", "sql", query, who="aude")["rows"]
    assert [tuple(row) for row in rows] == [
        ("train.replay", 1),
        ("train.replay.done", 1),
        ("train.run", 1),
        ("train.run.done", 1),
    ]
    events = up.json("audit", "log", "--action", "gate.decided", who="aude")["events"]
    assert len(events) == 1
    verified = up.json("audit", "verify", who="aude")
    assert verified["verified"] is True
    assert verified["size"] > up.result["audit"]["size"]
    proof = up.folder / "gate.tlog-proof"
    up.run("audit", "prove", str(events[0]["seq"]), "--out", str(proof), who="aude")
    assert up.json("audit", "verify", str(proof), "--keys", str(up.home.log / "log.pub"))["verified"] is True


def test_the_model_is_served_again_and_answers_the_same(up):
    run = str(up.json("train", "list", who="olga")["runs"][0]["number"])
    served = up.json("serve", "start", "--adapter", run, who="olga")
    try:
        assert [one["id"] for one in served["models"]] == ["starter", up.result["serving"]["model"]]
        key = up.json("serve", "keys", "create", "--tenant", "desk", who="olga")
        question, model = up.result["serving"]["question"], up.result["serving"]["model"]
        told = up.json("ask", question, "--model", model, HOLDFAST_API_KEY=key["secret"])
        assert told["answer"] == up.result["serving"]["answer"]
        assert told["answer_seq"] > told["request_seq"]
        assert up.run("bundle", "rollback", "--to", "1", who="alice", code=6)
        up.run("ask", question, "--model", model, code=4, HOLDFAST_API_KEY="hf-wrong")
        up.json("serve", "keys", "revoke", key["key"], who="alice")
        up.run("ask", question, "--model", model, code=4, HOLDFAST_API_KEY=key["secret"])
    finally:
        up.run("serve", "stop", who="olga")
    assert up.json("serve", "status", who="olga")["running"] is False


def test_there_is_no_generation_before_the_first_to_go_back_to(up):
    done = up.run("bundle", "rollback", "--json", who="alice", code=1)
    assert json.loads(done.stderr)["error"]["key"] == "bundle.no-generation"
    medium = str(up.folder / "media" / "starter")
    again = up.json("bundle", "import", medium, who="alice")["request"]
    up.run("bundle", "admit", str(again), who="alice", code=4)
    assert up.json("bundle", "admit", str(again), who="bob")["generation"] == 2
    assert up.json("bundle", "rollback", who="bob") == {"generation": 1, "from": 2}
    up.run("bundle", "rollback", "--to", "2", who="bob")
    assert up.json("status")["generation"] == 2
