"""What a GGUF conversion may produce and how true it must be to the model it came from. Pure.

Invariants:
    * An f16 GGUF whose token ids or logits differ from the original's beyond `MAX_LOGIT_DIFF` is never kept.
    * The bounds of the quantized types were measured on the starter base and carry a margin. A base of another making
      may exceed them; the figures are then reported with `within_bounds` false and the gate decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

F16 = "f16"

MAX_LOGIT_DIFF = 0.05  # largest |difference| of one logit, f16 GGUF against transformers in float32
MAX_TOKENIZER_BYTES = 64 * 2**20  # bytes of tokenizer.json; the largest open vocabularies have about 30 MiB
MAX_CONFIG_BYTES = 2**20  # bytes of config.json or adapter_config.json; real ones have a few KiB
MAX_PROBE_TEXTS = 4096  # texts a caller may give; more would only slow the measurement
CHUNK_TOKENS = (
    256  # tokens computed at once; bounds the memory for logits (150 MB at a vocabulary of 150,000)
)
MAX_PROBE_TOKENS = 2048  # tokens measured in all; the figures are stable from about there on

# The environment of a process that converts, set before transformers loads: no network, no home, no progress bars.
ENVIRONMENT: Mapping[str, str] = {
    "HF_HOME": "/tmp/hf",  # noqa: S108 - the worker's own, private /tmp
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TQDM_DISABLE": "1",
}

# Scripts, digits, spaces, line ends, contractions and combining marks: where tokenizers part ways.
PROBE_TEXTS = (
    "The fee is 12345.67 crowns; it's due 2031-04-05, isn't it? We'LL see.",
    "  two  leading\tand\ttabs \n\n\n and   trailing   ",
    "line one\r\nline two\n  indented\n\n",
    "Größe, ça été, naïveté, Đặng Thị, Ελληνικά, Русский язык, עברית, العربية",
    "हिन्दी में, ไทย, ខ្មែរ, 我想在苹果工作1314151天~, 日本語のテキスト, 한국어",
    "🚀 (normal) 😶‍🌫️ ✅ \U0001f999\U0001f999 ---===*** ''''``` ((a+b)**2) != {x: [1,2,3]}",
    "",
    " ",
)


@dataclass(frozen=True)
class Bound:
    """How far a quantized model may be from its f16 original on natural text.

    Attributes:
        kl: Largest mean Kullback-Leibler divergence per token, in nats.
        top1: Smallest share of positions at which both models put the same token first.
    """

    kl: float
    top1: float


# Measured on the starter base, 2,048 tokens, by
#     python scripts/gguf_fidelity.py bundles/starter/base bundles/starter/suites/{general,domain}/items.jsonl
#                                        general (what it was trained on)     domain (words new to it)
#     f16     largest logit difference   0.0058                               0.0142
#     q8_0    kl, top1                   0.00004, 0.983                       0.00035, 0.986
#     q4_k_m  kl, top1                   0.00115, 0.950                       0.02228, 0.906
# The bounds leave the worse of each about twice its distance from a perfect copy, or more.
BOUNDS: Mapping[str, Bound] = {
    "q8_0": Bound(kl=0.001, top1=0.965),
    "q4_k_m": Bound(kl=0.05, top1=0.85),
}


@dataclass(frozen=True)
class Closeness:
    """One quantized model, measured against its f16 original.

    Attributes:
        kl: Mean Kullback-Leibler divergence per token, in nats.
        top1: Share of positions with the same most likely token.
        bits_per_weight: Size of all tensors in bits over the number of weights.
        tokens: Number of positions measured.
    """

    kl: float
    top1: float
    bits_per_weight: float
    tokens: int

    def within(self, bound: Bound) -> bool:
        """Say whether the measurement keeps a bound.

        Args:
            bound: The bound.

        Returns:
            Whether both figures keep it.
        """
        return self.kl <= bound.kl and self.top1 >= bound.top1

    def to_json(self, quantization: str) -> dict[str, Json]:
        """Give the measurement as plain data.

        Args:
            quantization: Name of the type, for its bound.

        Returns:
            The figures and `within_bounds`.
        """
        return {
            "kl": self.kl,
            "top1": self.top1,
            "bits_per_weight": self.bits_per_weight,
            "tokens": self.tokens,
            "within_bounds": self.within(BOUNDS[quantization]),
        }
