"""A tiny medium, signed by two holders, for tests to spoil."""

from __future__ import annotations

import json
import math
import shutil
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from holdfast.formats import families, jsonconfig
from holdfast.keys import person
from holdfast.media import build
from holdfast.media.build import Built, Order, Origin
from holdfast.media.verify import VerifiedMedium, verify_medium
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json
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
    "intermediate_size": 2,
    "num_attention_heads": 1,
    "num_hidden_layers": 1,
}
WIDE = CONFIG | {"hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 5}


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


def model(config: dict[str, Json] | None = None, **changed: int) -> bytes:
    """Write the weights that a configuration implies, each tensor filled with one byte; ``changed`` gives other fillings.

    A tensor is named in ``changed`` by its name with ``__`` for every dot.
    """
    facts = jsonconfig.model(json.dumps(config or CONFIG).encode(), "config.json")
    tensors = {}
    for number, (name, shape) in enumerate(sorted((families.expected(facts) or {}).items())):
        filling = changed.get(name.replace(".", "__"), number % 251)
        tensors[name] = (list(shape), bytes([filling]) * math.prod(shape))
    return safetensors(**tensors)


def adapter(filling: int = 1, rank: int = 1) -> dict[str, bytes]:
    """Write an adapter for the tiny base: its files by name."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": 2,
        "target_modules": ["q_proj"],
    }
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = {
        f"{module}.lora_A.weight": ([rank, 2], bytes([filling]) * 2 * rank),
        f"{module}.lora_B.weight": ([2, rank], bytes([filling]) * 2 * rank),
    }
    return {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": safetensors(**weights),
    }


@dataclass
class Workshop:
    """A publisher's desk."""

    folder: Path
    ada: KeyPair
    bo: KeyPair

    @property
    def recipe(self) -> Path:
        return self.folder / "source" / "recipe.toml"

    def build(
        self,
        name: str,
        start: Origin | None = None,
        now: datetime = NOW,
        *,
        recipe: Path | None = None,
        pairs: Sequence[KeyPair] | None = None,
        **order: object,
    ) -> Built:
        """Build a medium; ``order`` are the fields of a ``build.Order``."""
        return build.build(
            recipe or self.recipe,
            self.folder / name,
            [self.ada, self.bo] if pairs is None else pairs,
            start or Origin({}),
            now=now,
            progress=quiet,
            order=Order(**order),
        )

    def recipe_of(self, name: str, artefacts: Sequence[Mapping[str, object]], version: str = "1") -> Path:
        """Write a recipe and the files that it names; each artefact has ``kind``, ``name``, ``files`` and what else it says."""
        folder = self.folder / f"source-{name}-{version}"
        shutil.rmtree(folder, ignore_errors=True)
        lines = [
            'schema = "holdfast.medium/1"',
            f'name = "{name}"',
            f'version = "{version}"',
            'description = "Made by a test."',
            'publisher = "Test works"',
        ]
        for number, given in enumerate(artefacts):
            fields = {"version": "1", "licence": "MIT", "parents": [], **given, "path": f"a{number}"}
            files = fields.pop("files")
            label = fields.pop("label", {"level": "internal", "compartments": [], "zones": ["site"]})
            for path, data in files.items():
                place = folder / f"a{number}" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
            lines += ["[[artefact]]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
            lines += ["[artefact.label]", *(f"{key} = {json.dumps(value)}" for key, value in label.items())]
        folder.mkdir(exist_ok=True)
        (folder / "recipe.toml").write_text("\n".join(lines) + "\n")
        return folder / "recipe.toml"


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
    (source / "base" / "model.safetensors").write_bytes(model())
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
        NOW=NOW,
        RECIPE=RECIPE,
        CONFIG=CONFIG,
        WIDE=WIDE,
        quiet=quiet,
        safetensors=safetensors,
        model=model,
        adapter=adapter,
        lay_out=lay_out,
        state_of=state_of,
        judge=judge,
    )
