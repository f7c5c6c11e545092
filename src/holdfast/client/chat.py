"""Asking a served model as any application does: with the official ``openai`` client, streaming.

Invariant: the question goes to the address given and nowhere else; proxies that the environment names are not used.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import (
    DaemonUnreachable,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    OperationFailed,
    UntrustedRequest,
    UsageRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import openai

    from holdfast.canonical import Json

TIMEOUT = 600.0  # seconds for one answer
_HUNG_UP = {
    "RemoteProtocolError",
    "ReadError",
    "WriteError",
}  # httpx's, however the client names that package


@dataclass(frozen=True)
class Trust:
    """What TLS needs on the application's side; nothing of it matters to plain HTTP.

    Args:
        authority: PEM file of the certificates that may vouch for the endpoint; None for the system's.
        certificate: PEM file with the application's own certificate and its key, where the site asks for one.
    """

    authority: Path | None = None
    certificate: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Make the TLS context.

        Returns:
            The context.

        Raises:
            UsageRefused: If a file can't be read, or holds no certificate.
        """
        try:
            made = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                made.load_cert_chain(self.certificate)
        except OSError as error:  # ssl.SSLError is one
            raise UsageRefused(
                "ask.certificate",
                f"A certificate file can't be used: {error}.",
                remedy="Give PEM files: --ca with certificates, --certificate with a certificate and its key.",
            ) from error
        return made


NO_TRUST = Trust()


def named(environment: Mapping[str, str]) -> Trust:
    """Take the files that the environment names.

    Args:
        environment: Its variables; ``HOLDFAST_CA`` and ``HOLDFAST_CERTIFICATE`` are read.

    Returns:
        Whom to trust over TLS.
    """
    files = [environment.get(name) for name in ("HOLDFAST_CA", "HOLDFAST_CERTIFICATE")]
    return Trust(*(Path(file) if file else None for file in files))


def ask(
    address: str,
    key: str,
    model: str | None,
    question: str,
    *,
    max_tokens: int,
    on_text: Callable[[str], None],
    trust: Trust = NO_TRUST,
) -> dict[str, Json]:
    """Ask one question at temperature 0.

    Args:
        address: Scheme, host and port of the endpoint, with or without /v1 behind them.
        key: An application's key.
        model: Model id; None for the first that the key opens.
        question: What the user says.
        max_tokens: The longest answer.
        on_text: Called with each piece of the answer as it comes.
        trust: Whom to trust over TLS.

    Returns:
        ``answer``, ``model``, ``request_seq``, ``answer_seq``, ``label``, ``completion_tokens``, ``seconds``.

    Raises:
        NotAuthenticated: If the key is not accepted.
        NotPermitted: If the key is not for that.
        UntrustedRequest: If the request is refused.
        DaemonUnreachable: If nobody answers there.
        OperationFailed: If there is no answer now, or it broke off.
        UsageRefused: If the address is none, or a file of ``trust`` can't be used.
    """
    import openai

    address = _endpoint(address)
    transport = openai.DefaultHttpxClient(verify=trust.context(), trust_env=False)
    with openai.OpenAI(
        base_url=f"{address}/v1", api_key=key, timeout=TIMEOUT, max_retries=0, http_client=transport
    ) as client:
        try:
            return _ask(client, model or _first(client), question, max_tokens, on_text)
        except openai.APIError as error:
            raise _told(error, address) from error


def _endpoint(address: str) -> str:
    """Take /v1 off an address, which is shown with it, and refuse what is none."""
    if not address.startswith(("http://", "https://")):
        raise UsageRefused(
            "ask.address",
            f"{address[:200]!r} is not the address of an endpoint.",
            remedy="Write it as `holdfast serve status` shows it, with http:// or https:// before the host.",
        )
    return address.rstrip("/").removesuffix("/v1")


def _first(client: openai.OpenAI) -> str:
    listed = client.models.list().data
    if not listed:
        raise NotFound(
            "ask.no-model",
            "The key opens no model.",
            remedy="See `holdfast serve status` for what is served.",
        )
    return listed[0].id


def _ask(
    client: openai.OpenAI, model: str, question: str, max_tokens: int, on_text: Callable[[str], None]
) -> dict[str, Json]:
    parts: list[str] = []
    tail: dict[str, Json] = {}
    tokens = 0
    began = time.monotonic()
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


def _told(error: openai.APIError, address: str) -> UntrustedRequest | OperationFailed:
    """Say what came back in our words; what the endpoint answered says itself what to do next, where that is known."""
    import openai

    if isinstance(error, openai.AuthenticationError):
        return NotAuthenticated("ask.key", "The key was not accepted.", remedy="Check HOLDFAST_API_KEY.")
    if isinstance(error, openai.APIConnectionError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error.__cause__):
            return UntrustedRequest(
                "ask.untrusted",
                f"The certificate of {address} is not trusted.",
                remedy="Name the site's authority with --ca FILE, and the host as its certificate does.",
            )
        if "WRONG_VERSION_NUMBER" in str(error.__cause__):
            return DaemonUnreachable(
                "ask.no-tls",
                f"What answers at {address} speaks no TLS.",
                remedy="Give the address as `holdfast serve status` shows it.",
            )
        if type(error.__cause__).__name__ in _HUNG_UP:
            return DaemonUnreachable(
                "ask.hung-up",
                f"{address} closed the connection without an answer.",
                remedy="Give the address as `holdfast serve status` shows it; where the site asks for a certificate,"
                " name your own with --certificate FILE.",
            )
        return DaemonUnreachable(
            "ask.unreachable", f"Nobody answers at {address}.", remedy="See `holdfast serve status`."
        )
    told = error.body.get("message") if isinstance(error.body, dict) else None
    if isinstance(error, openai.PermissionDeniedError):
        return NotPermitted(
            "ask.refused",
            f"The request was refused: {told or error.message}",
            remedy="Keys are made with `holdfast serve keys create`.",
        )
    if isinstance(error, openai.RateLimitError | openai.InternalServerError):
        return OperationFailed(
            "ask.not-now",
            f"There is no answer at the moment: {told or error.message}",
            remedy="Ask again later; see `holdfast serve status` if it stays so.",
        )
    if isinstance(error, openai.APIStatusError):
        return UntrustedRequest(
            "ask.refused",
            f"The request was refused: {told or error.message}",
            remedy="Correct what it names: the question, the model, or the length of the answer.",
        )
    return OperationFailed(
        "ask.broken", f"The answer broke off: {told or error.message}", remedy="Ask again."
    )
