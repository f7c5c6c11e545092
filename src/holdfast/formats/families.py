"""The model families that are known: for each, its architecture and the tensors that its configuration implies.

One row of ``FAMILIES`` per architecture: what distinguishes it is data, so that a family is added in one place. Invariants:
the shapes are those of the classes of transformers; a model whose weights have another name or shape than its configuration
says is found before anything is loaded.

Source: the modelling files of transformers 5.23 (``nn.Linear`` stores [outputs, inputs]).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle
from holdfast.formats import encoders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.canonical import Json

MAX_LAYERS = 1024  # of a model; the largest published have under 130
MAX_SHOWN = 5  # names listed in one message
# Older writers stored what is computed anew; nobody reads it.
DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|embeddings\.position_ids")
_LORA = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B)(?:\.weight)?")


@dataclass(frozen=True)
class Family:
    """What distinguishes one architecture.

    Args:
        model_type: The name that its configuration must carry.
        key_value_heads: Key-value heads where the configuration names none; 0: as many as attention heads.
        head_dim: Size of a head where the configuration names none; 0: the hidden size divided by the heads.
        norms: Names of a layer's norms of the hidden size.
        head_norms: Names of a layer's norms of a head's size; those that ``qk_layernorm`` switches are not among them.
        final_norm: Name of the norm after the last layer.
        fused: Whether query, key and value are one matrix, and gate and up another.
        phi: Whether it is the older Phi: biases throughout, ``dense`` for ``o_proj``, a feed-forward of two matrices.
        tied: Whether embeddings are tied where the configuration does not say.
        divides: Whether the hidden size must be a multiple of the heads even where a head's size is given.
    """

    model_type: str
    key_value_heads: int = 0
    head_dim: int = 0
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    head_norms: tuple[str, ...] = ()
    final_norm: str = "norm"
    fused: bool = False
    phi: bool = False
    tied: bool = False
    divides: bool = False


FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": Family("llama", divides=True),
    "MistralForCausalLM": Family("mistral", key_value_heads=8),
    "Qwen3ForCausalLM": Family(
        "qwen3", key_value_heads=32, head_dim=128, head_norms=("self_attn.q_norm", "self_attn.k_norm")
    ),
    "Gemma3ForCausalLM": Family(
        "gemma3_text",
        key_value_heads=4,
        head_dim=256,
        norms=(
            "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
        ),
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        tied=True,
        divides=True,
    ),
    "PhiForCausalLM": Family("phi", norms=("input_layernorm",), final_norm="final_layernorm", phi=True),
    "Phi3ForCausalLM": Family("phi3", fused=True),
    encoders.BERT: Family("bert", divides=True),  # its tensors are those of ``encoders``
}  # fmt: skip
NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def expected(facts: Mapping[str, Json]) -> dict[str, tuple[int, ...]] | None:
    """Compute the tensors that a model's configuration implies.

    Args:
        facts: What ``jsonconfig.model`` gave.

    Returns:
        Shape of each tensor by its name, ``lm_head.weight`` included where the embeddings are not tied; None if the
        architecture is unknown or a dimension is missing.
    """
    family = FAMILIES.get(str(facts.get("architecture")))
    encodes = facts.get("architecture") == encoders.BERT
    needed = NEEDED + encoders.NEEDED if encodes else NEEDED
    if family is None or any(type(facts.get(name)) is not int for name in needed):
        return None
    if encodes:
        return encoders.expected(facts)
    size = _sizes(family, facts)
    layer = dict(_layer(family, size))
    found = {
        f"model.layers.{number}.{name}": shape
        for number in range(size.layers)
        for name, shape in layer.items()
    }
    found["model.embed_tokens.weight"] = (size.vocabulary, size.hidden)
    found |= dict(_norm(f"model.{family.final_norm}", size.hidden, biased=family.phi))
    if not facts.get("tie_word_embeddings", family.tied):
        found["lm_head.weight"] = (size.vocabulary, size.hidden)
    if family.phi:
        found["lm_head.bias"] = (size.vocabulary,)
    return found


def cross_check(
    name: str,
    facts: Mapping[str, Json],
    tokenizer: Mapping[str, Json] | None,
    tensors: Mapping[str, Sequence[int]],
    *,
    embeds: bool = False,
) -> list[UntrustedBundle]:
    """Compare what a model's files say of each other.

    Args:
        name: The path of its configuration, for messages.
        facts: What ``jsonconfig.model`` gave.
        tokenizer: What ``tokenizer.read`` gave; None if the model has none of its own. ``added``, if it is there, is the
            number of special tokens that the library will give ids of their own when it loads the tokenizer.
        tensors: Shape of each tensor of all its safetensors files, by its name.
        embeds: Whether it embeds: a decoder is then also stored without its head, its tensors' names without ``model.``.

    Returns:
        What contradicts, at most one refusal of each sort; empty if all agree.
    """
    found = []
    shapes = expected(facts)
    if shapes is None:
        missing = ", ".join(field for field in NEEDED if field not in facts)
        found.append(
            _bad(name, f"it lacks {missing or 'a known architecture'}, so that its tensors can't be checked")
        )
    else:
        if embeds and not any(tensor.startswith("model.") for tensor in tensors):
            shapes = {
                key.removeprefix("model."): shape for key, shape in shapes.items() if key[:8] != "lm_head."
            }
        found += _compare(name, shapes, tensors, tied="lm_head.weight" not in shapes)
    if tokenizer is not None:
        highest, added, rows = (
            one if isinstance(one, int) else 0
            for one in (tokenizer.get("highest_id"), tokenizer.get("added"), facts.get("vocab_size"))
        )
        if highest + added >= rows:
            own = f" ({added} of them for special tokens that tokenizer.json lacks)" if added else ""
            why = f"the tokenizer gives ids up to {highest + added}{own} and the model has embeddings for {rows}"
            found.append(_bad(name, why))
    return found


def cross_check_adapter(
    name: str, facts: Mapping[str, Json], tensors: Mapping[str, Sequence[int]]
) -> list[UntrustedBundle]:
    """Compare an adapter's configuration with its weights.

    Args:
        name: The path of its configuration, for messages.
        facts: What ``jsonconfig.adapter`` gave.
        tensors: Shape of each tensor of its safetensors file, by its name.

    Returns:
        What contradicts, at most one refusal of each sort; empty if all agree.
    """
    pairs: dict[tuple[str, bool], dict[str, Sequence[int]]] = {}
    for tensor, shape in tensors.items():
        match = _LORA.fullmatch(tensor)
        if match is not None:
            side = match[2]
            pairs.setdefault((match[1], side.startswith("embedding")), {})[side[-1]] = shape
    if not pairs:
        return [_bad(name, "its weights hold no LoRA matrices")]
    for (module, _), sides in sorted(pairs.items()):
        if set(sides) != {"A", "B"} or any(len(shape) < 2 for shape in sides.values()):  # noqa: PLR2004 - matrices
            return [_bad(name, f"the LoRA matrices of {module[:80]} are not a pair")]
        ranks = facts.get("ranks")
        allowed = ranks if isinstance(ranks, list) else []
        if sides["A"][0] != sides["B"][1] or sides["A"][0] not in allowed:
            shown = f"{sides['A'][0]} and {sides['B'][1]}"
            return [
                _bad(
                    name, f"the LoRA matrices of {module[:80]} have the ranks {shown}, and it says {allowed}"
                )
            ]
    return []


@dataclass(frozen=True)
class _Sizes:
    """A model's dimensions, with its family's defaults."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    queries: int
    keys: int
    head: int
    biased: bool
    mlp_biased: bool
    normed: bool


def _sizes(family: Family, facts: Mapping[str, Json]) -> _Sizes:
    def count(field: str, default: int = 1) -> int:
        value = facts.get(field, default)
        return value if isinstance(value, int) else default

    heads, hidden = count("num_attention_heads"), count("hidden_size")
    head = count("head_dim", family.head_dim or hidden // heads)
    return _Sizes(
        vocabulary=count("vocab_size"),
        hidden=hidden,
        inner=count("intermediate_size"),
        layers=count("num_hidden_layers"),
        queries=heads * head,
        keys=count("num_key_value_heads", family.key_value_heads or heads) * head,
        head=head,
        biased=family.phi or facts.get("attention_bias") is True,
        mlp_biased=facts.get("mlp_bias") is True,
        normed=family.phi and facts.get("qk_layernorm") is True,
    )


def _layer(family: Family, size: _Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    for norm in family.norms:
        yield from _norm(norm, size.hidden, biased=family.phi)
    for norm in family.head_norms:
        yield from _norm(norm, size.head, biased=False)
    if size.normed:
        yield from _norm("self_attn.q_layernorm", size.head, biased=True)
        yield from _norm("self_attn.k_layernorm", size.head, biased=True)
    for name, outputs, inputs, biased in _matrices(family, size):
        yield f"{name}.weight", (outputs, inputs)
        if biased:
            yield f"{name}.bias", (outputs,)


def _matrices(family: Family, size: _Sizes) -> Iterator[tuple[str, int, int, bool]]:
    """Give a layer's matrices: name, outputs, inputs, and whether there is a bias."""
    hidden, inner = size.hidden, size.inner
    if family.fused:
        yield "self_attn.qkv_proj", size.queries + 2 * size.keys, hidden, False
        yield "mlp.gate_up_proj", 2 * inner, hidden, False
    else:
        yield "self_attn.q_proj", size.queries, hidden, size.biased
        yield "self_attn.k_proj", size.keys, hidden, size.biased
        yield "self_attn.v_proj", size.keys, hidden, size.biased
    if family.phi:
        yield "self_attn.dense", hidden, size.queries, True
        yield "mlp.fc1", inner, hidden, True
        yield "mlp.fc2", hidden, inner, True
        return
    yield "self_attn.o_proj", hidden, size.queries, size.biased
    yield "mlp.down_proj", hidden, inner, size.mlp_biased
    if not family.fused:
        yield "mlp.gate_proj", inner, hidden, size.mlp_biased
        yield "mlp.up_proj", inner, hidden, size.mlp_biased


def _norm(name: str, size: int, *, biased: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (size,)
    if biased:
        yield f"{name}.bias", (size,)


def _compare(
    name: str, shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Sequence[int]], *, tied: bool
) -> Iterator[UntrustedBundle]:
    # A tied head may be stored all the same; what it holds is then the embedding's, of the embedding's shape.
    wanted = dict(shapes)
    if tied and "lm_head.weight" in tensors and "model.embed_tokens.weight" in wanted:
        wanted["lm_head.weight"] = wanted["model.embed_tokens.weight"]
    missing = sorted(wanted.keys() - tensors.keys() - set(encoders.OPTIONAL))
    if missing:
        yield _bad(name, f"its weights lack {_list(missing)}")
    odd = sorted(tensor for tensor in tensors.keys() - wanted.keys() if not DERIVED.fullmatch(tensor))
    if odd:
        yield _bad(name, f"its weights hold {_list(odd)}, which no such model has")
    wrong = [
        tensor for tensor in sorted(wanted) if tensor in tensors and tuple(tensors[tensor]) != wanted[tensor]
    ]
    if wrong:
        has, says = [*tensors[wrong[0]]], [*wanted[wrong[0]]]
        yield _bad(name, f"tensor {wrong[0]} has the shape {has} where its configuration says {says}")


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(one[:80] for one in names[:MAX_SHOWN])
    return shown if len(names) <= MAX_SHOWN else f"{shown} and {len(names) - MAX_SHOWN} more"


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.mismatch",
        f"{name} is refused: {why}.",
        remedy="Have the model written again, so that its files belong together.",
        file=name,
    )
