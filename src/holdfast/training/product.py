"""What a run makes, as files: an adapter, or a whole model. The same weights give the same bytes.

Invariants: no path, time or host is in them; tensors and keys are in sorted order. An adapter is read by PEFT and by the GGUF
converter as it is. A whole model has the tensors of its base, by name, shape and number type, cut into files anew, and its
base's ``config.json`` and ``generation_config.json`` as they are: tied embeddings are stored once where the base does so. What
is trained in float32 is rounded to the base's number type here, once.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file

from holdfast.training.checkpoints import sync
from holdfast.weights import written
from holdfast.weights.folder import open_model
from holdfast.weights.lora import DTYPES
from holdfast.weights.spec import ADAPTER as ADAPTER_WEIGHTS
from holdfast.weights.spec import ADAPTER_CONFIG, CONFIG, GENERATION, MAX_SHARD
from holdfast.weights.written import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from holdfast.training.trainer import RunTrainer

ADAPTER, MODEL = "adapter", "model"  # folders of a run's output


@dataclass(frozen=True)
class Product:
    """What a run made.

    Args:
        kind: Whether it goes beside a base or stands alone.
        folder: Name of its folder.
        files: Names of its files, sorted.
    """

    kind: Literal["adapter", "model"]
    folder: str
    files: tuple[str, ...]


def save(trainer: RunTrainer, out: Path, base: str, *, bound: int = MAX_SHARD) -> Product:
    """Write what was trained.

    Args:
        trainer: The trainer, after its last step.
        out: A writable folder.
        base: The base's digest, which stands in an adapter for the path that PEFT would write.
        bound: Most bytes of tensors in one file of a whole model.

    Returns:
        Where it is.
    """
    model = trainer.model
    if isinstance(model, PeftModel):
        folder = out / ADAPTER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _adapter(model, folder, base)
    else:
        folder = out / MODEL
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _model(trainer.learnt_model(), trainer.origin, folder, bound)
    files = tuple(sorted(path.name for path in folder.iterdir()))
    for path in (*(folder / name for name in files), folder):
        sync(path)
    return Product("adapter" if folder.name == ADAPTER else "model", folder.name, files)


def _adapter(model: PeftModel, folder: Path, base: str) -> None:
    weights = get_peft_model_state_dict(model)
    ordered = {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}
    save_file(ordered, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base, "inference_mode": True}
    text = json.dumps(_plain(config), indent=2, sort_keys=True, allow_nan=False)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


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


def _model(model: PreTrainedModel, origin: Path, folder: Path, bound: int) -> None:
    state = model.state_dict()
    stored = open_model(origin).tensors

    def content(name: str) -> bytes | bytearray:
        if name not in state:  # what older writers stored and nobody reads
            return stored[name].read()
        tensor = state[name].detach().to("cpu", DTYPES[stored[name].dtype]).contiguous()
        return bytes(tensor.flatten().view(torch.uint8).numpy())

    written.write(folder, [Entry(one.name, one.dtype, one.shape) for one in stored.values()], content, bound)
    for name in (CONFIG, GENERATION):
        if (origin / name).is_file():
            written.write_file(folder / name, (origin / name).read_bytes())
