"""The pages: reproducible, conforming, and proof against hostile names."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from holdfast import canonical, hashing
from holdfast.errors import WorkerFailed
from holdfast.report import blocks, pages, wording
from holdfast.report.facts import gather
from holdfast.report.render import render
from holdfast.workers import render as worker
from holdfast.workers.channel import Channel

HOSTILE = (
    '#panic("x") *b* _e_ $x$ `r` @l <t> // c /* d */ [a] #[b] \\ "q" #sys.inputs',
    "SECRET//REL",
    "abc\u202eevil\u200b\x00\x07",
    "គណៈកម្មការ 中文 \U0001f600 \ue000",
    "</pdf:Keywords> holdfast-facts:sha512:" + "0" * 128,
    "w" * 400,
    "</script><b>&amp;",
)


@pytest.fixture
def gathered(make_story, now):
    def make(site="Harbour Office", **changes):
        story = make_story(site=site, **changes)
        return gather(
            story.events, site=site, walls=story.events[1]["params"]["walls"], now=now, log=story.log
        )

    return make


def test_the_same_facts_give_the_same_bytes(gathered):
    first, second = render(gathered()), render(gathered())
    assert first == second
    assert render(gathered("Other Office"))[0] != first[0]


def test_the_pdf_says_that_it_is_pdf_a_2a_and_pdf_ua_1_and_of_what_it_was_made(gathered):
    pdf, data = render(gathered())
    assert b"<pdfaid:part>2</pdfaid:part><pdfaid:conformance>A</pdfaid:conformance>" in pdf
    assert b"<pdfuaid:part>1</pdfuaid:part>" in pdf
    assert b"/Lang(en)" in pdf.replace(b" ", b"") or b"<rdf:li>en</rdf:li>" in pdf
    assert f"holdfast-facts:{hashing.sha512(data)}".encode() in pdf
    assert data == canonical.encode(gathered())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_set_as_text(gathered, name):
    pdf, data = render(gathered(name))
    named = set(re.findall(rb"holdfast-facts:(sha512:[0-9a-f]{128})", pdf))
    assert named == {hashing.sha512(data).encode()}


def test_what_stands_on_the_page_is_the_name_itself(gathered):
    model = pages.lay_out(gathered(HOSTILE[0]))
    assert model["site"].replace("\u200b", "") == HOSTILE[0]
    assert "\\u{202e}" in pages.lay_out(gathered(HOSTILE[2]))["site"].replace("\u200b", "")


def test_every_character_that_is_let_through_has_a_glyph(gathered):
    every = "".join(
        chr(point)
        for low, high in wording._COVERED
        for point in range(low, high + 1)
        if chr(point).isprintable()
    )
    facts = gathered()
    facts["gaps"] = [every[start : start + 300] for start in range(0, len(every), 300)]
    pdf, _ = render(facts)
    assert pdf.startswith(b"%PDF-")


def test_long_tables_are_cut_on_the_pages_alone(gathered):
    facts = gathered()
    facts["gates"] = facts["gates"] * (blocks.MAX_SHOWN + 5)
    model = pages.lay_out(facts)
    gates = model["sections"][3]["blocks"][1]
    assert len(gates["rows"]) == blocks.MAX_SHOWN
    assert gates["note"].replace("\u200b", "") == "5 more rows are in residency.json."


def test_every_section_of_the_pages_speaks(gathered):
    model = pages.lay_out(gathered())
    rows = {block["title"]: block["rows"] for section in model["sections"] for block in section["blocks"]}
    silent = {title for title, listed in rows.items() if not listed}
    assert silent == {"Imports that ended otherwise", "Acts that did not end well, or have not ended"}
    assert len(model["sections"]) + 1 == pages.GAPS_SECTION
    for block in (block for section in model["sections"] for block in section["blocks"]):
        assert {len(row) for row in block["rows"]} <= {len(block["columns"])}
        assert len(block["widths"]) == len(block["columns"])


def test_a_label_too_long_for_every_page_is_whole_on_the_first(gathered):
    facts = gathered()
    facts["banner"] = "SECRET//" + "//".join(f"compartment{number}" for number in range(64)) + " @site"
    facts["label"]["level"] = "secret"
    model = pages.lay_out(facts)
    assert model["banner"].replace("\u200b", "") == facts["banner"]
    assert model["running"] == "SECRET (the full label is on page 1)"
    assert render(facts)[0].startswith(b"%PDF-")


@pytest.mark.parametrize("made", ["", "not a time", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"])
def test_a_report_is_made_whatever_its_time(gathered, made):
    facts = gathered()
    facts["made"] = made
    assert render(facts)[0].startswith(b"%PDF-")


@pytest.fixture
def channel():
    near, far = socket.socketpair()
    drain = threading.Thread(target=lambda: all(iter(lambda: far.recv(65_536), b"")))
    drain.start()
    yield Channel(near)
    near.close()
    drain.join()
    far.close()


def test_the_worker_writes_both_files_and_says_what_they_are(gathered, channel, tmp_path):
    result = worker.main(channel, {"facts": gathered(), "out": str(tmp_path)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["residency.json", "residency.pdf"]
    for name, stated in result["files"].items():
        data = (tmp_path / name).read_bytes()
        assert stated == {"digest": hashing.sha512(data), "size": len(data)}


def test_the_worker_refuses_an_order_without_facts(channel, tmp_path):
    with pytest.raises(WorkerFailed, match="no facts"):
        worker.main(channel, {"out": str(tmp_path)})
