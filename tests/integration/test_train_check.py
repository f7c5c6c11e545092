"""``train check``: a recipe and its data judged without a daemon; and how the files of a recipe are found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from holdfast import cli
from holdfast.client import datacheck, datapage, datasets
from holdfast.errors import NotFound, UntrustedRecipe

STARTER = Path(__file__).resolve().parents[2] / "bundles" / "starter"
ENTRY = """
[[data]]
path = "{path}"
role = "domain"
licence = "CC0-1.0"
heldout = 0.2
[data.label]
level = "public"
compartments = []
zones = ["site"]
"""
ROW = {"prompt": "What does the night mooring permit cost?", "completion": "37 crowns"}


def recipe(folder: Path, *paths: str, method: str = "sft") -> Path:
    """Write the starter's recipe with other data."""
    head, _, rest = (STARTER / "adapt.toml").read_text().partition("[[data]]")
    entries = "".join(ENTRY.format(path=path) for path in paths)
    tail = rest[rest.index("[tuning]") :]
    if method != "sft":
        head = head.replace('method = "sft"', f'method = "{method}"')
        head = "\n".join(line for line in head.splitlines() if not line.startswith("loss"))
    (folder / "recipe.toml").write_text(f"{head}\n{entries}\n{tail}")
    return folder / "recipe.toml"


def call(*words: str) -> SimpleNamespace:
    done = CliRunner().invoke(cli.root, ["train", "check", *words], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return SimpleNamespace(code=done.return_value or 0, out=done.stdout)


def test_everything_about_every_entry_is_told_at_once(tmp_path):
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(ROW | {"id": str(at)}) + "\n" for at in range(3)))
    (tmp_path / "bad.jsonl").write_text(json.dumps(ROW) + "\n{}\nnonsense\n")
    (tmp_path / "suite").mkdir()
    item = {"id": "q-1", "messages": [{"role": "user", "content": ROW["prompt"]}]}
    (tmp_path / "suite" / "items.jsonl").write_text(json.dumps(item) + "\n")
    words = (
        str(recipe(tmp_path, "good.jsonl", "bad.jsonl", "no.pdf")),
        "--suite",
        str(tmp_path / "suite"),
        "--json",
    )
    (tmp_path / "no.pdf").write_bytes(b"%PDF")
    done = call(*words)
    found = json.loads(done.out)
    assert (done.code, found["in_order"]) == (1, False)
    good, bad, no = (found["data"][name] for name in ("good.jsonl", "bad.jsonl", "no.pdf"))
    assert good["profile"]["duplicates"]["rows"] == 2
    assert good["profile"]["overlap"]["suite"]["exact_items"] == {
        "q-1": [f"good.jsonl:{at}" for at in (1, 2, 3)]
    }
    assert (bad["count"], [one.split(": ")[0] for one in bad["mistakes"]]) == (
        2,
        ["bad.jsonl:2", "bad.jsonl:3"],
    )
    assert bad["profile"]["rows"] + bad["profile"]["held_out"] == 1
    assert found["not_compared"] == ["domain", "general"]
    assert "--quarantine sets them aside" in call(*words[:-1], "--quarantine").out
    assert no["error"]["key"] == "dataset.format"
    (tmp_path / "no.pdf").unlink()
    with pytest.raises(UntrustedRecipe, match=r"recipe.toml:\d+: .*no.pdf"):
        call(*words)


def test_the_page_of_a_sound_recipe_fits_a_terminal(tmp_path):
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    for name in ("a.md", "deep/b.txt"):
        body = " ".join(f"Berth {at} is open in all weathers." for at in range(40))
        (tmp_path / "texts" / name).write_text(f"# About {name}\n\n{body}\n")
    done = call(str(recipe(tmp_path, "texts", method="cpt")))
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= datapage.WIDTH + len(str(tmp_path))
    assert "near duplicates 1 rows nearly repeat another" in done.out
    assert "Not compared with the suites that judge the run: domain, general." in done.out
    assert "texts/a.md:1 = texts/deep/b.txt:1" in done.out


def test_what_exhausts_the_child_is_said_of_the_entry(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    found = datacheck.check(
        recipe(tmp_path, "rows.jsonl"), [], tell=lambda *_: None, memory=2**24, seconds=60
    )
    assert found["data"]["rows.jsonl"]["error"]["key"] == "dataset.limits"


def test_a_suite_that_is_not_there_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    with pytest.raises(NotFound, match=r"items\.jsonl"):
        datacheck.check(recipe(tmp_path, "rows.jsonl"), [tmp_path / "no"], tell=lambda *_: None)


def entry(path: str, form: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(path=path, format=form)


def test_the_files_of_a_folder_are_found_in_order_and_hidden_ones_are_passed_over(tmp_path):
    for name in ("texts/b/c.md", "texts/a.txt", "texts/.git/config", "texts/.hidden.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = datasets.files_of(tmp_path / "recipe.toml", entry("texts"))
    assert [one.shown for one in found] == ["texts/a.txt", "texts/b/c.md"]
    assert {one.format for one in found} == {"text"}


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "pdf", "jsonl", "newline"])
def test_a_folder_with_something_that_is_no_data_is_refused(tmp_path, kind):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.md").write_text("x")
    if kind == "link":
        (texts / "b.md").symlink_to("/etc/passwd")
    elif kind == "folder link":
        (texts / "b").symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(texts / "b.md")
    else:
        (texts / {"pdf": "b.pdf", "jsonl": "b.jsonl", "newline": "b\n.md"}[kind]).write_text("x")
    with pytest.raises(UntrustedRecipe) as caught:
        datasets.files_of(tmp_path / "recipe.toml", entry("texts"))
    assert caught.value.key == "dataset.folder"
    assert "texts/b" in caught.value.message


def test_a_folder_is_bounded_and_not_empty(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    with pytest.raises(UntrustedRecipe, match="no file in it"):
        datasets.files_of(tmp_path / "recipe.toml", entry("texts"))
    for at in range(3):
        (tmp_path / "texts" / f"{at}.md").write_text("x")
    monkeypatch.setattr("holdfast.dataset.files.MAX_FILES", 2)
    with pytest.raises(UntrustedRecipe, match="more than 2 entries"):
        datasets.files_of(tmp_path / "recipe.toml", entry("texts"))
    monkeypatch.setattr("holdfast.dataset.files.MAX_DEPTH", 1)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.md").write_text("x")
    with pytest.raises(UntrustedRecipe, match="1 levels"):
        datasets.files_of(tmp_path / "recipe.toml", entry("deep"))


def test_a_folder_of_shards_takes_the_format_that_the_recipe_says(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.jsonl").write_text("{}")
    (found,) = datasets.files_of(tmp_path / "recipe.toml", entry("shards", "jsonl"))
    assert found.format == "jsonl"
