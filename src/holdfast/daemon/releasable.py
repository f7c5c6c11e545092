"""What an alias would stand for, derived from the record alone.

Invariants: a release says nothing that the record does not; it names the quantized files that the gate's evaluation answered
with, and no others; nothing that may not be used now is part of one. Deriving writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Artefact, Kind
from holdfast.daemon import admissible, runs
from holdfast.errors import Conflict, NotFound
from holdfast.governance import labels
from holdfast.governance import releases as rules
from holdfast.governance.releases import Product, Release

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services


def derive(services: Services, alias: str, name: str) -> Release:
    """Say from the record what an alias would stand for.

    Args:
        services: The daemon's parts.
        alias: The alias.
        name: The run.

    Returns:
        The release.

    Raises:
        NotFound: If there is no such run, or something of it is gone.
        Conflict: If its gate did not say go, judged no quantized file, or something may not be used now.
    """
    run, params, result = runs.find_run(services, name)
    product = runs.product(services, result)
    verdict = {key: value for key, value in services.state.gates.get(run.digest, {}).items() if key != "seq"}
    _require_go(run, product, verdict)
    base, tokenizer = (known(services, params[part]) for part in ("base", "tokenizer"))
    evaluation = known(services, verdict["evaluation"])
    gguf, lora = _judged(services, product, base, evaluation)
    parts = (run, product, base, tokenizer, evaluation, *gguf.values(), *(() if lora is None else (lora,)))
    for found in parts:
        admissible.usable(services, found)
    decided = services.state.gates[run.digest]["seq"]
    return Release(
        alias=alias,
        run=run.digest,
        kind=Product.ADAPTER if product.kind is Kind.ADAPTER else Product.MODEL,
        product=product.digest,
        base=base.digest,
        tokenizer=tokenizer.digest,
        gguf={quantization: gguf[quantization].digest for quantization in sorted(gguf)},
        lora=None if lora is None else lora.digest,
        evaluation=evaluation.digest,
        gate=rules.verdict_digest(verdict),
        decided=decided if isinstance(decided, int) else 0,
        label=labels.join_all(found.label for found in parts),
    )


def _require_go(run: Artefact, product: Artefact, verdict: dict[str, Json]) -> None:
    short = hashing.short(run.digest)
    if not verdict:
        raise Conflict(
            "release.not-judged",
            f"The run {run.name} ({short}) was not judged by its gate yet.",
            remedy=f"Have it judged with `holdfast eval gate {short}`.",
        )
    if verdict["go"] is not True:
        reasons = verdict.get("reasons")
        why = "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""
        raise Conflict(
            "release.no-go",
            f"The gate of the run {run.name} ({short}) did not say go: {why[:600] or 'it gave no reason'}.",
            remedy="Train another run; a gate's verdict can't be lifted.",
        )
    if product.digest not in (verdict.get("adapter"), verdict.get("model")):
        raise Conflict(
            "release.other-product",
            f"The gate judged something else than what the run {run.name} ({short}) made.",
            remedy=f"Have it judged again with `holdfast eval gate {short}`.",
        )


def _judged(
    services: Services, product: Artefact, base: Artefact, evaluation: Artefact
) -> tuple[dict[str, Artefact], Artefact | None]:
    """Find the quantized files that an evaluation answered with: weights by type, and the adapter's file."""
    state = services.state
    files = [
        one
        for digest in evaluation.parents
        if (one := state.artefacts.get(digest)) is not None and one.kind is Kind.GGUF
    ]
    whole = {
        str(one.meta.get("quantization")): one
        for one in files
        if one.meta.get("part") == "model"
        and product.digest in (up.digest for up in state.lineage(one.digest))
    }
    if whole:
        return whole, None
    lora = next((one for one in files if one.meta.get("adapter") == product.digest), None)
    weights = {
        str(one.meta.get("quantization")): one
        for one in files
        if one.meta.get("part") == "model" and one.meta.get("base") == base.digest
    }
    if lora is None or not weights:
        raise Conflict(
            "release.not-quantized",
            f"The gate of {product.name} judged no quantized file that could be served.",
            remedy="Quantize with `holdfast model quantize`, then have the run judged again with `holdfast eval gate`.",
        )
    return weights, lora


def known(services: Services, digest: Json) -> Artefact:
    """Find what a release names.

    Args:
        services: The daemon's parts.
        digest: Its digest.

    Returns:
        The artefact.

    Raises:
        NotFound: If it is not on the record.
    """
    found = services.state.artefacts.get(str(digest))
    if found is None:
        raise NotFound(
            "release.gone",
            f"The release needs {hashing.short(str(digest))}, which is not on the record.",
            remedy="See `holdfast model list` for what is here.",
        )
    return found
