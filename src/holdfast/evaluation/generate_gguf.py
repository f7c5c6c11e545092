"""Greedy answers of a GGUF model through llama.cpp's batched decoding, with or without a LoRA adapter.

Invariants: prompts are rendered by the base's chat template and tokenized by llama.cpp, as when serving; each prompt is
computed alone and from its beginning, and only single tokens share a batch, so that an answer does not depend on the
prompts beside it (decoding several sequences in one batch is bit-equal on CPU, prefilling is not).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.evaluation.generate import batches, check_room
from holdfast.gguf.llama import load_backends, recent_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from holdfast.dataset.messages import Message
    from holdfast.evaluation.spec import Suite

SLOTS = 16  # sequences decoded together
MAX_BATCH = 2048  # tokens of a prompt computed at once
PIECE = 1024  # bytes; no token stands for more text


class GgufEngine:
    """A GGUF file, opened to answer.

    Args:
        path: The GGUF file.
        lora: The GGUF file of an adapter, or None.
        render: Renders a conversation as text that ends where the answer begins.
        threads: Threads to compute with.

    Raises:
        UntrustedBundle: If llama.cpp refuses a file.
    """

    def __init__(
        self, path: Path, lora: Path | None, render: Callable[[Sequence[Message]], str], threads: int
    ) -> None:
        self._llama = load_backends()
        self._lora = lora
        self._render = render
        self._threads = threads
        recent_errors()
        options = self._llama.llama_model_default_params()
        options.n_gpu_layers = 0
        self._model = self._llama.llama_model_load_from_file(str(path).encode(), options)
        if not self._model:
            raise _refused(path)
        self._vocabulary = self._llama.llama_model_get_vocab(self._model)
        self._adapter = None
        if lora is not None:
            self._adapter = self._llama.llama_adapter_lora_init(self._model, str(lora).encode())
            if not self._adapter:
                self.close()
                raise _refused(lora)

    def answers(self, suite: Suite, progress: Callable[[int], None]) -> list[str]:
        """Answer every item of a suite greedily.

        Args:
            suite: The suite.
            progress: Called with the number of items done; may raise to stop.

        Returns:
            One answer per item, in the suite's order, without special tokens.
        """
        most = suite.spec.generation.max_new_tokens
        prompts = [self._tokens(self._render(item.messages)) for item in suite.items]
        lengths = [len(one) for one in prompts]
        check_room(suite, lengths, self._llama.llama_model_n_ctx_train(self._model))
        found = [""] * len(prompts)
        done = 0
        context = self._context(max(lengths) + most)
        try:
            for group in batches(lengths, SLOTS):
                generated = self._generate(context, [prompts[at] for at in group], most)
                for at, tokens in zip(group, generated, strict=True):
                    found[at] = self._text(tokens)
                done += len(group)
                progress(done)
        finally:
            self._llama.llama_free(context)
        return found

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        if self._model:
            self._llama.llama_model_free(self._model)  # frees its adapters too
            self._model = None

    def _context(self, tokens: int) -> int:
        settings = self._llama.llama_context_default_params()
        settings.n_seq_max = SLOTS
        settings.n_ctx = SLOTS * -(-tokens // 256) * 256  # llama.cpp rounds each sequence's share up to this
        settings.n_batch = settings.n_ubatch = MAX_BATCH
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.kv_unified = False
        context: int | None = self._llama.llama_init_from_model(self._model, settings)
        if not context:
            raise WorkerFailed(
                "evaluation.context",
                f"llama.cpp made no context of {SLOTS} sequences of {tokens} tokens: {recent_errors()}.",
                remedy="Free memory and try again.",
            )
        if self._lora is not None:
            handles = (self._llama.llama_adapter_lora_p_ctypes * 1)(self._adapter)
            scales = (ctypes.c_float * 1)(1.0)
            if self._llama.llama_set_adapters_lora(context, handles, 1, scales) != 0:
                self._llama.llama_free(context)
                raise _refused(self._lora)
        return context

    def _generate(self, context: int, prompts: Sequence[list[int]], most: int) -> list[list[int]]:
        self._llama.llama_memory_clear(self._llama.llama_get_memory(context), True)
        found: list[list[int]] = [[] for _ in prompts]
        last: dict[int, int] = {}  # sequence → its newest token, while it goes on
        for sequence, prompt in enumerate(prompts):
            for start in range(0, len(prompt), MAX_BATCH):
                part = prompt[start : start + MAX_BATCH]
                rows = [(token, start + at, sequence) for at, token in enumerate(part)]
                best = self._decode(context, rows, wanted=[len(rows) - 1])
            last[sequence] = best[0]
        while last:
            for sequence, token in list(last.items()):
                if self._llama.llama_vocab_is_eog(self._vocabulary, token) or len(found[sequence]) == most:
                    del last[sequence]
                else:
                    found[sequence].append(token)
            rows = [
                (token, len(prompts[sequence]) + len(found[sequence]) - 1, sequence)
                for sequence, token in last.items()
            ]
            if rows:
                last = dict(zip(last, self._decode(context, rows, wanted=range(len(rows))), strict=True))
        return found

    def _decode(
        self, context: int, rows: Sequence[tuple[int, int, int]], *, wanted: Sequence[int]
    ) -> list[int]:
        """Compute rows of (token, position, sequence), and give the likeliest next token after each wanted one."""
        batch = self._llama.llama_batch_init(len(rows), 0, 1)
        try:
            batch.n_tokens = len(rows)
            for at, (token, position, sequence) in enumerate(rows):
                batch.token[at] = token
                batch.pos[at] = position
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence
                batch.logits[at] = at in wanted
            code = self._llama.llama_decode(context, batch)
        finally:
            self._llama.llama_batch_free(batch)
        if code != 0:
            raise WorkerFailed(
                "evaluation.decode",
                f"llama.cpp could not compute a batch (code {code}): {recent_errors()}.",
                remedy="Free memory and try again; if it happens again, look at the job's log.",
            )
        size = self._llama.llama_vocab_n_tokens(self._vocabulary)
        return [
            int(np.argmax(np.ctypeslib.as_array(self._llama.llama_get_logits_ith(context, at), (size,))))
            for at in wanted
        ]

    def _tokens(self, text: str) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._llama.llama_tokenize(self._vocabulary, data, len(data), ids, room, False, True)
        if count < 0:
            raise WorkerFailed(
                "evaluation.tokenize", "llama.cpp can't tokenize an item.", remedy="See the job's log."
            )
        return list(ids[:count])

    def _text(self, tokens: Sequence[int]) -> str:
        room = PIECE * (len(tokens) + 1)
        buffer = ctypes.create_string_buffer(room)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        size = self._llama.llama_detokenize(self._vocabulary, ids, len(tokens), buffer, room, True, False)
        return buffer.raw[: max(size, 0)].decode("utf-8", errors="replace")


def _refused(path: Path) -> UntrustedBundle:
    return UntrustedBundle(
        "evaluation.gguf",
        f"llama.cpp refuses {path.name}: {recent_errors() or 'no reason given'}.",
        remedy="Import or convert it again; it is damaged or does not belong to this base.",
    )
