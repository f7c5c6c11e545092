"""One daemon for one home, and what a person is told when it is not so."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import psutil
import pytest
from scripts.crafted import gguffile
from tests import recorded

from holdfast.artefact import Kind
from holdfast.audit.event import Actor
from holdfast.confine.spec import WorkerSpec
from holdfast.daemon import intake

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "duckdb",
    "pyarrow",
    "llama_cpp",
    "typst",
    "numpy",
}


def told(done):
    """Read the error that a command with --json printed."""
    assert done.stdout == ""
    return json.loads(done.stderr.splitlines()[-1])["error"]


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (("status",), None),
        (("down",), None),
        (("bundle", "list"), "alice"),
        (("bundle", "import", "x"), "alice"),
        (("train", "list"), "olga"),
        (("audit", "log"), "aude"),
        (("report", "residency", "--out", "r"), "aude"),
        (("serve", "status"), "olga"),
    ],
)
def test_without_a_daemon_a_command_says_how_to_start_one(place, words, who):
    place.site_document()
    place.keys = place.folder / "nowhere"  # nobody's key is looked for before
    error = place.refused(*words, who=who, code=5)
    assert error["key"] == "daemon.unreachable"
    assert str(place.home.root) in error["message"] + error["remedy"]
    assert words == ("down",) or f"--home {place.home.root} up" in error["remedy"]


def test_who_only_asks_and_is_held_up_keeps_no_daemon_from_starting(founded):
    with founded.home.lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        asker = threading.Timer(3, fcntl.flock, (file, fcntl.LOCK_UN))
        asker.start()
        try:
            assert founded.told("up")["pid"]
        finally:
            asker.cancel()
            asker.join()


def test_a_second_daemon_on_one_home_is_refused_and_the_first_goes_on(founded):
    first = founded.told("up")["pid"]
    for command in ("up", "daemon"):
        error = told(founded.run(command, "--json", code=6))
        assert error["key"] == "daemon.locked"
        assert error["fields"]["home"] == str(founded.home.root)
    assert founded.told("status")["site"] == "Test site"
    assert founded.told("doctor")["daemon"] == first
    os.kill(first, signal.SIGKILL)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(first).wait(120)
    assert (
        told(founded.run("status", "--json", code=5))["key"] == "daemon.unreachable"
    )  # its socket is still there
    assert founded.home.socket.exists()
    assert founded.told("up")["pid"] != first
    assert founded.told("down")["stopped"] != first


def test_up_founds_a_home_from_its_document_and_says_what_is_wrong_with_it(place):
    document = place.site_document()
    right = document.read_text()

    def refused(text, code=1):
        document.write_text(text)
        return told(place.run("up", "--site", str(document), "--json", code=code))

    assert told(place.run("up", "--json", code=1))["key"] == "home.not-founded"
    assert refused(right.replace("schema", "scheme"))["key"] == "site.form"
    assert "media_roots" in refused(right.replace(str(place.media_root), "media"))["message"]
    assert "same name" in refused(right.replace('"bob"', '"alice"'))["message"]
    assert refused(right.replace("keys/bob.pub", "../bob.pub"))["key"] == "site.key"
    assert refused(right.replace("keys/bob.pub", "keys/nobody.pub"))["key"] == "cli.file"
    # What only the daemon can see is still corrected in the document, because nothing was founded on it.
    assert refused(right.replace("keys/bob.pub", "keys/olga.pub"))["key"] == "site.holder"
    assert not place.home.founded.exists()
    document.write_text(right)
    place.told("up", "--site", str(document))
    assert place.told("status")["people"]["olga"] == ["operator"]
    place.run("down")
    assert refused(right.replace("Test site", "Other site"), code=6)["key"] == "home.founded"


def test_a_port_in_use_is_a_conflict_and_nothing_is_served(stocked):
    stocked_models(stocked)
    stocked.run("up")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asked = ("serve", "start", "--model", "tiny", "--type", "q8_0", "--port", str(port), "--json")
        done = stocked.run(*asked, who="olga", code=6)
    error = told_last(done)
    assert (error["key"], error["fields"]["port"]) == ("serve.port", port)
    assert "stop what listens there" in error["remedy"]
    for host in ("203.0.113.9", "a" * 70):
        asked = ("serve", "start", "--model", "tiny", "--type", "q8_0", "--host", host, "--json")
        error = told_last(stocked.run(*asked, who="olga", code=6))
        assert error["key"] == "serve.port"
        assert "--host" in error["remedy"]
    status = stocked.told("serve", "status", who="olga")
    assert (status["running"], status["address"]) == (False, None)
    stocked.run("serve", "stop", who="olga", code=6)


def told_last(done):
    return json.loads(done.stderr.splitlines()[-1])["error"]


def stocked_models(place):
    """Record a conversion of the tiny base whose file is no model: nobody loads it before the port is bound."""
    import asyncio

    async def work():
        async with place.open() as daemon:
            base = daemon.state.resolve("tiny", Kind.BASE)
            made = place.folder / "q8_0.gguf"
            made.write_bytes(gguffile.model(width=8).pack())
            found = await intake.adopt(
                daemon.services,
                Kind.GGUF,
                "tiny",
                "1",
                {"q8_0.gguf": made},
                label=base.label,
                parents=(base.digest,),
                meta={"base": base.digest, "quantization": "q8_0", "part": "model"},
            )
            olga = Actor(person="olga", uid=0, role="operator", session="s")
            async with daemon.services.recorder.act(
                olga, "model.quantize", recorded.sample("model.quantize")
            ) as act:
                act.outcome = recorded.sample("model.quantize.done", artefacts=[found.to_json()])

    asyncio.run(work())


def test_a_proof_is_not_written_where_there_is_no_folder(stocked):
    stocked.run("up")
    nowhere = str(stocked.folder / "missing" / "proof")
    refused = stocked.refused("audit", "prove", "0", "--out", nowhere, who="aude", code=1)
    assert refused["key"] == "store.place"


def test_every_command_with_json_prints_one_document(stocked, media):
    """Also where the daemon is not asked; the exit codes are those of the contract."""
    stocked.recipe()
    medium = str(stocked.insert(media.second, "second"))
    document = str(stocked.folder / "recipe.toml")
    assert stocked.told("up")["home"] == str(stocked.home.root)
    assert stocked.told("status")["generation"] == 1
    request = stocked.told("bundle", "import", medium, who="alice")["request"]
    assert stocked.told("bundle", "show", str(request), who="aude")["state"] == "waiting"
    assert (
        stocked.refused("bundle", "admit", str(request), who="alice", code=4)["key"] == "approval.own-request"
    )
    assert stocked.refused("bundle", "admit", str(request), who="olga", code=4)["key"] == "role.missing"
    assert stocked.told("bundle", "admit", str(request), who="bob")["generation"] == 2
    assert stocked.told("bundle", "rollback", who="alice")["generation"] == 1
    again = stocked.told("bundle", "import", medium, who="alice")["request"]
    assert stocked.told("bundle", "reject", str(again), "--reason", "twice", who="bob")["reason"] == "twice"
    assert stocked.told("bundle", "list", who="aude")["active"] == 1
    assert {one["kind"] for one in stocked.told("model", "list", who="aude")["artefacts"]} == {
        "base",
        "tokenizer",
        "suite",
    }
    assert stocked.told("model", "show", "quiz", who="aude")["kind"] == "suite"
    assert stocked.told("model", "lineage", "quiz", who="aude")
    assert stocked.told("train", "check", document)["data"]["rows.jsonl"]["profile"]["rows"] == 1
    assert stocked.told("train", "list", who="aude") == {"runs": []}
    assert stocked.told("serve", "status", who="aude")["running"] is False
    key = stocked.told("serve", "keys", "create", "--tenant", "desk", who="olga")
    (listed,) = stocked.told("serve", "keys", "list", who="aude")["keys"]
    assert (listed["key"], listed["tenant"], listed["state"]) == (key["key"], "desk", "valid")
    assert stocked.told("serve", "keys", "revoke", key["key"], who="alice") == {"revoked": key["key"]}
    told_log = stocked.told("audit", "log", "--limit", "5", who="aude")
    assert len(told_log["events"]) == 5
    counted = stocked.told(
        "audit", "sql", "SELECT count(*) AS n FROM events WHERE action = 'bundle.admit.done'", who="aude"
    )
    assert counted["rows"] == [[2]]
    proof = stocked.folder / "proof"
    stocked.told("audit", "prove", "3", "--out", str(proof), who="aude")
    assert stocked.told("audit", "verify", who="aude")["verified"] is True
    assert "checkpoint" in stocked.told("audit", "checkpoint", who="aude")
    assert stocked.told("audit", "rebuild", who="aude")
    assert stocked.refused("audit", "log", who="olga", code=4)["key"] == "role.missing"
    assert stocked.refused("train", "show", "nothing", who="olga", code=1)["key"]
    assert stocked.refused("bundle", "list", code=2)["key"] == "session.person"
    assert stocked.refused("ask", "who?", code=4)["key"] == "ask.key"
    stocked.call("bundle", "list", "--frob", who="alice", code=2)
    assert stocked.told("down")["stopped"]
    # With the daemon down: the log, a proof, the medium.
    keys = str(stocked.home.log / "log.pub")
    assert stocked.told("audit", "verify", str(stocked.home.log))["verified"] is True
    assert stocked.told("audit", "verify", str(proof), "--keys", keys)["verified"] is True
    assert stocked.told("doctor")["daemon"] is None
    segment = next(stocked.home.log.glob("*.seg*"), None) or max(
        (entry for entry in stocked.home.log.iterdir() if entry.is_file()),
        key=lambda entry: entry.stat().st_size,
    )
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(bytes(data))
    assert stocked.run("audit", "verify", str(stocked.home.log), "--json", code=3)
    assert stocked.refused("up", code=3)["remedy"]


def commands():
    import click

    from holdfast.cli import root

    found = [()]

    def walk(group, path):
        with click.Context(group) as context:
            for name in group.list_commands(context):
                found.append((*path, name))
                command = group.get_command(context, name)
                if isinstance(command, click.Group):
                    walk(command, (*path, name))

    walk(root, ())
    return found


def test_every_command_has_help_that_says_what_it_does():
    from click.testing import CliRunner

    from holdfast.cli import root

    named = commands()
    assert len(named) > 40
    for words in named:
        done = CliRunner().invoke(root, [*words, "--help"], prog_name="holdfast")
        assert done.exit_code == 0, (words, done.output)
        assert len(done.output.splitlines()) > 3, words


def modules(statement):
    """List the packages that a statement drags into a fresh interpreter."""
    script = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env=os.environ,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        (
            "import holdfast.cli",
            {"asyncio", "httpx", "pydantic", "cryptography", "starlette", "textual", "tuf"},
        ),
        ("from holdfast.cli import keys, trust, media", {"httpx", "starlette", "uvicorn", "textual"}),
        (
            "import holdfast.audit.verify, holdfast.report.verify",
            {"httpx", "starlette", "uvicorn", "pydantic"},
        ),
        ("import holdfast.client.operations, holdfast.client.connection", {"starlette", "uvicorn", "tuf"}),
        ("import holdfast.daemon.process", {"textual", "httpx", "openai"}),
        ("import holdfast_tui.app", {"starlette", "uvicorn", "openai", "tuf"}),
    ],
)
def test_what_an_import_drags_in(statement, more):
    assert not modules(statement) & (HEAVY | more)


async def test_no_worker_outlives_the_daemon_whoever_forgot_it(founded):
    async with founded.open() as daemon:
        spec = WorkerSpec("rehearse", {}, None)
        forgotten = await daemon.services.launcher.launch(spec, {"act": "answer"}, lambda _denied: None)
        process = psutil.Process(forgotten.pid)
        assert process.is_running()
    assert not process.is_running()
