"""A GGUF model opened for measuring: token ids, the logits of whole texts, embeddings, speed.

Invariants: one context, one sequence, no state kept between calls. Serving has its own scheduler.
"""

from __future__ import annotations

import ctypes
import time
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

    from holdfast.gguf.importance import Collector

DECODED = 16  # tokens generated to measure the speed


class GgufModel:
    """An open model; close it, or use it in a `with` statement.

    Args:
        path: The GGUF file.
        threads: Threads to compute with.
        collector: Takes the inputs of matrices, if they are wanted.
        embeds: Whether it is opened for embeddings, pooled as the file says, instead of logits.

    Raises:
        UntrustedBundle: If llama.cpp refuses the file.
    """

    def __init__(
        self, path: Path, threads: int, *, collector: Collector | None = None, embeds: bool = False
    ) -> None:
        self._llama = load_backends()
        self._context: int | None = None
        self._adapter: int | None = None
        self._embeds = embeds
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
        settings.embeddings = embeds
        if collector is not None:
            settings.cb_eval = collector.callback
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
        """
        self._forget()
        self._decode(tokens, 0, wanted=range(len(tokens)))
        rows = self._llama.llama_get_logits(self._context)
        found: npt.NDArray[np.float32] = np.ctypeslib.as_array(
            rows, shape=(len(tokens), self.vocabulary_size)
        ).copy()
        return found

    def embedding(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Compute the embedding of one text; the model was opened for it.

        Args:
            tokens: 1 to `CHUNK_TOKENS` token ids.

        Returns:
            Array [dimensions] of float32, of length one.

        Raises:
            UntrustedBundle: If the model pools nothing.
        """
        self._forget()
        self._decode(tokens, 0, wanted=range(len(tokens)))
        found = self._llama.llama_get_embeddings_seq(self._context, 0)
        if not found:
            raise UntrustedBundle(
                "gguf.no-embedding",
                "The model gives no embedding of a whole text.",
                remedy="Import it with the settings of its pooling, 1_Pooling/config.json.",
            )
        values: npt.NDArray[np.float32] = np.ctypeslib.as_array(found, shape=(self.dimensions,)).copy()
        return values / max(float(np.linalg.norm(values)), float(np.finfo(np.float32).tiny))

    def compute(self, tokens: Sequence[int]) -> None:
        """Compute one text for the sake of what is seen on the way: all of it, for the last layer leaves out what none wants.

        Args:
            tokens: 1 to `CHUNK_TOKENS` token ids.
        """
        self._forget()
        self._decode(tokens, 0, wanted=range(len(tokens)))

    def speed(self, tokens: Sequence[int]) -> tuple[float, float]:
        """Measure how fast the model reads and writes on this machine, beside whatever else it does.

        Something was computed before, so that the weights are in memory.

        Args:
            tokens: 2 to `CHUNK_TOKENS` token ids.

        Returns:
            Tokens per second read at once, and written one after another.
        """
        begun = time.perf_counter()
        self._forget()
        self._decode(tokens, 0, wanted=range(0 if self._embeds else len(tokens) - 1, len(tokens)))
        read = time.perf_counter()
        count = min(DECODED, len(tokens) - 1)
        self._forget()
        self._decode(tokens[:1], 0, wanted=range(1))
        started = time.perf_counter()
        for at in range(1, count + 1):
            self._decode(tokens[at : at + 1], at, wanted=range(1))
        ended = time.perf_counter()
        return len(tokens) / (read - begun), count / (ended - started)

    @property
    def context(self) -> int:
        """Tokens that the model can hold."""
        return int(self._llama.llama_model_n_ctx_train(self._model))

    @property
    def dimensions(self) -> int:
        """Length of an embedding."""
        return int(self._llama.llama_model_n_embd(self._model))

    def _forget(self) -> None:
        memory = self._llama.llama_get_memory(self._context)
        if memory:  # a model that only embeds keeps none
            self._llama.llama_memory_clear(memory, True)

    def _decode(self, tokens: Sequence[int], first: int, *, wanted: range) -> None:
        count = len(tokens)
        batch = self._llama.llama_batch_init(count, 0, 1)
        try:
            batch.n_tokens = count
            for index, token in enumerate(tokens):
                batch.token[index] = token
                batch.pos[index] = first + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = index in wanted
            if self._llama.llama_decode(self._context, batch) != 0:
                raise WorkerFailed(
                    "gguf.decode",
                    f"llama.cpp could not decode {count} tokens: {recent_errors()}.",
                    remedy="Free memory and try again.",
                )
            self._llama.llama_synchronize(self._context)
        finally:
            self._llama.llama_batch_free(batch)
