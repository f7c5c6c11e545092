"""From conversations to token ids and labels.

Invariants: an example is refused rather than cut; what is learnt in ``answers`` is exactly what the assistant says and the
end mark after it, found by rendering the conversation up to each answer, so that any chat template will do. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.dataset.messages import Row

IGNORED = -100  # the label of a token that is not learnt; torch's cross entropy passes it over


class ChatTokenizer(Protocol):
    """What is asked of a tokenizer; transformers' tokenizers have it."""

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


def encode_rows(
    rows: Sequence[Row], tokenizer: ChatTokenizer, *, loss: str, sequence_length: int, file: str
) -> list[Example]:
    """Turn conversations into tokens.

    Args:
        rows: The conversations.
        tokenizer: The base's tokenizer, with its chat template.
        loss: ``answers`` or ``all``.
        sequence_length: The most tokens of one example.
        file: Where the rows come from, for messages.

    Returns:
        One example per row.

    Raises:
        UntrustedRecipe: If an example is longer than a row, or the chat template does not render answers in place.
    """
    found = []
    for row in rows:
        example = _encode(row, tokenizer, answers_only=loss == "answers", file=file)
        if len(example.input_ids) > sequence_length:
            raise UntrustedRecipe(
                "dataset.too-long",
                f"{file}:{row.line}: the example has {len(example.input_ids)} tokens and a row holds {sequence_length}.",
                remedy="Raise sequence_length in [batch], or split the example.",
                file=file,
                line=row.line,
            )
        found.append(example)
    return found


def _encode(row: Row, tokenizer: ChatTokenizer, *, answers_only: bool, file: str) -> Example:
    conversation = row.to_json()
    whole = tokenizer.apply_chat_template(conversation, add_generation_prompt=False, tokenize=False)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if not answers_only:
        return Example(ids, list(ids))
    answers: list[tuple[int, int]] = []  # from the first character to past the last
    for at, message in enumerate(conversation):
        if message["role"] != "assistant":
            continue
        asked = tokenizer.apply_chat_template(conversation[:at], add_generation_prompt=True, tokenize=False)
        answered = tokenizer.apply_chat_template(
            conversation[: at + 1], add_generation_prompt=False, tokenize=False
        )
        if not (answered.startswith(asked) and whole.startswith(answered)):
            raise UntrustedRecipe(
                "dataset.template",
                f"{file}:{row.line}: the base's chat template renders an answer differently once more is said.",
                remedy='Set loss = "all" in the recipe, or use a base whose template leaves earlier turns as they are.',
                file=file,
                line=row.line,
            )
        answers.append((len(asked), len(answered)))
    labels = [
        token if any(first <= start < end for first, end in answers) else IGNORED
        for token, (start, _) in zip(ids, offsets, strict=True)
    ]
    return Example(ids, labels)
