"""Hugging Face folders to GGUF, by upstream's converters of the pinned source, in this process.

Invariants:
    * Nothing is asked of the network: the process runs in `spec.ENVIRONMENT`, and an adapter's base is always given as a
      folder.
    * Only safetensors are read; a pickled weight file is never opened.
    * The pre-tokenizer is decided by `vocabulary`, not by upstream's table of hashes.

Order of operations: read and check the JSON files, then put upstream's tree on the path, then convert.
"""

from __future__ import annotations

import runpy
import sys
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.gguf import spec, vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.canonical import Json
# Options of PEFT that change what a LoRA computes; GGUF holds the two matrices and one scale.
EXTENSIONS = (
    "use_dora", "use_rslora", "use_qalora", "use_bdlora", "rank_pattern", "alpha_pattern", "lora_bias", "layer_replication",
    "trainable_token_indices", "alora_invocation_tokens", "invocation_string",
)  # fmt: skip


def convert_base(model: Path, target: Path, name: str) -> None:
    """Convert a model folder to an f16 GGUF.

    Args:
        model: Folder with `config.json`, `tokenizer.json` and safetensors.
        target: File to write.
        name: Name to write into the file's metadata.

    Raises:
        UntrustedBundle: If the model is of an architecture, a tokenizer or a form that cannot be converted.
    """
    config = read_json(model / "config.json", spec.MAX_CONFIG_BYTES)
    architecture = _architecture(config)
    pre = vocabulary.pre_tokenizer(read_json(model / "tokenizer.json", spec.MAX_TOKENIZER_BYTES))
    if not any(model.glob("model*.safetensors")):
        raise _refused(model, "it has no safetensors")
    _enter_upstream()
    import gguf  # type: ignore[import-not-found]  # upstream's tree is on the path only in this worker
    import torch
    from conversion import get_model_class  # type: ignore[import-not-found]  # as above

    upstream = get_model_class(architecture)

    class Converter(upstream):  # type: ignore[misc, valid-type]  # the class is chosen at run time
        model_arch = upstream.model_arch

        def set_vocab(self) -> None:
            self._set_vocab_gpt2()

        def get_vocab_base_pre(self, _tokenizer: object) -> str:
            return pre

    def run() -> None:
        with torch.inference_mode():
            converter = Converter(model, gguf.LlamaFileType.MOSTLY_F16, target, model_name=name)
            try:
                converter.write()
            finally:
                converter.gguf_writer.close()  # upstream leaves the file open when it fails

    _converting(model, run)


def convert_adapter(base: Path, adapter: Path, target: Path) -> None:
    """Convert a PEFT LoRA adapter to a GGUF adapter, in float32.

    Args:
        base: Folder of the base it was trained on; its configuration is read.
        adapter: Folder with `adapter_config.json` and `adapter_model.safetensors`.
        target: File to write.

    Raises:
        UntrustedBundle: If the adapter is not a plain LoRA over the base's linear layers.
    """
    _architecture(read_json(base / "config.json", spec.MAX_CONFIG_BYTES))
    config = read_json(adapter / "adapter_config.json", spec.MAX_CONFIG_BYTES)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or config.get("modules_to_save"):
        raise _refused(adapter, "it is not a plain LoRA (merge adapters that touch embeddings or the head)")
    if any(config.get(option) for option in EXTENSIONS):
        raise _refused(adapter, "it uses an extension of LoRA that GGUF cannot express")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise _refused(adapter, "it has no adapter_model.safetensors")
    script = _enter_upstream() / "convert_lora_to_gguf.py"

    def run() -> None:
        before = sys.argv
        sys.argv = [
            script.name,
            "--base",
            str(base),
            "--outtype",
            "f32",
            "--outfile",
            str(target),
            str(adapter),
        ]
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            sys.argv = before

    _converting(adapter, run)


def read_json(path: Path, limit: int) -> Json:
    """Read a JSON file of a model folder.

    Args:
        path: The file.
        limit: Most bytes to read.

    Returns:
        The parsed value.

    Raises:
        UntrustedBundle: If the file is absent, too large or not JSON.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError:
        raise _refused(path.parent, f"it has no {path.name}") from None
    return canonical.decode(data, limit=limit, what=path.name, error=UntrustedBundle)


def _architecture(config: Json) -> str:
    names = config.get("architectures") if isinstance(config, dict) else None
    if not isinstance(names, list) or len(names) != 1 or names[0] not in spec.ARCHITECTURES:
        raise UntrustedBundle(
            "gguf.architecture",
            "The model's architecture cannot be converted to GGUF.",
            remedy=f"Serve a base of one of: {', '.join(spec.ARCHITECTURES)}.",
        )
    return str(names[0])


def _enter_upstream() -> Path:
    from holdfast_llama_conversion import TREE

    tree: Path = TREE
    if str(tree) not in sys.path:
        sys.path.insert(0, str(tree))
    return tree


def _converting(folder: Path, run: Callable[[], None]) -> None:
    """Run a converter; whatever it raises on a model's content becomes one refusal."""
    try:
        run()
    except (
        ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, NotImplementedError,
        RuntimeError, OSError, SystemExit,
    ) as error:  # fmt: skip
        raise _refused(folder, f"{type(error).__name__}: {error}") from error


def _refused(folder: Path, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "gguf.convert",
        f"{folder.name} cannot be converted to GGUF: {why}.",
        remedy="Check that it is complete and of a supported form, then import it again.",
    )
