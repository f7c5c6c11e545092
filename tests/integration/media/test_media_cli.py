"""The offline commands: keys, trust, media. No daemon runs."""

from __future__ import annotations

import fcntl
import json
import shutil
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
from holdfast.keys import envelope, person
from holdfast.media import claims, request

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


def key(tmp_path, *names):
    return [word for name in names for word in ("--key", tmp_path / "keys" / f"{name}.key")] + [
        "--passphrase-file",
        tmp_path / "pass",
    ]


def test_a_medium_with_one_signature_says_who_must_still_sign(run, signed, desk, tmp_path):
    out = tmp_path / "half"
    words = ["media", "build", desk.recipe, "--out", out, "--previous", tmp_path / "medium"]
    made = run(*words, *key(tmp_path, "Ada"), "--json")
    assert not made["finished"]
    [targets] = [one for one in made["signatures"] if one["role"] == "targets"]
    assert targets | {"expires": None} == {
        "role": "targets",
        "version": 2,
        "expires": None,
        "complete": False,
        "signed": ["Ada"],
        "waiting": ["Bo"],
        "needed": 1,
    }
    root = ["--root", signed["root"], "--fingerprint", signed["fingerprint"]]
    with pytest.raises(UntrustedBundle):
        run("media", "verify", out, *root)
    run("trust", "sign", out, *key(tmp_path, "Bo"), text="y\n")
    assert run("media", "verify", out, *root, "--json")["holders"] == ["Ada", "Bo"]
    shutil.rmtree(out)
    shown = run(*words, *key(tmp_path, "Ada"))
    assert "targets: signed by Ada; 1 more of Bo must sign" in shown
    assert "trust sign" in shown


def test_a_delegated_publisher_from_keys_to_verified(run, signed, desk, kit, tmp_path):
    for name in ("Eva", "Fay"):
        run("keys", "new", name, "--passphrase-file", tmp_path / "pass")
    people = [tmp_path / "keys" / f"{name}.pub" for name in ("Eva", "Fay")]
    run(
        "trust",
        "delegate",
        "health",
        *people,
        "--path",
        "adapters/health/*",
        "--out",
        tmp_path / "health.json",
    )
    more = ["--previous", tmp_path / "medium", "--delegate", tmp_path / "health.json"]
    build(run, desk, tmp_path, "top", *more)
    recipe = desk.recipe_of("ours", [{"kind": "adapter", "name": "triage", "files": kit.adapter()}])
    words = ["media", "build", recipe, "--out", tmp_path / "ours", "--previous", tmp_path / "top"]
    words += ["--role", "health", "--collection", "health"]
    shown = run(*words, *key(tmp_path, "Eva", "Fay"))
    assert "by the delegated role health, in the collection health" in shown
    for name in ("Ada", "Bo"):
        run("trust", "sign", tmp_path / "ours", *key(tmp_path, name), text="y\n")
    verified = run(
        "media",
        "verify",
        tmp_path / "ours",
        "--root",
        signed["root"],
        "--fingerprint",
        signed["fingerprint"],
        "--json",
    )
    assert (verified["role"], verified["collection"], verified["holders"]) == (
        "health",
        "health",
        ["Eva", "Fay"],
    )
    ended = build(run, desk, tmp_path, "ended", "--previous", tmp_path / "ours", "--undelegate", "health")
    assert ended["finished"]


def test_volumes_are_made_inspected_and_verified(run, signed, tmp_path):
    made = run(
        "media", "split", tmp_path / "medium", "--volume-size", "cd", "--out", tmp_path / "discs", "--json"
    )
    assert (made["count"], made["volume_size"]) == (1, 736_960_512)
    place = made["volumes"][0]["path"]
    assert run("media", "inspect", place, "--json")["volume"] == {"number": 1, "count": 1}
    root = ["--root", signed["root"], "--fingerprint", signed["fingerprint"]]
    assert "of volume 1" in run("media", "verify", place, *root)
    with pytest.raises(Conflict):
        run(
            "media",
            "split",
            tmp_path / "medium",
            "--volume-size",
            "cd",
            "--out",
            tmp_path / "discs",
            "--only",
            "1",
        )
    with pytest.raises(UsageRefused):
        run("media", "split", tmp_path / "medium", "--volume-size", "a drawer", "--out", tmp_path / "more")


@pytest.fixture
def asked(signed, kit, tmp_path):  # noqa: ARG001 - the medium must be there
    """A site's request, which lists all of the medium, and the appliance that signed it."""
    pair = person.generate("outpost")
    found = claims.of_medium(tmp_path / "medium").manifest
    held = [(entry.artefact, entry.chunks) for entry in found.entries]
    stated = request.make("Outpost", kit.NOW, found.entries[0].artefact.label, held)
    (tmp_path / "request.json").write_bytes(request.encode(stated, pair))
    return tmp_path / "request.json", pair.public.fingerprint


def test_a_delta_is_built_for_a_request(run, signed, asked, desk, tmp_path):
    document, fingerprint = asked
    (desk.folder / "source" / "quiz" / "items.jsonl").write_text('{"question": "Why?"}\n')
    more = ["--previous", tmp_path / "medium", "--for", document]
    made = build(
        run, desk, tmp_path, "delta", *more, "--appliance-fingerprint", fingerprint.upper().replace(" ", ":")
    )
    assert made["finished"]
    assert made["delta"]["site"] == made["request"]["site"] == "Outpost"
    assert made["delta"]["carried_bytes"] == 21
    assert made["delta"]["left_out_bytes"] == made["bytes"] - 21
    shown = run("media", "inspect", tmp_path / "delta")
    assert "made for     Outpost alone" in shown
    assert signed["artefacts"][0]["digest"] == made["artefacts"][0]["digest"]
    with pytest.raises(UntrustedBundle) as caught:
        build(run, desk, tmp_path, "other", *more, "--appliance-fingerprint", "0" * 40)
    assert caught.value.key == "media.request-signer"
    document.write_bytes(document.read_bytes().replace(b"Outpost", b"Outpast"))
    with pytest.raises(UntrustedBundle) as caught:
        build(run, desk, tmp_path, "other", *more)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "other").exists()


def test_media_and_requests_are_compared(run, signed, asked, desk, tmp_path):
    (desk.folder / "source" / "quiz" / "items.jsonl").write_text('{"question": "Why?"}\n')
    build(run, desk, tmp_path, "later", "--previous", tmp_path / "medium")
    found = run("media", "diff", tmp_path / "medium", tmp_path / "later", "--json")
    assert [one["name"] for one in found["same"]] == ["tiny"]
    assert [one["after"]["name"] for one in found["changed"]] == ["quiz"]
    assert found["new_bytes"] == 21
    shown = run("media", "diff", asked[0], tmp_path / "later")
    assert "request      Outpost, 2026-03-01" in shown
    assert "signatures   not judged" in shown
    with pytest.raises(NotFound):
        run("media", "diff", desk.folder / "source", tmp_path / "later")
    assert signed["finished"]


def test_help_loads_no_command():
    result = CliRunner().invoke(PROGRAM, ["media", "--help"])
    for name in ("build", "split", "diff", "inspect", "verify", "check", "request"):
        assert f"\n  {name} " in result.stdout
    assert CliRunner().invoke(PROGRAM, ["media", "burn"]).exit_code == 2
