"""What is asked of the desk, and what it gives. Records only.

A question to be answered with text is a ``Question``; what is computed at once (vectors, token ids) is a ``Query``. Invariants:
both have passed every check that needs no engine; texts of one choice come in order, and the last of a choice says why it
ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.serving import link
    from holdfast.serving.front.record import Receipt
    from holdfast.serving.keys import ApiKey
    from holdfast.serving.spec import Choice


class Kind(StrEnum):
    """What sort of work a request is, as the record names it."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    TOKENIZE = "tokenize"
    DETOKENIZE = "detokenize"


@dataclass(frozen=True)
class Question:
    """A request to be answered with text.

    Args:
        choice: The model asked.
        key: Who asks.
        kind: ``CHAT`` or ``COMPLETION``.
        asks: One for each prompt, with the same number of choices each. Their ids, lane, tenant and seconds are set by the desk.
        document: The request as it was understood, to be sealed: enough to ask again and get the same answer.
        user: The application's own name of the person it asks for; may be empty.
        seconds: What the client is willing to wait for the whole answer; None for as long as is allowed.
    """

    choice: Choice
    key: ApiKey
    kind: Kind
    asks: tuple[link.Generate, ...]
    document: bytes
    user: str
    seconds: float | None = None


@dataclass(frozen=True)
class Query:
    """A request whose answer is computed at once.

    Args:
        choice: The model asked.
        key: Who asks.
        kind: ``EMBEDDING``, ``TOKENIZE`` or ``DETOKENIZE``.
        ask: What the engine is asked. Its id and tenant are set by the desk.
        document: The request as it was understood, to be sealed.
        user: The application's own name of the person it asks for; may be empty.
        seconds: What the client is willing to wait; None for as long as is allowed.
    """

    choice: Choice
    key: ApiKey
    kind: Kind
    ask: link.Embed | link.Tokenize | link.Detokenize
    document: bytes
    user: str
    seconds: float | None = None


@dataclass(frozen=True)
class Text:
    """A piece of an answer.

    Args:
        index: Which answer: the prompt's place times the number of choices, plus the choice's.
        text: What may be sent; empty in the last piece of most choices.
        logprobs: Those of the text's tokens, if they were asked for.
        finish: ``stop`` or ``length`` in the last piece of a choice, else None.
    """

    index: int
    text: str
    logprobs: tuple[link.Logprob, ...] = ()
    finish: str | None = None


@dataclass(frozen=True)
class Usage:
    """What an answer took.

    Args:
        prompt_tokens: Tokens of all prompts.
        cached_tokens: How many of them were computed before.
        completion_tokens: Tokens of all choices.
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Outcome:
    """How a request ended well.

    Args:
        receipt: The receipt of its outcome event.
        usage: What it took.
    """

    receipt: Receipt
    usage: Usage


@dataclass(frozen=True)
class Computed:
    """What came of a query; its outcome is on the record.

    Args:
        request: The receipt of its intent.
        outcome: How it ended.
        result: What the engine computed.
    """

    request: Receipt
    outcome: Outcome
    result: link.Embedded | link.Tokenized | link.Detokenized
