"""The original model in transformers: what a GGUF is compared with.

Invariants: weights are widened to float32, no code of the model's folder runs, and nothing is asked of the network.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Self

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from holdfast.errors import UntrustedBundle
from holdfast.formats.pooling import Pooling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from peft import PeftModel
    from transformers import PreTrainedModel


class Reference:
    """A model folder opened with transformers.

    Args:
        model: Folder of the base; its tokenizer is only read when it is used.
        threads: Threads to compute with.
        pools: How it makes one vector of a text, if it embeds; it is then opened without a head.

    Raises:
        UntrustedBundle: If transformers refuses the folder.
    """

    def __init__(self, model: Path, threads: int, *, pools: Pooling | None = None) -> None:
        self._model: PreTrainedModel | PeftModel
        torch.set_num_threads(threads)
        self._folder = model
        self._pools = pools
        opened = AutoModelForCausalLM if pools is None else AutoModel
        try:
            # In evaluation mode, as transformers loads models.
            self._model = opened.from_pretrained(
                model,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise _refused(model, error) from error
        self.context: int = self._model.config.max_position_embeddings

    @functools.cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        try:
            found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise _refused(self._folder, error) from error
        return found

    def with_adapter(self, adapter: Path) -> Self:
        """Apply a LoRA adapter to all later calls.

        Args:
            adapter: Folder of the adapter.

        Returns:
            This model.

        Raises:
            UntrustedBundle: If PEFT refuses the adapter for this base.
        """
        from peft import PeftModel

        try:
            self._model = PeftModel.from_pretrained(self._model, str(adapter), local_files_only=True).eval()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UntrustedBundle(
                "gguf.original-adapter",
                f"PEFT refuses the adapter {adapter.name} for this base: {error}.",
                remedy="Apply the adapter to the base that it was trained on.",
            ) from error
        return self

    def special_tokens(self) -> list[str]:
        """List the tokens that are written out in text and read as one.

        Returns:
            Their texts.
        """
        return sorted(self._tokenizer.get_added_vocab())

    def token_ids(self, text: str) -> list[int]:
        """Tokenize with the tokenizer's own rules for begin and end.

        Args:
            text: Any text.

        Returns:
            The token ids.
        """
        return list(self._tokenizer(text)["input_ids"])

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Compute the logits after every token of one text.

        Args:
            tokens: Token ids, at least one.

        Returns:
            Array [tokens, vocabulary] of float32.
        """
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = (
                self._model(torch.tensor([list(tokens)])).logits[0].float().numpy()
            )
        return found

    def embedding(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Compute the embedding of one text.

        Args:
            tokens: Token ids, at least one.

        Returns:
            Array [dimensions] of float32, of length one.
        """
        with torch.inference_mode():
            hidden = self._model(torch.tensor([list(tokens)])).last_hidden_state[0].float()
        pooled = hidden.mean(dim=0)
        if self._pools is not Pooling.MEAN:
            pooled = hidden[-1 if self._pools is Pooling.LAST else 0]
        found: npt.NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=0).numpy()
        return found


def _refused(model: Path, error: Exception) -> UntrustedBundle:
    return UntrustedBundle(
        "gguf.original",
        f"transformers refuses {model.name}: {error}.",
        remedy="Check that the model is complete, then import it again.",
    )
