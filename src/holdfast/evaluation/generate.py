"""What both engines share: prompts, the order in which they are worked off, and how texts are cut for scoring.

Invariants: answers come back in the order of the items; the longest prompts go first and together, so that little is padded;
an answer does not depend on the prompts that it was generated with; a log-likelihood is computed alone, over the token ids
of the base's own tokenizer, cut at fixed positions. No I/O.

The cuts are those of EleutherAI's lm-evaluation-harness (``TemplateLM._encode_pair``, ``get_rolling_token_windows``), so
that figures can be compared: white space at the end of a question belongs to the choice; of a text, each window's tokens
are predicted from the one before them and one another, the first from the begin token, and the last window is filled up
with what precedes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import UntrustedBundle, UntrustedRecipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from holdfast.dataset.messages import Message
    from holdfast.evaluation.items import Item

Pair = tuple[str, str]  # a context and its continuation
Cut = tuple[list[int], list[int]]  # token ids that are given, at least one, and those predicted after them


@dataclass(frozen=True)
class Words:
    """The base's own tokenizer.

    Args:
        render: Renders a conversation as text that ends where the answer begins.
        encode: Gives a text's token ids; special tokens are read, none is added.
        begin: The token that a text is predicted from: begin of text, else end of text.
    """

    render: Callable[[Sequence[Message]], str]
    encode: Callable[[str], list[int]]
    begin: int | None


class Engine(Protocol):
    """A model that answers."""

    def render(self, messages: Sequence[Message]) -> str:
        """Render a conversation as the model reads it.

        Args:
            messages: The conversation.

        Returns:
            Text that ends where the answer begins.
        """

    def answers(self, items: Sequence[Item], most: int, progress: Callable[[int], None]) -> list[str]:
        """Answer items greedily.

        Args:
            items: The items.
            most: Tokens to generate for one at most.
            progress: Called with the number of items done; may raise to stop.

        Returns:
            One answer per item, in their order, without special tokens.
        """

    def loglikelihoods(self, pairs: Sequence[Pair]) -> list[float]:
        """Give how likely continuations are.

        Args:
            pairs: Contexts, each with a continuation.

        Returns:
            The log-likelihood of each continuation (natural logarithm).
        """

    def costs(self, texts: Sequence[str], window: int, progress: Callable[[int], None]) -> list[float]:
        """Give how likely whole texts are.

        Args:
            texts: The texts.
            window: Tokens that one token is predicted from at most.
            progress: Called with the number of texts done; may raise to stop.

        Returns:
            The log-likelihood of all tokens of each text (natural logarithm).
        """

    def close(self) -> None:
        """Let go of the model."""


def check_room(items: Sequence[Item], lengths: Sequence[int], most: int, context: int) -> None:
    """Check that every prompt and its answer fit into the model's context.

    Args:
        items: The items.
        lengths: Tokens of each item's prompt.
        most: Tokens to generate for one.
        context: Tokens that the model can hold.

    Raises:
        UntrustedRecipe: If one does not fit.
    """
    room = context - most
    for item, length in zip(items, lengths, strict=True):
        if length > room:
            raise UntrustedRecipe(
                "suite.too-long",
                f"Item {item.id!r} has {length} tokens; with {most} to generate this model has room for {room}.",
                remedy="Lower max_new_tokens in [generation], or shorten the item.",
                item=item.id,
                tokens=length,
                room=room,
            )


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Group prompts of like length.

    Args:
        lengths: Tokens of each prompt.
        size: The most prompts of one group.

    Yields:
        Positions of prompts, the longest first.
    """
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def cut_pair(words: Words, pair: Pair, context: int) -> Cut:
    """Cut a context and its continuation into tokens, as they read together.

    Args:
        words: The base's tokenizer.
        pair: The context and the continuation.
        context: Tokens that the model can hold.

    Returns:
        The tokens of the context, and those of the continuation.

    Raises:
        UntrustedRecipe: If they don't fit into the model's context, or if no token is the continuation's own.
    """
    before, after = pair
    kept = before.rstrip()
    given = words.encode(kept)
    predicted = words.encode(kept + before[len(kept) :] + after)[len(given) :]
    if not given and words.begin is not None:
        given = [words.begin]
    if not given or not predicted:
        raise UntrustedRecipe(
            "suite.choice",
            f"The choice {after[:60]!r} has no token of its own after its question.",
            remedy="Write choices that begin a new word, or measure this item with another metric.",
        )
    if len(given) + len(predicted) - 1 > context:
        raise UntrustedRecipe(
            "suite.too-long",
            f"A question with its choice {after[:60]!r} has {len(given) + len(predicted)} tokens; "
            f"this model has room for {context}.",
            remedy="Shorten the item.",
            tokens=len(given) + len(predicted),
            room=context,
        )
    return given, predicted


def cut_text(words: Words, text: str, window: int) -> list[Cut]:
    """Cut a text into windows; every token is predicted once.

    Args:
        words: The base's tokenizer.
        text: The text, not empty.
        window: Tokens that are given to the model at once.

    Returns:
        The windows.

    Raises:
        UntrustedBundle: If the tokenizer has neither a begin nor an end token to predict the first token from.
    """
    if words.begin is None:
        raise UntrustedBundle(
            "evaluation.no-begin-token",
            "The tokenizer names neither a begin nor an end token, so there is nothing to predict a first token from.",
            remedy="Name bos_token or eos_token in the tokenizer's configuration and make the medium again.",
        )
    tokens = words.encode(text)
    cuts: list[Cut] = [([words.begin], tokens[:window])] if tokens else []
    for start in range(window, len(tokens), window):
        end = min(start + window, len(tokens))
        cuts.append((tokens[end - window - 1 : start], tokens[start:end]))
    return cuts
