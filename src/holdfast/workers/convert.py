"""Convert, quantize and measure: the confined worker for GGUF.

An order's `task` is `base` (folder in, f16 and quantized GGUF out) or `adapter` (LoRA folder in, GGUF adapter out). Nothing
is returned for a file whose token ids or logits are not those of the original.

Order of operations: convert, compare token ids, quantize, then compare the logits of all in one pass.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
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
        order: `task`, `model`, `out` and `threads`; for a base also `quantizations`, `probe` and `name`, for an adapter
            also `adapter`, `gguf` (folder with the base's f16 GGUF) and `probe`.

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
    from holdfast.gguf.convert import convert_base
    from holdfast.gguf.fidelity import check_logits, check_token_ids, chunks, measure
    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.quantize import quantize
    from holdfast.gguf.reference import Reference

    model, out = asked.path("model"), asked.path("out")
    threads, texts = asked.count("threads", DEFAULT_THREADS), asked.texts("probe", spec.MAX_PROBE_TEXTS)
    quantizations = asked.among("quantizations", spec.BOUNDS)
    steps = len(quantizations) + 2
    channel.progress("convert to f16", 0, steps)
    f16 = out / f"{spec.F16}.gguf"
    trials = convert_base(model, f16, str(asked.fields.get("name") or model.name))
    reference = Reference(model, threads)
    with ExitStack() as opened:
        converted = opened.enter_context(GgufModel(f16, threads))
        check_token_ids(reference, converted, [*trials, *texts])
        quantized = {}
        for done, quantization in enumerate(quantizations, start=1):
            channel.progress(f"quantize to {quantization}", done, steps)
            path = out / f"{quantization}.gguf"
            quantize(f16, path, quantization, threads)
            quantized[quantization] = opened.enter_context(GgufModel(path, threads))
        channel.progress("compare with the original", steps - 1, steps)
        probes = chunks(reference, texts)
        difference, measured = measure(reference.logits, converted.logits, quantized, probes)
    check_logits(difference, f16.name)
    channel.progress("converted", steps, steps)
    fidelity: dict[str, Json] = {"token_ids_equal": True, "f16_max_logit_diff": difference}
    fidelity |= {name: closeness.to_json(name) for name, closeness in measured.items()}
    return {"files": _sizes(out, [spec.F16, *quantizations]), "fidelity": fidelity}


def _adapter(channel: Channel, asked: Order) -> dict[str, Json]:
    from holdfast.gguf.convert import convert_adapter
    from holdfast.gguf.fidelity import check_logits, chunks, measure
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
    with GgufModel(f16, threads) as converted:
        converted.apply_adapter(target)
        difference, _ = measure(reference.logits, converted.logits, {}, chunks(reference, texts))
    check_logits(difference, target.name)
    channel.progress("converted", 2, 2)
    return {"files": _sizes(out, ["adapter"]), "fidelity": {"max_logit_diff": difference}}


def _sizes(folder: Path, names: list[str]) -> dict[str, Json]:
    return {f"{name}.gguf": (folder / f"{name}.gguf").stat().st_size for name in names}
