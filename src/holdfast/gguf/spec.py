"""What a GGUF conversion may produce and how true it must be to the model it came from. Pure.

Invariant: an f16 GGUF whose token ids differ from the original's, or whose logits do beyond `MAX_LOGIT_DIFF`, or whose
embeddings beyond `MIN_COSINE`, is never kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

F16 = "f16"

MAX_LOGIT_DIFF = 0.05  # largest |difference| of one logit, f16 GGUF against transformers in float32
MIN_COSINE = 0.9995  # smallest cosine of a text's embeddings, f16 GGUF and transformers in float32
MAX_TOKENIZER_BYTES = 64 * 2**20  # bytes of tokenizer.json; the largest open vocabularies have about 30 MiB
MAX_CONFIG_BYTES = 2**20  # bytes of config.json or adapter_config.json; real ones have a few KiB
MAX_PROBE_TEXTS = 4096  # texts a caller may give; more would only slow the measurement
CHUNK_TOKENS = 256  # tokens computed at once; bounds the memory for logits (150 MB at 150,000 tokens)
MAX_PROBE_TOKENS = 2048  # tokens measured in all; the figures are stable from about there on

# Below this size one thread computes as fast as several: a step is shorter than llama.cpp's threads wait for one another.
ONE_THREAD_BYTES = 256 * 2**20

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
