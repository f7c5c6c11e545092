"""What a request's two events say. Pure.

Texts and what is computed are sealed; the events hold commitments to them and counts. Invariant: nothing that is sealed for one
event exceeds ``MAX_SEALED``; of what is longer, the digest and the length are sealed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.serving import link
from holdfast.serving.front.record import Act

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError
    from holdfast.serving.front.question import Query, Question
    from holdfast.serving.front.record import Receipt
    from holdfast.serving.front.visits import Visit

_REFUSED = 400  # the first HTTP status that refuses
MAX_SEALED = 960 * 2**10  # bytes of an answer; a sealed payload has at most 1 MiB


@dataclass
class Totals:
    """What a request took, all prompts and choices together."""

    choices: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    milliseconds: int = 0
    first_ms: int | None = None
    processor_ms: float = 0.0
    endings: list[link.Ending] = field(default_factory=list)

    def add(self, done: link.Done) -> None:
        """Count one prompt that is answered.

        Args:
            done: What it took; prompts are answered side by side, so of times the longest counts.
        """
        self.prompt_tokens += done.prompt_tokens
        self.cached_tokens += done.cached_tokens
        self.completion_tokens += done.completion_tokens
        self.milliseconds = max(self.milliseconds, done.milliseconds)
        self.processor_ms += done.processor_ms
        if done.completion_tokens:
            self.first_ms = min(done.first_ms, self.first_ms if self.first_ms is not None else done.first_ms)

    def limit(self, prompt_tokens: int, most: int, milliseconds: int, cores: int) -> None:
        """Take no figure of an engine that can't be.

        Args:
            prompt_tokens: Of all prompts.
            most: Tokens that all answers may have together.
            milliseconds: That it all took at most.
            cores: Of the host, on which an engine can compute at once.
        """
        self.cached_tokens = min(self.cached_tokens, prompt_tokens)
        self.completion_tokens = min(self.completion_tokens, most)
        self.milliseconds = min(self.milliseconds, milliseconds)
        self.first_ms = None if self.first_ms is None else min(self.first_ms, milliseconds)
        self.processor_ms = min(self.processor_ms, milliseconds * cores)

    @property
    def finish(self) -> str | None:
        """Why it ended: ``length`` if any answer did so; None if there is none."""
        if not self.choices:
            return None
        return (link.Ending.LENGTH if link.Ending.LENGTH in self.endings else link.Ending.STOP).value


def intent(question: Question | Query, prompt_tokens: int) -> Act:
    """Say what is asked.

    Args:
        question: A request that an engine has accepted.
        prompt_tokens: Tokens of all prompts.

    Returns:
        The event.
    """
    choice, key = question.choice, question.key
    released: dict[str, Json] = {} if choice.release is None else {"release": choice.release}
    return Act(
        action="answer",
        tenant=key.tenant,
        key=key.id,
        user=question.user,
        digest=choice.model.digest,
        label=choice.label,
        params={
            "kind": question.kind.value,
            "model": choice.id,
            "model_digest": choice.model.digest,
            "adapter_digest": choice.adapter.digest if choice.adapter else None,
            "tenant": key.tenant,
            "key": key.id,
            "prompt_tokens": prompt_tokens,
            **released,
        },
        payloads={"prompt": question.document},
    )


def outcome(  # noqa: PLR0917 - one event, its parts
    question: Question | Query,
    begun: Receipt,
    status: str,
    totals: Totals,
    error: HoldfastError | None,
    answer: bytes,
) -> Act:
    """Say how it ended.

    Args:
        question: The request.
        begun: The receipt of its intent.
        status: ``done``, ``cancelled`` or ``failed``.
        totals: What it took.
        error: Why it failed.
        answer: What was computed, to be sealed.

    Returns:
        The event.
    """
    params: dict[str, Json]
    if status == "failed":
        params = {"error": "unknown" if error is None else error.key}
    else:
        params = {"finish_reason": "cancelled" if status == "cancelled" else totals.finish}
    return Act(
        action=f"answer.{status}",
        tenant=question.key.tenant,
        key=question.key.id,
        user=question.user,
        digest=question.choice.model.digest,
        label=question.choice.label,
        params={
            "model": question.choice.id,
            "tenant": question.key.tenant,
            "completion_tokens": totals.completion_tokens,
            "cached_tokens": totals.cached_tokens,
            "milliseconds": totals.milliseconds,
            "first_ms": totals.first_ms,
            "processor_ms": totals.processor_ms,
            **params,
        },
        cause=begun.seq,
        payloads={"answer": answer},
    )


def request(visit: Visit) -> Act:
    """Say what is asked for that no model is asked.

    Args:
        visit: The request.

    Returns:
        The event.
    """
    return Act("serve.request", visit.key.tenant, visit.key.id, _asked(visit))


def requested(visit: Visit, begun: Receipt, status: int) -> Act:
    """Say what came of it.

    Args:
        visit: The request.
        begun: The receipt of its intent.
        status: The HTTP status that it is answered with.

    Returns:
        The event.
    """
    told: dict[str, Json] = {**_asked(visit), "status": status}
    if status < _REFUSED:
        return Act("serve.request.done", visit.key.tenant, visit.key.id, told, cause=begun.seq)
    told["error"] = visit.error or "unknown"
    return Act("serve.request.failed", visit.key.tenant, visit.key.id, told, cause=begun.seq)


def _asked(visit: Visit) -> dict[str, Json]:
    return {
        "tenant": visit.key.tenant,
        "key": visit.key.id,
        "route": visit.route,
        "method": visit.method,
    }


def sealable(texts: list[str], result: link.Embedded | link.Tokenized | link.Detokenized | None) -> bytes:
    """Give what is sealed of an answer.

    Args:
        texts: The answers, by index.
        result: What was computed at once instead.

    Returns:
        One answer as it is, several as a JSON list; what is computed as JSON; of what is too long its digest and length.
    """
    if isinstance(result, link.Detokenized):
        data = result.text.encode()
    elif isinstance(result, link.Tokenized):
        data = canonical.encode({"tokens": list(result.tokens)})
    elif isinstance(result, link.Embedded):
        data = canonical.encode({"vectors": list(result.vectors)})
    else:
        data = texts[0].encode() if len(texts) == 1 else canonical.encode(list(texts)) if texts else b""
    if len(data) <= MAX_SEALED:
        return data
    return canonical.encode({"bytes": len(data), "sha512": hashlib.sha512(data).hexdigest()})
