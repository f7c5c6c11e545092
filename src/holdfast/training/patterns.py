"""Which module of a model a recipe's target means. No I/O.

A target is a plain name (``q_proj``, ``self_attn.q_proj``: the end of a module's dotted name) or a pattern over the whole dotted
name (``model.layers.[0-3].*``, ``*.mlp.*_proj``: ``*`` any characters, dots included, ``?`` one, ``[...]`` one of them).
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_WILD = frozenset("*?[")


def is_pattern(target: str) -> bool:
    """Tell a pattern from a plain name.

    Args:
        target: The target.

    Returns:
        Whether it is a pattern.
    """
    return bool(_WILD & set(target))


def matches(name: str, target: str) -> bool:
    """Tell whether a target means a module.

    Args:
        name: The module's dotted name.
        target: A plain name or a pattern.

    Returns:
        Whether it does.
    """
    if is_pattern(target):
        return fnmatchcase(name, target)
    return name == target or name.endswith(f".{target}")
