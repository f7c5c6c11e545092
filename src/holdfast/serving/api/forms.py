"""Answers in OpenAI's form: whole objects and the chunks of streams.

Invariants: a chunk with a ``finish_reason`` is made only for an answer whose outcome is on the record; every object of one
answer has the same id, which is made of its request's receipt.

Source: the OpenAI API reference, the chat completion, completion and embedding objects. ``holdfast`` is the one addition.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from holdfast.errors import WorkerFailed
from holdfast.serving.api import tokenprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.serving import link
    from holdfast.serving.front.question import Outcome, Text, Usage
    from holdfast.serving.front.record import Receipt
    from holdfast.serving.spec import Choice

OWNER = "holdfast"


@dataclass
class Gathered:
    """One answer, put together.

    Args:
        texts: Its pieces.
        probs: Log-probabilities of its tokens.
        finish: Why it ended.
    """

    texts: list[str] = field(default_factory=list)
    probs: list[link.Logprob] = field(default_factory=list)
    finish: str | None = None

    def add(self, piece: Text) -> None:
        """Take the next piece.

        Args:
            piece: A piece of this answer.
        """
        self.texts.append(piece.text)
        self.probs.extend(piece.logprobs or ())
        self.finish = piece.finish or self.finish


class Form:
    """What every object of one answer says.

    Args:
        model: The model id asked for.
        seq: Sequence number of the request's intent.
        created: Seconds since 1970.
        probed: Whether log-probabilities were asked for.
    """

    prefix: ClassVar[str]
    kind: ClassVar[str]
    chunk_kind: ClassVar[str]

    def __init__(self, model: str, seq: int, created: int, *, probed: bool) -> None:
        self._base: dict[str, Json] = {"id": f"{self.prefix}-{seq}", "created": created, "model": model}
        self._probed = probed

    def whole(self, answers: Sequence[Gathered]) -> dict[str, Json]:
        """Give all answers at once.

        Args:
            answers: In order.

        Returns:
            The object, without its counts.
        """
        choices: list[Json] = [
            self._choice(index, self._content("".join(one.texts)), one.probs, one.finish)
            for index, one in enumerate(answers)
        ]
        return {**self._base, "object": self.kind, "choices": choices}

    def first(self, index: int) -> dict[str, Json] | None:
        """Give the chunk before an answer's first text, if there is one.

        Args:
            index: Which answer.

        Returns:
            The chunk.
        """
        del index
        return None

    def piece(self, piece: Text) -> dict[str, Json]:
        """Give a chunk of text; why the answer ended is not in it.

        Args:
            piece: The text and what belongs to it.

        Returns:
            The chunk.
        """
        return self._chunk(piece.index, self._delta(piece.text), piece.logprobs or (), None)

    def last(self, index: int, finish: str | None) -> dict[str, Json]:
        """Give the chunk that says why an answer ended.

        Args:
            index: Which answer.
            finish: Why.

        Returns:
            The chunk.
        """
        return self._chunk(index, self._delta(""), (), finish)

    def counts(self) -> dict[str, Json]:
        """Give the chunk that carries counts instead of text.

        Returns:
            The chunk, without its counts.
        """
        return {**self._base, "object": self.chunk_kind, "choices": []}

    def _chunk(
        self, index: int, content: dict[str, Json], probs: Sequence[link.Logprob], finish: str | None
    ) -> dict[str, Json]:
        choice = self._choice(index, content, probs, finish)
        if not probs:
            choice["logprobs"] = None
        return {**self._base, "object": self.chunk_kind, "choices": [choice]}

    def _choice(
        self, index: int, content: dict[str, Json], probs: Sequence[link.Logprob], finish: str | None
    ) -> dict[str, Json]:
        probed = self._probs(probs) if self._probed else None
        return {"index": index, **content, "logprobs": probed, "finish_reason": finish}

    def _content(self, text: str) -> dict[str, Json]:
        raise NotImplementedError

    def _delta(self, text: str) -> dict[str, Json]:
        raise NotImplementedError

    def _probs(self, probs: Sequence[link.Logprob]) -> dict[str, Json]:
        raise NotImplementedError


class ChatForm(Form):
    """Objects of ``/v1/chat/completions``."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def first(self, index: int) -> dict[str, Json] | None:
        """Give the chunk that says who speaks.

        Args:
            index: Which answer.

        Returns:
            The chunk.
        """
        return self._chunk(index, {"delta": {"role": "assistant", "content": ""}}, (), None)

    def _content(self, text: str) -> dict[str, Json]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _delta(self, text: str) -> dict[str, Json]:
        return {"delta": {"content": text} if text else {}}

    def _probs(self, probs: Sequence[link.Logprob]) -> dict[str, Json]:
        return tokenprobs.chat(probs)


class TextForm(Form):
    """Objects of ``/v1/completions``."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def _content(self, text: str) -> dict[str, Json]:
        return {"text": text}

    def _delta(self, text: str) -> dict[str, Json]:
        return {"text": text}

    def _probs(self, probs: Sequence[link.Logprob]) -> dict[str, Json]:
        return tokenprobs.completion(probs)


def embeddings(model: str, vectors: Sequence[str], *, numbers: bool) -> dict[str, Json]:
    """Give the object of ``/v1/embeddings``.

    Args:
        model: The model id asked for.
        vectors: Base64 of little-endian float32, in the order of the inputs.
        numbers: Whether the vectors are wanted as numbers.

    Returns:
        The object, without its counts.
    """
    data: list[Json] = [
        {"object": "embedding", "index": index, "embedding": _numbers(vector) if numbers else vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": model}


def _numbers(vector: str) -> Json:
    found = array("f", base64.b64decode(vector))
    if sys.byteorder == "big":
        found.byteswap()
    if not all(map(math.isfinite, found)):
        raise WorkerFailed(
            "serve.vectors",
            "The model gave a vector of what are not numbers.",
            remedy="Check the model; import it again if it is damaged.",
        )
    return list(found)


def usage(counted: Usage) -> dict[str, Json]:
    """Count an answer's tokens.

    Args:
        counted: What it took.

    Returns:
        OpenAI's counts.
    """
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
    }


def describe(choice: Choice, since: int) -> dict[str, Json]:
    """Give the object of a model.

    Args:
        choice: What its id stands for.
        since: When it began to be served here, in seconds since 1970.

    Returns:
        OpenAI's object.
    """
    adapter = choice.adapter
    return {
        "id": choice.id,
        "object": "model",
        "created": since,
        "owned_by": OWNER,
        "holdfast": {
            "digest": choice.model.digest,
            "adapter_digest": adapter.digest if adapter else None,
            "version": adapter.version if adapter else None,
            "release": choice.release,
            "label": choice.label.to_json(),
            "context": choice.model.context,
        },
    }


def receipts(request: Receipt, outcome: Outcome) -> dict[str, Json]:
    """Say where an answer is on the record.

    Args:
        request: The receipt of its intent.
        outcome: How it ended.

    Returns:
        The sequence numbers of request and answer, and the answer's leaf.
    """
    given = outcome.receipt
    return {"request_seq": request.seq, "answer_seq": given.seq, "answer_leaf": given.leaf}


def headers(choice: Choice, request: Receipt) -> dict[str, str]:
    """Give the headers of an answer.

    Args:
        choice: The model asked.
        request: The receipt of the intent.

    Returns:
        Names and values.
    """
    found = {
        "x-holdfast-request-receipt": str(request.seq),
        "x-holdfast-label": quote(str(choice.label), safe=" /@,"),
        "x-holdfast-model-digest": choice.model.digest,
    }
    if choice.adapter is not None:
        found["x-holdfast-adapter-digest"] = choice.adapter.digest
    if choice.release is not None:
        found["x-holdfast-release"] = str(choice.release)
    return found
