"""Greedy answers and log-likelihoods of a GGUF model through llama.cpp, with or without a LoRA adapter.

Invariants: prompts are rendered by the base's chat template and tokenized by llama.cpp, as when serving; that llama.cpp's
tokens are those of the base's own tokenizer is checked for every text, so that figures of both engines speak of the same
thing. Each prompt is computed alone and from its beginning, in parts that end at fixed positions, and only single tokens
share a batch, so that neither an answer nor a log-likelihood depends on the texts beside it (decoding several sequences in
one batch is bit-equal on CPU, prefilling is not).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.evaluation.generate import batches, check_room, cut_pair, cut_text
from holdfast.gguf.llama import load_backends, recent_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from holdfast.dataset.messages import Message
    from holdfast.evaluation.generate import Cut, Pair, Words
    from holdfast.evaluation.items import Item

SLOTS = 16  # sequences decoded together
MAX_BATCH = 2048  # tokens of a prompt computed at once
SCORED_BATCH = 512  # tokens at once where each one's logits are kept: 512 MiB for the largest vocabulary
PIECE = 1024  # bytes; no token stands for more text


class GgufEngine:
    """A GGUF file, opened to answer.

    Args:
        path: The GGUF file.
        lora: The GGUF file of an adapter, or None.
        words: The base's own tokenizer.
        threads: Threads to compute with.

    Raises:
        UntrustedBundle: If llama.cpp refuses a file.
    """

    def __init__(self, path: Path, lora: Path | None, words: Words, threads: int) -> None:
        self._llama = load_backends()
        self._lora = lora
        self._words = words
        self._threads = threads
        self._kept: tuple[int, int] | None = None  # the context for scoring, and the tokens that it holds
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

    def render(self, messages: Sequence[Message]) -> str:
        """Render a conversation by the base's chat template.

        Args:
            messages: The conversation.

        Returns:
            Text that ends where the answer begins.
        """
        return self._words.render(messages)

    def answers(self, items: Sequence[Item], most: int, progress: Callable[[int], None]) -> list[str]:
        """Answer items greedily.

        Args:
            items: The items.
            most: Tokens to generate for one at most.
            progress: Called with the number of items done; may raise to stop.

        Returns:
            One answer per item, in their order, without special tokens.
        """
        prompts = [self._tokens(self.render(item.messages)) for item in items]
        lengths = [len(one) for one in prompts]
        check_room(items, lengths, most, self._room)
        found = [""] * len(prompts)
        done = 0
        context = self._context(max(lengths) + most, sequences=SLOTS, batch=MAX_BATCH)
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

    def loglikelihoods(self, pairs: Sequence[Pair]) -> list[float]:
        """Give how likely continuations are, each computed alone.

        Args:
            pairs: Contexts, each with a continuation.

        Returns:
            The log-likelihood of each continuation (natural logarithm).
        """
        for before, after in pairs:
            self._tokens(before.rstrip())
            self._tokens(before + after)
        return self._scored([[cut_pair(self._words, pair, self._room)] for pair in pairs], lambda _: None)

    def costs(self, texts: Sequence[str], window: int, progress: Callable[[int], None]) -> list[float]:
        """Give how likely whole texts are.

        Args:
            texts: The texts.
            window: Tokens that one token is predicted from at most; no more are used than the model can hold.
            progress: Called with the number of texts done; may raise to stop.

        Returns:
            The log-likelihood of all tokens of each text (natural logarithm).
        """
        for text in texts:
            self._tokens(text)
        return self._scored(
            [cut_text(self._words, text, min(window, self._room)) for text in texts], progress
        )

    def close(self) -> None:
        """Free the model; a second call does nothing."""
        self._drop()
        if self._model:
            self._llama.llama_model_free(self._model)  # frees its adapters too
            self._model = None

    @property
    def _room(self) -> int:
        """Tokens that the model can hold."""
        return int(self._llama.llama_model_n_ctx_train(self._model))

    def _context(self, tokens: int, *, sequences: int, batch: int) -> int:
        settings = self._llama.llama_context_default_params()
        settings.n_seq_max = sequences
        settings.n_ctx = sequences * -(-tokens // 256) * 256  # llama.cpp rounds each sequence's share up so
        settings.n_batch = settings.n_ubatch = batch
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.kv_unified = False
        context: int | None = self._llama.llama_init_from_model(self._model, settings)
        if not context:
            raise WorkerFailed(
                "evaluation.context",
                f"llama.cpp made no context of {sequences} sequences of {tokens} tokens: {recent_errors()}.",
                remedy="Free memory and try again.",
            )
        if self._lora is not None:
            handles = (self._llama.llama_adapter_lora_p_ctypes * 1)(self._adapter)
            scales = (ctypes.c_float * 1)(1.0)
            if self._llama.llama_set_adapters_lora(context, handles, 1, scales) != 0:
                self._llama.llama_free(context)
                raise _refused(self._lora)
        return context

    def _scored(self, texts: Sequence[list[Cut]], progress: Callable[[int], None]) -> list[float]:
        """Sum up the log-likelihoods of each text's parts."""
        context = self._scoring(
            max(len(given) + len(predicted) - 1 for cuts in texts for given, predicted in cuts)
        )
        found: list[float] = []
        for cuts in texts:
            found.append(sum(self._nats(context, cut) for cut in cuts))
            progress(len(found))
        return found

    def _scoring(self, tokens: int) -> int:
        """Give a context for one sequence; it is kept, because making one takes longer than most choices."""
        if self._kept is None or self._kept[1] < tokens:
            self._drop()
            size = min(max(tokens, SCORED_BATCH), self._room)
            self._kept = (self._context(size, sequences=1, batch=SCORED_BATCH), size)
        return self._kept[0]

    def _drop(self) -> None:
        if self._kept is not None:
            self._llama.llama_free(self._kept[0])
            self._kept = None

    def _nats(self, context: int, cut: Cut) -> float:
        given, predicted = cut
        tokens = [*given, *predicted][:-1]
        first = len(given) - 1  # the position after which the first predicted token follows
        self._llama.llama_memory_clear(self._llama.llama_get_memory(context), True)
        total = 0.0
        for start in range(0, len(tokens), SCORED_BATCH):
            part = tokens[start : start + SCORED_BATCH]
            wanted = range(max(first - start, 0), len(part))
            rows = [(token, start + at, 0) for at, token in enumerate(part)]
            for at, logits in zip(wanted, self._logits(context, rows, wanted=wanted), strict=True):
                exact = logits.astype(np.float64)
                top = exact.max()
                target = predicted[start + at - first]
                total += float(exact[target] - top - np.log(np.exp(exact - top).sum()))
        return total

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
        return [int(np.argmax(one)) for one in self._logits(context, rows, wanted=wanted)]

    def _logits(
        self, context: int, rows: Sequence[tuple[int, int, int]], *, wanted: Sequence[int]
    ) -> list[npt.NDArray[np.float32]]:
        """Compute rows of (token, position, sequence), and give the logits [V] after each wanted one, until the next call."""
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
            np.ctypeslib.as_array(self._llama.llama_get_logits_ith(context, at), (size,)) for at in wanted
        ]

    def _tokens(self, text: str) -> list[int]:
        """Tokenize with llama.cpp, and check that the base's tokenizer gives the same."""
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._llama.llama_tokenize(self._vocabulary, data, len(data), ids, room, False, True)
        if count < 0:
            raise WorkerFailed(
                "evaluation.tokenize", "llama.cpp can't tokenize an item.", remedy="See the job's log."
            )
        found = list(ids[:count])
        if found != self._words.encode(text):
            raise UntrustedBundle(
                "evaluation.tokens",
                f"llama.cpp reads a text in other tokens than the base's tokenizer: {text[:80]!r}.",
                remedy="Convert the base again; if it stays so, this base can't be evaluated or served as GGUF.",
            )
        return found

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
