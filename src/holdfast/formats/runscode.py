"""Keys of configuration files that have made libraries load, fetch or run what the file's author chose.

Each is listed with what it does in transformers 5.23 or peft 0.21, read from their sources. Invariants: such a key is refused
wherever it stands, unless its value is empty or one of those that the libraries themselves write and that do nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.formats import hubrefs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

_ATTENTION = "names the attention code; what is not built in is downloaded from a hub and imported"
_EXPERTS = "names the experts code; what is not built in is downloaded from a hub and imported"
_VOCABULARY = "names a file that the tokenizer opens, wherever it is"
_UNPICKLED = "names a file that torch unpickles"

RUNS_CODE: Mapping[str, str] = {
    "auto_map": "names a Python file and class that are imported in place of the library's own",
    "auto_mapping": "names a Python module that peft imports",
    "parent_library": "names a Python module that peft imports",
    "trust_remote_code": "lets the library run Python files of the model",
    "code_revision": "chooses the version of Python files that are fetched and run",
    "custom_generate": "names a folder or hub repository whose generate.py is run",
    "custom_pipelines": "names Python files that are imported as pipelines",
    "attn_implementation": _ATTENTION,
    "_attn_implementation": _ATTENTION,
    "_attn_implementation_internal": _ATTENTION,
    "experts_implementation": _EXPERTS,
    "_experts_implementation": _EXPERTS,
    "_experts_implementation_internal": _EXPERTS,
    "kernel_config": "names kernels that are fetched from a hub or a folder and imported",
    "use_kernels": "replaces layers by kernels that are fetched from a hub and imported",
    "quantization_config": "chooses a quantiser, whose library is imported and rewrites the model while it loads",
    "compression_config": "chooses a quantiser, whose library is imported and rewrites the model while it loads",
    "fusion_config": "replaces modules of the model while it loads",
    "distributed_config": "starts torch.distributed and shards the model while it loads",
    "per_layer_config": "gives single layers other settings than those that are checked",
    "transformers_weights": "names the file that weights are read from",
    "megatron_core": "names a Python module that peft imports",
    "megatron_config": "makes peft import the module named in megatron_core",
    "corda_config": f"{_UNPICKLED}, and recomputes the base's weights",
    "lora_ga_config": f"{_UNPICKLED}, and recomputes the base's weights",
    "cache_file": _UNPICKLED,
    "covariance_file": _UNPICKLED,
    "tokenizer_kwargs": "is passed to the tokenizer's loader, trust_remote_code included",
    "tokenizer_file": _VOCABULARY,
    "vocab_file": _VOCABULARY,
    "merges_file": _VOCABULARY,
    "spm_file": _VOCABULARY,
    "gguf_file": _VOCABULARY,
    "added_tokens_file": _VOCABULARY,
    "special_tokens_map_file": _VOCABULARY,
    "fast_tokenizer_files": "names the file that is read in place of tokenizer.json",
    "tokenizer_object": "replaces the tokenizer that was checked",
    "slow_tokenizer_class": "names the class of a second tokenizer that is built from other files",
    "init_inputs": "is passed to the tokenizer's class, which opens its first values as files",
    "assistant_model": "names a second model that is loaded beside this one",
}
_HARMLESS: Mapping[str, tuple[Json, ...]] = {  # what the libraries write anyway
    "megatron_core": ("megatron.core",),
    "trust_remote_code": (False,),
    "use_kernels": (False,),
    "init_inputs": ([],),
    "attn_implementation": ("eager", "sdpa", "flex_attention"),
    "_attn_implementation": ("eager", "sdpa", "flex_attention"),
    "experts_implementation": ("eager", "batched_mm", "grouped_mm"),
    "_experts_implementation": ("eager", "batched_mm", "grouped_mm"),
}
_MAX_SHOWN = 80  # characters of a value in a message


def problem(value: Json) -> tuple[str, str] | None:
    """Find what in a configuration could make a library load, fetch or run something.

    Args:
        value: The configuration, or any part of one.

    Returns:
        The last part of the error's key and the reason; None if there is nothing.
    """
    pending: list[Json] = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, dict):
            for key, inner in part.items():
                if key in RUNS_CODE and inner is not None and not _harmless(key, inner):
                    return (
                        "runs-code",
                        f"the key {key}, which {RUNS_CODE[key]}, is {str(inner)[:_MAX_SHOWN]!r}",
                    )
                if key.endswith("name_or_path") and (why := hubrefs.why_not_a_path(inner)):
                    return "foreign-path", f"{key[:_MAX_SHOWN]!r}, {str(inner)[:_MAX_SHOWN]!r}, {why}"
                pending.append(inner)
    return None


def _harmless(key: str, value: Json) -> bool:
    """Compare with type: ``0`` is not ``False`` here."""
    return any(value == one and type(value) is type(one) for one in _HARMLESS.get(key, ()))
