"""The canonical forms of a row: what training reads, whatever file it came from.

A data set has one form: ``messages`` (a conversation that ends with the assistant), ``completion`` (a prompt and what follows
it), ``text`` (to go on from), or ``preference`` (a prompt, a chosen and a rejected answer). Invariants: a row's content has
one canonical JSON (RFC 8785) and so one SHA-256, which knows neither file nor line; no field is blank; every size is bounded;
nothing but ``ValueError`` with what was expected is raised by a content's reader. No I/O.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from holdfast import canonical
from holdfast.dataset.messages import Message, messages_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.canonical import Json

Form = Literal["messages", "completion", "text", "preference"]

MAX_CHARACTERS = 4 * 2**20  # of one row in all its fields; a whole code of law has about two million

Prompt = str | tuple[Message, ...]


@dataclass(frozen=True)
class Conversation:
    """A row of the form ``messages``.

    Args:
        messages: An optional system message, then user and assistant in turn, the last one the assistant's.
    """

    form: ClassVar[Form] = "messages"
    messages: tuple[Message, ...]

    def to_json(self) -> dict[str, Json]:
        """Give the row as plain data.

        Returns:
            ``messages`` as a chat template takes them.
        """
        return {"messages": conversation_json(self.messages)}

    def texts(self) -> tuple[str, ...]:
        """Give all that is said in it.

        Returns:
            The contents of its messages.
        """
        return tuple(one.content for one in self.messages)

    def asked(self) -> Json:
        """Give what stands before the answer.

        Returns:
            Plain data, equal for rows that ask the same.
        """
        return conversation_json(self.messages[:-1])

    def answered(self) -> str | None:
        """Give the answer that is learnt.

        Returns:
            The last message's content.
        """
        return self.messages[-1].content


@dataclass(frozen=True)
class Completion:
    """A row of the form ``completion``.

    Args:
        prompt: What is given.
        completion: What follows it, and is learnt.
    """

    form: ClassVar[Form] = "completion"
    prompt: str
    completion: str

    def to_json(self) -> dict[str, Json]:
        """Give the row as plain data.

        Returns:
            ``prompt`` and ``completion``.
        """
        return {"prompt": self.prompt, "completion": self.completion}

    def texts(self) -> tuple[str, ...]:
        """Give all that is said in it.

        Returns:
            Prompt and completion.
        """
        return (self.prompt, self.completion)

    def asked(self) -> Json:
        """Give what stands before the answer.

        Returns:
            The prompt.
        """
        return self.prompt

    def answered(self) -> str | None:
        """Give the answer that is learnt.

        Returns:
            The completion.
        """
        return self.completion


@dataclass(frozen=True)
class Passage:
    """A row of the form ``text``.

    Args:
        text: What is learnt, all of it.
    """

    form: ClassVar[Form] = "text"
    text: str

    def to_json(self) -> dict[str, Json]:
        """Give the row as plain data.

        Returns:
            ``text``.
        """
        return {"text": self.text}

    def texts(self) -> tuple[str, ...]:
        """Give all that is said in it.

        Returns:
            The text.
        """
        return (self.text,)

    def asked(self) -> Json:
        """Give what stands before the answer.

        Returns:
            None: a text asks nothing.
        """
        return None

    def answered(self) -> str | None:
        """Give the answer that is learnt.

        Returns:
            None: a text answers nothing.
        """
        return None


@dataclass(frozen=True)
class Preference:
    """A row of the form ``preference``.

    Args:
        prompt: What is given: a text, or a conversation that ends with the user.
        chosen: The better answer.
        rejected: The worse one, another text.
    """

    form: ClassVar[Form] = "preference"
    prompt: Prompt
    chosen: str
    rejected: str

    def to_json(self) -> dict[str, Json]:
        """Give the row as plain data.

        Returns:
            ``prompt``, ``chosen`` and ``rejected``.
        """
        return {"prompt": self.asked(), "chosen": self.chosen, "rejected": self.rejected}

    def texts(self) -> tuple[str, ...]:
        """Give all that is said in it.

        Returns:
            The prompt's texts and both answers.
        """
        prompt = (self.prompt,) if isinstance(self.prompt, str) else tuple(one.content for one in self.prompt)
        return (*prompt, self.chosen, self.rejected)

    def asked(self) -> Json:
        """Give what stands before the answer.

        Returns:
            The prompt as plain data.
        """
        return self.prompt if isinstance(self.prompt, str) else conversation_json(self.prompt)

    def answered(self) -> str | None:
        """Give the answer that is learnt.

        Returns:
            The better answer.
        """
        return self.chosen


Content = Conversation | Completion | Passage | Preference


@dataclass(frozen=True)
class Row:
    """One row of a data set.

    Args:
        at: Where it came from, for people: ``path:line``.
        content: What it says.
    """

    at: str
    content: Content

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical content, in hexadecimal: the same wherever the row stands."""
        return hashlib.sha256(canonical.encode(self.content.to_json())).hexdigest()

    @cached_property
    def characters(self) -> int:
        """Characters of all its fields."""
        return sum(map(len, self.content.texts()))

    def line(self) -> bytes:
        """Give the row as a prepared file holds it.

        Returns:
            One line of canonical JSON, with the line's end.
        """
        return canonical.encode({"at": self.at, **self.content.to_json()}) + b"\n"


def conversation_json(found: tuple[Message, ...]) -> list[Json]:
    """Give messages as a chat template takes them.

    Args:
        found: The messages.

    Returns:
        One mapping of ``role`` and ``content`` per message.
    """
    return [{"role": one.role, "content": one.content} for one in found]


def content_of(value: Mapping[str, object], form: Form) -> Content:
    """Check the fields of a row.

    Args:
        value: What was read; exactly the form's fields.
        form: What it has to be.

    Returns:
        The content.

    Raises:
        ValueError: With what was expected, if it is anything else.
    """
    fields = FIELDS[form]
    if missing := [name for name in fields if name not in value]:
        raise ValueError(f"key {missing[0]!r} is missing")
    if unknown := sorted(set(value) - set(fields)):
        raise ValueError(f"expected the keys {_listed(fields)}, found {unknown[0][:60]!r}")
    found = _READERS[form](value)
    if (length := sum(map(len, found.texts()))) > MAX_CHARACTERS:
        raise ValueError(f"the row has {length} characters and {MAX_CHARACTERS} are allowed")
    return found


def _conversation(value: Mapping[str, object]) -> Conversation:
    found = messages_of(value["messages"])
    if found[-1].role != "assistant":
        raise ValueError(f"expected the last message to be the assistant's, found {found[-1].role!r}")
    return Conversation(found)


def _completion(value: Mapping[str, object]) -> Completion:
    return Completion(text_of(value["prompt"], "'prompt'"), text_of(value["completion"], "'completion'"))


def _passage(value: Mapping[str, object]) -> Passage:
    return Passage(text_of(value["text"], "'text'"))


def _preference(value: Mapping[str, object]) -> Preference:
    prompt = value["prompt"]
    asked: Prompt
    if isinstance(prompt, list):
        asked = messages_of(prompt)
        if asked[-1].role != "user":
            raise ValueError(
                f"'prompt': expected the last message to be the user's, found {asked[-1].role!r}"
            )
    else:
        asked = text_of(prompt, "'prompt'")
    chosen, rejected = text_of(value["chosen"], "'chosen'"), text_of(value["rejected"], "'rejected'")
    if chosen == rejected:
        raise ValueError("expected two answers, found the same one as 'chosen' and 'rejected'")
    return Preference(asked, chosen, rejected)


def _listed(fields: tuple[str, ...]) -> str:
    return " and ".join(map(repr, fields))


FIELDS: dict[Form, tuple[str, ...]] = {
    "messages": ("messages",),
    "completion": ("prompt", "completion"),
    "text": ("text",),
    "preference": ("prompt", "chosen", "rejected"),
}
FORMS = tuple(FIELDS)

_READERS: dict[Form, Callable[[Mapping[str, object]], Content]] = {
    "messages": _conversation,
    "completion": _completion,
    "text": _passage,
    "preference": _preference,
}
