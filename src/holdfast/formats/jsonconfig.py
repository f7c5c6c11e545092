"""JSON configuration of models, adapters, tokenizers and generation.

Invariants: nothing in it makes a library load, fetch or run what the author chose (``runscode``); it holds only what its kind
of file holds, in the types that the libraries write; a model's architecture is a known one (``families``) and its dimensions
are bounded, so that nothing is allocated on a file's word alone; an adapter is a LoRA adapter that leaves its base as it is.
Settings of later versions of the libraries pass as long as they are plain: numbers, names and lists of them, no objects.

Source: the configuration classes of transformers 5.23 and peft 0.21.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.formats import hubrefs, patterns, ropeconfig, runscode, tokenizerconfig
from holdfast.formats.families import FAMILIES, MAX_LAYERS
from holdfast.formats.runscode import RUNS_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

__all__ = ["ARCHITECTURES", "MAX_CONFIG", "MAX_RANK", "RUNS_CODE", "adapter", "model", "parse"]

MAX_CONFIG = 16 * 2**20  # bytes; the index of a mixture of experts has about 10 MB, others under 1 MB
MAX_LIST = 65_536  # items of one list: ids of tokens, kinds of layers
MAX_TEXT = 4096  # characters of one text; a pattern of modules may be as long
MAX_RANK = 4096  # of a LoRA adapter; beyond it the full matrix is smaller
MAX_PATTERNS = 4096  # modules with a rank or an alpha of their own
ARCHITECTURES = {name: family.model_type for name, family in FAMILIES.items()}
_BOUNDS = {  # the largest published of each, doubled and rounded
    "vocab_size": 2_000_000,
    "hidden_size": 65_536,
    "intermediate_size": 262_144,
    "num_hidden_layers": MAX_LAYERS,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "head_dim": 1024,
    "max_position_embeddings": 16_777_216,
    "original_max_position_embeddings": 16_777_216,
    "sliding_window": 16_777_216,
    "query_pre_attn_scalar": 65_536,
    "type_vocab_size": 4096,
}
_MAX_BEAMS = 256  # of one search, and answers to one prompt: the library keeps a cache for each
_MAX_TOKENS = 16_777_216  # as of positions
_MAX_LOOK = 65_536  # tokens that are guessed at, looked up or compared at a time
_ALLOCATING = {  # counts of a generation, for which the library makes room before it begins
    "num_beams": _MAX_BEAMS,
    "num_beam_groups": _MAX_BEAMS,
    "num_return_sequences": _MAX_BEAMS,
    "max_length": _MAX_TOKENS,
    "max_new_tokens": _MAX_TOKENS,
    "min_length": _MAX_TOKENS,
    "min_new_tokens": _MAX_TOKENS,
    "prefill_chunk_size": _MAX_TOKENS,
    "num_assistant_tokens": _MAX_LOOK,
    "prompt_lookup_num_tokens": _MAX_LOOK,
    "max_matching_ngram_size": _MAX_LOOK,
    "assistant_lookbehind": _MAX_LOOK,
    "target_lookbehind": _MAX_LOOK,
    "no_repeat_ngram_size": _MAX_LOOK,
    "encoder_no_repeat_ngram_size": _MAX_LOOK,
}
MAX_LABELS = 65_536  # transformers makes a name for each while it reads the configuration
_NEEDED = ("vocab_size", "hidden_size", "num_hidden_layers")
_SWITCHES = (
    "tie_word_embeddings", "attention_bias", "mlp_bias", "qk_layernorm", "use_sliding_window", "use_cache",
    "use_bidirectional_attention",
)  # fmt: skip
_SHAPING = frozenset({"tie_word_embeddings", "attention_bias", "mlp_bias", "qk_layernorm"})
_DTYPES = frozenset(
    {"float32", "float16", "bfloat16", "float64", "auto"}
)  # transformers takes any attribute of torch
_LAYERS = frozenset({"full_attention", "sliding_attention"})
_PRIVATE = frozenset(
    {
        "_name_or_path", "_commit_hash", "_attn_implementation", "_experts_implementation", "_attn_implementation_autoset",
        "_sliding_window_pattern", "_output_attentions",
    }
)  # fmt: skip
_LABELS = frozenset({"id2label", "label2id"})
_ROPES = frozenset({"rope_parameters", "rope_scaling"})
_SHARD = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_NAME = re.compile(r"[A-Za-z0-9_.]{1,256}")
# What each does instead of starting from the adapter's own matrices; peft applies it again when the adapter is loaded.
_REWRITES_BASE = "makes peft change the base's weights when the adapter is loaded"
_STARTS = frozenset({"gaussian", "orthogonal", "eva"})
_MODULES = ("target_modules", "exclude_modules", "layers_pattern", "target_parameters", "modules_to_save")
_OBJECTS_OF_ADAPTERS = frozenset({"rank_pattern", "alpha_pattern", "loftq_config", "eva_config"})


def parse(data: bytes, name: str) -> dict[str, Json]:
    """Read a JSON configuration, and judge it by the kind of file that its name says it is.

    Args:
        data: The file's bytes.
        name: The file's path, for messages; its last part decides the kind.

    Returns:
        The configuration.

    Raises:
        UntrustedBundle: If it is malformed, could run code, or holds what its kind of file does not hold.
    """
    value = _read(data, name)
    kind = name.rpartition("/")[2]
    if kind == "generation_config.json":
        _plain(value, name, objects=frozenset())
        _generation(value, name)
    elif kind.endswith(".index.json"):
        _index(value, name)
    elif kind in tokenizerconfig.FILES:
        tokenizerconfig.check(value, name)
    return value


def model(data: bytes, name: str) -> dict[str, Json]:
    """Read and judge a model's config.json.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The facts that describe the model: architecture, dimensions, and what else decides the shapes of its tensors.

    Raises:
        UntrustedBundle: If it could run code, or its architecture, a dimension or a setting is not allowed.
    """
    config = _read(data, name)
    listed = config.get("architectures")
    architecture = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise _bad("architecture", name, f"its architecture is {str(listed)[:80]!r}; known are {known}")
    if config.get("model_type") != ARCHITECTURES[architecture]:
        raise _bad("architecture", name, f"model_type is not {ARCHITECTURES[architecture]}")
    _plain(config, name, objects=_ROPES | _LABELS)
    facts: dict[str, Json] = {"architecture": architecture}
    for field, most in _BOUNDS.items():
        if config.get(field) is not None:
            facts[field] = _count(config[field], field, most, name)
    for field in _NEEDED:
        if field not in facts:
            raise _bad("config", name, f"it has no {field}")
    for field in _SWITCHES:
        value = config.get(field)
        if value is not None and not isinstance(value, bool):
            raise _bad("config", name, f"{field} is {str(value)[:40]!r}, not true or false")
        if value is not None and field in _SHAPING:
            facts[field] = value
    _heads(facts, architecture, name)
    _settings(config, facts, name)
    return facts


def adapter(data: bytes, name: str) -> dict[str, Json]:
    """Read and judge an adapter's adapter_config.json.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The facts that describe the adapter: rank, alpha and the modules it touches, and all ranks that occur.

    Raises:
        UntrustedBundle: If it could run code, is not a LoRA adapter, or a figure is not allowed.
    """
    config = _read(data, name)
    if config.get("peft_type") != "LORA":
        raise _bad("config", name, f"peft_type is {str(config.get('peft_type'))[:40]!r}, not 'LORA'")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise _bad("config", name, f"task_type is {str(config['task_type'])[:40]!r}, not 'CAUSAL_LM'")
    _plain(config, name, objects=_OBJECTS_OF_ADAPTERS)
    _base_untouched(config, name)
    rank = _count(config.get("r"), "r", MAX_RANK, name)
    alpha = _number(config.get("lora_alpha"), "lora_alpha", name)
    own: dict[str, dict[str, Json]] = {}
    for field in ("rank_pattern", "alpha_pattern"):
        value = config.get(field) or {}
        own[field] = value if isinstance(value, dict) else {}
        if len(own[field]) > MAX_PATTERNS:
            raise _bad("config", name, f"{field} has more than {MAX_PATTERNS} entries")
        _patterns([*own[field]], field, name)
    ranks = {_count(one, "rank_pattern", MAX_RANK, name) for one in own["rank_pattern"].values()} | {rank}
    for one in own["alpha_pattern"].values():
        _number(one, "alpha_pattern", name)
    for field in _MODULES:
        listed = config.get(field)
        _patterns([] if listed is None else listed if isinstance(listed, list) else [listed], field, name)
    modules = config.get("target_modules")
    names: list[Json] = [
        *sorted(str(one)[:80] for one in (modules if isinstance(modules, list) else [modules]))
    ]
    every: list[Json] = [*sorted(ranks)]
    return {"rank": rank, "alpha": alpha, "target_modules": names, "ranks": every}


def _read(data: bytes, name: str) -> dict[str, Json]:
    value = canonical.decode(data, limit=MAX_CONFIG, what=name, error=UntrustedBundle, wide=True)
    if not isinstance(value, dict):
        raise _bad("config", name, "it is not an object")
    found = runscode.problem(value)
    if found is not None:
        raise _bad(found[0], name, found[1])
    return value


def _plain(  # noqa: C901 - one branch per kind of value
    config: Mapping[str, Json], name: str, *, objects: frozenset[str]
) -> None:
    """Let only numbers, short texts and lists of them through, and objects of them under the keys that have any."""
    for key, value in config.items():
        if not _NAME.fullmatch(key) or (key.startswith("_") and key not in _PRIVATE | {"_from_model_config"}):
            raise _bad("config", name, f"the key {key[:80]!r} is not a setting that the library writes")
        if key.endswith("name_or_path") or key in RUNS_CODE:
            continue  # already judged
        pending: list[tuple[Json, int]] = [(value, 0)]
        while pending:
            part, depth = pending.pop()
            if isinstance(part, dict):
                # An empty object says nothing. One level of a rope's settings may be split by the kind of layer.
                if part and (key not in objects or depth > 1):
                    raise _bad(
                        "config", name, f"{key} holds an object, and no known setting of that name does"
                    )
                pending.extend((inner, depth + 1) for inner in part.values())
            elif isinstance(part, list):
                if len(part) > MAX_LIST:
                    raise _bad("config", name, f"{key} lists more than {MAX_LIST} values")
                pending.extend((inner, depth) for inner in part)
            elif isinstance(part, str) and len(part) > MAX_TEXT:
                raise _bad("config", name, f"{key} has more than {MAX_TEXT} characters")
            elif isinstance(part, str) and hubrefs.holds_url(part):
                raise _bad("foreign-path", name, f"{key}, {part[:80]!r}, is a URL")


def _heads(facts: Mapping[str, Json], architecture: str, name: str) -> None:
    """Check that heads divide what they are parts of."""
    heads, hidden, keys = (
        facts.get(field) for field in ("num_attention_heads", "hidden_size", "num_key_value_heads")
    )
    if not isinstance(heads, int) or not isinstance(hidden, int):
        return
    family = FAMILIES[architecture]
    if hidden % heads and (family.divides or not (family.head_dim or "head_dim" in facts)):
        raise _bad("config", name, f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    if isinstance(keys, int) and heads % keys:
        raise _bad(
            "config", name, f"num_attention_heads {heads} is not a multiple of num_key_value_heads {keys}"
        )


def _settings(config: Mapping[str, Json], facts: Mapping[str, Json], name: str) -> None:
    """Judge the settings that the library looks up by name or lays out per layer."""
    for field in ("dtype", "torch_dtype"):
        value = config.get(field)
        if value is not None and (not isinstance(value, str) or value not in _DTYPES):
            raise _bad(
                "config", name, f"{field} is {str(value)[:40]!r}; known are {', '.join(sorted(_DTYPES))}"
            )
    for field in ("hidden_act", "hidden_activation"):
        value = config.get(field)
        if value is not None and (not isinstance(value, str) or not _NAME.fullmatch(value)):
            raise _bad("config", name, f"{field} is not the name of a function")
    _allocated(config, name)
    tokenizerconfig.check_class(config.get("tokenizer_class"), name)
    kinds, layers = config.get("layer_types"), facts["num_hidden_layers"]
    if kinds is not None and (
        not isinstance(kinds, list)
        or len(kinds) != layers
        or not all(isinstance(kind, str) and kind in _LAYERS for kind in kinds)
    ):
        raise _bad(
            "config", name, f"layer_types does not name one of {', '.join(sorted(_LAYERS))} for each layer"
        )
    for field in sorted(_ROPES):
        why = ropeconfig.problem(config.get(field))
        if why:
            raise _bad("config", name, f"{field} {why}")


def _allocated(config: Mapping[str, Json], name: str) -> None:
    """Bound what the library lays out in memory as large as the figure says."""
    _generation(
        config, name
    )  # older configurations of models hold its settings, and the library still takes them
    labels, rotated = config.get("num_labels"), config.get("partial_rotary_factor")
    if labels is not None and (type(labels) is not int or not 0 <= labels <= MAX_LABELS):
        raise _bad("config", name, f"num_labels is {str(labels)[:40]!r}; 0 to {MAX_LABELS} is allowed")
    if rotated is not None and not ropeconfig.is_part(rotated):
        raise _bad("config", name, f"partial_rotary_factor is {str(rotated)[:40]!r}, not a part of 1")


def _generation(config: Mapping[str, Json], name: str) -> None:
    """Bound the counts of a generation."""
    for field, most in _ALLOCATING.items():
        value = config.get(field)
        if value is not None and (type(value) is not int or not 0 <= value <= most):
            raise _bad("config", name, f"{field} is {str(value)[:40]!r}; 0 to {most} is allowed")


def _base_untouched(config: Mapping[str, Json], name: str) -> None:
    """Refuse settings by which peft rewrites the base, or multiplies its layers, while it loads the adapter."""
    start = config.get("init_lora_weights")
    if (
        start is not None
        and not isinstance(start, bool)
        and not (isinstance(start, str) and start in _STARTS)
    ):
        raise _bad("config", name, f"init_lora_weights is {str(start)[:40]!r}, which {_REWRITES_BASE}")
    if config.get("loftq_config"):
        raise _bad("config", name, f"loftq_config, which {_REWRITES_BASE}, is not empty")
    if config.get("layer_replication") is not None:
        raise _bad(
            "config", name, "layer_replication makes peft repeat the base's layers as often as it says"
        )


def _patterns(values: list[Json], field: str, name: str) -> None:
    """Judge names of modules, which peft matches as regular expressions."""
    if len(values) > MAX_PATTERNS:
        raise _bad("config", name, f"{field} has more than {MAX_PATTERNS} entries")
    for value in values:
        if not isinstance(value, str):
            raise _bad("config", name, f"{field} holds something else than names of modules")
        why = patterns.problem(value)
        if why:
            raise _bad("config", name, f"{field}: {why}")


def _index(value: Mapping[str, Json], name: str) -> None:
    """Judge the table that tells which file holds which tensor."""
    table, metadata = value.get("weight_map"), value.get("metadata", {})
    if (
        not isinstance(table, dict)
        or not isinstance(metadata, dict)
        or set(value) - {"weight_map", "metadata"}
    ):
        raise _bad("config", name, "it is not a weight_map with metadata")
    for tensor, file in table.items():
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise _bad(
                "foreign-path",
                name,
                f"it finds {tensor[:80]!r} in {str(file)[:80]!r}, which is no file of a model",
            )
    if any(isinstance(one, dict | list) for one in metadata.values()):
        raise _bad("config", name, "its metadata is not plain")


def _count(value: Json, field: str, most: int, name: str) -> int:
    if type(value) is not int or not 0 < value <= most:
        raise _bad("config", name, f"{field} is {str(value)[:40]!r}; 1 to {most} is allowed")
    return value


def _number(value: Json, field: str, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _bad("config", name, f"{field} is not a number")
    return value


def _bad(key: str, name: str, why: str) -> UntrustedBundle:
    remedy = (
        "Have it left empty or set to the artefact's digest; transformers 5 leaves it out when it saves a model."
        if key == "foreign-path"
        else "Have the medium built again without this setting, or use a supported model."
    )
    return UntrustedBundle(f"formats.{key}", f"{name} is refused: {why}.", remedy=remedy, file=name)
