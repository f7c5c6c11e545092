"""The form of a loose file: by its name where that is a known one, else by what it holds.

Invariants: an ending decides between tensors, JSON, lines, templates and text, and nothing without a known ending has a
form; among JSON files only the keys decide, and every key that could run code is refused by whichever reader it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.formats import content, jsonconfig, tokenizer
from holdfast.formats.forms import Form

if TYPE_CHECKING:
    from collections.abc import Callable

_KNOWN = {
    "config.json": Form.MODEL_CONFIG,
    "adapter_config.json": Form.ADAPTER_CONFIG,
    "tokenizer.json": Form.TOKENIZER,
    "generation_config.json": Form.JSON,
    "tokenizer_config.json": Form.JSON,
    "special_tokens_map.json": Form.JSON,
    "added_tokens.json": Form.JSON,
    "model.safetensors.index.json": Form.JSON,
    "LICENSE": Form.TEXT,
    "LICENCE": Form.TEXT,
    "NOTICE": Form.TEXT,
}
_ENDINGS = {
    ".safetensors": Form.SAFETENSORS,
    ".gguf": Form.GGUF,
    ".jsonl": Form.LINES,
    ".jinja": Form.TEMPLATE,
    ".md": Form.TEXT,
    ".txt": Form.TEXT,
    ".toml": Form.TEXT,
}
# What tells JSON files apart that have another name: keys of which one is enough, and the name that such files have.
_SIGNS = (
    (frozenset({"weight_map"}), "model.safetensors.index.json"),
    (frozenset({"peft_type"}), "adapter_config.json"),
    (
        frozenset({"tokenizer_class", "added_tokens_decoder", "chat_template", "model_max_length"}),
        "tokenizer_config.json",
    ),
    (frozenset({"architectures", "model_type"}), "config.json"),
    (
        frozenset({"max_new_tokens", "do_sample", "temperature", "top_p", "transformers_version"}),
        "generation_config.json",
    ),
)


def form_of(name: str, size: int, read: Callable[[int, int], bytes]) -> tuple[Form, str]:
    """Tell how a loose file is to be read.

    Args:
        name: Its name.
        size: Its size in bytes.
        read: Gives bytes of it.

    Returns:
        Its form, and the name by which files of its form are known: the file's own, or that with the usual one behind it.

    Raises:
        UntrustedBundle: If nothing of that name may come in.
    """
    if name in _KNOWN:
        return _KNOWN[name], name
    ending = re.search(r"\.[a-z]+\Z", name)
    if ending and ending[0] in _ENDINGS:
        return _ENDINGS[ending[0]], name
    if ending and ending[0] == ".json":
        usual = _usual(read(0, min(size, tokenizer.MAX_TOKENIZER + 1)), name)
        return _KNOWN.get(usual, Form.JSON), f"{name}/{usual}" if usual else name
    what = content.identify(read, size)
    raise UntrustedBundle(
        "formats.file-name",
        f"{name[:80]} is refused: it is {what}."
        if what
        else f"{name[:80]} is refused: no file of such a name may come in.",
        remedy="Only safetensors, GGUF, JSON, JSON lines, chat templates (.jinja) and text (.md, .txt, .toml) may.",
        file=name[:240],
    )


def _usual(data: bytes, name: str) -> str:
    """Give the usual name of files that hold such JSON; empty if it is none of those known."""
    try:
        value = canonical.decode(
            data, limit=tokenizer.MAX_TOKENIZER, what=name, error=UntrustedBundle, wide=True
        )
    except UntrustedBundle as problem:
        if len(data) <= jsonconfig.MAX_CONFIG or problem.key == "json.too-large":
            return ""  # whichever reader comes next says the same of it
        raise
    keys = value.keys() if isinstance(value, dict) else set()
    model = value.get("model") if isinstance(value, dict) else None
    if isinstance(model, dict) and ("vocab" in model or "type" in model):
        return "tokenizer.json"
    return next((usual for signs, usual in _SIGNS if signs & keys), "")
