r"""Log-probabilities of tokens in OpenAI's two forms.

Invariant: a token whose bytes are no text by themselves is written ``bytes:\xe2\x82``, so that different tokens stay
different; ``text_offset`` counts characters of the text that the answer's object gives.

Source: the OpenAI API reference, ``logprobs`` of the chat completion and of the completion object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.serving.link import Alternative, Logprob


def chat(probs: Sequence[Logprob]) -> dict[str, Json]:
    """Write them as chat completions do.

    Args:
        probs: Of the tokens in order.

    Returns:
        ``content`` and ``refusal``.
    """
    content: list[Json] = [
        {**_one(prob), "top_logprobs": [_one(other) for other in prob.top]} for prob in probs
    ]
    return {"content": content, "refusal": None}


def completion(probs: Sequence[Logprob]) -> dict[str, Json]:
    """Write them as completions do.

    Args:
        probs: Of the tokens in order.

    Returns:
        ``tokens``, ``token_logprobs``, ``top_logprobs``, ``text_offset``; the first token of an echoed prompt has null.
    """
    return {
        "tokens": [_text(prob.bytes) for prob in probs],
        "token_logprobs": [prob.logprob for prob in probs],
        "top_logprobs": [None if prob.logprob is None else _table(prob, prob.logprob) for prob in probs],
        "text_offset": [prob.offset for prob in probs],
    }


def _table(prob: Logprob, own: float) -> dict[str, Json]:
    """The alternatives by their text, and the token itself: of tokens with one text the most probable counts."""
    found: dict[str, Json] = {}
    for other in prob.top:
        found.setdefault(_text(other.bytes), other.logprob)
    found.setdefault(_text(prob.bytes), own)
    return found


def _one(prob: Logprob | Alternative) -> dict[str, Json]:
    return {"token": _text(prob.bytes), "logprob": prob.logprob, "bytes": list(prob.bytes)}


def _text(octets: tuple[int, ...]) -> str:
    try:
        return bytes(octets).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{octet:02x}" for octet in octets)
