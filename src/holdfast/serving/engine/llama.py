"""llama.cpp's weights, adapters and contexts, as thin as can be.

Invariants: all calls that compute come from one thread; a context has one adapter set, fixed when it is made; each sequence
has a cache of its own inside its context (``kv_unified`` off), whose cells are filled in the order of positions, cell n by
position n. Attention runs with the flash kernels, which give a row the same bits in whatever company, but where a step has a
single row and many cells: then threads share out the cells, and ``widths`` keeps such steps from happening. Nothing is printed.

Source: llama.h of the pinned llama.cpp; shapes: V = vocabulary.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from holdfast.errors import NoSpace, UntrustedBundle, WorkerFailed
from holdfast.gguf.llama import load_backends, recent_errors
from holdfast.serving.engine import cells
from holdfast.serving.engine.prefix import rows_of, slots_of
from holdfast.serving.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    import numpy.typing as npt

    from holdfast.serving.engine.threads import Threads
    from holdfast.serving.spec import ModelSpec

    Scores = npt.NDArray[np.float32]

_FLASH_ATTENTION_ON = 1  # llama.h, LLAMA_FLASH_ATTN_TYPE_ENABLED
_TYPES = {"f16": 1, "q8_0": 8}  # ggml.h, GGML_TYPE_F16 and GGML_TYPE_Q8_0
_LOAD_MODES = {
    (False, False): 0,
    (True, False): 1,
    (False, True): 2,
    (True, True): 3,
}  # llama.h, LLAMA_LOAD_MODE_NONE, _MMAP, _MLOCK and _MMAP_MLOCK


class Row(NamedTuple):
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


class Adapter:
    """An opened LoRA adapter; freed with ``close``, after the contexts that use it.

    Args:
        weights: The model that it belongs to.
        path: Its GGUF file, which is read here and not needed afterwards.
        name: What it is called in messages.
        scale: How strongly it is applied.

    Raises:
        UntrustedBundle: If llama.cpp refuses it for this model.
    """

    def __init__(self, weights: Weights, path: str, name: str, scale: float) -> None:
        self._llama = weights.llama
        self._name = name
        self.scale = scale
        recent_errors()
        self._handle = self._llama.llama_adapter_lora_init(weights.model, path.encode())
        if not self._handle:
            raise self._refused()

    def apply(self, context: int) -> None:
        """Apply the adapter to a new context.

        Args:
            context: llama.cpp's context.

        Raises:
            UntrustedBundle: If llama.cpp refuses it.
        """
        handles = (self._llama.llama_adapter_lora_p_ctypes * 1)(self._handle)
        if self._llama.llama_set_adapters_lora(context, handles, 1, (ctypes.c_float * 1)(self.scale)) != 0:
            raise self._refused()

    def close(self) -> None:
        """Free it; a second call does nothing."""
        if self._handle:
            self._llama.llama_adapter_lora_free(self._handle)
            self._handle = None

    def _refused(self) -> UntrustedBundle:
        return UntrustedBundle(
            "serve.adapter",
            f"llama.cpp refuses the adapter {self._name} for this model: {recent_errors() or 'no reason given'}.",
            remedy="Serve the adapter with the base that it was trained on.",
        )


class Weights:
    """An open model: its vocabulary, and the weights that its contexts share.

    Args:
        spec: The model.

    Raises:
        UntrustedBundle: If llama.cpp refuses the file.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.llama = load_backends()
        recent_errors()
        options = self.llama.llama_model_default_params()
        options.n_gpu_layers = 0
        options.check_tensors = True
        options.load_mode = _LOAD_MODES[spec.mmap, spec.mlock]
        self.model = self.llama.llama_model_load_from_file(spec.path.encode(), options)
        if not self.model:
            raise UntrustedBundle(
                "serve.model",
                f"llama.cpp refuses the model {spec.id}: {recent_errors() or 'no reason given'}.",
                remedy="Import the model again; this file is damaged or not a model.",
            )
        self.vocabulary = Vocabulary(self.llama, self.model)
        self.slides = self.llama.llama_model_n_swa(self.model) > 0  # whether attention has a sliding window

    def close(self) -> None:
        """Free the model; its contexts and adapters must be closed before. A second call does nothing."""
        if self.model:
            self.llama.llama_model_free(self.model)
            self.model = None

    def template(self) -> str | None:
        """Give the chat template of the file's metadata.

        Returns:
            Its source, or None.
        """
        found = self.llama.llama_model_chat_template(self.model, None)
        return None if found is None else found.decode("utf-8", "replace")

    def context(self, adapter: Adapter | None, sequences: int, threads: Threads) -> Context:
        """Make a context for one adapter set.

        Args:
            adapter: The adapter; None for the model alone.
            sequences: Sequences that can be open at once, each of ``spec.context`` tokens.
            threads: Threads to compute with.

        Returns:
            The context.

        Raises:
            UntrustedBundle: If llama.cpp refuses the adapter for this model.
            NoSpace: If memory does not suffice.
        """
        recent_errors()
        options = self.llama.llama_context_default_params()
        slots = slots_of(sequences)
        options.n_ctx = self.spec.context * slots
        options.n_batch = options.n_ubatch = rows_of(sequences)
        options.n_seq_max = slots
        options.n_threads = options.n_threads_batch = threads.count
        options.flash_attn_type = _FLASH_ATTENTION_ON
        options.type_k = options.type_v = _TYPES[self.spec.kv]
        options.kv_unified = False
        options.swa_full = True  # a window's cells would be overwritten, and a prefix could not be kept
        made = self.llama.llama_init_from_model(self.model, options)
        if not made:
            raise NoSpace(
                "serve.context",
                f"llama.cpp made no context of {sequences} sequences of {self.spec.context} tokens of {self.spec.id}: "
                f"{recent_errors() or 'no reason given'}.",
                remedy="Serve with a shorter context, fewer sequences or fewer adapters.",
            )
        threads.attach(made)
        context = Context(
            self.llama, made, self.vocabulary.size, sequences, copies=not self.slides, threads=threads
        )
        if adapter is not None:
            try:
                adapter.apply(made)
            except UntrustedBundle:
                context.close()
                raise
        return context


class Context:
    """Sequences that are computed together; made by ``Weights.context``.

    Args:
        llama: The bindings.
        handle: llama.cpp's context.
        size: V.
        sequences: Sequences that may be used; with more than one, there is one more to fill up steps.
        copies: Whether a sequence's beginning can be copied to another one cell by cell.
        threads: That compute.
    """

    def __init__(
        self,
        llama: ModuleType,
        handle: int,
        size: int,
        sequences: int,
        *,
        copies: bool,
        threads: Threads,
    ) -> None:
        self._threads = threads
        self.threads = threads.count
        self.sequences = sequences
        self.copies = copies
        self._llama = llama
        self._handle: int | None = handle
        self._size = size
        self._memory = llama.llama_get_memory(handle)
        self.length: int = llama.llama_n_ctx_seq(handle)  # tokens of a sequence, prompt and answer together
        most = rows_of(sequences)
        self._batch = llama.llama_batch_init(most, 0, 1)
        for index in range(most):
            self._batch.n_seq_id[index] = 1
        # Arrays that lie over llama.cpp's: a step is written with five assignments instead of five for each row.
        self._tokens = np.ctypeslib.as_array(self._batch.token, shape=(most,))
        self._positions = np.ctypeslib.as_array(self._batch.pos, shape=(most,))
        self._scored = np.ctypeslib.as_array(self._batch.logits, shape=(most,))
        self._sequences = [self._batch.seq_id[index] for index in range(most)]
        # What the batch says of sequences, and of which rows are scored.
        self._placed: tuple[Sequence[int], Sequence[bool]] = ((), ())
        self._layout: cells.Layout | None = None
        self._most = most
        self._scores = np.empty((0, size), np.float32)  # an array that lies over llama.cpp's scores, and
        self._scores_at = 0  # where they begin

    def close(self) -> None:
        """Overwrite what all sequences hold and free the context; a second call does nothing."""
        if self._handle:
            self._llama.llama_memory_clear(self._memory, True)
            self._llama.llama_batch_free(self._batch)
            self._llama.llama_free(self._handle)
            self._handle = None

    def single(self, *, alone: bool) -> None:
        """Say how steps of a single row are computed from here on.

        Args:
            alone: By the calling thread alone, instead of all.
        """
        if self._handle:
            self._threads.attach(self._handle, alone=alone)

    def trim(self, sequence: int, length: int) -> None:
        """Forget the end of a sequence; its bytes stay until they are overwritten.

        Args:
            sequence: Which.
            length: Tokens that are kept.
        """
        self._llama.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def wipe(self, sequence: int, length: int) -> None:
        """Forget a sequence and overwrite what its first cells hold.

        Args:
            sequence: Which.
            length: Cells to overwrite: as many as were ever filled since the last time.

        Raises:
            WorkerFailed: If llama.cpp does not take the zeros; the context must then be closed.
        """
        self.trim(sequence, 0)
        if length:
            if self._layout is None:
                self._layout = cells.read(self._state(self._sample(sequence)))
            self._restore(sequence, self._layout.zeros(length))
            self.trim(sequence, 0)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the beginning of a sequence over all of another one.

        Args:
            source: From which.
            target: To which.
            length: Tokens that are kept of the copy.

        Raises:
            WorkerFailed: If llama.cpp does not take the copy; the context must then be closed.
        """
        self.trim(target, 0)
        state = self._state(source)
        self._restore(target, state)
        state.fill(0)  # what is freed is not to be found by others either
        self.trim(target, length)

    def compute(self, rows: Sequence[Row]) -> npt.NDArray[np.float32]:
        """Compute one step.

        Args:
            rows: Tokens, not more than a step holds. Rows of several sequences are computed together only if the
                sequences' numbers follow one another (llama.cpp splits the step where they don't).

        Returns:
            The scores of the rows that are scored, in order, [scored, V]; valid until the next step.

        Raises:
            WorkerFailed: If llama.cpp fails; the sequences in the step must then be trimmed.
        """
        count = len(rows)
        sequences, tokens, positions, scored = zip(*rows, strict=True)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        if (placed := (sequences, scored)) != self._placed:  # from token to token they mostly stay
            self._scored[:count] = scored
            for place, sequence in zip(self._sequences, sequences, strict=False):
                place[0] = sequence
            self._placed = placed
        self._batch.n_tokens = count
        result = self._llama.llama_decode(self._handle, self._batch)
        if result != 0:
            raise WorkerFailed(
                "serve.compute",
                f"llama.cpp could not compute a step of {count} tokens ({result}): {recent_errors()}.",
                remedy="Ask again; if it happens again, serve with a smaller context.",
            )
        wanted = sum(scored)
        if not wanted:
            return np.empty((0, self._size), np.float32)
        pointer = self._llama.llama_get_logits(self._handle)
        if (at := ctypes.addressof(pointer.contents)) != self._scores_at:
            # As many rows as there may ever be; no more are looked at than were computed.
            self._scores, self._scores_at = np.ctypeslib.as_array(pointer, shape=(self._most, self._size)), at
        return self._scores[:wanted]

    def _sample(self, sequence: int) -> int:
        """Fill one cell of an empty sequence, so that its state shows how a cell is written."""
        self.compute([Row(sequence, 0, 0, scored=False)])
        return sequence

    def _state(self, sequence: int) -> npt.NDArray[np.uint8]:
        size = self._llama.llama_state_seq_get_size(self._handle, sequence)
        data = np.empty(size, np.uint8)
        written = self._llama.llama_state_seq_get_data(self._handle, _bytes(data), size, sequence)
        if written != size:
            raise _state_failed(f"gave {written} of {size} bytes of a sequence")
        return data

    def _restore(self, sequence: int, data: npt.NDArray[np.uint8]) -> None:
        taken = self._llama.llama_state_seq_set_data(self._handle, _bytes(data), data.size, sequence)
        if taken != data.size:
            raise _state_failed(f"took {taken} of {data.size} bytes of a sequence: {recent_errors()}")


def _bytes(data: npt.NDArray[np.uint8]) -> ctypes._Pointer[ctypes.c_uint8]:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _state_failed(why: str) -> WorkerFailed:
    return WorkerFailed(
        "serve.state",
        f"llama.cpp {why}, so what a sequence holds can be neither copied nor overwritten.",
        remedy="Start serving again.",
    )
