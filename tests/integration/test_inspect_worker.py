"""The inspection of staged artefacts, with everything that is wrong with them at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from scripts.crafted import documents, gguffile

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import UntrustedBundle
from holdfast.governance import labels
from holdfast.workers import inspect

if TYPE_CHECKING:
    from pathlib import Path

LABEL = labels.parse({"level": "public", "compartments": [], "zones": ["EU"]})
TOKENS = documents.pack(documents.WORDS)


class Listener:
    def progress(self, *_: object) -> None:
        pass


def stage(
    folder: Path, kind: Kind, name: str, files: dict[str, bytes], parents: tuple[str, ...] = ()
) -> dict:
    place = folder / f"{kind}-{name}"
    for path, data in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(data)
    refs = tuple(sorted(FileRef(path, len(data), hashing.sha512(data)) for path, data in files.items()))
    return {**Artefact(kind, name, "1", refs, LABEL, parents).to_json(), "path": str(place)}


def refusals(*staged: dict) -> list[tuple[str, str]]:
    with pytest.raises(UntrustedBundle) as caught:
        inspect.main(Listener(), {"artefacts": list(staged), "installed": []})
    fields = caught.value.fields
    assert len(fields["findings"]) == len(fields["keys"]) == len(fields["files"])
    return list(zip(fields["keys"], fields["files"], strict=True))


def test_a_gguf_is_read_and_described(tmp_path):
    staged = stage(tmp_path, Kind.GGUF, "q", {"q8_0.gguf": gguffile.model(width=8).pack()})
    found = inspect.main(Listener(), {"artefacts": [staged], "installed": []})
    assert found["facts"][staged["digest"]]["architecture"] == "llama"


def test_every_fault_of_every_artefact_is_told(tmp_path):
    files = {
        "config.json": b'{"auto_map": {"AutoModel": "x.Y"}}',
        "model.safetensors": b"\x80\x04.",
        "run.py": b"",
    }
    found = refusals(
        stage(tmp_path, Kind.BASE, "b", files),
        stage(tmp_path, Kind.GGUF, "q", {"a.gguf": b"GGUF", "b.gguf": b"GGUF"}),
        stage(tmp_path, Kind.ADAPTER, "a", {"adapter_config.json": documents.pack(documents.ADAPTER)}),
    )
    assert sorted(found) == sorted(
        [
            ("formats.file-name", "run.py"),
            ("formats.runs-code", "config.json"),
            ("formats.content", "model.safetensors"),
            ("formats.file-name", "b.gguf"),
            ("formats.gguf", "a.gguf"),
            ("formats.gguf", "b.gguf"),
            ("formats.file-missing", "adapter_model.safetensors"),
            ("inspect.base", ""),
        ]
    )


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (lambda place: (place / ".hidden").write_bytes(b""), ".hidden"),
        (lambda place: (place / "empty.md").write_bytes(b""), "empty.md"),
        (lambda place: (place / "linked").symlink_to("/etc"), "linked"),
        (lambda place: (place / "README.md").unlink(), "README.md"),
        (lambda place: ((place / "README.md").unlink(), (place / "README.md").symlink_to("/etc/hostname")), "README.md"),
        (lambda place: ((place / "README.md").unlink(), os.mkfifo(place / "README.md")), "README.md"),
    ],
    ids=["dot file", "empty file", "link to a folder", "missing", "link", "pipe"],
)  # fmt: skip
def test_a_folder_with_other_files_than_listed_is_refused(tmp_path, damage, file):
    staged = stage(tmp_path, Kind.TOKENIZER, "t", {"tokenizer.json": TOKENS, "README.md": b"# T\n"})
    damage(tmp_path / "tokenizer-t")
    assert refusals(staged) == [("inspect.files", file)]


def test_a_tokenizer_is_compared_with_the_base_of_its_name(tmp_path):
    import json

    from scripts.crafted import tensors

    from holdfast.formats import families, jsonconfig

    config = {**documents.MODEL, "vocab_size": 4}  # the tokenizer's last id is 4
    table, position = {}, 0
    for name, shape in families.expected(
        jsonconfig.model(json.dumps(config).encode(), "config.json")
    ).items():
        count = 4
        for length in shape:
            count *= length
        table[name] = tensors.tensor(position, position + count, list(shape), "F32")
        position += count
    weights = tensors.pack(table, bytes(position))
    base = stage(
        tmp_path, Kind.BASE, "m", {"config.json": documents.pack(config), "model.safetensors": weights}
    )
    words = stage(tmp_path, Kind.TOKENIZER, "m", {"tokenizer.json": TOKENS})
    other = stage(tmp_path, Kind.TOKENIZER, "n", {"tokenizer.json": TOKENS})
    assert refusals(base, words) == [("inspect.tokenizer", "")]
    assert inspect.main(Listener(), {"artefacts": [base, other], "installed": []})["facts"]


def test_an_artefact_that_needs_too_much_memory_is_a_finding(tmp_path, monkeypatch):
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(inspect.inspection, "inspect", exhausted)
    assert refusals(stage(tmp_path, Kind.TOKENIZER, "t", {"tokenizer.json": TOKENS})) == [
        ("inspect.limits", "")
    ]
