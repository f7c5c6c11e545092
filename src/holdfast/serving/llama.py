"""llama.cpp's weights and contexts, as thin as can be.

Invariants: all calls that compute come from one thread; a context has one adapter set, fixed when it is made; each sequence
has a cache of its own inside its context (``kv_unified`` off) and attention runs without the flash kernels, whose order of
summation depends on how many sequences share a step. Nothing is printed.

Source: llama.h of the pinned llama.cpp; shapes: V = vocabulary.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.gguf.llama import load_backends, recent_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from holdfast.serving.sampling import Scores
    from holdfast.serving.spec import AdapterSpec, ModelSpec

CHUNK = (
    128  # tokens of a prompt computed at once, at fixed positions; part of what determines an answer's bits
)
MAX_PIECE = 1024  # bytes of one token's text; the longest in known vocabularies has 512
_FLASH_ATTENTION_OFF = 0  # llama.h, LLAMA_FLASH_ATTN_TYPE_DISABLED
_NO_TOKEN = -1  # llama.h, LLAMA_TOKEN_NULL


@dataclass(frozen=True)
class Row:
    """One token to compute.

    Args:
        sequence: Which sequence of the context.
        token: Its id.
        position: Its place in the sequence, from 0.
        scored: Whether the scores after it are wanted.
    """

    sequence: int
    token: int
    position: int
    scored: bool


class Weights:
    """An open model: its vocabulary, and the weights that its contexts share.

    Args:
        spec: The model.

    Raises:
        UntrustedBundle: If llama.cpp refuses the file.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._llama = load_backends()
        recent_errors()
        options = self._llama.llama_model_default_params()
        options.n_gpu_layers = 0
        options.check_tensors = True
        self._model = self._llama.llama_model_load_from_file(spec.path.encode(), options)
        if not self._model:
            raise UntrustedBundle(
                "serve.model",
                f"llama.cpp refuses the model {spec.id}: {recent_errors() or 'no reason given'}.",
                remedy="Import the model again; this file is damaged or not a model.",
            )
        self._vocabulary = self._llama.llama_model_get_vocab(self._model)
        self.size: int = self._llama.llama_vocab_n_tokens(self._vocabulary)  # V
        self.trained_context: int = self._llama.llama_model_n_ctx_train(self._model)
        self._spaced = self._puts_spaces()

    def _puts_spaces(self) -> bool:
        """Tell whether the tokenizer puts a space before each stretch of text, as SentencePiece's do."""
        if self._llama.llama_vocab_type(self._vocabulary) != self._llama.LLAMA_VOCAB_TYPE_SPM:
            return False
        room = ctypes.create_string_buffer(8)
        key = b"tokenizer.ggml.add_space_prefix"
        self._llama.llama_model_meta_val_str(self._model, key, room, len(room))
        return room.value != b"false"

    def close(self) -> None:
        """Free the model and its adapters; its contexts must be closed before. A second call does nothing."""
        if self._model:
            self._llama.llama_model_free(self._model)
            self._model = None

    def tokenize(self, text: str, *, begin: bool) -> list[int]:
        """Turn text into token ids; special tokens are read as such.

        Args:
            text: Any text that UTF-8 can hold.
            begin: Whether to add the begin token, where the model wants one.

        Returns:
            The ids.

        Raises:
            WorkerFailed: If llama.cpp can't tokenize it.
        """
        data = text.encode()
        room = len(data) + 8  # a token stands for at least one byte, but for a few special ones
        ids = (ctypes.c_int32 * room)()
        count = self._llama.llama_tokenize(self._vocabulary, data, len(data), ids, room, begin, True)
        if count < 0:
            raise WorkerFailed(
                "serve.tokenize", "llama.cpp can't tokenize a text.", remedy="See the worker's log."
            )
        return list(ids[:count])

    def piece(self, token: int, *, after: int | None = None) -> bytes:
        """Give the bytes that a token stands for.

        Args:
            token: Its id.
            after: The prompt's last token, if this is the first of an answer. After a special token a tokenizer that puts
                spaces before text put one that nobody wrote; it is left out.

        Returns:
            Bytes, perhaps a part of a character; none for control tokens.
        """
        special = self._llama.LLAMA_TOKEN_ATTR_CONTROL | self._llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        put = (
            after is not None
            and self._spaced
            and bool(self._llama.llama_vocab_get_attr(self._vocabulary, after) & special)
        )
        room = ctypes.create_string_buffer(MAX_PIECE)
        count = self._llama.llama_token_to_piece(self._vocabulary, token, room, MAX_PIECE, int(put), False)
        return room.raw[: max(count, 0)]

    def ends(self, token: int) -> bool:
        """Tell whether a token ends an answer.

        Args:
            token: Its id.

        Returns:
            True for end-of-text and end-of-turn tokens.
        """
        return bool(self._llama.llama_vocab_is_eog(self._vocabulary, token))

    def special_texts(self) -> dict[str, str]:
        """Give the special tokens that chat templates name.

        Returns:
            ``bos_token`` and ``eos_token`` where the model has them, as texts.
        """
        found = {
            "bos_token": self._llama.llama_vocab_bos(self._vocabulary),
            "eos_token": self._llama.llama_vocab_eos(self._vocabulary),
        }
        return {
            name: self._llama.llama_vocab_get_text(self._vocabulary, token).decode("utf-8", "replace")
            for name, token in found.items()
            if token != _NO_TOKEN
        }

    def template(self) -> str | None:
        """Give the chat template of the file's metadata.

        Returns:
            Its source, or None.
        """
        found = self._llama.llama_model_chat_template(self._model, None)
        return None if found is None else found.decode("utf-8", "replace")

    def context(self, adapter: AdapterSpec | None, sequences: int, threads: int) -> Context:
        """Make a context for one adapter set.

        Args:
            adapter: The adapter; None for the model alone.
            sequences: Sequences that can be open at once, each of ``spec.context`` tokens.
            threads: Threads to compute with.

        Returns:
            The context.

        Raises:
            UntrustedBundle: If llama.cpp refuses the adapter for this model.
            WorkerFailed: If memory does not suffice.
        """
        recent_errors()
        options = self._llama.llama_context_default_params()
        slots = sequences if sequences == 1 else sequences + 1  # the last only fills up steps
        options.n_ctx = self.spec.context * slots
        options.n_batch = options.n_ubatch = max(CHUNK, slots)
        options.n_seq_max = slots
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = _FLASH_ATTENTION_OFF
        options.kv_unified = False
        made = self._llama.llama_init_from_model(self._model, options)
        if not made:
            raise WorkerFailed(
                "serve.context",
                f"There is no memory for {sequences} sequences of {self.spec.context} tokens of {self.spec.id}: "
                f"{recent_errors() or 'no reason given'}.",
                remedy="Serve with a shorter context, fewer sequences or fewer adapters.",
            )
        context = Context(self._llama, made, self.size, options.n_batch, sequences)
        if adapter is not None:
            self._apply(made, adapter, context)
        return context

    def _apply(self, made: int, adapter: AdapterSpec, context: Context) -> None:
        opened = self._llama.llama_adapter_lora_init(self._model, adapter.path.encode())
        applied = False
        if opened:
            handles = (self._llama.llama_adapter_lora_p_ctypes * 1)(opened)
            applied = (
                self._llama.llama_set_adapters_lora(made, handles, 1, (ctypes.c_float * 1)(adapter.scale))
                == 0
            )
        if not applied:
            context.close()
            raise UntrustedBundle(
                "serve.adapter",
                f"llama.cpp refuses the adapter {adapter.id} for {self.spec.id}: {recent_errors() or 'no reason given'}.",
                remedy="Serve the adapter with the base that it was trained on.",
            )


class Context:
    """Sequences that are computed together; made by ``Weights.context``.

    Args:
        llama: The bindings.
        handle: llama.cpp's context.
        size: V.
        most: Most rows of one step.
        sequences: Sequences that may be used; with more than one, there is one more to fill up steps.
    """

    def __init__(self, llama: ModuleType, handle: int, size: int, most: int, sequences: int) -> None:
        self.sequences = sequences
        self._llama = llama
        self._handle: int | None = handle
        self._size = size
        self._memory = self._llama.llama_get_memory(handle)
        self._batch = self._llama.llama_batch_init(most, 0, 1)

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        if self._handle:
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self._handle)
            self._handle = None

    def clear(self, sequence: int) -> None:
        """Forget a sequence.

        Args:
            sequence: Which.
        """
        self._llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def trim(self, sequence: int, length: int) -> None:
        """Forget the end of a sequence.

        Args:
            sequence: Which.
            length: Tokens that are kept.
        """
        self._llama.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def compute(self, rows: Sequence[Row]) -> list[Scores]:
        """Compute one step.

        Args:
            rows: Tokens, not more than a step holds. Rows of several sequences are computed together only if the
                sequences' numbers follow one another (llama.cpp splits the step where they don't).

        Returns:
            For each row that is scored, in order, an array [V] that stays valid until the next step.

        Raises:
            WorkerFailed: If llama.cpp fails; the sequences in the step must then be cleared.
        """
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, row in enumerate(rows):
            batch.token[index] = row.token
            batch.pos[index] = row.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = row.sequence
            batch.logits[index] = row.scored
        result = self._llama.llama_decode(self._handle, batch)
        if result != 0:
            raise WorkerFailed(
                "serve.compute",
                f"llama.cpp could not compute a step of {len(rows)} tokens ({result}): {recent_errors()}.",
                remedy="Ask again; if it happens again, serve with a smaller context.",
            )
        return [
            np.ctypeslib.as_array(self._llama.llama_get_logits_ith(self._handle, index), shape=(self._size,))
            for index, row in enumerate(rows)
            if row.scored
        ]
