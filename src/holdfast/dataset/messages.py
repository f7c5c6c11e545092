"""Messages of conversations, and the strict reading of one line of JSON; what rows and suites' items are made of.

Invariants: an optional system message, then user and assistant in turn; text is not blank and holds no NUL; every size is bounded;
``ValueError`` with what was expected is all that is ever raised. No I/O.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = ("system", "user", "assistant")

MAX_MESSAGES = 256  # messages of one conversation
MAX_ID = 64  # characters of an id


class Blank(ValueError):  # noqa: N818 - named by what is there
    """A text is there, and nothing is in it."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role: One of ``ROLES``.
        content: What was said.
    """

    role: str
    content: str


def load_object(text: bytes) -> dict[str, object]:
    """Parse one line that must hold one JSON object.

    Args:
        text: The line's bytes, already bounded.

    Returns:
        The object.

    Raises:
        ValueError: With what was expected, if it is anything else.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        raise ValueError(f"expected UTF-8 text, found byte {text[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"expected one JSON object, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("expected one JSON object, found values nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - callers turn one class into a line's mistake
            f"expected one JSON object, found {type(value).__name__}"
        )
    return value


def messages_of(value: object) -> tuple[Message, ...]:
    """Check the ``messages`` of a row or of a suite's item.

    Args:
        value: What was read.

    Returns:
        The messages: an optional system message, then user and assistant in turn.

    Raises:
        ValueError: With what was expected, if they are anything else.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MAX_MESSAGES:
        raise ValueError(f"'messages': expected a list of 1 to {MAX_MESSAGES} messages")
    found = tuple(_message(one, number) for number, one in enumerate(value, start=1))
    turns = found[1:] if found[0].role == "system" else found
    for at, one in enumerate(turns):
        due = ROLES[1 + at % 2]
        if one.role != due:
            raise ValueError(
                f"message {len(found) - len(turns) + at + 1}: expected role {due!r}, found {one.role!r}"
            )
    return found


def text_of(value: object, name: str) -> str:
    """Check a text.

    Args:
        value: What was read.
        name: What it is, for the message.

    Returns:
        The text.

    Raises:
        ValueError: If it is no text, blank (``Blank``), holds a NUL, or can't be written as UTF-8.
    """
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - callers turn one class into a line's mistake
            f"{name}: expected text, found {type(value).__name__}"
        )
    if not value.strip():
        raise Blank(f"{name}: expected text that is not blank")
    if "\0" in value:
        raise ValueError(f"{name}: expected text, found a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: expected text, found half a surrogate pair") from error
    return value


def question_of(item: Mapping[str, object]) -> str | None:
    """Give what an item of a suite asks: its last message, or the text that a model is to foretell.

    Args:
        item: The item as it was parsed.

    Returns:
        The text; None if there is none.
    """
    asked = item.get("messages")
    last = asked[-1] if isinstance(asked, list) and asked else None
    text = last.get("content") if isinstance(last, dict) else item.get("text")
    return text if isinstance(text, str) else None


def _message(value: object, number: int) -> Message:
    if not isinstance(value, dict) or set(value) != {"role", "content"}:
        raise ValueError(f"message {number}: expected an object with exactly 'role' and 'content'")
    if value["role"] not in ROLES:
        raise ValueError(
            f"message {number}: expected role {', '.join(ROLES)}, found {str(value['role'])[:40]!r}"
        )
    return Message(value["role"], text_of(value["content"], f"message {number}, 'content'"))


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("expected each key once, found one twice")
    return found
