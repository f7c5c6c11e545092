"""The head of a suite, as tests write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def head(
    name: str, sections: Mapping[str, str], *, description: str = "Questions.", max_new_tokens: int = 8
) -> str:
    """Write a suite's head: each section with its metric, whether it is primary, and its options as TOML."""
    parts = "".join(f'[[section]]\nname = "{section}"\n{options}\n' for section, options in sections.items())
    return f"""\
schema = "holdfast.suite/1"
name = "{name}"
version = "1"
description = "{description}"
licence = "Apache-2.0"
items = "items.jsonl"
[label]
level = "public"
compartments = []
zones = ["site"]
[generation]
max_new_tokens = {max_new_tokens}
{parts}"""
