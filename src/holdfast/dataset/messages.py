"""Training examples: JSON Lines of conversations, read strictly.

A row is ``{"messages": [{"role": ..., "content": ...}, ...]}``, with an optional ``id``: an optional system message, then
user and assistant in turn, ending with the assistant. Invariants: a file is taken whole or not at all; every size is
bounded; a malformed line is named by its number and by what was expected; nothing but ``UntrustedRecipe`` is ever raised.
No I/O.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from holdfast.errors import UntrustedRecipe

ROLES = ("system", "user", "assistant")

MAX_FILE = 2**30  # bytes of one file, which is held in memory
MAX_ROW = 2**20  # bytes of one line; a longer one is a file of another kind
MAX_ROWS = 2_000_000  # examples of one file
MAX_MESSAGES = 256  # messages of one conversation
MAX_ID = 64  # characters of an id
MAX_MISTAKES = 20  # malformed lines listed; more would not be read


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role: One of ``ROLES``.
        content: What was said.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """One training example.

    Args:
        line: Its line in the file, counted from 1.
        messages: The conversation.
    """

    line: int
    messages: tuple[Message, ...]

    def to_json(self) -> list[dict[str, str]]:
        """Give the conversation as a chat template takes it.

        Returns:
            One mapping of ``role`` and ``content`` per message.
        """
        return [{"role": one.role, "content": one.content} for one in self.messages]


def read_rows(data: bytes, *, file: str) -> list[Row]:
    """Read a file of training examples.

    Args:
        data: The file's bytes. Empty lines are passed over.
        file: Its name, for messages.

    Returns:
        The examples, in order; at least one.

    Raises:
        UntrustedRecipe: With every malformed line (up to ``MAX_MISTAKES``), or if the file is too large or empty.
    """
    if len(data) > MAX_FILE:
        raise _refused(file, [(1, f"the file has {len(data)} bytes and {MAX_FILE} are allowed")])
    rows: list[Row] = []
    mistakes: list[tuple[int, str]] = []
    start = line = 0
    while start < len(data) and len(mistakes) < MAX_MISTAKES:
        line += 1
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > MAX_ROW:
            mistakes.append((line, f"the line has {end - start} bytes and {MAX_ROW} are allowed"))
        elif text := data[start:end].strip():
            try:
                rows.append(Row(line, _conversation(text)))
            except ValueError as error:
                mistakes.append((line, str(error)))
        if len(rows) > MAX_ROWS:
            mistakes.append((line, f"there are more than {MAX_ROWS} examples"))
            break
        start = end + 1
    if mistakes:
        raise _refused(file, mistakes)
    if not rows:
        raise _refused(file, [(1, "there is no example in it")])
    return rows


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
        ValueError: If it is no text, blank, or can't be written as UTF-8.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected text that is not blank")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: expected text, found half a surrogate pair") from error
    return value


def _conversation(text: bytes) -> tuple[Message, ...]:
    row = load_object(text)
    if unknown := sorted(set(row) - {"messages", "id"}):
        raise ValueError(f"expected the keys 'messages' and 'id', found {unknown[0][:60]!r}")
    if "messages" not in row:
        raise ValueError("key 'messages' is missing")
    if "id" in row and len(text_of(row["id"], "'id'")) > MAX_ID:
        raise ValueError(f"'id': expected at most {MAX_ID} characters")
    messages = messages_of(row["messages"])
    if messages[-1].role != "assistant":
        raise ValueError(f"expected the last message to be the assistant's, found {messages[-1].role!r}")
    return messages


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


def _refused(file: str, mistakes: list[tuple[int, str]]) -> UntrustedRecipe:
    told = [f"{file}:{line}: {what}" for line, what in mistakes]
    return UntrustedRecipe(
        "dataset.row",
        "; ".join(told) + ".",
        remedy=f"Correct {file} and try again; nothing of it was taken.",
        file=file,
        line=mistakes[0][0],
        mistakes=told,
    )
