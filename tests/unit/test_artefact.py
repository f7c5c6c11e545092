"""The one domain record: what its digest covers, and what is refused from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast import artefact, hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import UntrustedInput
from holdfast.governance.labels import Label

LABEL = Label("internal", frozenset({"water"}), frozenset({"site"}))
FILES = (
    FileRef("a/config.json", 3, hashing.sha512(b"a")),
    FileRef("model.safetensors", 9, hashing.sha512(b"b")),
)
BASE = Artefact(Kind.BASE, "tiny", "1", FILES, LABEL, meta={"architecture": "llama"})


def test_a_record_reads_back():
    child = replace(BASE, kind=Kind.ADAPTER, parents=(BASE.digest,), made_by=7)
    assert artefact.parse(child.to_json()) == child
    assert child.size == 12


def test_the_digest_covers_kind_and_files_and_nothing_else():
    for same in (
        replace(BASE, name="other"),
        replace(BASE, version="2"),
        replace(BASE, label=Label("secret", frozenset(), frozenset({"site"}))),
        replace(BASE, parents=("x",), made_by=1, meta={}),
        replace(BASE, files=FILES[::-1]),
    ):
        assert same.digest == BASE.digest
    for other in (replace(BASE, kind=Kind.ADAPTER), replace(BASE, files=FILES[:1])):
        assert other.digest != BASE.digest


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pickle"},
        {"name": ""},
        {"name": "a:b"},
        {"name": "a/b"},
        {"name": "."},
        {"name": ".."},
        {"version": ".."},
        {"version": "1@2"},
        {"name": "x" * 129},
        {"name": "a\nb"},
        {"files": []},
        {"files": "all"},
        {"files": [{"path": "../a", "size": 1, "digest": FILES[0].digest}]},
        {"files": [{"path": "a", "size": True, "digest": FILES[0].digest}]},
        {"files": [{"path": "a", "size": -1, "digest": FILES[0].digest}]},
        {"files": [{"path": "a", "size": 1, "digest": "sha512:0"}]},
        {"files": [{"path": p, "size": 1, "digest": FILES[0].digest} for p in ("A", "a")]},
        {"files": ["a"]},
        {"parents": ["sha512:0"]},
        {"made_by": -1},
        {"made_by": True},
        {"meta": []},
        {"label": {"level": "internal"}},
        {"digest": hashing.sha512(b"another")},
        {"more": 1},
    ],
)
def test_a_malformed_record_is_refused(change):
    with pytest.raises(UntrustedInput):
        artefact.parse(BASE.to_json() | change)
    for not_an_object in (None, [], "base"):
        with pytest.raises(UntrustedInput):
            artefact.parse(not_an_object)


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("a", True),
        ("a/b.json", True),
        ("a b", True),
        ("", False),
        ("/a", False),
        ("a//b", False),
        ("./a", False),
        ("a/../b", False),
        (".hidden", False),
        ("a/.git", False),
        ("a\\b", False),
        ("a\0", False),
        ("a.", False),
        ("a ", False),
        ("a" * 241, False),
        (None, False),
    ],
)
def test_paths_are_plain_and_relative(path, safe):
    assert artefact.is_safe_path(path) is safe
