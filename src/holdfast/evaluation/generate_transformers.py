"""Greedy answers and log-likelihoods of a model in transformers, with or without a PEFT adapter.

Invariants: a model opened here computes in float32, where the company of a prompt in its batch moves logits by about 1e-6
only; prompts are padded on the left, and padding is masked; a log-likelihood is computed alone, in one forward pass. Nothing
of the model's folder is run as code, nothing is asked of the network. An engine over somebody else's open model computes in
that model's precision and leaves it as it was found: the mode of every module, its buffers, and the random numbers.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from holdfast.errors import UntrustedBundle
from holdfast.evaluation.generate import batches, check_room, cut_pair, cut_text
from holdfast.evaluation.words import words_of
from holdfast.training.environment import without_deprecations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from transformers import PreTrainedTokenizerBase

    from holdfast.dataset.messages import Message
    from holdfast.evaluation.generate import Cut, Pair
    from holdfast.evaluation.items import Item

BATCH = 64  # prompts generated together
ROWS = 128  # positions whose probabilities are summed up at once: 256 MiB for the largest vocabulary


class TransformersEngine:
    """An open model that answers.

    Args:
        model: The model, in transformers or in PEFT.
        tokenizer: The base's.
        borrowed: Whether the model is somebody else's, who goes on using it.

    Raises:
        UntrustedBundle: If neither model nor tokenizer names an end token.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, borrowed: bool) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._borrowed = borrowed
        self._words = words_of(tokenizer)
        self._context = int(model.config.get_text_config().max_position_embeddings)
        self._end = _end_tokens(model.generation_config.eos_token_id, tokenizer.eos_token_id)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._end[0]
        if not borrowed:
            model.eval()

    @classmethod
    def open(cls, model: Path, adapter: Path | None) -> Self:
        """Open a model's folder.

        Args:
            model: Folder of base and tokenizer.
            adapter: Folder of a PEFT adapter, or None.

        Returns:
            The engine.

        Raises:
            UntrustedBundle: If the libraries refuse a folder.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
            opened: Any = AutoModelForCausalLM.from_pretrained(
                model,
                dtype=torch.float32,
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
            if adapter is not None:
                from peft import PeftModel

                with without_deprecations():
                    opened = PeftModel.from_pretrained(opened, str(adapter), local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UntrustedBundle(
                "evaluation.model",
                f"The model can't be opened for evaluation: {error}.",
                remedy="Check that base and adapter are complete and belong together, then import them again.",
            ) from error
        return cls(opened.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, borrowed=False)

    @classmethod
    def over(cls, model: Any, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Answer with a model that is already open, such as one that is being trained.

        Args:
            model: The model, in transformers or in PEFT; it is left as it was found after every call.
            tokenizer: The base's.

        Returns:
            The engine; closing it does nothing to the model.
        """
        return cls(model, tokenizer, borrowed=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        prompts = [self._words.encode(self.render(item.messages)) for item in items]
        lengths = [len(one) for one in prompts]
        check_room(items, lengths, most, self._context)
        found = [""] * len(prompts)
        done = 0
        for group in batches(lengths, BATCH):
            with self._undisturbed():
                generated = self._generate([prompts[at] for at in group], most)
            for at, tokens in zip(group, generated, strict=True):
                found[at] = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
            done += len(group)
            progress(done)
        return found

    def loglikelihoods(self, pairs: Sequence[Pair]) -> list[float]:
        """Give how likely continuations are, each computed alone.

        Args:
            pairs: Contexts, each with a continuation.

        Returns:
            The log-likelihood of each continuation (natural logarithm).
        """
        cuts = [cut_pair(self._words, pair, self._context) for pair in pairs]
        with self._undisturbed():
            return [self._nats(cut) for cut in cuts]

    def costs(self, texts: Sequence[str], window: int, progress: Callable[[int], None]) -> list[float]:
        """Give how likely whole texts are.

        Args:
            texts: The texts.
            window: Tokens that one token is predicted from at most; no more are used than the model can hold.
            progress: Called with the number of texts done; may raise to stop.

        Returns:
            The log-likelihood of all tokens of each text (natural logarithm).
        """
        found: list[float] = []
        for text in texts:
            cuts = cut_text(self._words, text, min(window, self._context))
            with self._undisturbed():
                found.append(sum(self._nats(cut) for cut in cuts))
            progress(len(found))
        return found

    def close(self) -> None:
        """Let go of the model, which frees it if it was opened here."""
        del self._model

    def _nats(self, cut: Cut) -> float:
        given, predicted = cut
        tokens = torch.tensor([[*given, *predicted][:-1]], device=self._model.device)  # [1, s]
        logits = self._model(input_ids=tokens, use_cache=False, logits_to_keep=len(predicted)).logits[0]
        wanted = torch.tensor(predicted, device=logits.device)  # [p]
        total = 0.0
        for start in range(0, len(predicted), ROWS):
            rows = logits[start : start + ROWS].double()  # [r, V]
            taken = rows.gather(1, wanted[start : start + ROWS, None]).squeeze(1)
            total += float((taken - rows.logsumexp(dim=1)).sum())
        return total

    def _generate(self, prompts: Sequence[list[int]], most: int) -> list[list[int]]:
        width = max(len(one) for one in prompts)
        input_ids = torch.full((len(prompts), width), self._pad)  # [b, s]
        attention_mask = torch.zeros((len(prompts), width), dtype=torch.long)  # [b, s]
        for at, prompt in enumerate(prompts):
            input_ids[at, width - len(prompt) :] = torch.tensor(prompt)
            attention_mask[at, width - len(prompt) :] = 1
        settings = GenerationConfig(  # type: ignore[no-untyped-call]  # it has no type hints
            do_sample=False,
            max_new_tokens=most,
            eos_token_id=self._end,
            pad_token_id=self._pad,
            use_cache=True,
        )
        whole = self._model.generate(
            input_ids=input_ids.to(self._model.device),
            attention_mask=attention_mask.to(self._model.device),
            generation_config=settings,
        )
        return [_until_end(row[width:].tolist(), self._end) for row in whole]

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Compute without gradients; a borrowed model is afterwards as it was before."""
        if not self._borrowed:
            with torch.inference_mode():
                yield
            return
        # Not inference mode: a tensor made in it that stayed in a buffer could never again be part of a backward pass.
        modules = list(self._model.modules())
        modes = [one.training for one in modules]
        buffers = [dict(one._buffers) for one in modules]  # noqa: SLF001 - rotary embeddings put new ones into place
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        try:
            self._model.eval()
            with torch.random.fork_rng(devices=devices), torch.no_grad():
                yield
        finally:
            for one, mode, kept in zip(modules, modes, buffers, strict=True):
                one.training = mode
                one._buffers.clear()  # noqa: SLF001 - as above
                one._buffers.update(kept)  # noqa: SLF001 - as above


def _end_tokens(*given: int | list[int] | None) -> list[int]:
    found = [token for one in given if one is not None for token in (one if isinstance(one, list) else [one])]
    if not found:
        raise UntrustedBundle(
            "evaluation.no-end-token",
            "Neither the base nor its tokenizer names an end token, so no answer would end.",
            remedy="Name eos_token in the tokenizer's configuration and make the medium again.",
        )
    return sorted(set(found))


def _until_end(tokens: list[int], end: Sequence[int]) -> list[int]:
    """Cut an answer at its end token; what follows is padding, which some tokenizers do not count as special."""
    return next((tokens[:at] for at, token in enumerate(tokens) if token in end), tokens)
