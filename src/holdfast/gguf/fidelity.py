"""How true a GGUF is to the model it came from: token ids, logits, divergence, embeddings.

Order of operations: tokenize the probe texts with both and compare ids; lay the texts out in chunks within a budget; compare,
chunk by chunk, f16 with the original and each quantized model with f16. Only one chunk's logits are held in memory at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedBundle, VerificationFailed
from holdfast.gguf import spec
from holdfast.gguf.choice import Closeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from holdfast.gguf.model import GgufModel
    from holdfast.gguf.reference import Reference

    Logits = Callable[[Sequence[int]], npt.NDArray[np.float32]]
    Embedding = Callable[[Sequence[int]], npt.NDArray[np.float32]]


def check_token_ids(
    reference: Reference,
    gguf: GgufModel,
    texts: Iterable[str],
    reproduces: Callable[[str], bool] = lambda _: True,
) -> int:
    """Compare the token ids of both tokenizers on texts and on every special token.

    Args:
        reference: The original.
        gguf: The converted model.
        texts: Probe texts.
        reproduces: Says whether llama.cpp can give a text the original's ids at all; without it, of each text.

    Returns:
        How many texts were left out, because it can't.

    Raises:
        UntrustedBundle: At the first text whose ids differ.
    """
    left_out = 0
    specials = [f"a{token} b{token}{token}\n" for token in reference.special_tokens()]
    for text in [*spec.PROBE_TEXTS, *specials, *texts]:
        if not reproduces(text):
            left_out += 1
            continue
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
    return left_out


def chunks(
    token_ids: Callable[[str], list[int]],
    context: int,
    texts: Iterable[str],
    most: int = spec.MAX_PROBE_TOKENS,
) -> list[list[int]]:
    """Tokenize texts and lay them end to end in chunks: few long computations instead of many short ones.

    Args:
        token_ids: The tokenizer.
        context: Tokens that the model can hold.
        texts: Probe texts; without any, the built-in ones are used.
        most: Tokens in all.

    Returns:
        Token ids, `CHUNK_TOKENS` per chunk (fewer where the model's context is shorter, and in the last one), at most
        `most` in all.
    """
    ids: list[int] = []
    for text in list(texts) or spec.PROBE_TEXTS:
        ids += token_ids(text)
        if len(ids) >= most:
            break
    del ids[most:]
    size = min(spec.CHUNK_TOKENS, context)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def whole_texts(
    token_ids: Callable[[str], list[int]],
    context: int,
    texts: Iterable[str],
    most: int = spec.MAX_PROBE_TOKENS,
) -> list[list[int]]:
    """Tokenize texts one by one, as an embedding wants them.

    Args:
        token_ids: The tokenizer.
        context: Tokens that the model can hold.
        texts: Probe texts; without any, the built-in ones are used.
        most: Tokens in all.

    Returns:
        Token ids of each text that fits; at least of one.
    """
    found: list[list[int]] = []
    room = min(spec.CHUNK_TOKENS, context)
    for text in [*texts, *spec.PROBE_TEXTS]:
        ids = token_ids(text)
        if 0 < len(ids) <= room and sum(map(len, found)) + len(ids) <= most:
            found.append(ids)
    return found


def check_embeddings(
    reference: Embedding, converted: Embedding, texts: Iterable[Sequence[int]], what: str
) -> float:
    """Compare the embeddings of a converted model with the original's, and refuse it if they are off.

    Args:
        reference: Gives the original's embedding [dimensions], of length one, of token ids.
        converted: The same, of the converted model.
        texts: Token ids of each text, at least one text.
        what: Name of the converted file, for the message.

    Returns:
        The smallest cosine of the two embeddings of a text.

    Raises:
        VerificationFailed: If it is below `MIN_COSINE` or not a number.
    """
    found = float(np.min([reference(tokens) @ converted(tokens) for tokens in texts]))
    if not found >= spec.MIN_COSINE:
        raise _wrong(
            f"An embedding of {what} has a cosine of {found:.5f} with the original's; {spec.MIN_COSINE} is needed"
        )
    return found


def largest_difference(reference: Logits, converted: Logits, probes: Iterable[Sequence[int]]) -> float:
    """Compare the logits of a converted model with the original's.

    Args:
        reference: Gives the original's logits [tokens, vocabulary] of token ids.
        converted: The same, of the converted model.
        probes: Token ids of each chunk, at least one chunk.

    Returns:
        The largest absolute difference of any logit; NaN if there is a NaN.
    """
    return float(np.max([np.abs(reference(tokens) - converted(tokens)).max() for tokens in probes]))


class Baseline:
    """What the f16 model computes, kept on disk for one quantized model after the other to be compared with.

    Args:
        f16: Gives the logits [tokens, vocabulary] of token ids.
        probes: Token ids of each chunk, at least one chunk.
        vocabulary: Length of one row of logits.
        file: Where they are kept; four bytes for each token and each piece of the vocabulary.
    """

    def __init__(self, f16: Logits, probes: Sequence[Sequence[int]], vocabulary: int, file: Path) -> None:
        self._probes = probes
        self.tokens = sum(map(len, probes))
        self._rows = np.memmap(file, dtype=np.float32, mode="w+", shape=(self.tokens, vocabulary))
        at = 0
        for tokens in probes:
            self._rows[at : at + len(tokens)] = f16(tokens)
            at += len(tokens)

    def compare(self, model: Logits) -> Closeness:
        """Compare a quantized model with it.

        Args:
            model: Gives the logits [tokens, vocabulary] of token ids.

        Returns:
            The mean KL divergence from f16, and the share of equal most likely tokens.
        """
        divergence, agreed, at = 0.0, 0, 0
        for tokens in self._probes:
            wanted = log_softmax(self._rows[at : at + len(tokens)])
            found = log_softmax(model(tokens))
            divergence += float((np.exp(wanted) * (wanted - found)).sum())
            agreed += int((wanted.argmax(axis=1) == found.argmax(axis=1)).sum())
            at += len(tokens)
        return Closeness(self.tokens, kl=divergence / self.tokens, top1=agreed / self.tokens)


class EmbeddingBaseline:
    """The embeddings of the f16 model, for one quantized model after the other to be compared with.

    Args:
        f16: Gives the embedding [dimensions], of length one, of token ids.
        probes: Token ids of each text, at least one text.
    """

    def __init__(self, f16: Embedding, probes: Sequence[Sequence[int]]) -> None:
        self._probes = probes
        self.tokens = sum(map(len, probes))
        self._found = [f16(tokens) for tokens in probes]

    def compare(self, model: Embedding) -> Closeness:
        """Compare a quantized model with it.

        Args:
            model: Gives the embedding [dimensions], of length one, of token ids.

        Returns:
            The mean cosine of the two embeddings of a text.
        """
        cosines = [
            float(wanted @ model(tokens)) for wanted, tokens in zip(self._found, self._probes, strict=True)
        ]
        return Closeness(self.tokens, cosine=sum(cosines) / len(cosines))


def check_logits(difference: float, what: str) -> None:
    """Refuse a conversion whose logits are off.

    Args:
        difference: The difference that `largest_difference` gave.
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
