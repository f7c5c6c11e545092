"""The base's tokenizer, opened from its folder, as both engines read with it.

Invariants: a conversation is rendered by the base's chat template; special tokens within a text are read as such and none is
added, so that a template's own begin token is the only one. Nothing of the folder is run as code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle
from holdfast.evaluation.generate import Words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from holdfast.dataset.messages import Message


def words_of(tokenizer: PreTrainedTokenizerBase) -> Words:
    """Read with an open tokenizer.

    Args:
        tokenizer: The base's.

    Returns:
        Its words.
    """

    def render(messages: Sequence[Message]) -> str:
        conversation = [{"role": one.role, "content": one.content} for one in messages]
        return str(tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return Words(render, encode, begin)


def open_words(folder: Path) -> Words:
    """Open a base's tokenizer.

    Args:
        folder: The folder of base and tokenizer.

    Returns:
        Its words.

    Raises:
        UntrustedBundle: If the library refuses it.
    """
    from transformers import AutoTokenizer

    try:
        return words_of(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UntrustedBundle(
            "evaluation.tokenizer",
            f"The tokenizer can't be opened for evaluation: {error}.",
            remedy="Check that base and tokenizer belong together, then import them again.",
        ) from error
