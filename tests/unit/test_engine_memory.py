"""The estimate of memory, and refusals with the numbers of what would fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import NoSpace, UntrustedBundle
from holdfast.formats.gguf import Header, Tensor, Value
from holdfast.governance.labels import Label
from holdfast.serving import spec
from holdfast.serving.engine import memory

LABEL = Label("internal", frozenset(), frozenset({"site"}))
MIB = 2**20
SHAPE = memory.Shape(
    layers=24, width=1024, inner=2816, keys=256, heads=16, vocabulary=32768, weights=200 * MIB
)


def model(**given):
    fields = {"id": "base", "engine": "e", "path": "/in/m", "digest": "sha512:" + "1" * 128, "context": 4096}
    return spec.ModelSpec(label=LABEL.to_json(), **fields | given)


def header(**values):
    tensor = Tensor("t", "F16", (8, 8), 128, 128)
    known = {"general.architecture": Value("str", "llama")}
    return Header(
        0, 3, known | {f"llama.{key}": Value("u32", value) for key, value in values.items()}, (tensor,)
    )


def test_a_cache_is_counted_to_the_byte():
    need = memory.need(SHAPE, model(), 8)
    assert need.cache == 24 * 2 * 4096 * 9 * 256 * 2
    assert memory.need(SHAPE, model(kv="q8_0"), 8).cache == 24 * 2 * 4096 * 9 * 272
    assert memory.need(SHAPE, model(), 1).cache == 24 * 2 * 4096 * 256 * 2
    plain = need.plain(3, 7)
    assert plain["total"] == need.weights + 7 + 3 * need.context


def test_what_fits_passes_and_what_does_not_is_refused_with_what_would():
    limits = spec.Limits(parallel=8)
    need = memory.need(SHAPE, model(), 8)
    assert memory.check(SHAPE, model(), limits, need.total) == need
    with pytest.raises(NoSpace) as refused:
        memory.check(SHAPE, model(), limits, need.total - 1)
    fields = refused.value.fields
    assert fields["needed_bytes"] == need.total
    assert 0 < fields["longest_context"] < 4096
    assert fields["most_parallel"] == 7
    assert str(fields["longest_context"]) in refused.value.remedy
    shorter = model(context=fields["longest_context"])
    assert memory.check(SHAPE, shorter, limits, need.total - 1).total < need.total
    longer = model(context=fields["longest_context"] + 1)
    with pytest.raises(NoSpace):
        memory.check(SHAPE, longer, limits, need.total - 1)


def test_embeddings_need_room_for_every_pair_of_tokens_and_encoders_no_cache():
    plain = memory.need(SHAPE, model(), 8)
    pooled = memory.need(replace(SHAPE, embeds=True), model(), 8)
    assert pooled.total - plain.total == pooled.embedding > 2048 * 2048 * 16 * 4
    encoder = memory.need(replace(SHAPE, embeds=True, generates=False), model(), 8)
    assert encoder.total == encoder.weights + encoder.embedding
    assert encoder.plain(0, 0)["total"] == encoder.total


def test_weights_alone_may_be_too_much():
    with pytest.raises(NoSpace) as refused:
        memory.check(SHAPE, model(), spec.Limits(), 100 * MIB)
    assert refused.value.fields["longest_context"] == 0
    assert "smaller quantization" in refused.value.remedy


def test_dimensions_are_read_from_a_header_or_refused():
    given = {"block_count": 2, "embedding_length": 64, "feed_forward_length": 96}
    heads = {"attention.head_count": 4, "attention.head_count_kv": 2}
    shape = memory.shape(header(**given, **heads), "m")
    assert (shape.layers, shape.keys, shape.inner, shape.weights) == (2, 32, 96, 128)
    with pytest.raises(UntrustedBundle, match="head_count"):
        memory.shape(header(**given), "m")
