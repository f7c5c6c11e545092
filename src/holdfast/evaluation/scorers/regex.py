"""Metric ``regex``: the item's pattern matches the answer.

Patterns are RE2's (no look-around, no back-references): matching takes time linear in the answer whatever pattern and
answer are. Source: Cox, "Regular Expression Matching in the Wild", 2010; https://github.com/google/re2/wiki/Syntax.
Invariants: a pattern is compiled within a bound of memory when the suite is read, so that a hostile one is a mistake with
its line. No I/O.
"""

from __future__ import annotations

import functools
from typing import Protocol, cast

import re2  # type: ignore[import-untyped]  # it has no type hints

from holdfast.evaluation.scorers import Verdict

MAX_PATTERN = 1024  # characters; a person writes a few dozen
MAX_MEMORY = 2**20  # bytes of one compiled pattern and of what matching it caches
_CACHED = 4096  # compiled patterns kept: those of one section, in most suites


class Compiled(Protocol):
    """A compiled pattern, over UTF-8 bytes."""

    def search(self, text: bytes) -> object | None:
        """Find it in a part of a text."""

    def fullmatch(self, text: bytes) -> object | None:
        """Find it to be the whole of a text."""


def check(pattern: str) -> None:
    """Check a pattern.

    Args:
        pattern: In RE2's syntax.

    Raises:
        ValueError: If it is too long, too large when compiled, or no pattern.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"'pattern': expected at most {MAX_PATTERN} characters")
    try:
        compiled(pattern, ignore_case=False)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        told = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"'pattern': not a pattern that RE2 takes: {told[:200]}") from error


@functools.lru_cache(maxsize=_CACHED)
def compiled(pattern: str, *, ignore_case: bool) -> Compiled:
    """Compile a pattern.

    Args:
        pattern: One that ``check`` accepts.
        ignore_case: Whether letters that differ in case only are one.

    Returns:
        The pattern.
    """
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    options.case_sensitive = not ignore_case
    return cast("Compiled", re2.compile(pattern.encode(), options))


def judge(answer: str, pattern: str, *, match: str, ignore_case: bool) -> Verdict:
    """Tell whether a pattern matches an answer.

    Args:
        answer: What was generated.
        pattern: One that ``check`` accepts.
        match: ``full`` for the whole answer, white space at the ends aside, or ``search`` for a part.
        ignore_case: Whether letters that differ in case only are one.

    Returns:
        The verdict.
    """
    found = compiled(pattern, ignore_case=ignore_case)
    text = answer.encode("utf-8", "replace")
    return Verdict((found.fullmatch(text.strip()) if match == "full" else found.search(text)) is not None)
