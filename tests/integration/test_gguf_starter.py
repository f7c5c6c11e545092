"""The starter base keeps the default floor when it is converted and quantized."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.gguf.spec import MAX_LOGIT_DIFF

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
BASE = ROOT / "bundles" / "starter" / "base"


def test_the_starter_base_keeps_the_default_floor() -> None:
    texts = ROOT / "bundles" / "starter" / "suites" / "general" / "items.jsonl"
    command = [sys.executable, str(ROOT / "scripts" / "gguf_fidelity.py"), str(BASE), str(texts)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    fidelity = found["fidelity"]
    assert fidelity["token_ids_equal"] is True
    assert fidelity["f16_max_logit_diff"] <= MAX_LOGIT_DIFF
    for quantization in ("q8_0", "q4_k_m"):
        assert found["table"][quantization]["tokens"] >= 2000
        assert found["table"][quantization]["within_floor"] is True, found
