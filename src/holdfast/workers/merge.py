"""Merge an adapter into its base: the confined worker for whole models.

Nothing is returned for a merged model whose next-token distributions are not those of base and adapter.

Order of operations: merge tensor by tensor, compute the logits of the probe texts with base and adapter and with the base
alone, free them, then open what was written and compare.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from holdfast.errors import VerificationFailed
from holdfast.gguf.spec import ENVIRONMENT, MAX_PROBE_TEXTS
from holdfast.weights import spec
from holdfast.workers.orders import Order

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

DEFAULT_THREADS = 1


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Carry out one order.

    Args:
        channel: Where progress goes.
        order: `model`, `adapter`, `out`, `probe` (texts), `threads` and, if not the default, `shard` (bytes per file).

    Returns:
        `files` (name to size in bytes) and `likeness` (figures).

    Raises:
        UntrustedRequest: If the order is malformed.
        VerificationFailed: If the merged model is not like base and adapter.
    """
    os.environ.update(ENVIRONMENT)
    asked = Order(order, "merge.order")
    model, adapter, out = map(asked.path, ("model", "adapter", "out"))
    threads = asked.count("threads", DEFAULT_THREADS)
    bound = asked.count("shard", spec.MAX_SHARD, spec.MIN_SHARD)
    texts = asked.texts("probe", MAX_PROBE_TEXTS)
    import torch

    from holdfast.weights.likeness import compare
    from holdfast.weights.merge import merge

    torch.set_num_threads(threads)
    names, exact = merge(
        model, adapter, out, bound=bound, tell=lambda done, total: channel.progress("merge", done, total)
    )
    channel.progress("compare with base and adapter", 0, 1)
    likeness = compare(model, adapter, out, texts, threads)
    if not likeness.holds(exact=exact):
        raise VerificationFailed(
            "merge.unlike",
            f"The merged model is not like its base with the adapter: {likeness.kl:.2e} is its divergence in nats per token,"
            f" {likeness.effect:.2e} that of the base alone, {likeness.difference:.4f} the largest difference of a logit;"
            f" {spec.MAX_KL} and a share of {spec.MAX_SHARE} are allowed.",
            remedy="Serve the base with the adapter; what a short training changes can be less than the base's element type"
            " holds.",
        )
    channel.progress("merged", 1, 1)
    files: dict[str, Json] = {name: (out / name).stat().st_size for name in names}
    return {"files": files, "likeness": likeness.to_json()}
