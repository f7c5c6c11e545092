"""Evidence forged by somebody who holds the folder and none of the keys: what a verdict must not let pass, or pass over."""

from __future__ import annotations

import json

import pytest
from tests import recorded
from tests.integration.audit.logbook import ORIGIN, SIGNER, Book

from holdfast.audit import complete, cosignature, export, verify

KEYS = SIGNER.keys(ORIGIN)
COSIGNER = cosignature.Cosigner.from_secret("witness.example/aude", bytes(range(64)))
EVENTS = 30


def book(uid=None):
    """A log of denied visits, all of one user if given."""
    made = Book()
    for number in range(EVENTS):
        made.add("access.denied", recorded.sample("access.denied", uid=number if uid is None else uid))
    return made


@pytest.fixture
def early(tmp_path):
    """A checkpoint that the log really signed, over its first five events."""
    book().save(tmp_path / "early", size=5)
    return (tmp_path / "early" / "checkpoint").read_bytes()


@pytest.fixture
def rows(tmp_path):
    """Evidence with rows."""
    folder = tmp_path / "rows"
    book().save(folder)
    (folder / "filter.json").write_bytes(export.encode_filter({"action": "access.denied"}))
    export.write_rows(folder, folder, complete.LISTED, lambda _: None)
    return folder


def problems(folder, witness=()):
    return [(one.seq, one.text) for one in complete.verify_log(folder, KEYS, witness).problems]


def test_a_checkpoint_from_before_the_range_signs_nothing_of_it(tmp_path, early):
    folder = tmp_path / "forged"
    book(uid=666).save(folder, first=10)
    (folder / "checkpoint").write_bytes(early)
    assert problems(folder) == [(10, "the log begins here, and the checkpoint ends before it")]


def test_a_witness_that_saw_only_what_is_not_here_has_not_cosigned_it(tmp_path, early):
    folder = tmp_path / "forged"
    book(uid=666).save(folder, first=10)  # rebuilt with the log's stolen key
    (folder / "witness").mkdir()
    cosigned = early + COSIGNER.cosign(verify.parse_note(early), time=1_767_400_000)
    (folder / "witness" / "0a0b0c0d").write_bytes(cosigned)
    found = problems(folder, COSIGNER.keys)
    assert found == [(None, "there is no valid cosignature by witness.example/aude that covers what is here")]
    book(uid=666).save(tmp_path / "whole")
    (tmp_path / "whole" / "witness").mkdir()
    (tmp_path / "whole" / "witness" / "0a0b0c0d").write_bytes(cosigned)
    assert any("is not that of witness/0a0b0c0d" in text for _, text in problems(tmp_path / "whole"))


def test_a_range_is_said_to_be_one(tmp_path):
    book().save(tmp_path / "part", first=10)
    verdict = complete.verify_log(tmp_path / "part", KEYS)
    assert verdict.ok
    assert (verdict.first, verdict.size) == (10, EVENTS)
    assert "first 10 size 30" in str(verdict)
    assert any(one.seq == 10 and "not here" in one.text for one in verdict.notes)


@pytest.mark.parametrize("size", ["1.0", "true", "1e1", "-1", "null", '"1"', "9" * 5000, "[" * 9000])
def test_a_size_that_is_no_number_is_a_problem(tmp_path, size):
    book().save(tmp_path / "part", first=1)
    (tmp_path / "part" / "archived").write_text(f'{{"size":{size},"peaks":["{"00" * 32}"]}}')
    assert problems(tmp_path / "part")


def test_rows_of_events_that_nobody_signed_are_not_due(rows):
    signed = (rows / "checkpoint").read_bytes()
    longer = book()
    longer.add("access.denied", recorded.sample("access.denied", uid=666))
    wanted = (rows / "filter.json").read_bytes()
    longer.save(rows)
    (rows / "checkpoint").write_bytes(signed)
    (rows / "filter.json").write_bytes(wanted)
    export.write_rows(rows, rows, complete.LISTED, lambda _: None)
    assert [text for _, text in problems(rows)] == [
        "rows.csv has rows where no more are due",
        "rows.jsonl has rows where no more are due",
    ]


def test_the_verdict_names_the_filter_that_chose_the_rows(rows):
    verdict = complete.verify_log(rows, KEYS)
    assert verdict.ok
    told = 'holds the 30 rows of the events 0 to 29 that fit {"action": "access.denied"}, and no other'
    assert [one.text for one in verdict.notes] == [f"rows.csv {told}", f"rows.jsonl {told}"]


def test_rows_that_nothing_can_be_compared_with_are_a_problem(rows):
    (rows / "rows.parquet").write_bytes(b"anything")
    assert problems(rows) == []
    for name in complete.LISTED:
        (rows / name).unlink()
    assert [text for _, text in problems(rows)] == [
        'there is no file of rows that can be compared: the rows of the events 0 to 29 that fit {"action": "access.denied"}'
    ]
    (rows / "filter.json").unlink()
    assert "filter.json" in problems(rows)[0][1]


def test_a_verdict_sends_no_control_codes_to_a_terminal(tmp_path):
    folder = tmp_path / "forged"
    book().save(folder)
    text = folder.joinpath("checkpoint").read_text()
    spoofed = text.replace(f"{ORIGIN}\n", f"x\x1b[2K\rverified: {ORIGIN} size {EVENTS} root 00\n", 1)
    folder.joinpath("checkpoint").write_text(spoofed)
    told = str(verify.verify_log(folder, KEYS))
    assert "\x1b" not in told
    assert "\r" not in told
    assert "NOT VERIFIED" in told
    json.dumps(told)
