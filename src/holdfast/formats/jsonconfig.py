"""JSON configuration of models, adapters, tokenizers and generation.

Invariants: keys that have made libraries load or run foreign code are refused wherever they stand, unless they are empty or
at the harmless default that the library itself writes; a model's architecture is one that we convert and serve; its
dimensions are bounded, so that nothing is allocated on a file's word alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_CONFIG = 2 * 2**20  # bytes; a sharded model's index has about 1 MB
ARCHITECTURES = {"LlamaForCausalLM": "llama"}  # and their model_type
RUNS_CODE = frozenset(
    {
        "auto_map",
        "auto_mapping",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "custom_pipelines",
        "custom_generate",
        "trust_remote_code",
        "code_revision",
        "megatron_core",
        "megatron_config",
        "tokenizer_kwargs",
        "tokenizer_file",
        "kernel_config",
        "parent_library",
        "quantization_config",
    }
)
_HARMLESS = {
    "megatron_core": "megatron.core",
    "trust_remote_code": False,
}  # what peft and transformers write anyway
_BOUNDS = {  # the largest published of each, doubled and rounded
    "vocab_size": 2_000_000,
    "hidden_size": 65_536,
    "intermediate_size": 262_144,
    "num_hidden_layers": 1024,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "head_dim": 1024,
    "max_position_embeddings": 16_777_216,
}
MAX_RANK = 4096  # of a LoRA adapter; beyond it the full matrix is smaller


def parse(data: bytes, name: str) -> dict[str, Json]:
    """Read a JSON configuration and refuse what could run code.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The configuration.

    Raises:
        UntrustedBundle: If it is malformed or holds a key that could run code.
    """
    value = canonical.decode(data, limit=MAX_CONFIG, what=name, error=UntrustedBundle)
    if not isinstance(value, dict):
        raise _bad("config", name, "it is not an object")
    _no_code(value, name)
    return value


def model(data: bytes, name: str) -> dict[str, Json]:
    """Read and judge a model's config.json.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The facts that describe the model: architecture and dimensions.

    Raises:
        UntrustedBundle: If it could run code, or its architecture or a dimension is not allowed.
    """
    config = parse(data, name)
    listed = config.get("architectures")
    architecture = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise _bad("architecture", name, f"its architecture is {str(listed)[:80]}; known are {known}")
    if config.get("model_type") != ARCHITECTURES[architecture]:
        raise _bad("architecture", name, f"model_type is not {ARCHITECTURES[architecture]}")
    facts: dict[str, Json] = {"architecture": architecture}
    for field, most in _BOUNDS.items():
        if field in config and config[field] is not None:
            facts[field] = _count(config[field], field, most, name)
    for field in ("vocab_size", "hidden_size", "num_hidden_layers"):
        if field not in facts:
            raise _bad("config", name, f"it has no {field}")
    return facts


def adapter(data: bytes, name: str) -> dict[str, Json]:
    """Read and judge an adapter's adapter_config.json.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The facts that describe the adapter: rank, alpha and the modules it touches.

    Raises:
        UntrustedBundle: If it could run code, is not a LoRA adapter, or a figure is not allowed.
    """
    config = parse(data, name)
    if config.get("peft_type") != "LORA":
        raise _bad("config", name, f"peft_type is {str(config.get('peft_type'))[:40]!r}, not 'LORA'")
    rank = _count(config.get("r"), "r", MAX_RANK, name)
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise _bad("config", name, "lora_alpha is not a number")
    modules = config.get("target_modules")
    shown = modules if isinstance(modules, list) else [modules]
    names: list[Json] = [*sorted(str(module)[:80] for module in shown)]
    return {"rank": rank, "alpha": alpha, "target_modules": names}


def _no_code(value: Json, name: str) -> None:
    pending: list[Json] = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            for key, inner in part.items():
                if key in RUNS_CODE and inner is not None and inner != _HARMLESS.get(key, ...):
                    raise _bad("runs-code", name, f"the key {key} could make a library run foreign code")
                pending.append(inner)
        elif isinstance(part, list):
            pending.extend(part)


def _count(value: Json, field: str, most: int, name: str) -> int:
    if type(value) is not int or not 0 < value <= most:
        raise _bad("config", name, f"{field} is {str(value)[:40]}; 1 to {most} is allowed")
    return value


def _bad(key: str, name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        f"formats.{key}",
        f"{name} is refused: {why}.",
        remedy="Have the medium built again without this setting, or use a supported model.",
        file=name,
    )
