"""How a file is to be read."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """The forms that may come in; everything else has no reader and is refused."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    JSON = "json"
    MODEL_CONFIG = "model config"
    ADAPTER_CONFIG = "adapter config"
    TOKENIZER = "tokenizer"
    TEMPLATE = "chat template"
    POOLING = "pooling"
    LINES = "json lines"
    TEXT = "text"
