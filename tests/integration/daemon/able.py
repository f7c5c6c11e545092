"""A base that can be trained: a Llama of two layers of 64 with random weights, beside the starter's tokenizer; and rows for it."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path

import numpy as np

from holdfast.formats import families, jsonconfig

STARTER = Path(__file__).resolve().parents[3] / "bundles" / "starter"
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "torch_dtype": "float32",
}
STEPS = 80  # of a run: enough that whoever hears of the first few finds it at work, however late that is
CHECKPOINT = 3  # steps from one checkpoint to the next


def rows() -> str:
    """Write sixteen conversations that resemble one another in nothing, so that each may be held out by itself."""
    asked = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(16)]
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": one[:12]},
                    {"role": "assistant", "content": one[12:20]},
                ]
            }
        )
        + "\n"
        for one in asked
    )


def recipe(text: str, **changes: str) -> str:
    """Change the tests' recipe so that it takes ``STEPS``, keeps checkpoints and hashes states on the way."""
    found = {
        "\nsteps = 4": f"\nsteps = {STEPS}",
        "checkpoint_every = 10": f"checkpoint_every = {CHECKPOINT}\nstate_every = 2",
        'path = "rows.jsonl"': 'path = "rows.jsonl"\nheldout = 0.4',
        **changes,
    }
    for old, new in found.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def base() -> tuple[bytes, bytes]:
    """Write config.json and weights, each time the same."""
    config = json.dumps(json.loads((STARTER / "base" / "config.json").read_text()) | SIZES).encode()
    shapes = families.expected(jsonconfig.model(config, "config.json"))
    chance, head, data = np.random.default_rng(7), {}, b""
    for name, shape in sorted(shapes.items()):
        weights = np.ones(shape) if "norm" in name else chance.normal(0.0, 0.05, shape)
        start = len(data)
        data += weights.astype("<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data)]}
        assert len(data) - start == 4 * math.prod(shape)
    encoded = json.dumps(head).encode()
    return config, struct.pack("<Q", len(encoded)) + encoded + data
