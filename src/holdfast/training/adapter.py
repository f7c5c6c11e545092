"""An adapter's files: the same weights give the same bytes.

Invariants: no path, time or host is in them; tensors and keys are in sorted order; they are read by PEFT and by the GGUF
converter as they are.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING

from holdfast.training.checkpoints import sync

if TYPE_CHECKING:
    from pathlib import Path

    from peft import PeftModel

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FILES = (WEIGHTS, CONFIG)


def save(model: PeftModel, folder: Path, *, base: str) -> None:
    """Write an adapter.

    Args:
        model: The trained model.
        folder: Where to; made if it is not there.
        base: The base's digest, which stands in for the path that PEFT would write.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    weights = get_peft_model_state_dict(model)
    ordered = {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}
    save_file(ordered, folder / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    plain = json.dumps(_plain(config), indent=2, sort_keys=True, allow_nan=False)
    (folder / CONFIG).write_text(plain + "\n", encoding="utf-8")
    for path in (folder / WEIGHTS, folder / CONFIG, folder):
        sync(path)


def _plain(value: object) -> object:
    """Turn what PEFT keeps as sets and enumerations into sorted lists and text."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
