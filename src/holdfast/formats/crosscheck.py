"""What the files of a set say of each other: shards, index, configuration, weights, tokenizer.

Files are known by their usual names. Invariants: shards are complete and hold different tensors; an index names exactly the tensors that its shards hold; a model's
weights are those that its configuration implies, and its tokenizer gives no id beyond its embeddings (a tokenizer with fewer
ids than there are embeddings is ordinary: families round the number up); an adapter's matrices have the ranks it states.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle
from holdfast.formats import families, pooling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.canonical import Json
    from holdfast.formats.inspection import FileReport

_SHARD = re.compile(r"model(?:-(\d{5})-of-(\d{5}))?\.safetensors")
_CONFIG, _TOKENIZER, _TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
_ADAPTER, _ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"


def compare(files: Mapping[str, FileReport], *, whole: bool) -> list[UntrustedBundle]:
    """Compare the files of a set.

    Args:
        files: Each file's report, by its path; none was refused.
        whole: Whether the set is a whole artefact, in which nothing may be missing.

    Returns:
        What contradicts; empty if all agree.
    """
    shards = {path: report for path, report in files.items() if _SHARD.fullmatch(path)}
    found = [*_shards(shards, whole=whole)]
    for path, report in files.items():
        if report.weights is not None:
            found += _index(path, report.weights, shards, whole=whole)
    if whole and len(shards) > 1 and not any(report.weights is not None for report in files.values()):
        found.append(_bad(min(shards), "there are several shards and no index that says what each holds"))
    if not found:
        found += _models(files, shards, whole=whole)
    return found


def _shards(shards: Mapping[str, FileReport], *, whole: bool) -> Iterator[UntrustedBundle]:
    owner: dict[str, str] = {}
    for path, report in shards.items():
        for tensor in report.shapes:
            if owner.setdefault(tensor, path) != path:
                yield _bad(path, f"its tensor {tensor} is also in {owner[tensor]}")
                return
    numbered = {path: match for path in shards if (match := _SHARD.fullmatch(path)) and match[1]}
    if not whole or not shards:
        return
    if numbered and len(numbered) != len(shards):
        yield _bad(min(shards), "it stands beside shards of another numbering")
        return
    totals = {match[2] for match in numbered.values()}
    wanted = {f"{number:05}" for number in range(1, len(numbered) + 1)}
    if numbered and (
        totals != {f"{len(numbered):05}"} or {match[1] for match in numbered.values()} != wanted
    ):
        yield _bad(min(numbered), f"{len(numbered)} shards are there, which is not what their names say")


def _index(
    path: str, weights: Mapping[str, str], shards: Mapping[str, FileReport], *, whole: bool
) -> Iterator[UntrustedBundle]:
    for tensor, shard in weights.items():
        report = shards.get(shard)
        if report is None and whole:
            yield _bad(path, f"it names the shard {shard[:80]}, which is not there")
            return
        if report is not None and tensor not in report.shapes:
            yield _bad(path, f"it says that {shard} holds {tensor[:80]}, which it does not")
            return
    for shard in sorted(set(weights.values()) & shards.keys() if not whole else shards):
        for tensor in shards[shard].shapes:
            if weights.get(tensor) != shard:
                yield _bad(path, f"it does not say that {shard} holds {tensor[:80]}")
                return


def _models(
    files: Mapping[str, FileReport], shards: Mapping[str, FileReport], *, whole: bool
) -> Iterator[UntrustedBundle]:
    tensors = {name: shape for report in shards.values() for name, shape in report.shapes.items()}
    if _CONFIG in files and (whole or tensors):
        tokens = _tokens(files) if _TOKENIZER in files else None
        embeds = pooling.CONFIG in files
        yield from families.cross_check(_CONFIG, files[_CONFIG].facts, tokens, tensors, embeds=embeds)
    if _ADAPTER_CONFIG in files and _ADAPTER in files:
        yield from families.cross_check_adapter(
            _ADAPTER_CONFIG, files[_ADAPTER_CONFIG].facts, files[_ADAPTER].shapes
        )


def _tokens(files: Mapping[str, FileReport]) -> dict[str, Json]:
    """Give a tokenizer's facts, with the number of special tokens that its configuration names and it lacks."""
    own = files[_TOKENIZER]
    named = files[_TOKENIZER_CONFIG].special if _TOKENIZER_CONFIG in files else frozenset()
    return {**own.facts, "added": len(named - own.pieces)}


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.mismatch",
        f"{name} is refused: {why}.",
        remedy="Have the model written again, so that its files belong together.",
        file=name,
    )
