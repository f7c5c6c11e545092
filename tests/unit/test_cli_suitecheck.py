"""``eval check``: an author hears everything that is wrong with a suite, or what it asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast import cli
from holdfast.errors import NotFound, UntrustedRecipe

STARTER = Path(__file__).parents[2] / "bundles" / "starter" / "suites" / "domain"


def call(*words: str) -> str:
    done = CliRunner().invoke(cli.root, ["eval", "check", *words], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_a_suite_in_order_says_what_it_asks():
    found = json.loads(call(str(STARTER), "--json"))
    items = (STARTER / "items.jsonl").read_text().splitlines()
    assert (found["name"], sum(one["items"] for one in found["sections"])) == ("domain", len(items))
    first = found["sections"][0]
    assert f"{first['name']} " in call(str(STARTER))


def test_every_mistake_is_told_with_its_line(tmp_path):
    folder = tmp_path / "suite"
    shutil.copytree(STARTER, folder)
    lines = (folder / "items.jsonl").read_text().splitlines()
    lines[2], lines[4] = "nonsense", lines[0]
    (folder / "items.jsonl").write_text("\n".join(lines))
    with pytest.raises(UntrustedRecipe) as caught:
        call(str(folder))
    found = caught.value.fields["mistakes"]
    assert [str(one).split(": ")[0].rpartition(":")[2] for one in found] == ["3", "5"]
    with pytest.raises(NotFound, match=r"suite\.toml"):
        call(str(tmp_path))
