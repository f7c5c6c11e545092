"""The vectors: what is committed is what the script writes; every valid one is accepted, every hostile one refused by its key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import vectors

FOLDER = Path(__file__).parents[2] / "bundles" / "vectors"
VALID, HOSTILE = vectors.vectors()
LIMIT = 2**20  # bytes of all of them


def run(*arguments: object) -> tuple[int, dict]:
    command = [sys.executable, "-m", "holdfast.cli", "media", "check", "--json", *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, timeout=120)
    return done.returncode, json.loads(done.stdout)


def test_what_is_committed_is_what_the_script_writes(tmp_path):
    vectors.write(tmp_path)
    wanted = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = {path.relative_to(FOLDER): path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    assert found.keys() == wanted.keys()
    assert [path for path, data in found.items() if data != wanted[path]] == []
    assert sum(map(len, found.values())) < LIMIT


def test_every_valid_vector_is_accepted():
    code, said = run(*(FOLDER / "valid" / one.name for one in VALID))
    assert [(one["path"], one["findings"]) for one in said["files"] if not one["accepted"]] == []
    assert len(said["files"]) == len(VALID)
    assert code == 0
    assert said["accepted"] is True


@pytest.fixture(scope="module")
def refused():
    code, said = run(*(FOLDER / "hostile" / one.name for one in HOSTILE))
    assert code == 3
    assert said["accepted"] is False
    return {Path(one["path"]).name: one for one in said["files"]}


@pytest.mark.parametrize("vector", HOSTILE, ids=lambda one: one.name)
def test_every_hostile_vector_is_refused_by_its_key(refused, vector):
    found = refused[vector.name]
    assert found["accepted"] is False
    assert [finding["key"] for finding in found["findings"]] == [vector.key]
    for finding in found["findings"]:
        assert vector.name in finding["message"]
        assert finding["remedy"]


@pytest.mark.parametrize("vector", HOSTILE[:: len(HOSTILE) // 8], ids=lambda one: one.name)
def test_a_hostile_vector_alone_ends_with_3(vector):
    code, said = run(FOLDER / "hostile" / vector.name)
    assert code == 3
    assert [finding["key"] for finding in said["files"][0]["findings"]] == [vector.key]
