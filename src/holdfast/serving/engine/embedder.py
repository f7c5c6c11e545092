"""Embeddings: one vector for a whole text, by models whose file says how they pool.

These are encoders (BERT and its kind, which llama.cpp computes without a cache) and decoders that declare a pooling. Each
input is computed alone, in a context of its own whose cache is cleared before and after, so that a vector depends on its
text and on nothing else: not on the other inputs, not on other requests, not on what was computed before. Vectors have
length one.

A vector is given whole: a file does not tell whether its model was trained so that the first dimensions alone still mean
something (Matryoshka), so asking for fewer is refused where requests are read.

Source: llama.h of the pinned llama.cpp; Reimers and Gurevych, "Sentence-BERT" (2019), for pooling.
"""

from __future__ import annotations

import base64
import ctypes
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedRequest, WorkerFailed
from holdfast.gguf.llama import recent_errors
from holdfast.serving.engine.memory import MAX_INPUT
from holdfast.serving.link import Tokens, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.serving.engine.llama import Weights

_POOLINGS = frozenset({"1", "2", "3"})  # llama.h: MEAN, CLS, LAST; a RANK gives scores, not vectors
# llama.h, LLAMA_FLASH_ATTN_TYPE_DISABLED: the flash kernels would round keys and values to f16.
_FLASH_ATTENTION_OFF = 0
_ROOM = 64  # bytes of a metadata value


def dimensions(weights: Weights) -> int:
    """Tell how long a model's embeddings are.

    Args:
        weights: The open model.

    Returns:
        Dimensions; 0 for a model that gives none.
    """
    if _said(weights, "pooling_type") not in _POOLINGS:
        return 0
    return int(weights.llama.llama_model_n_embd(weights.model))


def generates(weights: Weights) -> bool:
    """Tell whether a model can continue a text.

    Args:
        weights: The open model.

    Returns:
        False for encoders, whose attention looks ahead.
    """
    return _said(weights, "attention.causal") != "false"


def _said(weights: Weights, name: str) -> str:
    """Read a metadata value of the model's architecture."""
    room = ctypes.create_string_buffer(_ROOM)
    find = weights.llama.llama_model_meta_val_str
    if find(weights.model, b"general.architecture", room, _ROOM) < 0:
        return ""
    key = room.value + b"." + name.encode()
    return room.value.decode("utf-8", "replace") if find(weights.model, key, room, _ROOM) >= 0 else ""


class Embedder:
    """Computes embeddings with one model.

    Args:
        weights: A model whose ``dimensions`` are not 0.
        threads: Threads to compute with.
        limit: Tokens of one input at most; bounded further by what the model was trained on and by ``MAX_INPUT``.

    Raises:
        WorkerFailed: If memory does not suffice.
    """

    def __init__(self, weights: Weights, threads: int, limit: int) -> None:
        self._llama = weights.llama
        self._vocabulary = weights.vocabulary
        self.dimensions = dimensions(weights)
        trained = int(self._llama.llama_model_n_ctx_train(weights.model))
        self.limit = min(limit, trained, MAX_INPUT)
        options = self._llama.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = self.limit
        options.n_seq_max = 1
        options.n_threads = options.n_threads_batch = threads
        options.embeddings = True
        options.flash_attn_type = _FLASH_ATTENTION_OFF
        recent_errors()
        self._handle: int | None = self._llama.llama_init_from_model(weights.model, options)
        if not self._handle:
            raise WorkerFailed(
                "serve.context",
                f"There is no memory for embeddings of {self.limit} tokens: {recent_errors() or 'no reason given'}.",
                remedy="Serve with a shorter context, or fewer models.",
            )
        self._memory = self._llama.llama_get_memory(self._handle)  # none for encoders
        self._compute = self._llama.llama_decode if self._memory else self._llama.llama_encode
        self._batch = self._llama.llama_batch_init(self.limit, 0, 1)

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        if self._handle:
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self._handle)
            self._handle = None

    def tokens(self, given: Words | Tokens) -> list[int]:
        """Read one input; any thread may.

        Args:
            given: A text, to which the tokens are added that the model wants around it, or ids as they are.

        Returns:
            The ids.

        Raises:
            UntrustedRequest: If there are none, too many, or one that the vocabulary does not have.
        """
        if isinstance(given, Tokens):
            self._vocabulary.check(given.tokens)
            found = list(given.tokens)
        else:
            found = self._vocabulary.tokenize(given.text, begin=True, special=False)
        if not found:
            raise UntrustedRequest(
                "serve.input",
                "An input is empty.",
                remedy="Send some text.",
                param="input",
                code="empty_prompt",
            )
        if len(found) > self.limit:
            raise UntrustedRequest(
                "serve.input",
                f"An input has {len(found)} tokens and this model takes {self.limit}.",
                remedy="Send shorter texts.",
                param="input",
                code="context_length_exceeded",
            )
        return found

    def embed(self, tokens: Sequence[int]) -> str:
        """Compute one vector, in the engine's thread.

        Args:
            tokens: 1 to ``limit`` ids, as ``tokens`` gave them.

        Returns:
            The base64 of its little-endian float32 numbers; its length is one.

        Raises:
            WorkerFailed: If llama.cpp can't compute it, or the model gives what are no numbers.
        """
        self._forget()
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = True
        result = self._compute(self._handle, batch)
        found = self._llama.llama_get_embeddings_seq(self._handle, 0) if result == 0 else None
        if not found:
            raise WorkerFailed(
                "serve.compute",
                f"llama.cpp could not embed {len(tokens)} tokens ({result}): {recent_errors() or 'no reason given'}.",
                remedy="Ask again; if it happens again, import the model again.",
            )
        vector = np.ctypeslib.as_array(found, shape=(self.dimensions,)).astype(np.float64)
        self._forget()
        length = float(np.linalg.norm(vector))
        if not (np.isfinite(length) and length > 0):
            raise WorkerFailed(
                "serve.scores",
                "The model gave an embedding that is not of numbers.",
                remedy="Check the model; import it again if it is damaged.",
            )
        return base64.b64encode((vector / length).astype("<f4").tobytes()).decode()

    def _forget(self) -> None:
        if self._memory:
            self._llama.llama_memory_clear(self._memory, True)
