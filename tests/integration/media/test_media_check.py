"""``media check``: what is named, what the child may take, and what files of one folder say of each other."""

from __future__ import annotations

import json
import os
import pickle
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.crafted import documents, gguffile, tensors

from holdfast import boundedchild
from holdfast.errors import NotFound
from holdfast.media import check as checking

PROSE = b"# A model\n"


def keys(checked):
    return [finding["key"] for finding in checked.findings]


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def test_files_are_told_in_the_order_named(tmp_path):
    paths = write(tmp_path, {"b.md": PROSE, "a.md": PROSE, "sub/c.gguf": gguffile.model(width=8).pack()})
    found = checking.check(paths)
    assert [one.path for one in found] == [str(path) for path in paths]
    assert [one.form for one in found] == ["text", "text", "gguf"]
    assert [keys(one) for one in found] == [[], [], []]
    assert found[2].facts["architecture"] == "llama"


def test_a_file_named_twice_is_told_once(tmp_path):
    (path,) = write(tmp_path, {"a.md": PROSE})
    assert len(checking.check([path, path])) == 1


@pytest.mark.parametrize("sort", ["link", "dangling link", "folder", "pipe", "socket", "device"])
def test_what_is_no_plain_file_is_refused_and_never_opened(tmp_path, sort):
    (target,) = write(tmp_path, {"a.md": PROSE})
    path = tmp_path / "b.md"
    with socket.socket(socket.AF_UNIX) as server:
        if sort.endswith("link"):
            path.symlink_to(target if sort == "link" else tmp_path / "nothing")
        elif sort == "folder":
            path.mkdir()
        elif sort == "pipe":
            os.mkfifo(path)
        elif sort == "socket":
            server.bind(str(path))
        else:
            path = Path("/dev/zero")
        found = checking.check([target, path])
    assert [keys(one) for one in found] == [[], ["check.not-a-file"]]


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFound) as caught:
        checking.check([*write(tmp_path, {"a.md": PROSE}), tmp_path / "nothing.md"])
    assert caught.value.key == "check.missing"


def test_a_file_that_exhausts_the_child_is_a_finding_about_that_file_alone(tmp_path):
    bomb = b'{"model":{"vocab":[' + b"1.5," * 12_000_000 + b"1.5]}}"
    paths = write(tmp_path, {"good.md": PROSE, "tokenizer.json": bomb, "wrong.md": b"\xff"})
    found = checking.check(paths, memory=400 * 2**20, seconds=60)
    assert [keys(one) for one in found] == [[], ["check.limits"], ["formats.content"]]


def test_a_file_that_takes_too_long_is_a_finding(tmp_path):
    lines = b'{"a":{"b":{"c":[1,2,3,4,5,6,7,8,9,0]}}}\n' * 600_000
    found = checking.check(write(tmp_path, {"good.md": PROSE, "lines.jsonl": lines}), seconds=1)
    assert [keys(one) for one in found] == [[], ["check.limits"]]


def test_a_child_has_its_time_once_it_has_begun(tmp_path, monkeypatch):
    """A loaded machine takes long to start one; that speaks against no file."""
    monkeypatch.setattr(boundedchild, "WAIT", 0)
    assert keys(checking.check(write(tmp_path, {"good.md": PROSE}))[0]) == []
    slow = (
        "import resource, time\n"
        "from holdfast import boundedchild\n"
        "def work(until):\n"
        "    while time.process_time() < until: pass\n"
        "work(1.2)\n"
        "boundedchild.serve(lambda order: work(1.5) or order, memory=resource.RLIMIT_AS, written=2**20)\n"
    )
    order = json.dumps({"memory": 2**31, "seconds": 1, "any": "order"})
    done = subprocess.run(
        [sys.executable, "-c", slow], input=order, check=False, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, json.loads(done.stdout or "null")) == (0, {"any": "order"})


@pytest.mark.parametrize(
    "name",
    [
        "modeling_llama.py",
        "notebook.ipynb",
        "run.sh",
        "Makefile",
        "a.md.exe",
        "a.JSON",
        "model.bin",
        "x",
        "x.pth",
    ],
)
def test_a_name_that_no_reader_is_for_is_refused_whatever_it_holds(tmp_path, name):
    assert keys(checking.check(write(tmp_path, {name: PROSE}))[0]) == ["formats.file-name"]


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.md",
        "nul.txt",
        "COM1.md",
        "a:b.md",
        "a .md ",
        "b.md.",
        "caf\u00e9.md",
        "a\u202eb.md",
        "x" * 130 + ".md",
    ],
)
def test_a_name_that_some_file_system_can_not_keep_is_refused(tmp_path, name):
    found = checking.check(write(tmp_path, {name: PROSE}))
    assert "formats.name" in keys(found[0])


def test_a_name_that_is_no_text_is_refused_and_shown(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.md")
    path.write_bytes(PROSE)
    found = checking.check([path])
    assert keys(found[0]) == ["formats.name"]
    json.dumps(found[0].to_json(), ensure_ascii=False).encode("utf-8")


def test_findings_hold_nothing_that_a_terminal_obeys(tmp_path):
    paths = [tmp_path / os.fsdecode(name) for name in (b"\x1b[2J.safetensors", b"\xff.safetensors")]
    for path in paths:
        path.write_bytes(b"\x00")
    for found in checking.check(paths):
        assert len(found.findings) == 2  # the name and the content
        assert "formats.safetensors" in keys(found)
        assert all(str(text).isprintable() for one in found.findings for text in one.values())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "x.pkl"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_named_whatever_it_is_called(tmp_path, name, protocol):
    found = checking.check(write(tmp_path, {name: pickle.dumps(tmp_path, protocol)}))
    assert keys(found[0]) == ["formats.file-name"]
    assert "pickle" in str(found[0].findings[0]["message"])


def test_more_files_than_may_be_open_by_habit_are_judged(tmp_path):
    paths = write(tmp_path, {f"{number}.md": PROSE for number in range(200)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        assert not any(found.findings for found in checking.check(paths))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_names_that_collide_are_refused(tmp_path):
    found = checking.check(write(tmp_path, {"README.md": PROSE, "readme.md": PROSE}))
    assert sorted(map(keys, found)) == [[], ["formats.name"]]


def shard(*names: str) -> bytes:
    return tensors.pack(
        {name: tensors.tensor(at, at + 1) for at, name in enumerate(names)}, bytes(len(names))
    )


def index(**weights: str) -> bytes:
    return json.dumps({"metadata": {"total_size": 2}, "weight_map": weights}).encode()


ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("why", "files", "blamed"),
    [
        ("names a tensor that is not there", {ONE: shard("a"), "model.safetensors.index.json": index(a=ONE, b=ONE)}, "index"),
        ("leaves a tensor out", {ONE: shard("a", "b"), "model.safetensors.index.json": index(a=ONE)}, "index"),
        ("names the other shard", {ONE: shard("a"), TWO: shard("b"), "model.safetensors.index.json": index(a=TWO, b=TWO)}, "index"),
        ("a tensor in two shards", {ONE: shard("a"), TWO: shard("a")}, TWO),
    ],
)  # fmt: skip
def test_files_of_one_folder_are_compared(tmp_path, why, files, blamed):
    found = checking.check(write(tmp_path, files))
    refused = [one for one in found if one.findings]
    assert [keys(one) for one in refused] == [["formats.mismatch"]], why
    assert blamed in refused[0].path


def test_an_index_that_agrees_is_accepted(tmp_path):
    files = {ONE: shard("a"), TWO: shard("b"), "model.safetensors.index.json": index(a=ONE, b=TWO)}
    assert [keys(one) for one in checking.check(write(tmp_path, files))] == [[], [], []]


def test_a_configuration_is_compared_with_its_weights(tmp_path):
    files = {"config.json": documents.pack(documents.MODEL), "model.safetensors": shard("a")}
    found = checking.check(write(tmp_path, files))
    assert set(keys(found[0])) == {"formats.mismatch"}
    for at, name in enumerate(files):
        (tmp_path / str(at)).mkdir()
        (tmp_path / name).rename(tmp_path / str(at) / name)
    apart = [tmp_path / str(at) / name for at, name in enumerate(files)]
    assert [keys(one) for one in checking.check(apart)] == [[], []]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast.cli", "media", "check", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def test_the_command_ends_with_what_it_found(tmp_path):
    good, bad = write(tmp_path, {"good.md": PROSE, "bad.md": b"#!/bin/sh\n"})
    assert run(good).returncode == 0
    done = run(good, bad)
    assert done.returncode == 3
    assert "accepted" in done.stdout
    assert "[formats.content]" in done.stdout
    said = json.loads(run("--json", good, bad).stdout)
    assert said["accepted"] is False
    assert [one["accepted"] for one in said["files"]] == [True, False]
    assert set(said["files"][1]) == {"path", "accepted", "form", "facts", "findings"}
    assert set(said["files"][1]["findings"][0]) == {"key", "message", "remedy"}


def test_the_command_says_what_is_missing_and_what_is_wrong_usage(tmp_path):
    assert run(tmp_path / "nothing").returncode == 1
    assert run().returncode == 2
