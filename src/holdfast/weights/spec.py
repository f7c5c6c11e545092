"""What merging an adapter promises and may cost. Pure.

Invariants:
    * The same base, adapter and bound give the same bytes.
    * Tensors keep the base's element type; the arithmetic is in float32.
    * A merged model whose next-token distributions are not those of base and adapter is never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.canonical import Json

CONFIG = "config.json"
GENERATION = "generation_config.json"
INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
# Options of peft that change what a LoRA computes, beyond rank, alpha, rsLoRA and DoRA: what has one is neither merged nor
# converted to GGUF, which holds two matrices and one scale.
EXTENSIONS = (
    "modules_to_save", "use_qalora", "use_bdlora", "rank_pattern", "alpha_pattern", "lora_bias", "layer_replication",
    "trainable_token_indices", "alora_invocation_tokens", "invocation_string", "fan_in_fan_out", "ensure_weight_tying",
)  # fmt: skip
MAX_SHARD = 4 * 2**30  # bytes of tensors per file: any file system and copy tool can carry it
MIN_SHARD = 4096  # bytes; smaller bounds would make thousands of files
MAX_KL = 0.01  # nats per token from base with adapter to the merged model; bf16 rounding gives about 0.0001
MAX_SHARE = 0.1  # of the adapter's own effect, by the same measure: more would be lost in rounding than the adapter is worth
MIN_KL = 1e-6  # nats per token; below it two models are the same, and a share of less says nothing
MAX_EXACT_DIFF = 0.01  # largest difference of one logit where the weights are float32 and nothing was rounded
PROBE_TOKENS = 512  # compared; the logits of all are held at once (300 MB at a vocabulary of 150,000)


@dataclass(frozen=True)
class Likeness:
    """A merged model, measured against its base with the adapter applied.

    Args:
        difference: Largest absolute difference of one logit.
        kl: Mean Kullback-Leibler divergence per token, in nats.
        effect: The same divergence of the base alone: what the adapter does at all.
        tokens: Positions measured.
    """

    difference: float
    kl: float
    effect: float
    tokens: int

    def holds(self, *, exact: bool) -> bool:
        """Say whether the merged model may stand for the two it was made from.

        Args:
            exact: Whether its weights are float32.

        Returns:
            Whether the bounds are kept; False if a figure is not a number.
        """
        most = min(MAX_KL, max(MAX_SHARE * self.effect, MIN_KL))
        return self.kl <= most and (not exact or self.difference <= MAX_EXACT_DIFF)

    def to_json(self) -> dict[str, Json]:
        """Give the figures as plain data.

        Returns:
            ``max_logit_diff``, ``kl``, ``adapter_kl`` and ``tokens``.
        """
        return {
            "max_logit_diff": self.difference,
            "kl": self.kl,
            "adapter_kl": self.effect,
            "tokens": self.tokens,
        }
