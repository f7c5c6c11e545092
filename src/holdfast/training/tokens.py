"""From rows of a data set to token ids and labels.

Invariants: a row is taken whole; what is learnt of an answer is exactly what the assistant says and the end mark after it,
found by rendering the conversation up to each answer, so that any chat template will do; of a text every token is learnt
once but the first, however many windows it fills. A prompt with its completion is one turn of user and assistant. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

from jinja2 import TemplateError

from holdfast.dataset.forms import Completion, Conversation, Preference
from holdfast.dataset.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

IGNORED = -100  # the label of a token that is not learnt; torch's cross entropy passes it over

Learn = Literal["all", "answers", "last"]  # every token, what the assistant says, or its last answer alone


class UnsuitedError(ValueError):
    """A row that this base's tokenizer can't render as training needs it; says why and what to do."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


class ChatTokenizer(Protocol):
    """What is asked of a tokenizer; transformers' tokenizers have it."""

    bos_token_id: int | None
    eos_token_id: int | None

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, add_generation_prompt: bool, tokenize: Literal[False]
    ) -> str:
        """Render a conversation as text."""

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: Literal[True]
    ) -> _Encoded:
        """Give the token ids of a text and the characters each stands for."""


class _Encoded(TypedDict):
    input_ids: list[int]
    offset_mapping: list[tuple[int, int]]


@dataclass(frozen=True)
class Example:
    """One example as tokens.

    Args:
        input_ids: Token ids.
        labels: For each token its own id, or ``IGNORED``.
    """

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt as tokens, each with the prompt before it.

    Args:
        chosen: The better one; learnt is the answer alone.
        rejected: The worse one, likewise.
    """

    chosen: Example
    rejected: Example


def conversation(messages: Sequence[Message], tokenizer: ChatTokenizer, *, learn: Learn) -> Example:
    """Turn a conversation into tokens.

    Args:
        messages: The conversation; its last message is the assistant's.
        tokenizer: The base's tokenizer, with its chat template.
        learn: Which tokens are learnt.

    Returns:
        The example.

    Raises:
        UnsuitedError: If the chat template refuses it, or does not render answers in place.
    """
    turns = [{"role": one.role, "content": one.content} for one in messages]
    whole = _rendered(turns, tokenizer)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if learn == "all":
        return Example(ids, list(ids))
    learnt = [at for at, one in enumerate(messages) if one.role == "assistant"]
    answers = [_span(turns, at, whole, tokenizer) for at in (learnt if learn == "answers" else learnt[-1:])]
    labels = [
        token if any(first <= start < end for first, end in answers) else IGNORED
        for token, (start, _) in zip(ids, offsets, strict=True)
    ]
    return Example(ids, labels)


def as_conversation(content: Conversation | Completion) -> tuple[Message, ...]:
    """Give what ``sft`` learns as a conversation.

    Args:
        content: A conversation, or a prompt and its completion.

    Returns:
        The messages.
    """
    if isinstance(content, Conversation):
        return content.messages
    return (Message("user", content.prompt), Message("assistant", content.completion))


def preference(content: Preference, tokenizer: ChatTokenizer) -> Pair:
    """Turn two answers to one prompt into tokens.

    Args:
        content: The prompt, a text or a conversation, and the answers.
        tokenizer: The base's tokenizer, with its chat template.

    Returns:
        The pair.
    """
    prompt = content.prompt if isinstance(content.prompt, tuple) else (Message("user", content.prompt),)
    chosen, rejected = (
        conversation([*prompt, Message("assistant", answer)], tokenizer, learn="last")
        for answer in (content.chosen, content.rejected)
    )
    return Pair(chosen, rejected)


def passage(text: str, tokenizer: ChatTokenizer, *, sequence_length: int) -> list[Example]:
    """Turn a text into tokens: the start token if the tokenizer sets one, the text, the end token.

    A text longer than a row goes on in the next window, which begins with the last token of the window before it, so that
    every token but the first is learnt exactly once.

    Args:
        text: The text.
        tokenizer: The base's tokenizer.
        sequence_length: The most tokens of one window.

    Returns:
        One example per window.

    Raises:
        UnsuitedError: If the tokenizer has no end token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UnsuitedError("the base's tokenizer has no end token", "Use a base whose tokenizer names one.")
    start = tokenizer("", add_special_tokens=True, return_offsets_mapping=True)["input_ids"][:1]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["input_ids"]
    ids = [*([start[0]] if start and start[0] == tokenizer.bos_token_id else []), *encoded, end]
    windows = [ids[at : at + sequence_length] for at in range(0, len(ids) - 1, sequence_length - 1)]
    return [Example(window, list(window)) for window in windows]


def _rendered(turns: list[dict[str, str]], tokenizer: ChatTokenizer, *, asks: bool = False) -> str:
    try:
        return tokenizer.apply_chat_template(turns, add_generation_prompt=asks, tokenize=False)
    except TemplateError as error:
        raise UnsuitedError(
            f"the base's chat template refuses the conversation: {str(error)[:200]}",
            "Change the conversation's roles, or use a base whose template takes them.",
        ) from error


def _span(turns: list[dict[str, str]], at: int, whole: str, tokenizer: ChatTokenizer) -> tuple[int, int]:
    """Give an answer's place in the rendered conversation: its first character and the one past its last."""
    asked = _rendered(turns[:at], tokenizer, asks=True)
    answered = _rendered(turns[: at + 1], tokenizer)
    if not (answered.startswith(asked) and whole.startswith(answered)):
        raise UnsuitedError(
            "the base's chat template renders an answer differently once more is said",
            'Set loss = "all" in the recipe, or use a base whose template leaves earlier turns as they are.',
        )
    return len(asked), len(answered)
