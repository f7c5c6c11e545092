"""Exported evidence asked on a machine without a daemon."""

from __future__ import annotations

import json
import os

import pytest
from tests.integration.audit.logbook import Book

from holdfast import hashing
from holdfast.audit.event import Actor
from holdfast.cli import offlineindex
from holdfast.errors import NotFound, UntrustedRequest, VerificationFailed

EVE = Actor("eve", 1002, "auditor", "t")
COUNT = {"op": "sql", "sql": "SELECT count(*), min(seq) FROM events"}


@pytest.fixture
def book(tmp_path):
    book = Book()
    for number in range(30):
        book.add("audit.read", {"what": "sql", "request": {"number": number}}, who=EVE)
    book.save(tmp_path / "evidence", first=14)
    return book


@pytest.mark.usefixtures("book")
async def test_a_range_is_answered_for_with_its_signed_root(tmp_path):
    answer = await offlineindex.ask(tmp_path / "evidence", None, COUNT)
    assert answer["rows"] == [[16, 14]]
    assert (answer["first"], answer["size"]) == (14, 30)
    with pytest.raises(UntrustedRequest):
        await offlineindex.ask(tmp_path / "evidence", None, {"op": "sql", "sql": "DROP TABLE events"})


async def test_what_is_not_what_was_signed_is_not_answered_for(tmp_path, book):
    folder = tmp_path / "evidence"
    book.bodies[20] = book.bodies[20].replace(b'"number":20', b'"number":21')
    checkpoint = (folder / "checkpoint").read_bytes()
    book.save(folder, first=14)  # every hash fits; only the checkpoint is the old one
    (folder / "checkpoint").write_bytes(checkpoint)
    with pytest.raises(VerificationFailed):
        await offlineindex.ask(folder, None, COUNT)


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize("name", ["checkpoint", "log.pub"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x+y+z\n", b"[" * 5_000, b"\x00" * 70_000])
async def test_evidence_that_is_not_in_form_is_refused(tmp_path, name, content):
    path = tmp_path / "evidence" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises((VerificationFailed, NotFound)):
        await offlineindex.ask(tmp_path / "evidence", None, COUNT)


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize(
    "stated",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b'{"files":{},"size":true}',
        b'{"files":[],"size":3}',
        b'{"files":{"../x":{}},"size":3}',
        b"{" * 900,
    ],
)
async def test_a_result_that_is_not_in_form_is_refused(tmp_path, stated):
    result = tmp_path / "result"
    result.mkdir()
    (result / "receipt.tlog-proof").write_bytes(b"c2sp.org/tlog-proof@v1\nextra !\n")
    if stated is not None:
        (result / "query.json").write_bytes(stated)
    with pytest.raises((VerificationFailed, NotFound)):
        await offlineindex.compare(tmp_path / "evidence", None, result)


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize("name", ["log.pub", "checkpoint"])
async def test_a_pipe_among_the_evidence_is_refused_and_not_waited_for(tmp_path, name):
    (tmp_path / "evidence" / name).unlink()
    os.mkfifo(tmp_path / "evidence" / name)
    with pytest.raises(VerificationFailed):
        await offlineindex.ask(tmp_path / "evidence", None, COUNT)


@pytest.mark.usefixtures("book")
async def test_a_result_without_a_receipt_of_its_own_is_said_to_be_so(tmp_path):
    out = tmp_path / "out"
    request = {"op": "write", "sql": "FROM events ORDER BY seq", "given": {}, "formats": ["csv"]}
    told = await offlineindex.write(tmp_path / "evidence", None, request, out)
    assert told["rows"] == 16
    stated = json.loads((out / "query.json").read_bytes())
    assert stated["files"]["rows.csv"]["bytes"] == (out / "rows.csv").stat().st_size
    (out / "receipt.tlog-proof").write_bytes(b"c2sp.org/tlog-proof@v1\nindex 3\n\nnothing\n")
    found = await offlineindex.compare(tmp_path / "evidence", None, out)
    assert all("receipt" in one for one in found["problems"])
    assert found["problems"]


@pytest.mark.usefixtures("book")
async def test_rows_in_another_order_are_the_same_answer_and_other_rows_are_not(tmp_path):
    out = tmp_path / "out"
    formats = ["csv", "jsonl", "parquet"]
    request = {
        "op": "write",
        "sql": "SELECT seq, action || chr(10) AS text FROM events",
        "given": {},
        "formats": formats,
    }
    await offlineindex.write(tmp_path / "evidence", None, request, out)
    (out / "receipt.tlog-proof").write_bytes(b"c2sp.org/tlog-proof@v1\nindex 3\n\nnothing\n")

    async def compared(change):
        """Change the lines of both text files, restate their digests, and compare: problems with rows, and notes."""
        stated = json.loads((out / "query.json").read_bytes())
        for name, end in (("rows.csv", b'\n"\r\n'), ("rows.jsonl", b"\n")):
            data = (out / name).read_bytes()
            head = data.index(b"\r\n") + 2 if name == "rows.csv" else 0
            rows = [row + end for row in data[head:].split(end)[:-1]]
            (out / name).write_bytes(data[:head] + b"".join(change(rows)))
            stated["files"][name]["digest"] = hashing.sha512((out / name).read_bytes())
        (out / "query.json").write_text(json.dumps(stated))
        found = await offlineindex.compare(tmp_path / "evidence", None, out)
        return [one for one in found["problems"] if one.startswith("rows.")], found["notes"]

    problems, notes = await compared(lambda rows: [*reversed(rows)])
    assert problems == []
    assert {one.split()[0] for one in notes if "another order" in one} == {"rows.csv", "rows.jsonl"}
    twice = await compared(lambda rows: [rows[1], rows[1], *rows[2:]])  # as many rows, one of them twice
    assert {one.split()[0] for one in twice[0]} == {"rows.csv", "rows.jsonl"}
