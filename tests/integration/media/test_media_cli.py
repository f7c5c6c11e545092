"""The offline commands: keys, trust, media. No daemon runs."""

from __future__ import annotations

import fcntl
import json
import stat

import click
import pytest
from click.testing import CliRunner

from holdfast.cli.keys import keys
from holdfast.cli.media import media
from holdfast.cli.trust import trust
from holdfast.errors import (
    Conflict,
    HoldfastError,
    Locked,
    NotAuthenticated,
    NotFound,
    UntrustedBundle,
    UsageRefused,
)
from holdfast.keys import envelope

PROGRAM = click.Group("holdfast", commands={"keys": keys, "trust": trust, "media": media})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Give a command; its JSON comes back, or its error is raised."""
    monkeypatch.setenv("HOLDFAST_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(envelope.seal, "__kwdefaults__", {"n": envelope.MIN_N})
    (tmp_path / "pass").write_text("correct horse\n")

    def command(*words, text=None):
        result = CliRunner().invoke(PROGRAM, [str(word) for word in words], input=text)
        if isinstance(result.exception, HoldfastError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return command


@pytest.fixture
def signed(run, desk, tmp_path):
    """Two people's keys and a medium that they signed."""
    for name in ("Ada", "Bo"):
        run("keys", "new", name, "--passphrase-file", tmp_path / "pass")
    return build(run, desk, tmp_path, "medium")


def build(run, desk, tmp_path, name, *more):
    both = ["--key", tmp_path / "keys" / "Ada.key", "--key", tmp_path / "keys" / "Bo.key"]
    out = tmp_path / name
    return run(
        "media",
        "build",
        desk.recipe,
        "--out",
        out,
        *both,
        "--passphrase-file",
        tmp_path / "pass",
        *more,
        "--json",
    )


def test_a_key_pair_is_written_for_its_owner_alone_and_never_over_another(run, tmp_path):
    made = run("keys", "new", "Ada", "--json", text="correct horse\ncorrect horse\n")
    secret = tmp_path / "keys" / "Ada.key"
    assert made["files"] == [str(secret), str(tmp_path / "keys" / "Ada.pub")]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    with pytest.raises(Conflict) as caught:
        run("keys", "new", "Ada", "--passphrase-file", tmp_path / "pass")
    assert caught.value.exit_code == 6
    assert secret.read_bytes() == before
    assert run("keys", "list", "--json")["keys"] == [{"holder": "Ada", "fingerprint": made["fingerprint"]}]
    for name in ("Ada", tmp_path / "keys" / "Ada.pub"):
        assert run("keys", "show", name, "--json")["fingerprint"] == made["fingerprint"]
    with pytest.raises(NotFound):
        run("keys", "show", "Cy")
    with pytest.raises(UsageRefused):
        run("keys", "new", "../Ada", "--passphrase-file", tmp_path / "pass")


def test_a_medium_goes_from_keys_to_verified(run, signed, tmp_path):
    assert signed["founded"]
    pinned = run("trust", "init", signed["root"], "--fingerprint", signed["fingerprint"], "--json")
    assert pinned["holders"] == ["Ada", "Bo"]
    assert run("trust", "show", "--json") == pinned
    verified = run("media", "verify", tmp_path / "medium", "--json")
    assert verified["verified"]
    assert verified["digest"] == signed["digest"]
    shown = run("media", "inspect", tmp_path / "medium")
    assert "not judged" in shown
    assert "INTERNAL @site" in shown


def test_a_later_medium_keeps_the_root_and_raises_the_version(run, signed, desk, tmp_path):
    later = build(run, desk, tmp_path, "later", "--previous", tmp_path / "medium")
    assert (later["fingerprint"], later["version"], later["founded"]) == (signed["fingerprint"], 2, False)
    fingerprint = signed["fingerprint"]
    run("media", "verify", tmp_path / "later", "--root", signed["root"], "--fingerprint", fingerprint)
    other = build(run, desk, tmp_path, "other", "--root", signed["root"])
    assert (other["fingerprint"], other["version"]) == (fingerprint, 1)


def test_nothing_is_trusted_on_first_use(run, signed, tmp_path):
    with pytest.raises(NotFound) as caught:
        run("media", "verify", tmp_path / "medium")
    assert caught.value.key == "trust.none"
    with pytest.raises(UntrustedBundle) as refused:
        run("trust", "init", signed["root"], "--fingerprint", "0" * 64)
    assert refused.value.exit_code == 3
    with pytest.raises(NotFound):
        run("trust", "show")
    with pytest.raises(UsageRefused):
        run("media", "verify", tmp_path / "medium", "--root", signed["root"])


def test_trust_is_not_changed_under_a_running_daemon(run, signed, tmp_path):
    (tmp_path / "home").mkdir()
    with (tmp_path / "home" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Locked) as caught:
            run("trust", "init", signed["root"], "--fingerprint", signed["fingerprint"])
    assert caught.value.exit_code == 6
    run("trust", "init", signed["root"], "--fingerprint", signed["fingerprint"])


def test_a_wrong_passphrase_signs_nothing(run, signed, desk, tmp_path):
    (tmp_path / "pass").write_text("battery staple\n")
    with pytest.raises(NotAuthenticated):
        build(run, desk, tmp_path, "again")
    assert not (tmp_path / "again").exists()
    assert signed["version"] == 1


@pytest.mark.parametrize("text", ["", "two\nlines\n", "x" * 5000])
def test_a_passphrase_file_is_one_line(run, tmp_path, text):
    (tmp_path / "pass").write_text(text)
    with pytest.raises(UsageRefused):
        run("keys", "new", "Ada", "--passphrase-file", tmp_path / "pass")
    assert not (tmp_path / "keys").exists()
