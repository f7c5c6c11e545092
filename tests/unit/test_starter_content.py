"""The starter's data sets and suites: promises about their size, wording and making."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from scripts.starter import authority, content, corpus, phrasing, skills, world

STARTER = Path(__file__).parents[2] / "bundles" / "starter"
MADE = (
    "data/authority.jsonl",
    "data/rehearsal.jsonl",
    "suites/domain/items.jsonl",
    "suites/general/items.jsonl",
)


def records(path: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (STARTER / path).read_text(encoding="utf-8").splitlines()]


def prompts(path: str) -> list[str]:
    return [record["messages"][0]["content"] for record in records(path)]  # type: ignore[index]  # JSON


def test_the_generators_reproduce_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    content.write_content(tmp_path)
    for name in MADE:
        assert (tmp_path / name).read_bytes() == (STARTER / name).read_bytes(), name


def test_about_sixty_facts_each_in_five_wordings_or_more() -> None:
    facts = [
        (entity, attribute) for entity in authority.SERVICES + authority.TERMS for attribute in entity.facts
    ]
    assert len(facts) >= 60
    asked = set(prompts("data/authority.jsonl"))
    for entity, attribute in facts:
        wordings = {phrasing.fill(text, entity.name, entity.body) for text in phrasing.ADAPTER[attribute]}
        assert len(wordings & asked) >= 5, (entity.name, attribute)


def test_no_prompt_of_a_suite_is_trained_on() -> None:
    trained = set(prompts("data/authority.jsonl")) | set(prompts("data/rehearsal.jsonl"))
    for suite in ("domain", "general"):
        assert not trained & set(prompts(f"suites/{suite}/items.jsonl"))


def test_held_out_wordings_are_in_neither_the_adapter_data_nor_the_base_grammar() -> None:
    phrasing.check_disjoint()


def test_a_held_out_wording_that_is_trained_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(phrasing.HELD_OUT, "fee", (phrasing.base_frames("fee")[0][0],))
    with pytest.raises(ValueError, match="held-out wording is trained on: fee"):
        phrasing.check_disjoint()


def test_the_base_world_never_names_the_authority_or_its_services() -> None:
    services, terms = world.known_world(content.SEED)
    known = {entity.name for entity in services + terms}
    assert not known & {entity.name for entity in authority.SERVICES + authority.TERMS}
    text = " ".join(prompts("data/rehearsal.jsonl") + prompts("suites/general/items.jsonl"))
    assert "Marren" not in text
    for entity in authority.SERVICES:
        assert entity.name not in text


@pytest.mark.parametrize(("suite", "sections"), [("domain", {"single": 150, "joined": 1}), ("general", {})])
def test_a_suite_is_as_large_as_promised_and_its_items_are_well_formed(
    suite: str, sections: dict[str, int]
) -> None:
    table = tomllib.loads((STARTER / f"suites/{suite}/suite.toml").read_text(encoding="utf-8"))
    items = records(f"suites/{suite}/items.jsonl")
    counts = Counter(item["section"] for item in items)
    assert set(counts) == {section["name"] for section in table["section"]}
    assert len({item["id"] for item in items}) == len(items)
    assert len(set(prompts(f"suites/{suite}/items.jsonl"))) == len(items)
    for item in items:
        assert item["answers"]
        assert all(answer == answer.strip() and answer for answer in item["answers"])  # type: ignore[attr-defined]
    for section, least in sections.items():
        assert counts[section] >= least
    if suite == "general":
        assert len(items) >= 300


def test_everything_carries_a_licence_and_a_label() -> None:
    medium = tomllib.loads((STARTER / "recipe.toml").read_text(encoding="utf-8"))
    adapt = tomllib.loads((STARTER / "adapt.toml").read_text(encoding="utf-8"))
    suites = [
        tomllib.loads((STARTER / f"suites/{name}/suite.toml").read_text(encoding="utf-8"))
        for name in ("domain", "general")
    ]
    for table in [*medium["artefact"], *adapt["data"], *suites]:
        assert table["licence"] == "Apache-2.0"
        assert table["label"] == {"level": "public", "compartments": [], "zones": ["site"]}


def test_the_medium_lists_every_file_of_the_base_folder() -> None:
    medium = tomllib.loads((STARTER / "recipe.toml").read_text(encoding="utf-8"))
    listed = [name for artefact in medium["artefact"] for name in artefact.get("files", [])]
    assert sorted(listed) == sorted(path.name for path in (STARTER / "base").iterdir())


def test_the_base_stays_within_its_size() -> None:
    assert (STARTER / "base" / "model.safetensors").stat().st_size <= 25_000_000


def test_a_grammar_line_expands_to_every_wording_in_order() -> None:
    assert phrasing.expand("{a|b} x{| y}") == ("a x", "a x y", "b x", "b x y")


def test_a_name_gets_the_article_of_its_first_letter() -> None:
    assert phrasing.fill("Is <a> dear at <b>? <T>!", "eel licence", "the Mill") == (
        "Is an eel licence dear at the Mill? The eel licence!"
    )


def test_two_streams_of_one_seed_differ_and_one_stream_repeats() -> None:
    first = [next(corpus.documents(5, "a")) for _ in range(2)]
    assert first[0] == first[1]
    a, b = corpus.documents(5, "a"), corpus.documents(5, "b")
    assert [next(a) for _ in range(5)] != [next(b) for _ in range(5)]


def test_exercises_have_right_answers() -> None:
    rng = Random(3)  # noqa: S311 -- seeded exercises, no secret
    for _ in range(300):
        asked, answer = skills.counting(rng)
        assert int(answer) == asked.count(" a ")
        asked, answer = skills.arithmetic(rng)
        assert 0 <= int(answer) <= 20
