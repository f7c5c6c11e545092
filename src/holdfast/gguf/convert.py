"""Hugging Face folders to GGUF, by upstream's converters of the pinned source, in this process.

Invariants:
    * Nothing is asked of the network: the process runs in `spec.ENVIRONMENT`, and an adapter's base is always given as a
      folder.
    * Only safetensors are read; a pickled weight file is never opened.
    * The tokenizer is decided by `vocabulary`, not by upstream's table of hashes; the settings by `architectures`.

Order of operations: judge the folder (shards, shapes, values), its configuration and its tokenizer, then put upstream's tree
on the path, then convert.
"""

from __future__ import annotations

import json
import math
import re
import runpy
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.formats import encoders
from holdfast.formats.pooling import CONFIG, Pooling
from holdfast.gguf import architectures, pooling, spec, vocabulary, wordpiece
from holdfast.weights import folder
from holdfast.weights.spec import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.canonical import Json

_EMBEDDINGS = ("model.embed_tokens.weight", "embed_tokens.weight", encoders.EMBEDDING)
_POOLING = {Pooling.MEAN: "MEAN", Pooling.CLS: "CLS", Pooling.LAST: "LAST"}
# In a model's name, it makes llama.cpp strip blanks after added tokens.
_PHI = re.compile(r"phi-?3", re.IGNORECASE)


def convert_base(model: Path, target: Path, name: str) -> vocabulary.Vocabulary:
    """Convert a model folder to an f16 GGUF.

    Args:
        model: Folder with `config.json`, `tokenizer.json` and safetensors.
        target: File to write.
        name: Name to write into the file's metadata.

    Returns:
        The vocabulary that was written: it holds texts on which the two tokenizers would differ if they do.

    Raises:
        UntrustedBundle: If the model is of an architecture, a tokenizer or a form that cannot be converted.
    """
    opened = folder.open_model(model)
    architecture = architectures.check(opened.config)
    folder.check_numbers(opened, for_half=True)
    pools = pooling.of_folder(model)
    if architecture == encoders.BERT and pools is None:
        raise _refused(model, f"it embeds, and has no {CONFIG} that says how a text's vector is made")
    embedding = next(name for name in _EMBEDDINGS if name in opened.tensors)
    bare = embedding == "embed_tokens.weight"
    rows = opened.tensors[embedding].shape[0]
    words = vocabulary.read(read_tokenizer(model), rows)
    enter_upstream()
    import gguf  # type: ignore[import-not-found]  # upstream's tree is on the path only in this worker
    import torch
    from conversion import get_model_class  # type: ignore[import-not-found]  # as above

    upstream = get_model_class(architecture)

    class Converter(upstream):  # type: ignore[misc, valid-type]  # the class is chosen at run time
        model_arch = upstream.model_arch

        def set_vocab(self) -> None:
            write_vocabulary(self.gguf_writer, gguf.SpecialVocab(model, n_vocab=rows), words)
            if architecture == encoders.BERT:
                self.gguf_writer.add_token_type_count(self.hparams["type_vocab_size"])

        def set_gguf_parameters(self) -> None:
            super().set_gguf_parameters()
            key = f"{self.gguf_writer.arch}.pooling_type"
            if pools is not None and key not in self.gguf_writer.kv_data[0]:
                self.gguf_writer.add_pooling_type(gguf.PoolingType[_POOLING[pools]])

        def modify_tensors(
            self, data_torch: torch.Tensor, name: str, bid: int | None
        ) -> Iterable[tuple[str, torch.Tensor]]:
            name = f"model.{name}" if bare else name
            if name == "model.embed_tokens.weight":  # Gemma's class would cut off rows that have no token
                return [(self.map_tensor_name(name), data_torch)]
            found: Iterable[tuple[str, torch.Tensor]] = super().modify_tensors(data_torch, name, bid)
            return found

    def run() -> None:
        with torch.inference_mode():
            converter = Converter(
                model, gguf.LlamaFileType.MOSTLY_F16, target, model_name=model_name(name, strips=words.strips)
            )
            try:
                converter.write()
            finally:
                converter.gguf_writer.close()  # upstream leaves the file open when it fails

    _converting(model, run)
    return words


def model_name(name: str, *, strips: bool) -> str:
    """Give the name that makes llama.cpp treat blanks after added tokens as the tokenizer does.

    Args:
        name: The model's own name.
        strips: Whether added tokens take the blanks after them along.

    Returns:
        The name; with `phi-3` in it exactly where blanks are to be taken along.
    """
    if strips:
        return name if _PHI.search(name) else f"{name} (phi-3)"
    return _PHI.sub("phi 3", name)


def write_vocabulary(writer: object, special: object, words: vocabulary.Vocabulary) -> None:
    """Write a vocabulary into a GGUF.

    Args:
        writer: Upstream's `GGUFWriter`.
        special: Upstream's `SpecialVocab`, which read the ids of special tokens and the chat template.
        words: The vocabulary.
    """
    out, extra = cast("Any", writer), cast("Any", special)  # upstream's classes have no types here
    out.add_tokenizer_model(words.model)
    out.add_tokenizer_pre(words.pre)
    out.add_token_list(list(words.tokens))
    out.add_token_types(list(words.kinds))
    if words.scores is not None:
        out.add_token_scores(list(words.scores))
        out.add_add_space_prefix(words.space_prefix)
    if words.merges is not None:
        out.add_token_merges(list(words.merges))
    if words.words is not None:
        _write_word_pieces(out, words, words.words)
        return
    extra.merges = []
    extra.normalizer_lowercase = extra.normalizer_strip_accents = None
    extra.add_special_token = {"bos": words.begin is not None, "eos": words.end is not None}
    if words.begin is not None:
        extra.special_token_ids["bos"] = words.begin
    if words.end is not None:
        extra.special_token_ids["eos"] = words.end
    extra.add_to_gguf(out, quiet=True)


def _write_word_pieces(out: Any, words: vocabulary.Vocabulary, told: wordpiece.WordPiece) -> None:
    """Write all of what llama.cpp would otherwise assume of BERT's own vocabulary."""
    out.add_bos_token_id(words.begin)
    out.add_sep_token_id(words.end)
    out.add_unk_token_id(told.unknown)
    out.add_pad_token_id(told.padding)
    out.add_mask_token_id(told.mask)
    out.add_normalizer_lowercase(told.lowercase)
    out.add_normalizer_strip_accents(told.strips_accents)


def read_tokenizer(model: Path) -> Json:
    """Read a tokenizer as transformers computes with it.

    Args:
        model: The folder.

    Returns:
        The backend tokenizer, written out and parsed.

    Raises:
        UntrustedBundle: If there is no `tokenizer.json`, or transformers refuses it.
    """
    if not (model / "tokenizer.json").is_file():
        raise _refused(model, "it has no tokenizer.json")
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    found: list[Json] = []

    def run() -> None:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise TypeError("its tokenizer is not one of the tokenizers library")
        text = tokenizer.backend_tokenizer.to_str()
        limit = spec.MAX_TOKENIZER_BYTES
        found.append(
            canonical.decode(
                text.encode(), limit=limit, what="The tokenizer", error=UntrustedBundle, wide=True
            )
        )

    _converting(model, run)
    return found[0]


def convert_adapter(base: Path, adapter: Path, target: Path) -> None:
    """Convert a PEFT LoRA adapter to a GGUF adapter, in float32.

    llama.cpp scales by alpha / rank alone. An rsLoRA is written with alpha·√rank in its place, which gives alpha / √rank.

    Args:
        base: Folder of the base it was trained on; its configuration is read.
        adapter: Folder with `adapter_config.json` and `adapter_model.safetensors`.
        target: File to write.

    Raises:
        UntrustedBundle: If the adapter is not a LoRA or rsLoRA over the base's linear layers.
    """
    architectures.check(read_json(base / "config.json", spec.MAX_CONFIG_BYTES))
    config = read_json(adapter / "adapter_config.json", spec.MAX_CONFIG_BYTES)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _refused(adapter, "it is not a LoRA")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise _refused(adapter, "it has no adapter_model.safetensors")
    if config.get("use_dora"):
        raise _merge_first("it is a DoRA, whose scaling of rows GGUF cannot express")
    if any(config.get(option) for option in EXTENSIONS):
        raise _refused(adapter, "it uses an extension of LoRA that GGUF cannot express")
    folder.check_numbers(folder.open_adapter(adapter))
    script = enter_upstream() / "convert_lora_to_gguf.py"

    def run(source: Path) -> None:
        before = sys.argv
        sys.argv = [
            script.name,
            "--base",
            str(base),
            "--outtype",
            "f32",
            "--outfile",
            str(target),
            str(source),
        ]
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            sys.argv = before

    with tempfile.TemporaryDirectory() as made:
        _converting(adapter, lambda: run(_rescaled(adapter, config, Path(made))))


def _rescaled(adapter: Path, config: dict[str, Json], made: Path) -> Path:
    """Give an adapter whose alpha, divided by the rank, is its scale: itself, or a copy of its configuration."""
    if not config.get("use_rslora"):
        return adapter
    rank, alpha = config["r"], config["lora_alpha"]
    if not isinstance(rank, int) or not isinstance(alpha, int | float):
        raise TypeError("its rank or alpha is not a number")
    changed = config | {"use_rslora": False, "lora_alpha": alpha * math.sqrt(rank)}
    (made / "adapter_config.json").write_text(json.dumps(changed), encoding="utf-8")
    (made / "adapter_model.safetensors").symlink_to((adapter / "adapter_model.safetensors").resolve())
    return made


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


def enter_upstream() -> Path:
    """Put the converters of the pinned source on the path.

    Returns:
        Their folder.
    """
    from holdfast_llama_conversion import TREE

    tree: Path = TREE
    if str(tree) not in sys.path:
        sys.path.insert(0, str(tree))
    return tree


def _converting(source: Path, run: Callable[[], None]) -> None:
    """Run a converter; whatever it raises on a model's content becomes one refusal."""
    try:
        run()
    except (
        ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, NotImplementedError,
        RuntimeError, OSError, SystemExit,
    ) as error:  # fmt: skip
        raise _refused(source, f"{type(error).__name__}: {error}") from error


def _merge_first(why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "gguf.merge-first",
        f"The adapter cannot be converted to GGUF: {why}.",
        remedy="Merge it with `holdfast model merge BASE --adapter RUN`, then quantize the merged model.",
    )


def _refused(source: Path, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "gguf.convert",
        f"{source.name} cannot be converted to GGUF: {why}.",
        remedy="Check that it is complete and of a supported form, then import it again.",
    )
