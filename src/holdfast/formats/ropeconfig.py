"""The settings of rotary position embeddings in a model's configuration.

Invariants: the kind is one that transformers has; every figure is a number, every list of factors a short list of numbers; a
split by the kind of layer (Gemma 3) is one level deep.

Source: transformers 5.23, modeling_rope_utils.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json

MAX_FACTORS = 1024  # one per pair of a head's dimensions: half of the largest head_dim
KINDS = frozenset({"default", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "proportional"})
_SPLIT = frozenset({"full_attention", "sliding_attention"})


def problem(value: Json) -> str:
    """Find what speaks against the settings.

    Args:
        value: What ``rope_parameters`` or ``rope_scaling`` holds.

    Returns:
        The reason, as the rest of a sentence that begins with the key; empty if there is none.
    """
    if value is None:
        return ""
    if not isinstance(value, dict):
        return "is not an object"
    if value and set(value) <= _SPLIT:
        return next((why for inner in value.values() if (why := _one(inner))), "")
    return _one(value)


def is_part(value: Json) -> bool:
    """Tell whether a value is a part of a head that may be rotated; the library allocates head size times this.

    Args:
        value: The value as read.

    Returns:
        Whether it is a number above 0 and up to 1.
    """
    return _is_number(value) and 0 < float(str(value)) <= 1


def _one(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict):
        return "is not an object for each kind of layer"
    return next((why for key, inner in value.items() if (why := _setting(key, inner))), "")


def _setting(key: str, value: Json) -> str:
    if key in {"rope_type", "type"}:
        known = isinstance(value, str) and value in KINDS
        return "" if known else f"has the kind {str(value)[:40]!r}; known are {', '.join(sorted(KINDS))}"
    if value is None:
        return ""
    if key == "partial_rotary_factor":
        return "" if is_part(value) else f"holds {key!r}, which is not a part of 1"
    if isinstance(value, list):
        if len(value) > MAX_FACTORS or not all(_is_number(one) for one in value):
            return f"holds {key[:80]!r}, which is not a list of at most {MAX_FACTORS} numbers"
        return ""
    return (
        "" if isinstance(value, bool) or _is_number(value) else f"holds {key[:80]!r}, which is not a number"
    )


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
