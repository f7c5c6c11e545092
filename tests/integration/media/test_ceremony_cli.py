"""The ceremony by its commands: people with their own keys, one after another, on files that travel between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from holdfast import canonical
from holdfast.cli.trust import trust
from holdfast.errors import (
    Conflict,
    HoldfastError,
    NotAuthenticated,
    NotFound,
    UntrustedBundle,
    UntrustedInput,
    UsageRefused,
)
from holdfast.keys import envelope, person
from holdfast.media import layout
from holdfast.media.manifest import Manifest
from holdfast.media.verify import verify_medium
from holdfast.trust import ceremony, fingerprint, publisher, revocation, roots, signing
from holdfast.trust.publisher import Delegation
from holdfast.trust.workflow import TrustState, Workflow

NOW = datetime.now(UTC).replace(microsecond=0)
END = NOW + timedelta(days=90)
PAIRS = {name: person.generate(name) for name in ("Ada", "Bo", "Cy", "Di", "Ed")}
PROGRAM = click.Group("holdfast", commands={"trust": trust})
DIGEST = "sha512:" + "a" * 128
OTHER = "sha512:" + "b" * 128
pytestmark = pytest.mark.usefixtures("desk")


@pytest.fixture(scope="module")
def sealed():
    return {name: envelope.seal(pair, "open sesame", n=envelope.MIN_N) for name, pair in PAIRS.items()}


@pytest.fixture
def desk(tmp_path, monkeypatch, sealed):
    """A folder with everybody's key files and one passphrase."""
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("pass").write_text("open sesame\n")
    Path("wrong").write_text("open barley\n")
    for name, pair in PAIRS.items():
        Path(f"{name}.key").write_bytes(sealed[name])
        Path(f"{name}.pub").write_bytes(canonical.encode(pair.public.to_json()) + b"\n")
    return tmp_path


def raw(*words, text=None):
    return CliRunner().invoke(PROGRAM, ["trust", *(str(word) for word in words)], input=text)


def run(*words, text=None):
    """Give a command; its JSON comes back, or its error is raised."""
    result = raw(*words, "--json", text=text)
    if isinstance(result.exception, HoldfastError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def sign(path, name, *more):
    return run("sign", path, "--key", f"{name}.key", "--passphrase-file", "pass", "--yes", *more)


def ladder_of(*names):
    workflow = Workflow(TrustState(Path(names[0]).read_bytes()), NOW)
    for name in names[1:]:
        workflow.update_root(Path(name).read_bytes())
    return workflow


def medium(place, root, *names, entries=(), **more):
    """Write a medium of no artefacts, signed by some."""
    stated = Manifest(
        "tiny", "1", "", "Test works", NOW, tuple(entries), collection=more.pop("collection", "")
    )
    path = layout.manifest_target("suite", stated.collection)
    targets = {path: stated.encode(), **more.pop("targets", {})}
    made = ceremony.make_release([PAIRS[name] for name in names], root, targets=targets, expires=END, **more)
    files = {layout.root(1): root, **{layout.role(role): data for role, data in made.files.items()}}
    files |= {layout.target(name): data for name, data in targets.items()}
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def verified(place, root):
    verdict = verify_medium(place, TrustState(root), NOW, lambda *_: None)
    verdict.medium.close()
    return verdict


@pytest.fixture(scope="module")
def founded():
    return ceremony.make_root([PAIRS["Ada"], PAIRS["Bo"], PAIRS["Cy"]], expires=END)


def test_a_root_is_created_offline_and_signed_in_turn():
    made = run("create", "Ada.pub", "Bo.pub", "Cy.pub", "--role", "snapshot=Ada,Bo", "--out", "1.root.json")
    assert made["roles"]["snapshot"]["holders"] == ["Ada", "Bo"]
    assert made["keys"]["Cy"] == PAIRS["Cy"].public.fingerprint
    assert (made["complete"], made["signed"], made["needed"]) == (False, [], 2)
    one = sign("1.root.json", "Cy")
    assert (one["complete"], one["signed"], one["needed"], one["waiting"]) == (
        False,
        ["Cy"],
        1,
        ["Ada", "Bo"],
    )
    two = sign("1.root.json", "Ada")
    assert (two["complete"], two["signed"], two["needed"], two["waiting"]) == (True, ["Ada", "Cy"], 0, [])
    assert made["fingerprint"] == one["fingerprint"] == two["fingerprint"]
    pinned = run("init", "1.root.json", "--fingerprint", two["fingerprint"])
    assert run("show")["fingerprint"] == pinned["fingerprint"]


def test_holders_join_rotate_and_leave_and_the_ladder_is_judged_from_its_folder():
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json", "--days", "30")
    for name in ("Ada", "Bo"):
        sign("1.root.json", name)
    joined = run("add", "1.root.json", "Cy.pub", "Di.pub", "--out", "2.root.json", "--days", "30")
    assert joined["changes"] == [
        f"{name} joins, for root, targets, snapshot, timestamp" for name in ("Cy", "Di")
    ]
    assert sign("2.root.json", "Di")["needed"] == 2  # those of the root before are needed still
    assert run("show", ".")["complete"] is False
    for name in ("Bo", "Ada"):
        sign("2.root.json", name)
    run("rotate", "2.root.json", "--holder", "Bo", "--with", "Ed.pub", "--out", "3.root.json", "--days", "30")
    for name in ("Bo", "Ed", "Cy"):
        sign("3.root.json", name)
    left = run("revoke", "holder", "3.root.json", "--holder", "Ada", "--out", "4.root.json", "--days", "30")
    assert left["changes"] == ["Ada leaves"]
    for name in ("Cy", "Di"):
        sign("4.root.json", name)
    run("add", "4.root.json", "--min-holders", "3", "--out", "5.root.json", "--days", "30")
    for name in ("Cy", "Di", "Ed"):
        sign("5.root.json", name)
    workflow = ladder_of(*(f"{version}.root.json" for version in range(1, 6)))
    assert workflow.holders == ("Cy", "Di", "Ed")
    judged = run("show", ".")
    assert judged["complete"]
    assert [one["version"] for one in judged["roots"]] == [1, 2, 3, 4, 5]
    assert len({one["fingerprint"] for one in judged["roots"]}) == 5
    shown = raw("show", ".").stdout
    assert all(one["fingerprint"] in shown for one in judged["roots"])
    Path("3.root.json").unlink()
    with pytest.raises(UntrustedBundle):
        run("show", ".")


def test_a_draft_that_could_not_be_signed_is_not_written():
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    with pytest.raises(Conflict):  # unsigned
        run("add", "1.root.json", "Cy.pub", "--out", "2.root.json")
    for name in ("Ada", "Bo"):
        sign("1.root.json", name)
    refusals = [
        ("revoke", "holder", "1.root.json", "--holder", "Bo"),
        ("revoke", "holder", "1.root.json", "--holder", "Eve"),
        ("rotate", "1.root.json", "--holder", "Eve", "--with", "Cy.pub"),
        ("rotate", "1.root.json", "--holder", "Bo", "--with", "Ada.pub"),
        ("add", "1.root.json"),
        ("add", "1.root.json", "Ada.pub"),
        ("add", "1.root.json", "Cy.pub", "--role", "mirrors"),
        ("create", "Ada.pub"),
        ("create", "Ada.pub", "Bo.pub", "--role", "snapshot"),
        ("create", "Ada.pub", "Bo.pub", "--role", "snapshot=Ada,Eve"),
    ]
    for words in refusals:
        with pytest.raises(UsageRefused):
            run(*words, "--out", "2.json")
    with pytest.raises(UsageRefused) as caught:
        run("add", "1.root.json", "Cy.pub", "--out", "3.root.json")
    assert caught.value.key == "trust.root-name"
    with pytest.raises(NotFound):
        run("add", "0.root.json", "Cy.pub", "--out", "2.json")
    with pytest.raises(UntrustedInput):
        run("create", "Ada.pub", "pass", "--out", "2.json")
    assert not Path("2.json").exists()


def test_nothing_is_written_over(desk):
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    before = Path("1.root.json").read_bytes()
    run("delegate", "health", "Di.pub", "Ed.pub", "--path", "suites/health/*", "--out", "health.json")
    for words in (
        ("create", "Ada.pub", "Cy.pub", "--out", "1.root.json"),
        ("delegate", "law", "Di.pub", "Ed.pub", "--path", "suites/law/*", "--out", "health.json"),
        (
            "revoke",
            "artefact",
            DIGEST,
            "--name",
            "a",
            "--kind",
            "base",
            "--reason",
            "b",
            "--new",
            "--list",
            "pass",
        ),
    ):
        with pytest.raises(Conflict) as caught:
            run(*words)
        assert caught.value.key == "trust.out-taken"
    assert Path("1.root.json").read_bytes() == before
    assert sorted(path.name for path in desk.iterdir() if path.name.startswith(".")) == []


def test_the_folder_of_a_draft_is_made_and_where_it_cannot_be_that_is_said():
    run("create", "Ada.pub", "Bo.pub", "--out", "new/roots/1.root.json")
    assert Path("new/roots/1.root.json").is_file()
    for place in ("pass/1.root.json", "pass/deeper/1.root.json"):
        with pytest.raises(NotFound) as caught:
            run("create", "Ada.pub", "Bo.pub", "--out", place)
        assert caught.value.key == "trust.out-folder"
        assert "disk" not in caught.value.message + caught.value.remedy
        assert caught.value.exit_code == 1


def test_a_key_file_where_a_public_key_belongs_is_refused_whatever_it_is_called():
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    for name in ("Ada", "Bo"):
        sign("1.root.json", name)
    shutil.copy("Cy.key", "Cy.pub")
    for given in ("Cy.key", "Cy.pub"):
        for words in (
            ("create", "Ada.pub", given),
            ("add", "1.root.json", given),
            ("rotate", "1.root.json", "--holder", "Bo", "--with", given),
            ("delegate", "health", "Di.pub", given, "--path", "suites/health/*"),
        ):
            with pytest.raises(UsageRefused) as caught:
                run(*words, "--out", "2.json")
            assert caught.value.key == "keys.secret-given"
            assert ".pub file" in caught.value.remedy
            assert not Path("2.json").exists()


@pytest.mark.parametrize("pattern", ["**", "suites/**", "", "suites//a", "./a", "suites/../a", "suites/."])
def test_a_pattern_that_is_not_plain_is_not_delegated(pattern):
    with pytest.raises(UsageRefused):
        run("delegate", "health", "Di.pub", "Ed.pub", "--path", pattern, "--out", "health.json")
    assert not Path("health.json").exists()


@pytest.mark.parametrize("data", [b"This is no JSON.\n", b"\x00\xff", b"{}", b"[]"])
def test_what_is_no_metadata_is_named_and_not_signed(data):
    Path("1.root.json").write_bytes(data)
    with pytest.raises(UntrustedBundle) as caught:
        sign("1.root.json", "Ada")
    assert caught.value.message.startswith("The file 1.root.json is ")
    assert Path("1.root.json").read_bytes() == data


def test_signing_twice_changes_no_byte_and_asks_for_nothing():
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    sign("1.root.json", "Ada")
    before = Path("1.root.json").read_bytes()
    again = run("sign", "1.root.json", "--key", "Ada.key")
    assert (again["added"], again["needed"]) == ([], 1)
    assert Path("1.root.json").read_bytes() == before


def test_who_is_not_listed_or_has_the_wrong_passphrase_signs_nothing():
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    before = Path("1.root.json").read_bytes()
    with pytest.raises(UsageRefused) as caught:
        sign("1.root.json", "Cy")
    assert caught.value.key == "trust.ceremony-stranger"
    with pytest.raises(NotAuthenticated):
        run("sign", "1.root.json", "--key", "Ada.key", "--passphrase-file", "wrong", "--yes")
    with pytest.raises(UntrustedInput):
        run("sign", "1.root.json", "--key", "pass", "--passphrase-file", "pass", "--yes")
    with pytest.raises(NotFound):
        sign("2.root.json", "Ada")
    assert Path("1.root.json").read_bytes() == before


def test_a_person_sees_what_is_signed_and_can_say_no():
    made = run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    before = Path("1.root.json").read_bytes()
    said = raw("sign", "1.root.json", "--key", "Ada.key", text="n\n")
    assert said.exit_code == 1
    assert isinstance(said.exception, SystemExit)
    assert made["fingerprint"] in said.stderr
    assert "Ada signs: root" in said.stderr
    assert said.stdout == ""
    assert Path("1.root.json").read_bytes() == before
    said = raw("sign", "1.root.json", "--key", "Ada.key", text="y\nopen sesame\n")
    assert said.exit_code == 0
    assert "1 more of Bo" in said.stdout


def test_a_later_root_needs_the_root_before_it_at_hand(desk):
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    for name in ("Ada", "Bo"):
        sign("1.root.json", name)
    run("add", "1.root.json", "Cy.pub", "--out", "2.root.json")
    away = desk / "away"
    away.mkdir()
    shutil.copy("2.root.json", away)
    with pytest.raises(NotFound) as caught:
        sign("away/2.root.json", "Ada")
    assert caught.value.key == "trust.previous-root"
    assert run("show", "away/2.root.json")["needed"] == 2  # its own holders alone
    assert sign("away/2.root.json", "Ada", "--previous", "1.root.json")["needed"] == 1
    with pytest.raises(UntrustedBundle):
        sign("away/2.root.json", "Bo", "--previous", "2.root.json")


def test_a_medium_is_signed_in_turn_and_accepted_only_then(desk, founded):
    place = medium(desk / "medium", founded, "Ada")
    shown = run("show", "medium")
    assert (shown["name"], shown["needed"], shown["publisher"]) == ("tiny", 1, "targets")
    with pytest.raises(UntrustedBundle) as caught:
        verified(place, founded)
    assert caught.value.key == "trust.holders"
    assert "signed by Ada alone; 2 different holders are needed" in caught.value.message
    done = sign("medium", "Cy")
    assert (done["added"], done["complete"]) == (["targets", "snapshot", "timestamp"], True)
    assert done["fingerprint"] == shown["fingerprint"]
    assert verified(place, founded).holders == ("Ada", "Cy")
    assert (place / layout.TIMESTAMP).stat().st_mode & 0o777 == 0o644
    assert sign("medium", "Cy")["added"] == []
    assert verified(place, founded).holders == ("Ada", "Cy")


def test_only_the_small_files_travel_to_a_signer_and_one_file_can_be_signed_alone(desk, founded):
    place = medium(desk / "medium", founded, "Ada")
    (place / "chunks").mkdir()
    travelling = desk / "stick"
    for folder in ("metadata", "targets"):
        shutil.copytree(place / folder, travelling / folder)
    assert sign("stick/metadata/targets.json", "Bo")["added"] == ["targets"]
    assert sign("stick", "Bo")["added"] == ["snapshot", "timestamp"]
    shutil.copytree(travelling / "metadata", place / "metadata", dirs_exist_ok=True)
    assert verified(place, founded).holders == ("Ada", "Bo")
    shutil.copy(place / layout.TIMESTAMP, desk / "timestamp.json")
    with pytest.raises(UsageRefused) as caught:
        sign("timestamp.json", "Cy")
    assert caught.value.key == "trust.loose"


def test_a_publisher_is_delegated_to_and_its_release_is_countersigned(desk, founded):
    given = run(
        "delegate",
        "health",
        "Di.pub",
        "Ed.pub",
        "--path",
        "suites/health/*",
        "--out",
        "health.delegation.json",
    )
    document = Path("health.delegation.json").read_bytes()
    assert given["fingerprint"] == fingerprint.of_document(document)
    assert run("show", "health.delegation.json")["fingerprint"] == given["fingerprint"]
    assert PAIRS["Di"].public.fingerprint in raw("show", "health.delegation.json").stdout
    first = medium(desk / "first", founded, "Ada", "Bo", delegate=[publisher.parse(document)])
    shown = run("show", "first")
    assert shown["delegations"][0]["paths"] == ["suites/health/*"]
    assert shown["delegations"][0]["keys"]["Ed"] == PAIRS["Ed"].public.fingerprint
    previous = {
        role: (first / layout.role(role)).read_bytes() for role in ("timestamp", "snapshot", "targets")
    }
    second = medium(desk / "second", founded, "Di", previous=previous, role="health", collection="health")
    assert sign("second", "Ed")["added"] == ["health"]
    # The targets came from the medium before: they are complete and are not signed unseen.
    assert sign("second", "Bo")["added"] == ["snapshot", "timestamp"]
    assert sign("second", "Cy")["complete"]
    verdict = verified(second, founded)
    assert (verdict.role, verdict.holders) == ("health", ("Di", "Ed"))
    with pytest.raises(UsageRefused):
        sign("first", "Di")


def test_a_publisher_who_claims_more_than_was_given_is_noticed_before_anybody_signs(desk, founded):
    health = Delegation("health", ("suites/health/*",), (PAIRS["Di"].public, PAIRS["Ed"].public))
    first = medium(desk / "first", founded, "Ada", "Bo", delegate=[health])
    previous = {
        role: (first / layout.role(role)).read_bytes() for role in ("timestamp", "snapshot", "targets")
    }
    medium(desk / "second", founded, "Di", "Ed", previous=previous, role="health", collection="law")
    with pytest.raises(UntrustedBundle) as caught:
        sign("second", "Ada")
    assert caught.value.key == "trust.cover"


def spoil_manifest(place):
    path = place / "targets" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tidy"))


def drop_manifest(place):
    (place / "targets" / "manifest.json").unlink()


def add_manifest(place):
    other = place / "targets" / "suites" / "law"
    other.mkdir(parents=True)
    shutil.copy(place / "targets" / "manifest.json", other)


def drop_snapshot(place):
    (place / layout.SNAPSHOT).unlink()


def drop_root(place):
    (place / layout.root(1)).unlink()


def change_expiry(place):
    path = place / layout.TARGETS_METADATA
    path.write_bytes(path.read_bytes().replace(END.strftime("%Y-%m-%d").encode(), b"2099-01-01"))


def link_file(place):
    path = place / layout.TIMESTAMP
    path.rename(place / "timestamp.json")
    path.symlink_to(place / "timestamp.json")


def foreign_signature(place):
    path = place / layout.TIMESTAMP
    path.write_bytes(signing.add_signature(path.read_bytes(), PAIRS["Ed"]))


@pytest.mark.parametrize(
    "change",
    [
        spoil_manifest,
        drop_manifest,
        add_manifest,
        drop_snapshot,
        drop_root,
        change_expiry,
        link_file,
        foreign_signature,
    ],
)
def test_what_is_not_what_it_says_is_shown_to_nobody_and_signed_by_nobody(desk, founded, change):
    place = medium(desk / "medium", founded, "Ada")
    change(place)
    before = {path: path.read_bytes() for path in place.rglob("*.json")}
    with pytest.raises(UntrustedBundle):
        sign("medium", "Bo")
    with pytest.raises(UntrustedBundle):
        run("show", "medium")
    assert {path: path.read_bytes() for path in place.rglob("*.json")} == before


def test_a_target_that_is_not_on_the_medium_is_not_signed_unseen(desk, founded):
    place = medium(desk / "medium", founded, "Ada", targets={"suites/law/manifest.json": b"{}"})
    (place / "targets" / "suites" / "law" / "manifest.json").unlink()
    with pytest.raises(UntrustedBundle) as caught:
        sign("medium", "Bo")
    assert caught.value.key == "media.missing"


def test_a_root_that_is_still_being_signed_is_finished_on_its_medium(desk, founded):
    second = roots.next_root(founded, expires=END, add=[PAIRS["Di"].public])
    second = signing.add_signature(second, PAIRS["Ada"])
    place = medium(desk / "medium", second, "Ada")
    (place / layout.root(1)).write_bytes(founded)
    (place / layout.root(2)).write_bytes(second)
    assert sign("medium", "Bo")["added"] == ["root", "targets", "snapshot", "timestamp"]
    assert verified(place, founded).root_version == 2


def test_what_a_power_cut_left_is_swept_away(desk, founded):
    place = medium(desk / "medium", founded, "Ada")
    (place / "metadata" / ".timestamp.json.0123456789abcdef.draft").write_bytes(b"half")
    sign("medium", "Bo")
    assert verified(place, founded)


def test_an_artefact_is_revoked_and_the_list_only_grows():
    words = ("--name", "old", "--kind", "base", "--reason", "It was poisoned.", "--list", "revocations.json")
    with pytest.raises(NotFound):
        run("revoke", "artefact", DIGEST, *words)
    first = run("revoke", "artefact", DIGEST, *words, "--new", "--instead", OTHER)
    assert first["counter"] == 1
    second = run("revoke", "artefact", "sha512:" + "c" * 128, *words)
    assert second["counter"] == 2
    found = revocation.parse(Path("revocations.json").read_bytes())
    assert found.entries[DIGEST].instead == OTHER
    assert second["fingerprint"] == fingerprint.of_document(found.encode())
    assert "It was poisoned." in raw("show", "revocations.json").stdout
    third = run("revoke", "artefact", "sha512:" + "d" * 128, *words, "--out", "longer.json")
    assert (third["counter"], revocation.parse(Path("revocations.json").read_bytes()).counter) == (3, 2)
    before = Path("revocations.json").read_bytes()
    with pytest.raises(UsageRefused):  # what is recommended must not be revoked
        run("revoke", "artefact", OTHER, *words)
    with pytest.raises(UsageRefused):
        run("revoke", "artefact", "sha512:ab", *words)
    assert Path("revocations.json").read_bytes() == before


def test_what_is_no_document_of_the_ceremony_is_refused():
    Path("empty").mkdir()
    Path("text.json").write_text("{}")
    for path in ("empty", "missing.json"):
        with pytest.raises(NotFound):
            run("show", path)
    for path in ("text.json", "Ada.pub"):
        with pytest.raises(UntrustedInput):
            run("show", path)
        with pytest.raises(UntrustedInput):
            sign(path, "Ada")


def test_an_interrupted_signer_leaves_the_file_whole(desk):
    """The process is stopped as Ctrl-C stops it, while the new file is written and not yet in its place."""
    run("create", "Ada.pub", "Bo.pub", "--out", "1.root.json")
    before = Path("1.root.json").read_bytes()
    program = (
        "import os, signal, sys\n"
        "from holdfast.store import disk\n"
        "def stop(handle):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "disk.HOST.sync = stop\n"
        "from holdfast.cli import main\n"
        "main()\n"
    )
    words = ["trust", "sign", "1.root.json", "--key", "Ada.key", "--passphrase-file", "pass", "--yes"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=desk,
        env={**os.environ},
        capture_output=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == 130, done.stderr
    assert Path("1.root.json").read_bytes() == before
    assert [path.name for path in desk.iterdir() if path.name.endswith(".draft")] == []
    assert sign("1.root.json", "Ada")["needed"] == 1
