"""Which configurations llama.cpp computes as transformers does. Pure.

Logits are compared after each conversion, but only on short texts: what shows beyond them (windows of attention, scalings of
positions) and what upstream's converters leave out without a word is decided here, from the configuration. Invariant: what
llama.cpp ignores or assumes must be what the configuration says, or the model is refused with the setting's name.

Source: upstream's ``conversion/{llama,qwen,gemma,phi}.py`` and llama.cpp's ``src/models/``; the configuration classes of
transformers 5.23 for the defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle
from holdfast.formats import encoders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from holdfast.canonical import Json

_SILU = frozenset({"silu", "swish"})
_GEMMA_PERIOD = 6  # every sixth layer of Gemma 3 sees the whole text
_GEMMA_LARGEST = 62  # layers of the 27B model, whose attention is scaled in a way of its own
_PHI_THETA = 10_000.0  # the converter writes no other base of positions for the older Phi


def check(config: Json) -> str:
    """Check a model's configuration.

    Args:
        config: The parsed ``config.json``.

    Returns:
        The architecture.

    Raises:
        UntrustedBundle: If llama.cpp does not know it, or would compute something else.
    """
    names = config.get("architectures") if isinstance(config, dict) else None
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    if not isinstance(config, dict) or not isinstance(name, str) or name not in ARCHITECTURES:
        raise UntrustedBundle(
            "gguf.architecture",
            "The model's architecture cannot be converted to GGUF.",
            remedy=f"Serve a base of one of: {', '.join(ARCHITECTURES)}.",
        )
    for why in ARCHITECTURES[name](config):
        raise UntrustedBundle(
            "gguf.setting",
            f"llama.cpp computes this {name} in another way than transformers: {why}.",
            remedy="Serve a base without this setting; training and evaluating this one with transformers work.",
        )
    return name


def _llama(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _activation(config, "hidden_act", _SILU)
    yield from _positions(config, {"default", "linear", "llama3", "yarn"})


def _mistral(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _llama(config)
    yield from _window(config, default=4096)


def _qwen3(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _activation(config, "hidden_act", _SILU)
    yield from _positions(config, {"default", "linear", "yarn"})
    if config.get("use_sliding_window") or "sliding_attention" in _layers(config):
        yield "use_sliding_window is on, and its window is ignored"


def _gemma3(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _activation(config, "hidden_activation", frozenset({"gelu_pytorch_tanh"}))
    yield from _positions(config, {"default", "linear"})
    if config.get("attn_logit_softcapping") is not None:
        yield "attn_logit_softcapping is set"
    if config.get("use_bidirectional_attention"):
        yield "use_bidirectional_attention is on"
    kinds = _layers(config)
    count = _number(config, "num_hidden_layers", len(kinds))
    wanted = [
        "sliding_attention" if (number + 1) % _GEMMA_PERIOD else "full_attention"
        for number in range(int(count))
    ]
    if kinds and kinds != wanted:
        yield "layer_types are not a whole view in every sixth layer"
    heads = max(_number(config, "num_attention_heads", 8), 1)
    whole = _number(config, "hidden_size", 2304) // heads
    scale = whole if count == _GEMMA_LARGEST else _number(config, "head_dim", 256)
    if _number(config, "query_pre_attn_scalar", 256) != scale:
        yield f"query_pre_attn_scalar is not {scale:g}"


def _phi(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _activation(config, "hidden_act", frozenset({"gelu_new"}))
    yield from _positions(config, {"default"})
    if _theta(config) != _PHI_THETA:
        yield f"rope_theta is not {_PHI_THETA:g}"
    if config.get("tie_word_embeddings"):
        yield "tie_word_embeddings is on, and it reads a head of its own"
    if config.get("qk_layernorm"):
        yield "qk_layernorm is on"
    if _number(config, "intermediate_size", 8192) != 4 * _number(config, "hidden_size", 2048):
        yield "intermediate_size is not four times hidden_size"
    heads = _number(config, "num_attention_heads", 32)
    if _number(config, "num_key_value_heads", heads) != heads:
        yield "num_key_value_heads is not num_attention_heads"


def _phi3(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _activation(config, "hidden_act", _SILU)
    yield from _positions(config, {"default"})
    yield from _window(config, default=None)
    heads = max(_number(config, "num_attention_heads", 32), 1)
    whole = _number(config, "hidden_size", 3072)
    if _number(config, "head_dim", whole // heads) * heads != whole:
        yield "head_dim times num_attention_heads is not hidden_size"


def _bert(config: Mapping[str, Json]) -> Iterator[str]:
    yield from _activation(config, "hidden_act", frozenset({"gelu", "gelu_new", "gelu_pytorch_tanh"}))
    if config.get("position_embedding_type", "absolute") != "absolute":
        yield "position_embedding_type is not 'absolute'"
    if config.get("is_decoder") or config.get("add_cross_attention"):
        yield "it is a decoder"


ARCHITECTURES: Mapping[str, Callable[[Mapping[str, Json]], Iterator[str]]] = {
    "LlamaForCausalLM": _llama,
    "MistralForCausalLM": _mistral,
    "Qwen3ForCausalLM": _qwen3,
    "Gemma3ForCausalLM": _gemma3,
    "PhiForCausalLM": _phi,
    "Phi3ForCausalLM": _phi3,
    encoders.BERT: _bert,
}


def _activation(config: Mapping[str, Json], name: str, known: frozenset[str]) -> Iterator[str]:
    value = config.get(name)
    if value is not None and value not in known:
        yield f"{name} is {str(value)[:40]!r}"


def _positions(config: Mapping[str, Json], known: set[str]) -> Iterator[str]:
    """Check the scaling of positions, also where it is given for each kind of layer."""
    for settings in _rope(config):
        kind = settings.get("rope_type", settings.get("type", "default"))
        if kind not in known:
            yield f"positions are scaled by {str(kind)[:40]!r}"


def _rope(config: Mapping[str, Json]) -> list[dict[str, Json]]:
    value = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(value, dict):
        return []
    inner = [one for one in value.values() if isinstance(one, dict)]
    return inner or [value]


def _theta(config: Mapping[str, Json]) -> float:
    for settings in _rope(config):
        if "rope_theta" in settings:
            return _number(settings, "rope_theta", 0)
    return _number(config, "rope_theta", _PHI_THETA)


def _window(config: Mapping[str, Json], *, default: int | None) -> Iterator[str]:
    window = config.get("sliding_window", default)
    if isinstance(window, int) and window < _number(config, "max_position_embeddings", 131_072):
        yield f"sliding_window is {window}, shorter than the context, and is ignored"


def _layers(config: Mapping[str, Json]) -> list[str]:
    value = config.get("layer_types")
    return [str(kind) for kind in value] if isinstance(value, list) else []


def _number(config: Mapping[str, Json], name: str, default: float) -> float:
    value = config.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default
