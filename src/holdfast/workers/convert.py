"""Convert and compare: the confined worker that carries models from transformers to llama.cpp.

An order's `task` is `base` (folder in, f16 GGUF out) or `adapter` (LoRA folder in, GGUF adapter out). Nothing is returned for
a file whose token ids, logits or embeddings are not those of the original. Quantizing is another worker's.

Order of operations: convert, read what was written with our own reader, compare token ids, then compare the logits; of a model
that embeds, the embeddings.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from holdfast.gguf import spec
from holdfast.workers.orders import Order

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

DEFAULT_THREADS = 1  # llama.cpp's threads spin: beside any other work, two are slower than one


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Carry out one order.

    Args:
        channel: Where progress goes.
        order: `task`, `model`, `out`, `probe` and `threads`; for a base also `name`, for an adapter also `adapter` and `gguf`
            (folder with the base's f16 GGUF).

    Returns:
        `files` (name to size in bytes) and `fidelity` (figures).

    Raises:
        UntrustedRequest: If the order is malformed.
    """
    os.environ.update(spec.ENVIRONMENT)
    asked = Order(order, "gguf.order")
    task = order.get("task")
    if task == "base":
        return _base(channel, asked)
    if task == "adapter":
        return _adapter(channel, asked)
    raise asked.refused("task is neither base nor adapter")


def _base(channel: Channel, asked: Order) -> dict[str, Json]:
    from holdfast.gguf import fidelity, pooling
    from holdfast.gguf.contents import read
    from holdfast.gguf.convert import convert_base
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    model, out = asked.path("model"), asked.path("out")
    threads, texts = asked.count("threads", DEFAULT_THREADS), asked.texts("probe", spec.MAX_PROBE_TEXTS)
    channel.progress("convert to f16", 0, 2)
    f16 = out / f"{spec.F16}.gguf"
    words = convert_base(model, f16, str(asked.fields.get("name") or model.name))
    read(f16)
    channel.progress("compare with the original", 1, 2)
    pools = pooling.of_folder(model)
    threads = 1 if f16.stat().st_size < spec.ONE_THREAD_BYTES else threads
    reference = Reference(model, threads, pools=pools)
    figures: dict[str, Json] = {"token_ids_equal": True}
    with GgufModel(f16, threads, embeds=pools is not None) as converted:
        left_out = fidelity.check_token_ids(reference, converted, [*words.trials, *texts], words.reproduces)
        if left_out:
            figures["texts_left_out"] = left_out
        if pools is None:
            probes = fidelity.chunks(reference.token_ids, reference.context, texts)
            difference = fidelity.largest_difference(reference.logits, converted.logits, probes)
            fidelity.check_logits(difference, f16.name)
            figures["f16_max_logit_diff"] = difference
        else:
            whole = fidelity.whole_texts(reference.token_ids, reference.context, texts)
            figures["f16_min_cosine"] = fidelity.check_embeddings(
                reference.embedding, converted.embedding, whole, f16.name
            )
            figures["dimensions"] = converted.dimensions
    channel.progress("converted", 2, 2)
    return {"files": _sizes(out, spec.F16), "fidelity": figures}


def _adapter(channel: Channel, asked: Order) -> dict[str, Json]:
    from holdfast.gguf import fidelity
    from holdfast.gguf.convert import convert_adapter
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    base, adapter, out = map(asked.path, ("model", "adapter", "out"))
    threads, texts = asked.count("threads", DEFAULT_THREADS), asked.texts("probe", spec.MAX_PROBE_TEXTS)
    f16 = asked.path("gguf") / f"{spec.F16}.gguf"
    channel.progress("convert the adapter", 0, 2)
    target = out / "adapter.gguf"
    convert_adapter(base, adapter, target)
    channel.progress("compare with the original", 1, 2)
    reference = Reference(base, threads).with_adapter(adapter)
    probes = fidelity.chunks(reference.token_ids, reference.context, texts)
    with GgufModel(f16, threads) as converted:
        converted.apply_adapter(target)
        difference = fidelity.largest_difference(reference.logits, converted.logits, probes)
    fidelity.check_logits(difference, target.name)
    channel.progress("converted", 2, 2)
    return {"files": _sizes(out, "adapter"), "fidelity": {"max_logit_diff": difference}}


def _sizes(folder: Path, name: str) -> dict[str, Json]:
    return {f"{name}.gguf": (folder / f"{name}.gguf").stat().st_size}
