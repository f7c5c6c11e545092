"""How true a GGUF is to the model it came from: token ids, logits, divergence.

Order of operations: tokenize the probe texts with both and compare ids; lay the texts out in chunks within a budget; compare,
chunk by chunk, f16 with the original and each quantized model with f16. Only one chunk's logits are held at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedBundle, VerificationFailed
from holdfast.gguf import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    Logits = Callable[[Sequence[int]], npt.NDArray[np.float32]]


def check_token_ids(reference: Reference, gguf: GgufModel, texts: Iterable[str]) -> None:
    """Compare the token ids of both tokenizers on texts and on every special token.

    Args:
        reference: The original.
        gguf: The converted model.
        texts: Probe texts.

    Raises:
        UntrustedBundle: At the first text whose ids differ.
    """
    specials = [f"a{token} b{token}{token}\n" for token in reference.special_tokens()]
    for text in [*spec.PROBE_TEXTS, *specials, *texts]:
        wanted, found = reference.token_ids(text), gguf.token_ids(text)
        if wanted != found:
            first = next(
                (i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), len(wanted)
            )
            raise UntrustedBundle(
                "gguf.token-ids",
                f"llama.cpp tokenizes {text[:60]!r} differently from the original, from token {first} on.",
                remedy="This tokenizer cannot be served from GGUF; use a base with another tokenizer.",
                wanted=wanted[first : first + 8],
                found=found[first : first + 8],
            )


def chunks(reference: Reference, texts: Iterable[str]) -> list[list[int]]:
    """Tokenize texts and lay them end to end in chunks: few long computations instead of many short ones.

    Args:
        reference: The original.
        texts: Probe texts; without any, the built-in ones are used.

    Returns:
        Token ids, `CHUNK_TOKENS` per chunk (fewer where the model's context is shorter, and in the last one), at most
        `MAX_PROBE_TOKENS` in all.
    """
    ids: list[int] = []
    for text in list(texts) or spec.PROBE_TEXTS:
        ids += reference.token_ids(text)
        if len(ids) >= spec.MAX_PROBE_TOKENS:
            break
    del ids[spec.MAX_PROBE_TOKENS :]
    size = min(spec.CHUNK_TOKENS, reference.context)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def measure(
    reference: Logits, f16: Logits, quantized: Mapping[str, GgufModel], probes: Iterable[Sequence[int]]
) -> tuple[float, dict[str, spec.Closeness]]:
    """Measure the f16 model against the original, and the quantized models against f16, in one pass.

    Args:
        reference: Gives the original's logits [tokens, vocabulary] of token ids.
        f16: The same, of the f16 GGUF.
        quantized: The quantized models by name of their type; may be empty.
        probes: Token ids of each chunk, at least one chunk.

    Returns:
        The largest absolute difference of any f16 logit from the original's (NaN if there is a NaN), and for each
        quantized model the mean KL divergence from f16, top-1 agreement and bits per weight.

    Raises:
        VerificationFailed: If a quantized model's logits are not numbers.
    """
    differences, count = [], 0
    divergence, agreed = dict.fromkeys(quantized, 0.0), dict.fromkeys(quantized, 0)
    for tokens in probes:
        original, converted = reference(tokens), f16(tokens)
        differences.append(float(np.abs(original - converted).max()))
        count += len(tokens)
        wanted = log_softmax(converted)
        for name, model in quantized.items():
            found = log_softmax(model.logits(tokens))
            divergence[name] += float((np.exp(wanted) * (wanted - found)).sum())
            agreed[name] += int((wanted.argmax(axis=1) == found.argmax(axis=1)).sum())
    measured = {
        name: spec.Closeness(divergence[name] / count, agreed[name] / count, model.bits_per_weight(), count)
        for name, model in quantized.items()
    }
    for name, one in measured.items():
        if not math.isfinite(one.kl):
            raise _wrong(f"The logits of {name} are not numbers")
    return float(np.max(differences)), measured


def check_logits(difference: float, what: str) -> None:
    """Refuse a conversion whose logits are off.

    Args:
        difference: The difference that `measure` gave.
        what: Name of the converted file, for the message.

    Raises:
        VerificationFailed: If the difference is above `MAX_LOGIT_DIFF` or not a number.
    """
    if not math.isfinite(difference):
        raise _wrong(f"The logits of {what}, or the original's, are not numbers")
    if difference > spec.MAX_LOGIT_DIFF:
        limit = spec.MAX_LOGIT_DIFF
        raise _wrong(
            f"The logits of {what} differ by {difference:.4f} from the original's; {limit} is allowed"
        )


def _wrong(why: str) -> VerificationFailed:
    return VerificationFailed(
        "gguf.logits",
        f"{why}.",
        remedy="Do not serve it; report the model's architecture to the maintainers.",
    )


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Turn logits into logarithms of probabilities.

    Args:
        logits: Array [tokens, vocabulary].

    Returns:
        Array [tokens, vocabulary] of float64.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normal: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normal
