"""The tensors of models that only embed: BERT's.

Invariants: as in ``families``; the layer that pools for another task than embedding may be there, and is not read.

Source: ``modeling_bert.py`` of transformers 5.23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.canonical import Json

BERT = "BertModel"
NEEDED = ("max_position_embeddings", "type_vocab_size")
OPTIONAL = ("pooler.dense.weight", "pooler.dense.bias")
EMBEDDING = "embeddings.word_embeddings.weight"


def expected(facts: Mapping[str, Json]) -> dict[str, tuple[int, ...]]:
    """Compute the tensors that a configuration of BERT's implies.

    Args:
        facts: What ``jsonconfig.model`` gave; no dimension is missing.

    Returns:
        Shape of each tensor by its name, the ``OPTIONAL`` ones included.
    """

    def count(field: str) -> int:
        value = facts.get(field)
        return value if isinstance(value, int) else 0

    hidden, inner = count("hidden_size"), count("intermediate_size")
    found: dict[str, tuple[int, ...]] = {
        EMBEDDING: (count("vocab_size"), hidden),
        "embeddings.position_embeddings.weight": (count("max_position_embeddings"), hidden),
        "embeddings.token_type_embeddings.weight": (count("type_vocab_size"), hidden),
        **dict(_both("embeddings.LayerNorm", hidden)),
        **dict(_both("pooler.dense", hidden, hidden)),
    }
    for number in range(count("num_hidden_layers")):
        layer = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            found |= _both(f"{layer}.attention.self.{name}", hidden, hidden)
        found |= _both(f"{layer}.attention.output.dense", hidden, hidden)
        found |= _both(f"{layer}.attention.output.LayerNorm", hidden)
        found |= _both(f"{layer}.intermediate.dense", inner, hidden)
        found |= _both(f"{layer}.output.dense", hidden, inner)
        found |= _both(f"{layer}.output.LayerNorm", hidden)
    return found


def _both(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]
