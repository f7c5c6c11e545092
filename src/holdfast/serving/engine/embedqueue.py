"""Requests for embeddings under way: one input of one request in each step, one tenant after the other.

Invariants: a request ends with exactly one ``Embedded`` or ``Failed``; a step computes a single input, so that answers under
way wait for no more than that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, UntrustedRequest
from holdfast.frames import MAX_FRAME
from holdfast.serving import link
from holdfast.serving.engine import embedder, faults
from holdfast.serving.engine.fair import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.serving.engine.llama import Weights
    from holdfast.serving.spec import Limits

_NUMBER = 6  # bytes of a dimension on the link: base64 of a float32, rounded up


@dataclass(eq=False)
class Embedding:
    """One request.

    Args:
        request: As it came.
        inputs: The token ids of its inputs.
        emit: Takes how it ends; called from the computing thread.
    """

    request: link.Embed
    inputs: list[list[int]]
    emit: Callable[[link.Embedded | link.Failed], None]
    vectors: list[str] = field(default_factory=list, init=False)
    processor: float = field(default=0.0, init=False)  # seconds over all threads

    @property
    def tokens(self) -> int:
        """Tokens of all inputs."""
        return sum(map(len, self.inputs))

    def cancel(self) -> None:
        """End it, because nobody waits for it."""
        self.fail(faults.cancelled())

    def fail(self, why: HoldfastError) -> None:
        """End it as failed.

        Args:
            why: What it is told.
        """
        number, spent = self.request.id, round(self.processor * 1000, 3)
        self.emit(link.Failed(number, why, link.Done(number, self.tokens, 0, 0, 0, 0, spent)))


class EmbedQueue:
    """All requests for embeddings of one model; without any if it gives none.

    Args:
        weights: The open model.
        limits: How much one request may take.
        threads: Threads to compute with.

    Raises:
        WorkerFailed: If memory does not suffice.
    """

    def __init__(self, weights: Weights, limits: Limits, threads: int) -> None:
        gives = embedder.dimensions(weights) > 0
        limit = min(limits.prompt_tokens, weights.spec.context)
        self._embedder = embedder.Embedder(weights, threads, limit) if gives else None
        self._threads = threads
        self._waiting: FairQueue[Embedding] = FairQueue()

    @property
    def dimensions(self) -> int:
        """Of a vector; 0 if there are none."""
        return 0 if self._embedder is None else self._embedder.dimensions

    @property
    def busy(self) -> bool:
        """Whether something waits to be computed."""
        return bool(self._waiting)

    def close(self) -> None:
        """End every request as failed, and free the context."""
        for one in self._waiting.remove(lambda _: True):
            one.fail(faults.stopped())
        if self._embedder is not None:
            self._embedder.close()

    def ask(self, request: link.Embed, emit: Callable[[link.Embedded | link.Failed], None]) -> Embedding:
        """Read a request; any thread may.

        Args:
            request: The request.
            emit: Takes how it ends.

        Returns:
            What is to be computed.

        Raises:
            UntrustedRequest: If the model gives no embeddings, or an input is empty, too long or not of its vocabulary.
        """
        if self._embedder is None:
            raise UntrustedRequest(
                "serve.no-embeddings",
                "The model gives no embeddings.",
                remedy="Ask a model that does; GET /v1/models lists all.",
                param="model",
                code="no_embeddings",
            )
        if not request.inputs or len(request.inputs) * self.dimensions * _NUMBER > MAX_FRAME:
            most = MAX_FRAME // (self.dimensions * _NUMBER)
            raise UntrustedRequest(
                "serve.input",
                f"{len(request.inputs)} inputs are asked for, and 1 to {most} are allowed at once.",
                remedy="Send them in several requests.",
                param="input",
                code="invalid_value",
            )
        return Embedding(request, list(map(self._embedder.tokens, request.inputs)), emit)

    def push(self, one: Embedding) -> None:
        """Let a request wait for its turn.

        Args:
            one: The request.
        """
        self._waiting.push(one.request.tenant, one)

    def cancel(self, number: int) -> bool:
        """End a request that nobody waits for.

        Args:
            number: The request's.

        Returns:
            Whether it was there.
        """
        gone = self._waiting.remove(lambda one: one.request.id == number)
        for one in gone:
            one.cancel()
        return bool(gone)

    def step(self) -> bool:
        """Compute one input.

        Returns:
            False if there is nothing to do.
        """
        if not self._waiting or self._embedder is None:
            return False
        one = self._waiting.pop()
        begun = time.monotonic()
        try:
            one.vectors.append(self._embedder.embed(one.inputs[len(one.vectors)]))
        except HoldfastError as error:
            one.processor += (time.monotonic() - begun) * self._threads
            one.fail(error)
            return True
        one.processor += (time.monotonic() - begun) * self._threads
        if len(one.vectors) < len(one.inputs):
            self._waiting.push(one.request.tenant, one)
        else:
            spent = round(one.processor * 1000, 3)
            one.emit(link.Embedded(one.request.id, tuple(one.vectors), one.tokens, spent))
        return True
