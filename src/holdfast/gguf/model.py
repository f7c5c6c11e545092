"""A GGUF model opened for measuring: token ids and the logits of whole texts.

Invariants: one context, one sequence, no state kept between calls. Serving has its own scheduler.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Self

import numpy as np

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.gguf.llama import load_backends, recent_errors
from holdfast.gguf.spec import CHUNK_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

BITS_PER_BYTE = 8


class GgufModel:
    """An open model; close it, or use it in a `with` statement.

    Args:
        path: The GGUF file.
        threads: Threads to compute with.

    Raises:
        UntrustedBundle: If llama.cpp refuses the file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._llama = load_backends()
        self._context: int | None = None
        self._adapter: int | None = None
        recent_errors()
        options = self._llama.llama_model_default_params()
        options.n_gpu_layers = 0
        options.check_tensors = True
        self._model = self._llama.llama_model_load_from_file(str(path).encode(), options)
        if not self._model:
            raise UntrustedBundle(
                "gguf.unreadable",
                f"llama.cpp refuses {path.name}: {recent_errors() or 'no reason given'}.",
                remedy="Import the model again; this file is damaged or not a model.",
            )
        settings = self._llama.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = CHUNK_TOKENS
        settings.n_threads = settings.n_threads_batch = threads
        self._context = self._llama.llama_init_from_model(self._model, settings)
        if not self._context:
            self.close()
            raise WorkerFailed(
                "gguf.context",
                f"llama.cpp made no context for {path.name}: {recent_errors()}.",
                remedy="Free memory and try again.",
            )
        self._vocabulary = self._llama.llama_model_get_vocab(self._model)
        self.vocabulary_size: int = self._llama.llama_vocab_n_tokens(self._vocabulary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        if self._context:
            self._llama.llama_free(self._context)
            self._context = None
        if self._model:
            self._llama.llama_model_free(self._model)  # frees its adapters too
            self._model = None

    def token_ids(self, text: str) -> list[int]:
        """Tokenize as serving does: special tokens are read, a begin token is added where the model wants one.

        Args:
            text: Any text.

        Returns:
            The token ids.

        Raises:
            WorkerFailed: If llama.cpp cannot tokenize it.
        """
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._llama.llama_tokenize(self._vocabulary, data, len(data), ids, room, True, True)
        if count < 0:
            raise WorkerFailed(
                "gguf.tokenize", "llama.cpp cannot tokenize a probe text.", remedy="See the job's log."
            )
        return list(ids[:count])

    def apply_adapter(self, path: Path) -> None:
        """Apply one LoRA adapter at scale 1 to all later calls.

        Args:
            path: The GGUF file of the adapter.

        Raises:
            UntrustedBundle: If llama.cpp refuses it for this base.
        """
        recent_errors()
        self._adapter = self._llama.llama_adapter_lora_init(self._model, str(path).encode())
        handles = (self._llama.llama_adapter_lora_p_ctypes * 1)(self._adapter or 0)
        scales = (ctypes.c_float * 1)(1.0)
        if not self._adapter or self._llama.llama_set_adapters_lora(self._context, handles, 1, scales) != 0:
            raise UntrustedBundle(
                "gguf.adapter",
                f"llama.cpp refuses the adapter {path.name} for this base: {recent_errors() or 'no reason given'}.",
                remedy="Apply the adapter to the base that it was trained on.",
            )

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Compute the logits after every token of one text.

        Args:
            tokens: 1 to `CHUNK_TOKENS` token ids.

        Returns:
            Array [tokens, vocabulary] of float32.

        Raises:
            WorkerFailed: If the decoding fails.
        """
        count = len(tokens)
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        batch = self._llama.llama_batch_init(count, 0, 1)
        try:
            batch.n_tokens = count
            for index, token in enumerate(tokens):
                batch.token[index] = token
                batch.pos[index] = index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = 1
            if self._llama.llama_decode(self._context, batch) != 0:
                raise WorkerFailed(
                    "gguf.decode",
                    f"llama.cpp could not decode {count} tokens: {recent_errors()}.",
                    remedy="Free memory and try again.",
                )
            rows = self._llama.llama_get_logits(self._context)
            found: npt.NDArray[np.float32] = np.ctypeslib.as_array(
                rows, shape=(count, self.vocabulary_size)
            ).copy()
        finally:
            self._llama.llama_batch_free(batch)
        return found

    def bits_per_weight(self) -> float:
        """Give the average size of one weight.

        Returns:
            Bits.
        """
        size: int = self._llama.llama_model_size(self._model)
        weights: int = self._llama.llama_model_n_params(self._model)
        return size * BITS_PER_BYTE / weights
