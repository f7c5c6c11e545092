"""A tiny medium, signed by two holders, for tests to spoil."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from holdfast.keys import person
from holdfast.media import build
from holdfast.media.build import Built, Origin
from holdfast.media.verify import VerifiedMedium, verify_medium
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from holdfast.keys.person import KeyPair

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECIPE = """\
schema = "holdfast.medium/1"
name = "tiny"
version = "1"
description = "A base of one tensor and a suite of one question."
publisher = "Test works"

[[artefact]]
kind = "base"
name = "tiny"
version = "1"
path = "base"
licence = "Apache-2.0"
[artefact.label]
level = "internal"
compartments = []
zones = ["site"]

[[artefact]]
kind = "suite"
name = "quiz"
version = "1"
path = "quiz"
files = ["suite.toml", "items.jsonl"]
licence = "Apache-2.0"
parents = ["base/tiny"]
[artefact.label]
level = "public"
compartments = []
zones = ["site"]
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 4,
    "hidden_size": 2,
    "num_hidden_layers": 1,
}


def quiet(step: str, done: int, total: int) -> None:
    """Take progress and say nothing."""


def safetensors(**tensors: tuple[list[int], bytes]) -> bytes:
    """Write a safetensors file of bytes by hand."""
    table: dict[str, object] = {}
    data = b""
    for name, (shape, part) in tensors.items():
        table[name] = {"dtype": "U8", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + data


@dataclass
class Workshop:
    """A publisher's desk."""

    folder: Path
    ada: KeyPair
    bo: KeyPair

    @property
    def recipe(self) -> Path:
        return self.folder / "source" / "recipe.toml"

    def build(self, name: str, start: Origin | None = None, now: datetime = NOW) -> Built:
        return build.build(
            self.recipe, self.folder / name, [self.ada, self.bo], start or Origin({}), now=now, progress=quiet
        )


def state_of(medium: Path) -> TrustState:
    """Trust a medium's first root."""
    return TrustState((medium / "metadata" / "1.root.json").read_bytes())


def judge(
    medium: Path, state: TrustState | None = None, now: datetime = NOW, *, contents: bool = True
) -> VerifiedMedium:
    """Verify a medium and close it."""
    verdict = verify_medium(medium, state or state_of(medium), now, quiet, contents=contents)
    verdict.medium.close()
    return verdict


@pytest.fixture(scope="session")
def holders() -> tuple[KeyPair, KeyPair]:
    return person.generate("Ada"), person.generate("Bo")


def lay_out(folder: Path, holders: tuple[KeyPair, KeyPair]) -> Workshop:
    """Write the source of the tiny medium."""
    source = folder / "source"
    (source / "base").mkdir(parents=True)
    (source / "quiz").mkdir()
    (source / "recipe.toml").write_text(RECIPE)
    (source / "base" / "config.json").write_text(json.dumps(CONFIG))
    (source / "base" / "model.safetensors").write_bytes(safetensors(w=([4], b"abcd"), v=([2, 2], b"efgh")))
    (source / "quiz" / "suite.toml").write_text('name = "quiz"\n')
    (source / "quiz" / "items.jsonl").write_text('{"question": "?"}\n')
    return Workshop(folder, *holders)


@pytest.fixture
def desk(tmp_path: Path, holders: tuple[KeyPair, KeyPair]) -> Workshop:
    return lay_out(tmp_path, holders)


@pytest.fixture(scope="session")
def sealed_medium(tmp_path_factory: pytest.TempPathFactory, holders: tuple[KeyPair, KeyPair]) -> Path:
    """A medium that is built once; tests copy it, or put back what they change."""
    return lay_out(tmp_path_factory.mktemp("sealed"), holders).build("medium").folder


@pytest.fixture
def medium(sealed_medium: Path, tmp_path: Path) -> Path:
    """A copy of the medium to spoil."""
    return Path(shutil.copytree(sealed_medium, tmp_path / "medium"))


@pytest.fixture(scope="session")
def kit():
    """The functions and figures above, for test modules, which can't import this one."""
    return SimpleNamespace(
        NOW=NOW, RECIPE=RECIPE, quiet=quiet, safetensors=safetensors, state_of=state_of, judge=judge
    )
