"""Asking a served model as any application does: with the official ``openai`` client, streaming."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from holdfast.errors import DaemonUnreachable, NotAuthenticated, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json

TIMEOUT = 600.0  # seconds for one answer


def ask(
    address: str,
    key: str,
    model: str,
    question: str,
    *,
    max_tokens: int,
    on_text: Callable[[str], None],
) -> dict[str, Json]:
    """Ask one question at temperature 0.

    Args:
        address: Scheme, host and port of the serving worker.
        key: An application's key.
        model: Model id.
        question: What the user says.
        max_tokens: The longest answer.
        on_text: Called with each piece of the answer as it comes.

    Returns:
        ``answer``, ``model``, ``request_seq``, ``answer_seq``, ``completion_tokens``, ``seconds``.

    Raises:
        NotAuthenticated: If the key is not accepted.
        UntrustedRequest: If the request is refused.
        DaemonUnreachable: If nobody answers there.
    """
    import openai

    client = openai.OpenAI(base_url=f"{address}/v1", api_key=key, timeout=TIMEOUT, max_retries=0)
    parts: list[str] = []
    tail: dict[str, Json] = {}
    tokens = 0
    began = time.monotonic()
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=max_tokens,
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in raw.parse():
            if chunk.choices and chunk.choices[0].delta.content:
                parts.append(chunk.choices[0].delta.content)
                on_text(parts[-1])
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
            extra = (chunk.model_extra or {}).get("holdfast")
            if isinstance(extra, dict):
                tail = extra
    except openai.AuthenticationError as error:
        raise NotAuthenticated(
            "ask.key", "The key was not accepted.", remedy="Check HOLDFAST_API_KEY."
        ) from error
    except openai.APIConnectionError as error:
        raise DaemonUnreachable(
            "ask.unreachable", f"Nobody answers at {address}.", remedy="See `holdfast serve status`."
        ) from error
    except openai.APIStatusError as error:
        told = error.body.get("message") if isinstance(error.body, dict) else None
        raise UntrustedRequest(
            "ask.refused",
            f"The request was refused: {told or error.message}",
            remedy="Correct the question or the model's name.",
        ) from error
    receipt = raw.headers.get("x-holdfast-request-receipt", "")
    return {
        "answer": "".join(parts),
        "model": model,
        "request_seq": int(receipt) if receipt.isdigit() else None,
        "answer_seq": tail.get("answer_seq"),
        "label": raw.headers.get("x-holdfast-label"),
        "completion_tokens": tokens,
        "seconds": time.monotonic() - began,
    }
