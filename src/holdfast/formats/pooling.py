"""How a model that embeds makes one vector of a text: the settings that sentence-transformers writes beside it.

Invariants: exactly one way of pooling is on, and it is one that llama.cpp computes; nothing but normalising follows it. The
files name classes of a library; nothing here loads them, and others than the known ones are refused.

Source: sentence-transformers, ``modules.json`` and ``1_Pooling/config.json``.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from holdfast import canonical
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from holdfast.canonical import Json

CONFIG = "1_Pooling/config.json"
MODULES = "modules.json"
MAX_CONFIG = 2**16  # bytes; real ones have a few hundred
_STEPS = ("Transformer", "Pooling", "Normalize")  # in this order; the last one may be missing
_TYPE = re.compile(r"sentence_transformers\.[A-Za-z_.]{0,100}\.(Transformer|Pooling|Normalize)")
_SIZES = frozenset({"word_embedding_dimension", "embedding_dimension"})


class Pooling(StrEnum):
    """What a text's vector is made of."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "lasttoken"


_SWITCHES = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_lasttoken": Pooling.LAST,
    "pooling_mode_max_tokens": None,
    "pooling_mode_mean_sqrt_len_tokens": None,
    "pooling_mode_weightedmean_tokens": None,
}


def read(data: bytes, name: str) -> Pooling:
    """Read the settings of the pooling.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Returns:
        The way of pooling.

    Raises:
        UntrustedBundle: If it is malformed, or another way than llama.cpp's is on.
    """
    config = canonical.decode(data, limit=MAX_CONFIG, what=name, error=UntrustedBundle)
    if not isinstance(config, dict):
        _refuse(name, "it is not an object")
    on: set[Pooling | None] = set()
    for key, value in config.items():
        if key in _SWITCHES and isinstance(value, bool):
            on |= {_SWITCHES[key]} if value else set()
        elif key == "pooling_mode" and isinstance(value, str) and value in {*Pooling}:
            on.add(Pooling(value))
        elif key in _SIZES and type(value) is int and 0 < value <= 2**20:
            continue
        elif key != "include_prompt" or not isinstance(value, bool):
            _refuse(name, f"{key[:80]} is {str(value)[:40]!r}, which is not known here")
    if len(on) != 1 or None in on:
        _refuse(name, "not exactly one of the mean, the first and the last token is taken")
    found = on.pop()
    return Pooling.MEAN if found is None else found


def check_modules(data: bytes, name: str) -> None:
    """Judge the list of steps from a text to its vector.

    Args:
        data: The file's bytes.
        name: The file's path, for messages.

    Raises:
        UntrustedBundle: If there is another step than the model itself, pooling and normalising.
    """
    listed = canonical.decode(data, limit=MAX_CONFIG, what=name, error=UntrustedBundle)
    if not isinstance(listed, list) or not 2 <= len(listed) <= len(_STEPS):  # noqa: PLR2004 - the model, and pooling
        _refuse(name, "it does not list two or three steps")
    for number, (wanted, one) in enumerate(zip(_STEPS, listed, strict=False)):
        match = _TYPE.fullmatch(str(one.get("type"))) if isinstance(one, dict) else None
        if not isinstance(one, dict) or match is None or match[1] != wanted:
            _refuse(name, f"its step {number} is not {wanted}")
        paths = {"Transformer": {""}, "Pooling": {CONFIG.partition("/")[0]}}.get(wanted)
        _check_place(one, paths, number, name)


def _check_place(one: dict[str, Json], paths: set[str] | None, number: int, name: str) -> None:
    if not set(one) <= {"idx", "name", "path", "type"} or one.get("idx", number) != number:
        _refuse(name, f"its step {number} is malformed")
    if paths is not None and one.get("path") not in paths:
        _refuse(name, f"its step {number} lies at {str(one.get('path'))[:40]!r}")


def _refuse(name: str, why: str) -> NoReturn:
    raise UntrustedBundle(
        "formats.pooling",
        f"{name} is refused: {why}.",
        remedy="Take a model whose vector is the mean, the first or the last token's, as sentence-transformers writes it.",
        file=name,
    )
