"""Data files of every format, well made and hostile, through the preparation: what is kept, what is set aside, what is found."""

from __future__ import annotations

import csv
import io
import json
import os
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.dataset import files, prepared
from holdfast.errors import UntrustedRecipe
from holdfast.preparation import columns, commas, likeness, shingles, sources
from holdfast.workers import prepare

REPORTER = SimpleNamespace(cancelled=False, progress=lambda *_: None)
CHAT = {"messages": [{"role": "user", "content": "Fee?"}, {"role": "assistant", "content": "Nine crowns."}]}
PAIR = {"prompt": "Fee?", "completion": "Nine."}


@pytest.fixture
def run(tmp_path):
    """Prepare files given as bytes; gives the profile and the lines of each file written."""
    numbers = iter(range(10**6))

    def call(found: dict[str, bytes], *, quarantine: bool = True, reporter=REPORTER, **options):
        folder = tmp_path / str(next(numbers))
        (folder / "out").mkdir(parents=True)
        listed = []
        for at, (name, data) in enumerate(found.items()):
            (folder / str(at)).write_bytes(data)
            form = files.format_of(name, None, folder=False)
            listed.append({"shown": name, "path": str(folder / str(at)), "format": form})
        order = {
            "files": listed,
            "forms": ["messages", "completion"],
            "columns": {},
            "held_out": 0.0,
            "over": None,
            "quarantine": quarantine,
            "licence": "CC0-1.0",
            "suites": {},
            "out": str(folder / "out"),
        }
        result = prepare.main(reporter, order | options)
        lines = {one.name: one.read_bytes().splitlines() for one in (folder / "out").iterdir()}
        named = (prepared.ROWS, prepared.HELD_OUT, prepared.QUARANTINE)
        return SimpleNamespace(
            profile=json.loads(lines.get(prepared.PROFILE, [b"null"])[0]),
            finished=result["finished"],
            files=result.get("files"),
            raw=lines,
            **{
                name.removesuffix(".jsonl"): [json.loads(line) for line in lines.get(name, [])]
                for name in named
            },
        )

    return call


def lines(*values: object) -> bytes:
    return b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in values)


def parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def told(run, found, **options) -> UntrustedRecipe:
    with pytest.raises(UntrustedRecipe) as caught:
        run(found, **options)
    return caught.value


def test_lines_of_json_keep_their_place_and_what_is_malformed_is_set_aside(run):
    data = b"\xef\xbb\xbf" + lines(CHAT, b"\n", {"messages": []}, b"\xff\n", CHAT | {"id": "7"}, PAIR)
    found = run({"d.jsonl": data})
    assert [one["at"] for one in found.rows] == ["d.jsonl:1", "d.jsonl:5"]
    assert [(one["line"], one["reason"]) for one in found.quarantine] == [
        (3, "malformed"),
        (4, "malformed"),
        (6, "malformed"),
    ]
    assert json.loads(found.quarantine[0]["row"]) == {"messages": []}
    assert found.files == ["profile.json", "quarantine.jsonl", "rows.jsonl"]
    assert found.profile["duplicates"] == {"rows": 1, "groups": 1, "first": [["d.jsonl:1", "d.jsonl:5"]]}


def test_without_a_quarantine_every_malformed_row_is_told_with_file_and_line(run):
    error = told(run, {"b.jsonl": lines(CHAT, {}, []), "a.jsonl": b"nonsense\n"}, quarantine=False)
    assert error.key == "dataset.row"
    assert [one.split(": ")[0] for one in error.fields["mistakes"]] == ["a.jsonl:1", "b.jsonl:2", "b.jsonl:3"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{}\n"])
def test_no_rows_are_no_data_set(run, data):
    assert told(run, {"d.jsonl": data}).key == "dataset.empty"


def test_a_blank_field_is_an_empty_row(run):
    found = run({"d.jsonl": lines(PAIR, PAIR | {"prompt": " "})})
    assert (found.profile["empty"], found.quarantine[0]["reason"]) == (1, "empty")


def test_a_huge_line_is_passed_over_without_being_kept(run, monkeypatch):
    monkeypatch.setattr(prepared, "MAX_LINE", 200)
    monkeypatch.setattr(sources, "CHUNK", 64)
    data = lines(PAIR) + b"x" * 5000 + b"\n" + lines(PAIR) + b"y" * 999
    found = run({"d.jsonl": data})
    assert [one["at"] for one in found.rows] == ["d.jsonl:1", "d.jsonl:3"]
    assert [(one["line"], one["bytes"], "row" in one) for one in found.quarantine] == [
        (2, 5000, False),
        (4, 999, False),
    ]


def test_what_is_too_much_is_refused(run, monkeypatch):
    for module, name, bound in (
        (prepared, "MAX_ROWS", 1),
        (prepared, "MAX_FILE", 10),
        (sources, "MAX_BYTES", 10),
        (sources, "MAX_FILES", 0),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, bound)
            assert told(run, {"d.jsonl": lines(PAIR, PAIR)}).key == "dataset.too-large"
    monkeypatch.setattr(sources, "MAX_DOCUMENT", 10)
    assert told(run, {"d.md": b"x" * 11}, forms=["text"]).key == "dataset.too-large"


def test_links_and_other_things_that_are_no_files_are_refused(run, tmp_path):
    (tmp_path / "target").write_bytes(lines(PAIR))
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing"):
        listed = [{"shown": "d.jsonl", "path": str(tmp_path / name), "format": "jsonl"}]
        assert told(run, {}, files=listed).key == "dataset.file"


def test_work_that_is_no_longer_wanted_leaves_nothing(run):
    stopped = SimpleNamespace(cancelled=True, progress=lambda *_: None)
    found = run({"d.jsonl": lines(PAIR)}, reporter=stopped)
    assert (found.finished, found.raw) == (False, {})


# CSV.


def test_csv_is_read_with_its_lines_quotes_and_delimiters(run):
    data = '\ufeffprompt;completion\r\n"a ""b""\nc";d\r\n\r\ne;f\r\n'.encode()
    found = run({"d.csv": data})
    assert found.rows == [
        {"at": "d.csv:2", "prompt": 'a "b"\nc', "completion": "d"},
        {"at": "d.csv:5", "prompt": "e", "completion": "f"},
    ]
    assert run({"d.tsv": b"prompt\tcompletion\na\tb\n"}).rows[0]["completion"] == "b"


def test_columns_of_csv_are_mapped_and_messages_are_json(run):
    found = run(
        {"d.csv": b"q,a,who\nx,y,z\n"}, columns={"prompt": "q", "completion": "a"}, forms=["completion"]
    )
    assert found.rows == [{"at": "d.csv:2", "prompt": "x", "completion": "y"}]
    assert found.profile["unused_columns"] == ["who"]
    out = io.StringIO()
    csv.writer(out).writerows([["messages"], [json.dumps(CHAT["messages"])], ["{"], ["[" * 9999]])
    found = run({"d.csv": out.getvalue().encode()})
    assert (len(found.rows), [one["line"] for one in found.quarantine]) == (1, [3, 4])


@pytest.mark.parametrize(
    ("body", "aside"),
    [
        (b"a\n", ["d.csv:2"]),
        (b"a,b,c\n", ["d.csv:2"]),
        (b"a,\xff\n", ["d.csv:2"]),
        (b'"a"x,b\n', ["d.csv:2"]),
        (b"a,\0\n", ["d.csv:2"]),
        (b"x,y\n" * 2 + b'"open,b\n', ["d.csv:4"]),
    ],
)
def test_a_malformed_record_is_set_aside_with_its_line(run, body, aside):
    found = run({"d.csv": b"prompt,completion\n" + body, "e.csv": b"prompt,completion\ngood,row\n"})
    assert [one["at"] for one in found.quarantine] == aside
    assert found.rows[-1]["at"] == "e.csv:2"


def test_a_gigantic_field_or_record_is_set_aside(run, monkeypatch):
    monkeypatch.setattr(commas, "MAX_CHARACTERS", 100)
    found = run({"d.csv": b"prompt,completion\na," + b"x" * 101 + b"\nc,d\n"})
    assert ([one["line"] for one in found.quarantine], found.rows[0]["at"]) == ([2], "d.csv:3")
    monkeypatch.setattr(commas, "MAX_CHARACTERS", 2**20)
    monkeypatch.setattr(commas, "MAX_RECORD", 300)
    unclosed = b'prompt,completion\na,"' + b"x\n" * 200
    found = run({"c.csv": b"prompt,completion\na,b\n", "d.csv": unclosed})
    assert found.quarantine[0]["at"] == "d.csv:2"
    assert "is a quotation mark missing" in found.quarantine[0]["why"]
    assert found.profile["read"] == 1 + len(found.quarantine)


@pytest.mark.parametrize(
    "head", [b"", b"a,a\n", b"a,\n", b"\xff\n", b'"a\n', b",".join([b"x"] * 1001) + b"\n"]
)
def test_a_head_that_names_no_columns_is_refused(run, head):
    assert told(run, {"d.csv": head}).key == "dataset.file"


# Parquet.


def test_parquet_is_read_with_the_numbers_of_its_rows(run):
    table = pa.table({"messages": [CHAT["messages"], [], CHAT["messages"], None], "id": ["a", "b", "c", "d"]})
    found = run({"d.parquet": parquet(table, row_group_size=2)})
    assert [one["at"] for one in found.rows] == ["d.parquet:1", "d.parquet:3"]
    assert [one["at"] for one in found.quarantine] == ["d.parquet:2", "d.parquet:4"]
    assert json.loads(found.quarantine[0]["row"]) == {"id": "b", "messages": []}


def test_columns_of_parquet_are_mapped_and_only_these_are_looked_at(run):
    table = pa.table({"q": ["x"], "a": pa.array(["y"]).dictionary_encode(), "vector": [[1.0, 2.0]]})
    found = run({"d.parquet": parquet(table)}, columns={"prompt": "q", "completion": "a"})
    assert found.rows == [{"at": "d.parquet:1", "prompt": "x", "completion": "y"}]
    assert found.profile["unused_columns"] == ["vector"]
    assert "holds list<" in told(run, {"d.parquet": parquet(table)}).message


def test_parquet_with_text_that_is_none_is_set_aside(run):
    kind = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    found = run({"d.parquet": parquet(pa.table({"text": kind}))}, forms=["text"])
    assert (found.rows[0]["text"], found.quarantine[0]["line"]) == ("ok", 2)


def test_a_parquet_bomb_is_refused_by_what_it_declares_or_by_its_first_batch(run, monkeypatch):
    bomb = parquet(pa.table({"text": pa.array(["x" * 2**16] * 2000)}), compression="zstd")
    assert len(bomb) < 2**17
    with monkeypatch.context() as patch:
        patch.setattr(columns, "MAX_BATCH", 2**20)
        assert told(run, {"d.parquet": bomb}, forms=["text"]).key == "dataset.too-large"
    with monkeypatch.context() as patch:
        patch.setattr(prepared, "MAX_FILE", 2**20)
        assert told(run, {"d.parquet": bomb}, forms=["text"]).key == "dataset.too-large"
    for module, name in ((prepared, "MAX_ROWS"), (columns, "MAX_BYTES")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 10)
            assert "declares" in told(run, {"d.parquet": bomb}, forms=["text"]).message


def test_lists_of_nothing_in_parquet_are_not_taken_apart(run, monkeypatch):
    """A thousand bytes hold millions of messages that are null."""
    nothing = pa.nulls(10**6, pa.struct([("role", pa.string()), ("content", pa.string())]))
    lists = pa.ListArray.from_arrays(pa.array([0, 10**6], pa.int32()), nothing)
    bomb = parquet(pa.table({"messages": lists}), compression="zstd")
    assert len(bomb) < 2**11
    (found,) = run({"d.parquet": bomb, "e.jsonl": lines(CHAT)}).quarantine
    assert found["why"].endswith("1000000 messages are in it and 256 are allowed")
    assert found["bytes"] < 2**10
    monkeypatch.setattr(columns, "MAX_DECODED", 2**16)
    assert "are allowed" in told(run, {"d.parquet": bomb}).message


GOOD = parquet(pa.table({"text": ["one", "two"]}))


@settings(max_examples=60)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.booleans())
@example(at=GOOD.index(b"text"), change=0x80, cut=False)  # a name that is no UTF-8, of pages that are sound
def test_damaged_parquet_raises_only_our_error(run, at, change, cut):
    data = GOOD[:at] if cut else GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :]
    try:
        found = run({"d.parquet": data}, forms=["text"])
    except UntrustedRecipe:
        return
    assert found.profile["read"] == len(found.rows) + len(found.quarantine)


# Text.


def test_texts_are_cut_into_passages_that_say_their_line(run):
    found = run({"f/b.md": b"# One\n\nA.\n\n# Two\n\nB.\n", "f/a.txt": b"Plain.\n"}, forms=["text"])
    assert [(one["at"], one["text"]) for one in found.rows] == [
        ("f/a.txt:1", "Plain.\n"),
        ("f/b.md:1", "# One\n\nA.\n\n"),
        ("f/b.md:5", "# Two\n\nB.\n"),
    ]


@pytest.mark.parametrize(
    ("data", "reason", "line"), [(b"", "empty", 1), (b" \n", "empty", 1), (b"a\nb\xff", "malformed", 2)]
)
def test_a_text_with_nothing_in_it_or_of_another_encoding_is_set_aside(run, data, reason, line):
    found = run({"a.txt": b"Plain.\n", "b.txt": data}, forms=["text"])
    (one,) = found.quarantine
    assert (one["reason"], one["at"]) == (reason, f"b.txt:{line}")


# What is found.


LINE = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" ") + b"\n"),
    st.builds(
        lambda prompt, answer: json.dumps({"prompt": prompt, "completion": answer}).encode() + b"\n",
        st.sampled_from(["What does the night mooring permit cost?", "Who opens the gate?", ""]) | st.text(),
        st.text(max_size=20),
    ),
)


@settings(max_examples=80)
@given(st.lists(LINE, max_size=12), st.sampled_from([0.0, 0.3, 0.7]))
def test_every_row_is_in_exactly_one_place_and_the_same_input_gives_the_same_bytes(run, found, share):
    data = b"".join(found)
    shown = data.removeprefix(sources.BOM)  # which is no part of the first line
    rows = [at for at, line in enumerate(shown.split(b"\n"), start=1) if line.strip()]
    try:
        first = run({"d.jsonl": data}, held_out=share)
    except UntrustedRecipe:
        with pytest.raises(UntrustedRecipe, match="Nothing is left to train on"):
            run({"d.jsonl": data}, held_out=share)
        return
    places = [one["at"] for one in (*first.rows, *first.heldout, *first.quarantine)]
    assert sorted(places) == sorted(f"d.jsonl:{at}" for at in rows)
    counts = [first.profile[name] for name in ("rows", "held_out", "quarantined")]
    assert counts == [len(first.rows), len(first.heldout), len(first.quarantine)]
    assert first.profile["read"] == sum(counts)
    assert run({"d.jsonl": data}, held_out=share).raw == first.raw


SENTENCE = "The harbour master gives the night mooring permit to boats that are under twelve metres long"


def test_near_duplicates_are_found_named_and_stay_on_one_side(run):
    rows = [{"prompt": f"{SENTENCE} in {word}?", "completion": "Yes."} for word in ("May", "June", "July")]
    others = [{"prompt": f"What is {at} and {at * 7}?", "completion": str(at * 8)} for at in range(40)]
    sides = set()
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        found = run({"d.jsonl": lines(*others, *rows)}, held_out=share)
        near = {f"d.jsonl:{at}" for at in (41, 42, 43)}
        together = [near <= {one["at"] for one in part} for part in (found.rows, found.heldout)]
        assert sum(together) == 1
        sides.add(together.index(True))
        assert found.profile["near_duplicates"]["rows"] >= 2
        assert sorted(near) in found.profile["near_duplicates"]["first"]
    assert sides == {0, 1}


def test_reordering_moves_no_row(run):
    rows = [{"prompt": f"Question number {at}, please?", "completion": f"{at}"} for at in range(60)]
    one = run({"d.jsonl": lines(*rows)}, held_out=0.4)
    other = run({"d.jsonl": lines(*reversed(rows))}, held_out=0.4)
    assert {row["prompt"] for row in one.heldout} == {row["prompt"] for row in other.heldout}
    assert 0 < len(one.heldout) < 60


def jaccard(texts):
    plain = [" ".join(text.split()) for text in texts]
    one, other = (
        {text[at : at + 5] for at in range(max(1, len(text) - 4))} if text else set() for text in plain
    )
    return len(one & other) / len(one | other) if one | other else 1.0


@given(st.lists(st.text(alphabet="abcdef ", min_size=30, max_size=60), min_size=2, max_size=2))
def test_likeness_is_the_share_of_common_pieces(texts):
    assert shingles.likeness(*(shingles.of_texts((text,)) for text in texts)) == pytest.approx(jaccard(texts))


def test_likeness_of_long_texts_is_estimated_closely():
    words = [f"w{at * 7919 % 10007}" for at in range(9000)]
    texts = [" ".join(words), " ".join(words[:6000] + [f"v{at}" for at in range(3000)])]
    one, other = (shingles.of_texts((text,)) for text in texts)
    assert one.size == shingles.KEPT
    assert shingles.likeness(one, other) == pytest.approx(jaccard(texts), abs=0.03)
    assert shingles.likeness(one, one) == 1.0


def test_a_cluster_of_many_members_is_still_one(run):
    rows = [{"prompt": f"{SENTENCE}, as number {at} says?", "completion": "Yes."} for at in range(90)]
    found = run({"d.jsonl": lines(*rows)})
    assert found.profile["near_duplicates"]["clusters"] == 1
    assert found.profile["near_duplicates"]["rows"] == 89
    assert len(rows) > likeness.MEMBERS


def test_overlap_with_a_suite_is_reported_by_item(run, tmp_path):
    def item(name, text):
        return {"id": name, "messages": [{"role": "user", "content": text}]}

    (tmp_path / "items.jsonl").write_bytes(
        lines(
            item("same", "Who OPENS the gate?"),
            item("within", "The gate of the inner basin is opened by the harbour master at high water."),
            item("near", f"{SENTENCE} in August?"),
            item("other", "What is the capital of a country that nobody has heard of?"),
            item("short", "Gate?"),
        )
    )
    (tmp_path / "broken.jsonl").write_bytes(b"{}\n")
    rows = [
        {"prompt": "who opens the gate", "completion": "Her."},
        {"prompt": f"{SENTENCE} in May?", "completion": "Yes."},
        {
            "prompt": "Read this: the gate of the inner basin is opened by the harbour master at high water! Say?",
            "completion": "Yes.",
        },
    ]
    suites = {"quiz": str(tmp_path / "items.jsonl"), "broken": str(tmp_path / "broken.jsonl")}
    found = run({"d.jsonl": lines(*rows)}, suites=suites).profile
    assert found["overlap"] == {
        "quiz": {
            "items": 5,
            "exact": 2,
            "near": 1,
            "exact_items": {"same": ["d.jsonl:1"], "within": ["d.jsonl:3"]},
            "near_items": {"near": ["d.jsonl:2"]},
        }
    }
    assert found["not_compared"][0].startswith("broken: ")


def test_rows_that_are_held_out_do_not_count_as_overlap(run, tmp_path):
    rows = [{"prompt": f"Question number {at}, please?", "completion": f"{at}"} for at in range(30)]
    (tmp_path / "items.jsonl").write_bytes(
        lines(*({"id": str(at), "text": row["prompt"]} for at, row in enumerate(rows)))
    )
    found = run({"d.jsonl": lines(*rows)}, held_out=0.5, suites={"s": str(tmp_path / "items.jsonl")})
    exact = found.profile["overlap"]["s"]["exact"]
    assert exact == len(found.rows) < 30


def test_languages_are_told(run):
    german = "Wer im Hafen festmacht, hat dem Hafenmeister vor der Abfahrt die Gebühr zu bezahlen."
    english = "Whoever moors in the harbour has to pay the fee to the harbour master before leaving."
    found = run(
        {"a.txt": german.encode(), "b.txt": english.encode(), "c.txt": b"1 + 1 = 2"}, forms=["text"]
    ).profile
    assert found["languages"] == {"de": 1, "en": 1, "und": 1}
    assert list(found["scripts"]) == ["latin"]
