"""Answers in OpenAI's form: whole objects and the chunks of streams.

Source: the OpenAI API reference, the chat completion and completion objects. ``holdfast`` is the one addition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.serving.answer import Answer


class Form:
    """What every object of one answer says.

    Args:
        model: The model id asked for.
        seq: Sequence number of the request's intent.
        created: Seconds since 1970.
    """

    prefix: ClassVar[str]
    kind: ClassVar[str]
    chunk_kind: ClassVar[str]

    def __init__(self, model: str, seq: int, created: int) -> None:
        self._base: dict[str, Json] = {"id": f"{self.prefix}-{seq}", "created": created, "model": model}

    def whole(self, text: str, answer: Answer) -> dict[str, Json]:
        """Give the answer at once.

        Args:
            text: All of it.
            answer: The ended answer.

        Returns:
            The object.
        """
        return self._object(self.kind, self._content(text, whole=True), answer.outcome.ending.value)

    def first(self) -> dict[str, Json] | None:
        """Give the chunk before the first text, if there is one.

        Returns:
            The chunk.
        """
        return None

    def piece(self, text: str) -> dict[str, Json]:
        """Give a chunk.

        Args:
            text: Its text.

        Returns:
            The chunk.
        """
        return self._object(self.chunk_kind, self._content(text, whole=False), None)

    def last(self, answer: Answer) -> dict[str, Json]:
        """Give the chunk that says why the answer ended.

        Args:
            answer: The ended answer.

        Returns:
            The chunk.
        """
        return self._object(self.chunk_kind, self._content("", whole=False), answer.outcome.ending.value)

    def counts(self) -> dict[str, Json]:
        """Give the chunk that carries counts instead of text.

        Returns:
            The chunk, without its counts.
        """
        return {**self._base, "object": self.chunk_kind, "choices": []}

    def _object(self, kind: str, content: dict[str, Json], reason: str | None) -> dict[str, Json]:
        choice: dict[str, Json] = {"index": 0, **content, "logprobs": None, "finish_reason": reason}
        return {**self._base, "object": kind, "choices": [choice]}

    def _content(self, text: str, *, whole: bool) -> dict[str, Json]:
        raise NotImplementedError


class ChatForm(Form):
    """Objects of ``/v1/chat/completions``."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def first(self) -> dict[str, Json] | None:
        """Give the chunk that says who speaks.

        Returns:
            The chunk.
        """
        return self._object(self.chunk_kind, {"delta": {"role": "assistant", "content": ""}}, None)

    def _content(self, text: str, *, whole: bool) -> dict[str, Json]:
        if whole:
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"delta": {"content": text} if text else {}}


class TextForm(Form):
    """Objects of ``/v1/completions``."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def _content(self, text: str, *, whole: bool) -> dict[str, Json]:
        del whole  # the same in both
        return {"text": text}


def usage(answer: Answer) -> dict[str, Json]:
    """Count an answer's tokens.

    Args:
        answer: The ended answer.

    Returns:
        OpenAI's three counts.
    """
    asked, given = len(answer.question.prompt), answer.outcome.tokens
    return {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}


def receipts(answer: Answer) -> dict[str, Json]:
    """Say where an answer is on the record.

    Args:
        answer: The ended answer.

    Returns:
        The sequence numbers of request and answer, and the answer's leaf.
    """
    receipt = answer.outcome.receipt
    return {"request_seq": answer.request.seq, "answer_seq": receipt.seq, "answer_leaf": receipt.leaf}
