"""Greedy answers of a model in transformers, with or without a PEFT adapter.

Invariants: computed in float32, where the company of a prompt in its batch moves logits by about 1e-6 only; prompts are
padded on the left, and padding is masked; nothing of the model's folder is run as code, nothing is asked of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from holdfast.errors import UntrustedBundle
from holdfast.evaluation.generate import batches, check_room
from holdfast.training.environment import without_deprecations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from holdfast.evaluation.spec import Suite

BATCH = 64  # prompts generated together


class TransformersEngine:
    """A model folder, opened to answer.

    Args:
        model: Folder of base and tokenizer.
        adapter: Folder of a PEFT adapter, or None.

    Raises:
        UntrustedBundle: If the libraries refuse a folder.
    """

    def __init__(self, model: Path, adapter: Path | None) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                model, local_files_only=True, trust_remote_code=False
            )
            self._model: Any = AutoModelForCausalLM.from_pretrained(
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
                    self._model = PeftModel.from_pretrained(self._model, str(adapter), local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UntrustedBundle(
                "evaluation.model",
                f"The model can't be opened for evaluation: {error}.",
                remedy="Check that base and adapter are complete and belong together, then import them again.",
            ) from error
        self._model.eval()
        self._context = int(self._model.config.max_position_embeddings)
        self._end = _end_tokens(self._model.generation_config.eos_token_id, self._tokenizer.eos_token_id)
        self._pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._end[0]

    def answers(self, suite: Suite, progress: Callable[[int], None]) -> list[str]:
        """Answer every item of a suite greedily.

        Args:
            suite: The suite.
            progress: Called with the number of items done; may raise to stop.

        Returns:
            One answer per item, in the suite's order, without special tokens.
        """
        prompts = [
            self._tokenizer.encode(
                self._tokenizer.apply_chat_template(
                    [{"role": one.role, "content": one.content} for one in item.messages],
                    add_generation_prompt=True,
                    tokenize=False,
                ),
                add_special_tokens=False,
            )
            for item in suite.items
        ]
        lengths = [len(one) for one in prompts]
        check_room(suite, lengths, self._context)
        found = [""] * len(prompts)
        done = 0
        for group in batches(lengths, BATCH):
            generated = self._generate([prompts[at] for at in group], suite.spec.generation.max_new_tokens)
            for at, tokens in zip(group, generated, strict=True):
                found[at] = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
            done += len(group)
            progress(done)
        return found

    def close(self) -> None:
        """Free the model."""
        del self._model

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
        with torch.inference_mode():
            whole = self._model.generate(
                input_ids=input_ids, attention_mask=attention_mask, generation_config=settings
            )
        return [_until_end(row[width:].tolist(), self._end) for row in whole]


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
