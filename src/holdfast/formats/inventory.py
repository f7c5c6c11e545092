"""Which files an artefact of each kind may and must have.

Invariants: a name that no rule knows is refused, as is anything hidden; code, pickles and archives have no rule. Kinds that
are only ever made on site have no rule either, and so can't come in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Iterable


class Form(StrEnum):
    """How a file is to be read."""

    SAFETENSORS = "safetensors"
    JSON = "json"
    MODEL_CONFIG = "model config"
    ADAPTER_CONFIG = "adapter config"
    TOKENIZER = "tokenizer"
    TEMPLATE = "chat template"
    LINES = "json lines"
    TEXT = "text"


@dataclass(frozen=True)
class _Rule:
    """The files of one kind: patterns of allowed names, and groups of which one pattern must be met."""

    allowed: tuple[tuple[str, Form], ...]
    required: tuple[str, ...]


_PROSE = ((r"[A-Za-z0-9_-]+\.(md|txt)", Form.TEXT), (r"LICEN[CS]E|NOTICE", Form.TEXT))
_SHARD = r"model(-\d{5}-of-\d{5})?\.safetensors"
_TOKENIZER = (
    (r"tokenizer\.json", Form.TOKENIZER),
    (r"(tokenizer_config|special_tokens_map|added_tokens)\.json", Form.JSON),
    (r"chat_template\.jinja", Form.TEMPLATE),
)
_MODEL = _Rule(
    (
        (_SHARD, Form.SAFETENSORS),
        (r"config\.json", Form.MODEL_CONFIG),
        (r"(generation_config|model\.safetensors\.index)\.json", Form.JSON),
        *_TOKENIZER,
    ),
    (_SHARD, r"config\.json"),
)
_RULES = {
    Kind.BASE: _MODEL,
    Kind.MERGED: _MODEL,
    Kind.TOKENIZER: _Rule(_TOKENIZER, (r"tokenizer\.json",)),
    Kind.ADAPTER: _Rule(
        (
            (r"adapter_model\.safetensors", Form.SAFETENSORS),
            (r"adapter_config\.json", Form.ADAPTER_CONFIG),
            *_TOKENIZER,
        ),
        (r"adapter_model\.safetensors", r"adapter_config\.json"),
    ),
    Kind.DATASET: _Rule(
        ((r"[A-Za-z0-9_./-]+\.jsonl", Form.LINES), (r"[A-Za-z0-9_-]+\.toml", Form.TEXT)),
        (r"[A-Za-z0-9_./-]+\.jsonl",),
    ),
    Kind.SUITE: _Rule(
        ((r"[A-Za-z0-9_./-]+\.jsonl", Form.LINES), (r"suite\.toml", Form.TEXT)),
        (r"suite\.toml",),
    ),
    Kind.RECIPE: _Rule(((r"[A-Za-z0-9_-]+\.toml", Form.TEXT),), (r"[A-Za-z0-9_-]+\.toml",)),
}


def forms(kind: Kind, paths: Iterable[str]) -> dict[str, Form]:
    """Tell how each file of an artefact is to be read.

    Args:
        kind: The artefact's kind.
        paths: Its files' paths.

    Returns:
        Each file's form, by its path.

    Raises:
        UntrustedBundle: If the kind can't come in, a file is not one of the kind's, or a required one is missing.
    """
    rule = _RULES.get(kind)
    if rule is None:
        raise _bad("kind", f"An artefact of kind {kind} can't come in on a medium; it is made on site.", "")
    found: dict[str, Form] = {}
    for path in paths:
        form = next((form for pattern, form in (*rule.allowed, *_PROSE) if re.fullmatch(pattern, path)), None)
        if form is None:
            raise _bad(
                "file-name", f"{path[:80]} is not a file that an artefact of kind {kind} may hold.", path
            )
        found[path] = form
    for pattern in rule.required:
        if not any(re.fullmatch(pattern, path) for path in found):
            plain = re.sub(r"\\|\(.*?\)\?", "", pattern)
            raise _bad(
                "file-missing", f"An artefact of kind {kind} needs a file {plain}, which is missing.", plain
            )
    return found


def _bad(key: str, message: str, file: str) -> UntrustedBundle:
    return UntrustedBundle(
        f"formats.{key}",
        message,
        remedy="Have the medium built again with only the files of its kinds.",
        file=file,
    )
