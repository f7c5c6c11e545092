"""Witnessing over the air gap, end to end: the site's daemon and command line, the auditor's folder, and thieves between."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.daemon.conftest import Place

from holdfast.audit import checkpoint, event, frames, merkle, segment, verify, witness
from holdfast.audit.signer import LogSigner
from holdfast.audit.witnessfolder import WitnessFolder
from holdfast.cli import service
from holdfast.errors import Conflict, DaemonUnreachable
from holdfast.governance.witnesses import OVERDUE
from holdfast.keys import scryptbox

NAME = "auditor.example/ada"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("device") / "witness"
    WitnessFolder.create(path, NAME, "open sesame", n=scryptbox.MIN_N)
    return path


@dataclass
class Site:
    """A site with one witness, and both sides' commands."""

    place: Place
    folder: Path

    @property
    def device(self) -> Path:
        return self.folder / "device"

    @property
    def request(self) -> Path:
        return self.folder / "request"

    @property
    def answer(self) -> Path:
        return self.folder / "answer"

    @property
    def keys(self) -> Path:
        return self.folder / "log.pub"

    @property
    def options(self) -> tuple[str, ...]:
        return ("--witness-dir", str(self.device), "--passphrase-file", str(self.place.keys / "passphrase"))

    def begin(self, empty: Path) -> None:
        self.place.found()
        shutil.copytree(empty, self.device)
        self.place.told("up")
        self.place.told("audit", "witness", "add", "ada", str(self.device / "witness.pub"), who="alice")
        shutil.copy(self.place.home.log / "log.pub", self.keys)  # handed over by another way

    def ask(self, *more: str):
        wanted = ("audit", "checkpoint", "--witness", "ada", "--out", str(self.request))
        return self.place.told(*wanted, *more, who="aude")

    def cosign(self, *more: str):
        return self.place.told(
            "audit", "cosign", str(self.request), *self.options, "--out", str(self.answer), *more
        )

    def refused(self, *more: str, code: int = 3):
        """Hand a request to the device that it refuses, and see that it remembers nothing of it."""
        heads = [*self.device.glob("logs/*/heads/*")]
        before = {path: path.read_bytes() for path in heads}
        words = ("audit", "cosign", str(self.request), *self.options, *more)
        error = self.place.refused(*words, code=code)
        assert {path: path.read_bytes() for path in self.device.glob("logs/*/heads/*")} == before
        return error

    def bring(self):
        return self.place.told("audit", "cosigned", str(self.answer), who="aude")

    def grow(self, calls: int) -> None:
        for _ in range(calls):
            self.place.told("bundle", "list", who="aude")  # a session is two events


@pytest.fixture
def site(place, empty, tmp_path):
    made = Site(place, tmp_path)
    made.begin(empty)
    return made


def size_of(place) -> int:
    return int(place.told("status")["log"]["size"])


def test_a_log_grows_and_is_cosigned_again_and_again(site):
    place = site.place
    first = site.ask()
    assert first["old"] == 0
    assert first["request"].startswith("old 0\n\n")
    assert site.refused()["key"] == "witness.unknown-log"
    assert site.cosign("--log-keys", str(site.keys))["before"] is None
    brought = site.bring()
    assert (brought["witness"], brought["size"]) == ("ada", first["size"])
    site.grow(4)
    second = site.ask()
    assert second["old"] == first["size"] < second["size"]
    assert site.cosign()["before"] == first["size"]
    assert site.bring()["size"] == second["size"]
    listed = place.told("audit", "witness", "list", who="olga")
    assert listed["witnesses"][0]["size"] == second["size"]
    assert listed["witnesses"][0]["since"] >= 1
    assert listed["overdue"] is None
    seen = place.told("audit", "witness", "seen", "--witness-dir", str(site.device))["logs"]
    assert [(one["origin"], one["size"]) for one in seen] == [(second["origin"], second["size"])]
    assert seen[0]["fingerprint"] == listed["fingerprint"]
    assert (
        listed["witnesses"][0]["fingerprint"]
        in place.call("audit", "witness", "list", "--json", who="aude")[0]
    )
    # What lies in the log's folder is one note that both signed, and it is there again after it was lost.
    kept = place.home.log / "witness" / WitnessFolder(site.device).keys()[0].id.hex()
    note = verify.verify_note(kept.read_bytes(), verify.parse_keys(site.keys.read_bytes()))
    assert (note.size, len(note.signatures)) == (second["size"], 4)
    place.told("down")
    kept.unlink()
    place.told("up")
    assert verify.parse_note(kept.read_bytes()) == note
    assert place.told("audit", "verify", who="aude")["verified"] is True


def test_the_site_takes_in_what_its_own_witness_cosigned_of_its_own_log_and_nothing_else(site, tmp_path):
    place = site.place
    site.ask()
    site.cosign("--log-keys", str(site.keys))
    good = site.answer.read_bytes()

    def refused(data, key, code=3, who="aude"):
        (tmp_path / "handed").write_bytes(data)
        error = place.refused("audit", "cosigned", str(tmp_path / "handed"), who=who, code=code)
        assert error["key"] == key

    refused(good, "role.missing", code=4, who="alice")
    refused(site.request.read_bytes().partition(b"\n\n")[2], "witness.unknown", code=1)
    for nonsense in (b"", b"\xff\xfe", b"x", bytes(70_000), b"a\n1\nAAAA\n\n"):
        refused(
            nonsense, "witness.note" if nonsense in {b"", b"\xff\xfe", bytes(70_000)} else "audit.checkpoint"
        )
    lines = good.splitlines(keepends=True)
    refused(b"".join(lines[:-1]), "witness.cosignature")
    spoiled = bytearray(good)
    spoiled[-300] = ord("A") if spoiled[-300] != ord("A") else ord("B")
    refused(bytes(spoiled), "witness.cosignature")
    # Another tree of this log's name, which a stolen key signed and the witness, new to it, cosigned.
    cosigner = WitnessFolder(site.device).open("open sesame")
    origin = verify.parse_note(good).origin
    signer = LogSigner.from_bytes((place.home.keys / "log.key").read_bytes())
    for name, size, key in (
        (origin, 3, "witness.foreign"),
        (origin, 10**6, "witness.foreign"),
        ("other", 3, "witness.foreign"),
    ):
        made = checkpoint.make(name, size, bytes(32), signer, time=0)
        refused(made + cosigner.cosign(verify.parse_note(made), time=1), key)
    head = verify.parse_note(good)
    text = good.partition(b"\n\n")[0] + b"\n\n"
    refused(text + cosigner.cosign(head, time=2**40), "witness.clock")
    assert site.bring()["size"] == head.size
    site.grow(1)
    site.ask()
    site.cosign()
    site.bring()
    refused(good, "witness.older", code=6)


def test_witnesses_come_and_go_by_an_administrators_word(site, tmp_path):
    place, public = site.place, str(site.device / "witness.pub")
    assert (
        place.refused("audit", "witness", "add", "bo", public, who="alice", code=6)["key"] == "witness.known"
    )
    assert (
        place.refused("audit", "witness", "add", "a/b", public, who="alice", code=2)["key"] == "witness.name"
    )
    assert (
        place.refused("audit", "witness", "add", "bo", str(site.keys), who="alice", code=3)["key"]
        == "witness.keys"
    )
    assert place.refused("audit", "witness", "add", "bo", public, who="aude", code=4)["key"] == "role.missing"
    assert (
        place.refused("audit", "checkpoint", "--witness", "bo", who="aude", code=1)["key"]
        == "witness.unknown"
    )
    assert place.refused("audit", "checkpoint", "--old", "3", who="aude", code=2)["key"] == "witness.old"
    ahead = place.refused("audit", "checkpoint", "--witness", "ada", "--old", "99999", who="aude", code=3)
    assert ahead["key"] == "witness.ahead"
    gone = ("audit", "witness", "remove", "ada")
    place.call(*gone, who="alice", code=2)  # a reason is needed
    assert place.told(*gone, "--reason", "retired", who="alice") == {"removed": "ada"}
    assert place.refused(*gone, "--reason", "twice", who="alice", code=1)["key"] == "witness.unknown"
    assert place.told("audit", "witness", "add", "ada", public, who="alice")["cosigner"] == NAME
    plain = place.told("audit", "checkpoint", "--out", str(tmp_path / "plain"), who="aude")
    assert (tmp_path / "plain").read_text() == plain["checkpoint"]
    assert "request" not in plain


async def test_status_names_a_gap_when_no_witness_came_for_long_and_two_who_add_one_at_once_do_not_both(
    place, empty
):
    place.found()
    asked = {"name": "ada", "keys": (empty / "witness.pub").read_text()}
    async with place.open() as daemon, daemon.session("alice") as client, daemon.session("bob") as other:
        tries = [one.call("POST", "/v1/audit/witnesses", asked) for one in (client, other)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(isinstance(one, Conflict) for one in done) == [False, True]

        async def gaps():
            return [gap for gap in (await client.call("GET", "/v1/status"))["gaps"] if "witness" in gap]

        assert await gaps() == []
        started = daemon.services.now()
        daemon.services.now = lambda: started + OVERDUE + timedelta(days=1)
        assert len(await gaps()) == 1
        assert "8 days" in (await gaps())[0]
        assert "ada" in (await client.call("GET", "/v1/audit/witnesses"))["overdue"]


def test_qr_codes_carry_a_request_that_the_device_takes(site, tmp_path):
    place = site.place
    told = site.ask("--qr")
    assert frames.join("\n".join(told["frames"]).encode()).startswith(b"old 0\n\n")
    scanned = tmp_path / "scanned"
    scanned.write_text("\n".join(told["frames"]))
    site.request.write_bytes(scanned.read_bytes())
    assert site.cosign("--log-keys", str(site.keys))["scanned"] is True
    site.bring()
    kept = next((place.home.log / "witness").iterdir()).read_bytes()
    assert len(verify.verify_note(kept, verify.parse_keys(site.keys.read_bytes())).signatures) == 4
    pictures, _ = place.call("audit", "checkpoint", "--witness", "ada", "--qr", who="aude")
    rows = pictures.splitlines()
    assert max(map(len, rows)) < 80
    assert rows[23] == f"1/{len(rows) // 24}"
    assert set("".join(rows[:23])) <= set(" ▀▄█")


def test_the_device_needs_no_daemon_and_no_library_of_the_site(site):
    site.ask()
    script = (
        "import sys; from holdfast import cli; sys.argv = ['holdfast', *sys.argv[1:]]\n"
        "try:\n    cli.main()\n"
        "finally:\n"
        "    heavy = {'holdfast.daemon', 'holdfast.client', 'holdfast.serving', 'httpx', 'starlette', 'uvicorn', 'torch', 'duckdb'}\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    words = [
        "audit",
        "cosign",
        str(site.request),
        *site.options,
        "--log-keys",
        str(site.keys),
        "--out",
        str(site.answer),
    ]
    subprocess.run([sys.executable, "-c", script, *words], check=True, timeout=240, capture_output=True)
    site.bring()


def test_whatever_file_is_handed_to_the_device_it_refuses_by_name(site):
    for data in (
        b"",
        b"old",
        b"old 0\n\n",
        bytes(5_000),
        b"HF1/AAAAAAAA/1/1/AA/00000000",
        b"old 0\n\na\n1\nAA==\n\n",
        bytes(300_000),
    ):
        site.request.write_bytes(data)
        assert site.refused("--log-keys", str(site.keys))["key"] in {"witness.request", "audit.frames"}


# --- what a thief of the volume or of the log's key can do


@pytest.fixture(scope="module")
def watched_once(tmp_path_factory, pairs, key_folder, empty):
    """A site whose witness cosigned twice, its daemon stopped; a copy of the home from between."""
    folder = tmp_path_factory.mktemp("watched")
    made = Site(Place(folder / "place", pairs, key_folder), folder)
    made.begin(empty)
    made.ask()
    made.cosign("--log-keys", str(made.keys))
    made.bring()
    made.place.told("down")
    shutil.copytree(made.place.home.root, folder / "copy")
    made.place.told("up")
    made.grow(12)
    made.ask()
    made.cosign()
    made.bring()
    made.place.told("down")
    return folder


@pytest.fixture
def watched(watched_once, tmp_path, pairs, key_folder):
    """A copy of that site, to be tampered with."""
    folder = Path(shutil.copytree(watched_once, tmp_path / "watched"))
    made = Site(Place(folder / "place", pairs, key_folder), folder)
    yield made
    with suppress(DaemonUnreachable):
        service.stop(made.place.home)


def last_of(site: Site) -> int:
    """Give the size that the device saw last."""
    return max(WitnessFolder(site.device).sizes(verify.parse_keys(site.keys.read_bytes())[0].name))


def stolen(place) -> LogSigner:
    return LogSigner.from_bytes((place.home.keys / "log.key").read_bytes())


def rewrite(place, change, signer=None, keep=None):
    """Write the log anew, as whoever holds its key can: other events, right numbers and hashes, a right signature."""
    log = place.home.log
    bodies = []
    for path in verify.segments(log):
        _, _, data, offset = verify.read_segment(path)
        bodies += [record.body for record in verify.records(data, offset)]
        path.unlink()
    bodies = [change(seq, body) for seq, body in enumerate(bodies)][:keep]
    origin = verify.parse_note((log / "checkpoint").read_bytes()).origin
    frontier, data = merkle.Frontier(), segment.header(origin, 0)
    for seq, body in enumerate(bodies):
        event.parse(body)  # it is an event like any other
        frontier.append(merkle.leaf_hash(body))
        data += segment.record(body, merkle.leaf_hash(body), seq)
    (log / segment.name(0)).write_bytes(data)
    now = int(time.time())
    signer = signer or stolen(place)
    (log / "checkpoint").write_bytes(checkpoint.make(origin, len(bodies), frontier.root(), signer, time=now))
    (log / "log.pub").write_bytes(signer.public(origin))


def another_time(body: bytes) -> bytes:
    """Give an event that says of itself that it happened a microsecond before or after."""
    at = body.rindex(b'Z"}') - 1
    return body[:at] + (b"1" if body[at : at + 1] != b"1" else b"2") + body[at + 1 :]


def test_a_volume_that_was_put_back_is_caught_by_the_next_witness(watched):
    shutil.rmtree(watched.place.home.root)
    shutil.copytree(watched.folder / "copy", watched.place.home.root)
    watched.place.told("up")
    assert watched.ask()["size"] < last_of(watched)
    error = watched.refused()
    assert error["key"] == "witness.rolled-back"
    assert (error["fields"]["seen"], str(last_of(watched)) in error["message"]) == (last_of(watched), True)
    # The site's own word on what the witness saw stops it as well.
    ahead = ("audit", "checkpoint", "--witness", "ada", "--old", str(last_of(watched)))
    assert watched.place.refused(*ahead, who="aude", code=3)["key"] == "witness.ahead"


def test_a_log_that_was_cut_off_and_continued_is_caught(watched):
    rewrite(watched.place, lambda _, body: body, keep=last_of(watched) - 15)
    watched.place.told("up")
    while size_of(watched.place) <= last_of(watched):
        watched.grow(5)
    watched.ask()
    error = watched.refused(code=6)  # the site forgot the second cosignature: both possibilities are named
    assert (error["key"], error["fields"]["seen"]) == ("witness.old-size", last_of(watched))
    watched.ask("--old", str(last_of(watched)))
    error = watched.refused()
    assert error["key"] == "witness.rewritten"
    assert "cut off" in error["message"]
    assert witness.parse(Path(error["fields"]["kept"]).read_bytes()).old == last_of(watched)


@pytest.mark.parametrize("first", [0, 1, "middle"])
def test_a_log_that_was_rebuilt_or_forked_with_the_stolen_key_is_caught(watched, first):
    from_ = last_of(watched) // 2 if first == "middle" else first
    rewrite(watched.place, lambda seq, body: another_time(body) if seq == from_ else body)
    watched.place.told("up")
    assert watched.ask()["old"] == last_of(watched)
    error = watched.refused()
    assert error["key"] == "witness.rewritten"
    assert "rebuilt with its key" in error["message"]
    # The note that the witness gave before lies in the folder again, from the record: it contradicts the log as well.
    out, _ = watched.place.call("audit", "verify", "--json", who="aude", code=3)
    assert any("witness/" in str(problem) for problem in json.loads(out)["problems"])


def test_a_log_of_the_same_size_with_another_root_is_a_fork(watched):
    place = watched.place
    rewrite(place, lambda seq, body: another_time(body) if seq == 2 else body, keep=last_of(watched))
    watched.request.write_bytes(b"old 0\n\n" + (place.home.log / "checkpoint").read_bytes())
    assert watched.refused()["key"] == "witness.forked"


def test_a_log_that_was_sealed_again_with_a_newer_key_is_caught(watched):
    signer = LogSigner.generate()
    rewrite(watched.place, lambda _, body: body, signer=signer)
    note = (watched.place.home.log / "checkpoint").read_bytes()
    watched.request.write_bytes(witness.Request(last_of(watched), (), note).encode())
    error = watched.refused()
    assert error["key"] == "witness.other-key"
    assert json.dumps(error["fields"]["keys"])
    watched.refused("--log-keys", str(watched.place.home.log / "log.pub"))


def test_an_old_request_handed_in_again_is_told_from_a_roll_back(watched, tmp_path):
    old = tmp_path / "old"
    watched.place.told("up")
    watched.ask()
    shutil.copy(watched.request, old)
    watched.place.told("down")
    watched.place.told("up")
    before = verify.parse_note(old.read_bytes().partition(b"\n\n")[2])
    signed = max(int.from_bytes(raw[:8], "big") for _, _, raw in before.signatures if len(raw) > 64)
    while int(time.time()) <= signed:  # checkpoints state whole seconds
        watched.grow(1)
    watched.ask()
    watched.cosign()
    shutil.copy(old, watched.request)
    assert watched.refused()["key"] == "witness.replayed"


def test_a_restored_home_is_taken_on_by_the_auditors_word_and_the_old_one_no_more(
    watched, tmp_path, pairs, key_folder
):
    old, backup, receipt = watched.place, tmp_path / "backup", tmp_path / "restored.tlog-proof"
    old.told("up")
    old.told("audit", "backup", "--out", str(backup), who="alice")
    new = Place(tmp_path / "new", pairs, key_folder)
    new.folder.mkdir()
    made = new.told("audit", "restore", str(backup), "--keys", str(watched.keys))
    new.told("up")
    site = Site(new, watched.folder)
    try:
        assert site.ask()["old"] == last_of(watched)
        assert site.refused()["key"] == "witness.unknown-log"
        new.told("audit", "prove", str(made["seq"]), "--out", str(receipt), who="aude")
        words = (
            "succeed",
            str(site.request),
            "--restored",
            str(receipt),
            "--log-keys",
            str(new.home.log / "log.pub"),
        )
        told = new.told("audit", "witness", *words, *site.options, "--out", str(site.answer))
        assert (told["origin"], told["before"]) == (made["origin"], last_of(watched))
        assert site.bring()["size"] == told["size"]
        site.grow(1)
        assert site.ask()["old"] == told["size"]
        site.cosign()
        site.bring()
    finally:
        service.stop(new.home)
    watched.ask()  # somebody still uses the old one
    assert watched.refused(code=6)["key"] == "witness.succeeded"
