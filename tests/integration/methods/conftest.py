"""What the tests of training methods share: prepared libraries, tiny bases, a data set for each method."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from tests.benign import models
from tests.integration.methods.tiny import FACTS, messages, prepare

from holdfast.training import environment

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{%- for message in messages -%}<|{{ message['role'] }}|>{{ message['content'] }}</s>{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


@pytest.fixture(scope="package")
def libraries():
    """The model libraries as a worker prepares them; other tests get their environment back."""
    before = dict(os.environ)
    environment.prepare(1, tempfile.gettempdir())
    yield
    import torch

    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="package")
def bases(tmp_path_factory, libraries):  # noqa: ARG001 - prepared first
    """Give a tiny base of a family, made once."""
    root = tmp_path_factory.mktemp("bases")

    def make(family: str, **settings: object) -> Path:
        import torch

        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        folder = root / f"{family}-{key}"
        if not folder.exists():
            torch.manual_seed(1)
            small = {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "initializer_range": 0.3,  # random features that differ enough to learn from
            }
            models.base(folder, family, **small | settings)
            (folder / "chat_template.jinja").write_text(TEMPLATE)
        return folder

    return make


@pytest.fixture(scope="package")
def tokenizer(bases):
    """The tokenizer of a tiny base."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bases("llama"))


@pytest.fixture(scope="package")
def data(tmp_path_factory) -> dict[str, Path]:
    """A data set for each method."""
    root = tmp_path_factory.mktemp("data")
    pairs = [
        {"prompt": asked, "chosen": answer, "rejected": f"{answer[:4]}, or not"} for asked, answer in FACTS
    ]
    return {
        "sft": prepare(root / "sft", [{"messages": messages(*fact)} for fact in FACTS]),
        "cpt": prepare(root / "cpt", [{"text": " ".join(map(" ".join, FACTS))}, {"text": "Short."}]),
        "dpo": prepare(root / "dpo", pairs),
    }
