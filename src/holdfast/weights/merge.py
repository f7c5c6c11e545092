"""An adapter merged into its base: one model, on disk.

Order of operations: both folders are opened under checks and looked through for values that are no numbers; tensors are
computed and written one at a time, in the base's element types; then the configuration. Invariants: a tensor that the adapter
does not touch keeps its bytes; where embeddings are tied and the adapter changed the head, the head is written apart and the
configuration says so, because the embedding itself was not changed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from holdfast.weights import written
from holdfast.weights.folder import check_numbers, open_adapter, open_model, refused
from holdfast.weights.lora import DTYPES, EMBEDDING, HEAD, Adapter, tensor_of
from holdfast.weights.spec import CONFIG, GENERATION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.weights.folder import Folder, Stored


def merge(
    model: Path, adapter: Path, out: Path, *, bound: int, tell: Callable[[int, int], None]
) -> tuple[list[str], bool]:
    """Merge an adapter into its base.

    Args:
        model: Folder of the base; a tokenizer may lie in it.
        adapter: Folder of the adapter.
        out: Where to write.
        bound: Most bytes of tensors in one file.
        tell: Called with the number of tensors written and in all.

    Returns:
        The names of the files written, and whether all weights are float32.

    Raises:
        UntrustedBundle: If a folder is damaged, or the adapter is not one of this base that can be merged.
    """
    base, learnt = open_model(model), open_adapter(adapter)
    check_numbers(base)
    check_numbers(learnt)
    lora = Adapter(learnt, base)
    sources = dict(base.tensors)
    unties = HEAD in lora.pairs and _is_tied(base)
    if unties:
        sources[HEAD] = base.tensors[EMBEDDING]
    count = 0

    def content(name: str) -> bytes | bytearray:
        nonlocal count
        count += 1
        tell(count, len(sources))
        return _content(name, sources[name], lora)

    entries = [written.Entry(name, stored.dtype, stored.shape) for name, stored in sources.items()]
    names = written.write(out, entries, content, bound)
    copied = [name for name in (CONFIG, GENERATION) if (model / name).is_file()]
    for name in copied:
        written.write_file(out / name, (model / name).read_bytes())
    if unties:
        config = base.config | {"tie_word_embeddings": False}
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        written.write_file(out / CONFIG, text.encode())
    return [*names, *copied], all(stored.dtype == "F32" for stored in sources.values())


def _content(name: str, stored: Stored, lora: Adapter) -> bytes | bytearray:
    if name not in lora.pairs:
        return stored.read()
    with torch.inference_mode():
        value = lora.merged(name, tensor_of(stored)).to(DTYPES[stored.dtype]).contiguous()
        if not bool(torch.isfinite(value).all()):
            raise refused(
                "weights.not-finite",
                f"Merged, {name} holds infinity, or what is not a number",
                remedy="Train the adapter again; its weights are too large for the base's element type.",
            )
        return value.view(torch.uint8).numpy().tobytes()


def _is_tied(base: Folder) -> bool:
    """Tell whether the head is the embedding: a tied head may be stored, and is then ignored."""
    said = base.config.get("tie_word_embeddings")
    return bool(said) if isinstance(said, bool) else HEAD not in base.tensors
