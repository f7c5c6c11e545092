"""Which files an artefact of each kind may and must have.

Invariants: a name that no rule knows is refused, as is anything hidden; code, pickles and archives have no rule. Kinds that
are only ever made on site have no rule either, and so can't come in. All that is wrong with a set of names is told at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats import names, pooling
from holdfast.formats.forms import Form

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True)
class _Rule:
    """The files of one kind: patterns of allowed names, those that must be met with words for them, and whether only once."""

    allowed: tuple[tuple[str, Form], ...]
    required: tuple[tuple[str, str], ...]
    alone: bool = False


_PROSE = ((r"[A-Za-z0-9_-]+\.(md|txt)", Form.TEXT), (r"LICEN[CS]E|NOTICE", Form.TEXT))
_SHARD = r"model(-\d{5}-of-\d{5})?\.safetensors"
_GGUF = r"[A-Za-z0-9][A-Za-z0-9_.-]*\.gguf"
_TOKENIZER = (
    (r"tokenizer\.json", Form.TOKENIZER),
    (r"(tokenizer_config|special_tokens_map|added_tokens)\.json", Form.JSON),
    (r"chat_template\.jinja", Form.TEMPLATE),
)
# Of a model that embeds. What sentence-transformers sets beside it, lengths and prompts, is for its own users.
_POOLING = (
    (re.escape(pooling.CONFIG), Form.POOLING),
    (re.escape(pooling.MODULES), Form.POOLING),
    (r"(config_sentence_transformers|sentence_bert_config)\.json", Form.JSON),
)
_MODEL = _Rule(
    (
        (_SHARD, Form.SAFETENSORS),
        (r"config\.json", Form.MODEL_CONFIG),
        (r"(generation_config|model\.safetensors\.index)\.json", Form.JSON),
        *_POOLING,
        *_TOKENIZER,
    ),
    ((_SHARD, "model.safetensors"), (r"config\.json", "config.json")),
)
_RULES = {
    Kind.BASE: _MODEL,
    Kind.MERGED: _MODEL,
    Kind.TOKENIZER: _Rule(_TOKENIZER, ((r"tokenizer\.json", "tokenizer.json"),)),
    Kind.ADAPTER: _Rule(
        (
            (r"adapter_model\.safetensors", Form.SAFETENSORS),
            (r"adapter_config\.json", Form.ADAPTER_CONFIG),
            *_TOKENIZER,
        ),
        (
            (r"adapter_model\.safetensors", "adapter_model.safetensors"),
            (r"adapter_config\.json", "adapter_config.json"),
        ),
    ),
    # One file: llama.cpp opens the others of a split model by itself, which nobody would have judged.
    Kind.GGUF: _Rule(((_GGUF, Form.GGUF),), ((_GGUF, "a .gguf file"),), alone=True),
    Kind.DATASET: _Rule(
        ((r"[A-Za-z0-9_./-]+\.jsonl", Form.LINES), (r"[A-Za-z0-9_-]+\.toml", Form.TEXT)),
        ((r"[A-Za-z0-9_./-]+\.jsonl", "a .jsonl file"),),
    ),
    Kind.SUITE: _Rule(
        ((r"[A-Za-z0-9_./-]+\.jsonl", Form.LINES), (r"suite\.toml", Form.TEXT)),
        ((r"suite\.toml", "suite.toml"),),
    ),
    Kind.RECIPE: _Rule(((r"[A-Za-z0-9_-]+\.toml", Form.TEXT),), ((r"[A-Za-z0-9_-]+\.toml", "a .toml file"),)),
}


def forms(kind: Kind, paths: Collection[str]) -> tuple[dict[str, Form], list[UntrustedBundle]]:
    """Tell how each file of an artefact is to be read.

    Args:
        kind: The artefact's kind.
        paths: Its files' paths.

    Returns:
        Each allowed file's form, by its path, and what speaks against the set: the kind can't come in, a name is not plain
        or not one of the kind's, or a required file is missing.
    """
    rule = _RULES.get(kind)
    if rule is None:
        return {}, [
            _bad("kind", f"An artefact of kind {kind} can't come in on a medium; it is made on site.", "")
        ]
    problems = names.check(paths)
    odd = {problem.fields["file"] for problem in problems}
    found: dict[str, Form] = {}
    for path in sorted(paths):
        form = next((form for pattern, form in (*rule.allowed, *_PROSE) if re.fullmatch(pattern, path)), None)
        if form is not None:
            found[path] = form
        elif path not in odd:
            what = f"{path[:80]} is not a file that an artefact of kind {kind} may hold."
            problems.append(_bad("file-name", what, path))
    for pattern, words in rule.required:
        met = [path for path in found if re.fullmatch(pattern, path)]
        if not met:
            what = f"An artefact of kind {kind} needs {words}, which is missing."
            problems.append(_bad("file-missing", what, words))
        if rule.alone:
            problems += [
                _bad("file-name", f"{path} is more than the one file it may have.", path) for path in met[1:]
            ]
    return found, problems


def _bad(key: str, message: str, file: str) -> UntrustedBundle:
    return UntrustedBundle(
        f"formats.{key}",
        message,
        remedy="Have the medium built again with only the files of its kinds.",
        file=file,
    )
