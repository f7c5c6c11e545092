"""A report's folder: what was signed verifies, what was touched is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from holdfast import canonical
from holdfast.audit import checkpoint
from holdfast.audit.signer import LogSigner
from holdfast.cli.report import report
from holdfast.errors import Conflict, NotFound, OperationFailed, UsageRefused, VerificationFailed
from holdfast.keys import person
from holdfast.report import folder, sign
from holdfast.report.facts import gather
from holdfast.report.render import render
from holdfast.report.sign import RESIDENCY
from holdfast.report.verify import verify

ROOT = bytes(range(32))
PAIR = person.generate("appliance")


def make(story, now, **log):
    signer = LogSigner.generate()
    stated = {"origin": "holdfast.example/harbour", "size": len(story.events), "root": ROOT.hex(), **log}
    facts = gather(story.events, site="Harbour Office", walls={}, now=now, log=stated)
    pdf, data = render(facts)
    note = checkpoint.make("holdfast.example/harbour", len(story.events), ROOT, signer, time=1)
    keys = signer.public("holdfast.example/harbour")
    return folder.assemble(RESIDENCY, pdf, data, checkpoint=note, log_keys=keys, pair=PAIR)


@pytest.fixture(scope="session")
def made(make_story, now):
    return make(make_story(), now)


@pytest.fixture
def files(made):
    return dict(made)


def at_fault(verdict):
    return {problem.file for problem in verdict.problems}


def resigned(files, **changed):
    unsigned = {name: data for name, data in {**files, **changed}.items() if name != RESIDENCY.signature}
    return {**unsigned, RESIDENCY.signature: sign.sign(RESIDENCY, unsigned, pair=PAIR)}


def test_an_untouched_report_verifies_and_says_whose_key_was_not_compared(files):
    verdict = verify(files)
    assert verdict.ok
    assert (verdict.site, verdict.signer, verdict.root) == ("Harbour Office", "appliance", ROOT.hex())
    assert "NOT compared with one that you trust" in verdict.standing
    assert PAIR.public.fingerprint in verdict.standing


def test_the_trusted_fingerprint_is_compared_in_any_writing(files):
    verdict = verify(files, fingerprint=PAIR.public.fingerprint.replace(" ", "").upper())
    assert verdict.ok
    assert "which is the one that you trust" in verdict.standing


def test_another_fingerprint_is_a_failure(files):
    verdict = verify(files, fingerprint="ab" * 20)
    assert not verdict.ok
    assert not verdict.compared


@pytest.mark.parametrize("text", ["", "abc", "zz" * 20, "ab" * 64])
def test_what_is_no_fingerprint_is_wrong_usage(files, text):
    with pytest.raises(UsageRefused, match="not a fingerprint"):
        verify(files, fingerprint=text)


@pytest.mark.parametrize("name", [*RESIDENCY.signed, RESIDENCY.signature])
def test_a_flipped_bit_anywhere_is_refused_with_the_name_of_the_file(files, name):
    data = files[name]
    for position in {0, 1, len(data) // 3, len(data) // 2, len(data) - 2, len(data) - 1}:
        for bit in (0x01, 0x20):
            changed = bytearray(data)
            changed[position] ^= bit
            assert name in at_fault(verify({**files, name: bytes(changed)})), (position, bit)


@pytest.mark.parametrize("name", [*RESIDENCY.signed, RESIDENCY.signature])
@pytest.mark.parametrize("content", [b"", b"\x00", b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_a_replaced_file_is_named(files, name, content):
    assert name in at_fault(verify({**files, name: content}))


@pytest.mark.parametrize("name", [*RESIDENCY.signed, RESIDENCY.signature])
def test_a_missing_file_is_named(files, name):
    del files[name]
    problems = [(problem.file, problem.text) for problem in verify(files).problems]
    assert (name, "it is missing") in problems


def test_an_extra_file_is_named(files):
    assert at_fault(verify({**files, "notes.txt": b""})) == {"notes.txt"}


def test_a_report_signed_by_another_key_fails_only_against_the_fingerprint(files):
    other = person.generate("appliance")
    unsigned = {name: data for name, data in files.items() if name != RESIDENCY.signature}
    forged = {**unsigned, RESIDENCY.signature: sign.sign(RESIDENCY, unsigned, pair=other)}
    assert verify(forged).ok
    assert at_fault(verify(forged, fingerprint=PAIR.public.fingerprint)) == {RESIDENCY.signature}


@pytest.mark.parametrize("lost", [0, 1])
def test_both_algorithms_must_have_signed(files, lost):
    document = json.loads(files[RESIDENCY.signature])
    del document["signatures"][lost]
    verdict = verify({**files, RESIDENCY.signature: canonical.encode(document)})
    assert at_fault(verdict) == {RESIDENCY.signature}


def test_a_signature_of_the_same_key_for_another_purpose_does_not_count(files):
    document = json.loads(files[RESIDENCY.signature])
    document["signatures"] = person.sign(PAIR, "session", canonical.encode(document["statement"]))
    assert not verify({**files, RESIDENCY.signature: canonical.encode(document)}).ok


def test_pages_of_other_facts_are_refused_even_when_signed(files, make_story, now):
    other = make(make_story(site="x", self_made=False), now)
    assert at_fault(verify(resigned(files, **{RESIDENCY.pdf: other[RESIDENCY.pdf]}))) == {RESIDENCY.pdf}


@pytest.mark.parametrize("log", [{"size": 7}, {"root": "00" * 32}, {"origin": "elsewhere"}, {"root": None}])
def test_facts_that_speak_of_another_checkpoint_are_refused_even_when_signed(make_story, now, log):
    assert at_fault(verify(make(make_story(), now, **log))) == {RESIDENCY.facts}


def test_a_checkpoint_of_another_log_is_refused_even_when_signed(files, make_story, now):
    other = make(make_story(), now)
    assert at_fault(verify(resigned(files, checkpoint=other["checkpoint"]))) == {sign.CHECKPOINT}


def test_facts_without_their_shape_are_refused_even_when_signed(files):
    facts = json.loads(files[RESIDENCY.facts])
    del facts["gaps"]
    verdict = verify(resigned(files, **{RESIDENCY.facts: canonical.encode(facts)}))
    assert {problem.text for problem in verdict.problems if problem.file == RESIDENCY.facts} == {
        "the section 'gaps' is missing"
    }


def test_only_a_whole_report_is_signed():
    with pytest.raises(OperationFailed, match="consists of"):
        sign.sign(RESIDENCY, {RESIDENCY.pdf: b""}, pair=PAIR)


def test_a_folder_is_written_whole_and_read_back(files, tmp_path):
    folder.write(tmp_path / "out" / "report", files)
    assert folder.read(tmp_path / "out" / "report") == files
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report"]


def test_nothing_is_overwritten_and_nothing_is_left_behind(files, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for name in ("report", "file"):
        with pytest.raises(Conflict):
            folder.write(tmp_path / name, files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "report"]
    assert (tmp_path / "report" / "mine").read_text() == "kept"


def test_links_folders_pipes_and_crowds_are_refused(tmp_path):
    for name, place in (
        ("link", lambda path: path.symlink_to("/etc/hostname")),
        ("folder", lambda path: path.mkdir()),
        ("pipe", os.mkfifo),
    ):
        (tmp_path / name).mkdir()
        place(tmp_path / name / "residency.pdf")
        with pytest.raises(VerificationFailed, match=r"residency\.pdf"):
            folder.read(tmp_path / name)
    for number in range(folder.MAX_ENTRIES + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(VerificationFailed, match="entries"):
        folder.read(tmp_path)
    with pytest.raises(NotFound):
        folder.read(tmp_path / "nowhere")


def test_the_command_prints_the_verdict_and_fails_with_exit_code_3(files, tmp_path):
    folder.write(tmp_path / "report", files)
    (tmp_path / "key.pub").write_bytes(canonical.encode(PAIR.public.to_json()))
    done = CliRunner().invoke(
        report,
        ["verify", str(tmp_path / "report"), "--key", str(tmp_path / "key.pub"), "--json"],
        standalone_mode=False,
    )
    verdict = json.loads(done.stdout)
    assert (verdict["ok"], verdict["compared"], done.exception) == (True, True, None)

    (tmp_path / "report" / "verify.py").write_bytes(b"print('verified')")
    done = CliRunner().invoke(report, ["verify", str(tmp_path / "report")], standalone_mode=False)
    assert "NOT VERIFIED" in done.stdout
    assert isinstance(done.exception, VerificationFailed)
    assert done.exception.exit_code == 3
    assert done.exception.fields["files"] == ["verify.py"]


def test_verifying_needs_neither_models_nor_database_nor_typesetter_nor_network_client(files, tmp_path):
    folder.write(tmp_path / "report", files)
    program = (
        "import sys; from holdfast.cli.report import report\n"
        "try:\n    report(['verify', sys.argv[1]])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = ['torch', 'duckdb', 'typst', 'httpx', 'pyarrow', 'transformers', 'starlette', 'textual', 'llama_cpp', 'tuf']\n"
        "print('loaded', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "report"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("verified: residency report of Harbour Office")
    assert done.stdout.endswith("loaded []\n")
