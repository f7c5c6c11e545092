"""The pure part of data sets: mapping, passages, the split, the profile, overlap, formats."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.dataset import files, overlap, profile, split
from holdfast.dataset.forms import Completion, Passage, Row
from holdfast.dataset.intake import Intake, Mistakes, refusal
from holdfast.dataset.passages import LENGTH, cut
from holdfast.errors import UntrustedRecipe

SFT = ("messages", "completion")


def test_columns_are_mapped_and_the_others_are_passed_over_and_listed():
    intake = Intake(SFT, {"prompt": "question"})
    found = intake.take({"question": "q", "completion": "a", "source": "s", "text": 1})
    assert (found, intake.form) == (Completion("q", "a"), "completion")
    assert sorted(intake.unused) == ["source", "text"]
    with pytest.raises(ValueError, match="column 'question', which stands for 'prompt', is missing"):
        intake.take({"prompt": "q", "completion": "a"})


def test_without_a_mapping_an_unknown_column_is_a_mistake_and_an_id_is_none():
    intake = Intake(SFT, {})
    assert intake.take({"id": "7", "prompt": "q", "completion": "a"}) == Completion("q", "a")
    with pytest.raises(ValueError, match="found 'source'"):
        intake.take({"prompt": "q", "completion": "a", "source": "s"})
    with pytest.raises(ValueError, match="'id': expected"):
        intake.take({"prompt": "q", "completion": "a", "id": "x" * 65})


def test_the_first_row_that_has_a_form_decides_it_for_all():
    intake = Intake(SFT, {})
    with pytest.raises(ValueError, match="expected the keys 'messages' or 'prompt', 'completion', found 'x'"):
        intake.take({"x": 1})
    intake.take({"prompt": "q", "completion": "a"})
    with pytest.raises(ValueError, match="'prompt' is missing"):
        intake.take({"messages": []})


def test_a_table_says_which_columns_are_needed():
    assert Intake(SFT, {}).columns(["a", "b"]) is None
    intake = Intake(SFT, {"prompt": "q"})
    assert intake.columns(["completion", "q", "z"]) == ["completion", "q"]
    assert list(intake.unused) == ["z"]


def test_answers_that_repeat_their_conversation_are_written_with_the_prompt_apart():
    asked = [{"role": "user", "content": "q"}]
    better, worse = ([*asked, {"role": "assistant", "content": one}] for one in "ab")
    found = Intake(("preference",), {}).take({"chosen": better, "rejected": worse})
    assert found.to_json() == {"prompt": asked, "chosen": "a", "rejected": "b"}
    other = [{"role": "user", "content": "r"}, worse[-1]]
    with pytest.raises(ValueError, match="differ in their last message"):
        Intake(("preference",), {}).take({"chosen": better, "rejected": other})
    with pytest.raises(ValueError, match="two that differ"):
        Intake(("preference",), {}).take({"prompt": "z", "chosen": better, "rejected": worse})
    with pytest.raises(ValueError, match="to be the assistant's"):
        Intake(("preference",), {}).take({"chosen": asked, "rejected": asked})


def test_mistakes_are_listed_up_to_a_bound_and_keep_what_fits(monkeypatch):
    monkeypatch.setattr("holdfast.dataset.intake.MAX_RAW", 4)
    noted = Mistakes()
    for line in range(1, 61):
        noted.add("d.jsonl", line, ValueError(f"why {line}"), b"x" * (line % 8))
    error = refusal(noted.found)
    assert len(error.fields["mistakes"]) == 50
    assert error.message.endswith("and 10 more.")
    lines = [json.loads(one.to_line()) for one in noted.found]
    assert lines[3]["row"] == "xxxx"
    assert "row" not in lines[4]
    assert lines[4]["bytes"] == 5
    noted.add("d.jsonl", 61, ValueError("why"), b"\xff")
    assert json.loads(noted.found[-1].to_line())["base64"] == "/w=="
    monkeypatch.setattr("holdfast.dataset.intake.MAX_MISTAKES", 61)
    with pytest.raises(UntrustedRecipe, match="not read further"):
        noted.add("d.jsonl", 62, ValueError("why"), b"")


def test_rows_that_are_wrong_in_the_same_way_are_told_once():
    noted = Mistakes()
    for line in range(2, 62):
        noted.add("d.csv", line, ValueError("no 'prompt'"), b"")
    noted.add("d.csv", 70, ValueError("blank"), b"")
    noted.add("e.csv", 2, ValueError("no 'prompt'"), b"")
    error = refusal(noted.found)
    assert error.fields["mistakes"] == [
        "d.csv:2: no 'prompt' (so 59 more, to line 61)",
        "d.csv:70: blank",
        "e.csv:2: no 'prompt'",
    ]
    assert error.message == "; ".join(error.fields["mistakes"]) + "."


def test_who_names_no_columns_is_told_where_they_are_named():
    with pytest.raises(ValueError, match=r"found 'question'; .*\[data.columns\]"):
        Intake(SFT, {}).take({"question": "x"})
    with pytest.raises(ValueError, match=r"found 'prompt'$"):
        Intake(SFT, {"prompt": "question"}).take({"question": "x"})


@given(st.text(alphabet="# \n\r\u2028abc", max_size=400))
def test_passages_in_order_are_the_document(text):
    found = list(cut(text))
    assert "".join(passage for _, passage in found) == text
    for line, passage in found:
        assert text.split("\n")[line - 1 :][0] + "\n" in passage + "\n"


def test_passages_begin_at_headings_and_end_at_blank_lines():
    text = "---\nt: 1\n\n# Law\n\n## One\n\nFirst.\n\n# Two\nSecond.\n# not after a blank line\n"
    assert [line for line, _ in cut(text)] == [1, 4, 10]
    long = ("word " * 200 + "\n\n") * 10
    assert all(len(passage) <= LENGTH + 1010 for _, passage in cut(long))
    assert [line for line, _ in cut(long)] == [1, 9, 17]


DIGESTS = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), unique=True, min_size=1, max_size=60)


@given(DIGESTS, st.randoms(), st.floats(0, 0.99), st.data())
def test_the_split_knows_no_order_and_additions_move_nothing(digests, random, share, data):
    whole = {one: one for one in digests}
    shuffled = list(digests)
    random.shuffle(shuffled)
    out = split.held_out(whole, share)
    assert split.held_out({one: one for one in shuffled}, share) == out
    fewer = data.draw(st.sets(st.sampled_from(digests)))
    assert split.held_out({one: one for one in fewer}, share) == out & fewer


@given(DIGESTS, st.integers(1, 6), st.floats(0, 0.99))
def test_no_cluster_straddles_the_split(digests, count, share):
    named = {one: int(one[:2], 16) % count for one in digests}
    out = split.held_out(named, share)
    for cluster in set(named.values()):
        assert len({one in out for one, of in named.items() if of == cluster}) == 1
    assert split.held_out({one: named[one] for one in reversed(digests)}, share) == out


def test_the_split_comes_near_its_share_also_with_clusters():
    digests = [f"{at:064x}" for at in range(6000)]
    assert split.held_out(dict.fromkeys(digests, 0), 0.0) == set()
    for size in (1, 20):
        out = split.held_out({one: at // size for at, one in enumerate(digests)}, 0.2)
        assert 0.12 < len(out) / len(digests) < 0.28


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_clusters_are_what_pairs_connect(pairs):
    clusters = split.Clusters(map(str, range(20)))
    groups = [{at} for at in range(20)]
    for one, other in pairs:
        clusters.join(str(one), str(other))
        joined = next(group for group in groups if one in group) | next(g for g in groups if other in g)
        groups = [group for group in groups if not group & joined] + [joined]
    named = clusters.named()
    for group in groups:
        assert len({named[str(at)] for at in group}) == 1
        assert all(clusters.size(str(at)) == len(group) for at in group)
    assert len(set(named.values())) == len(groups)


def test_a_profile_counts_and_names_places():
    rows = [
        Row(f"d:{at}", Completion(asked, answer))
        for at, (asked, answer) in enumerate(
            [("q", "a"), ("q", "a"), ("q", "b"), ("Ж", "дом"), ("long", "answer")], start=1
        )
    ]
    found = profile.of_rows(rows, over=6)
    assert found["form"] == "completion"
    assert found["lengths"] == {
        "min": 2, "p5": 2, "p25": 2, "p50": 2, "p75": 4, "p95": 10, "p99": 10, "max": 10,
    }  # fmt: skip
    assert found["over_long"] == {"characters": 6, "rows": 1, "first": ["d:5"]}
    assert found["scripts"] == {"latin": 16, "cyrillic": 4}
    assert found["contradictions"] == {"prompts": 1, "first": [["d:1", "d:3"]]}
    assert profile.repeated(rows) == {"rows": 1, "groups": 1, "first": [["d:1", "d:2"]]}
    clusters = {row.digest: "one" if row.content.prompt == "q" else row.digest for row in rows}
    assert profile.nearly_repeated(rows, clusters) == {"rows": 1, "clusters": 1, "first": [["d:1", "d:3"]]}


def test_a_profile_shows_a_bounded_number_of_examples():
    rows = [Row(f"d:{at}", Passage("same")) for at in range(50)] + [
        Row(f"e:{at}", Passage(f"text {at // 2}")) for at in range(100)
    ]
    found = profile.repeated(rows)
    assert (found["rows"], found["groups"]) == (99, 51)
    assert len(found["first"]) == profile.MAX_SHOWN
    assert len(found["first"][0]) == profile.MAX_TOGETHER


@given(st.lists(st.integers(0, 99), min_size=1, max_size=50), st.integers(1, 100))
def test_a_percentile_is_the_smallest_figure_that_reaches_its_share(figures, share):
    ordered = sorted(figures)
    found = profile.percentile(ordered, share)
    assert sum(one <= found for one in figures) * 100 >= share * len(figures)
    assert sum(one < found for one in figures) * 100 < share * len(figures)


@pytest.mark.parametrize(
    ("letter", "name"), [("a", "latin"), ("ß", "latin"), ("ж", "cyrillic"), ("中", "cjk"), ("가", "hangul"), ("ª", "latin")]
)  # fmt: skip
def test_letters_have_scripts(letter, name):
    assert profile.script(letter) == name


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"schema": "x"}', b"\xff", b"{" * 100])
def test_a_profile_of_another_kind_is_refused(data):
    with pytest.raises(UntrustedRecipe):
        profile.read(data, name="d")


def test_questions_of_a_suite_are_its_last_messages_or_its_texts():
    items = b'{"id": "a", "messages": [{"role": "user", "content": "Q?"}]}\n\n{"id": "b", "text": "T"}\n'
    assert [(one.id, one.text) for one in overlap.questions(items, suite="s")] == [("a", "Q?"), ("b", "T")]
    for bad in (b"{}", b'{"id": "a"}', b'{"id": "a", "text": 5}', b"\xff", b"[" * 99999):
        with pytest.raises(UntrustedRecipe, match="suite s, line 1"):
            overlap.questions(bad, suite="s")


def test_what_makes_no_difference_is_left_out_of_a_comparison():
    assert overlap.plain("  What\u2019s THE\tfee?! \uff21\uff22") == "what s the fee ab"
    assert overlap.plain("हिन्दी") == "हिन्दी"


@pytest.mark.parametrize(
    ("path", "declared", "folder", "found"),
    [
        ("a.jsonl", None, False, "jsonl"),
        ("a.TSV", None, False, "csv"),
        ("a.md", None, False, "text"),
        ("data", "parquet", False, "parquet"),
        ("f/a.txt", None, True, "text"),
        ("f/a.jsonl", "jsonl", True, "jsonl"),
        ("a.pdf", None, False, None),
        ("f/a.jsonl", None, True, None),
        ("f/a.md", "jsonl", True, None),
    ],
)
def test_formats_follow_the_recipe_then_the_suffix(path, declared, folder, found):
    if found is None:
        with pytest.raises(UntrustedRecipe, match=path):
            files.format_of(path, declared, folder=folder)
    else:
        assert files.format_of(path, declared, folder=folder) == found
