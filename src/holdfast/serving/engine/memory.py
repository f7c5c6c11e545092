"""What serving a model will take, from the header of its file and before llama.cpp opens it. Pure.

Three parts: the weights; for each context the keys and values of every token of every sequence; for each context what a step
needs while it is computed. The last is an estimate from above: the largest step's scores, masks and intermediate results of
one layer. Invariant: every figure is a whole number of bytes.

Source: llama.cpp, ``llama_kv_cache`` for the cache; ggml's block sizes by ``formats.gguf.TYPES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import NoSpace, UntrustedBundle
from holdfast.formats.gguf import TYPES
from holdfast.serving.engine.prefix import rows_of, slots_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.formats.gguf import Header
    from holdfast.serving.spec import Limits, ModelSpec

MIB = 2**20
MAX_INPUT = 2048  # tokens of a text that is embedded; attention takes their square times heads times 4 bytes
CELLS = 256  # of a sequence; llama.cpp rounds up to as many
FLOAT = 4  # bytes of an intermediate result
HALF = 2  # bytes of a float16
MASK = 6  # bytes of a mask's element: float32, and float16 for the flash kernels
LAYER = 6  # intermediate results of one layer, as wide as the model, that live at once
INNER = 3  # and those as wide as its feed-forward part
FIXED = 48 * MIB  # of the process itself: libraries, vocabulary, buffers of Python
MIN_CONTEXT = 16  # tokens; no shorter context is served


@dataclass(frozen=True)
class Shape:
    """A model's dimensions, as far as memory goes.

    Args:
        layers: Of the model.
        width: Of what a layer hands on.
        inner: Of its feed-forward part.
        keys: Elements of one token's keys in one layer; values have as many.
        heads: Of attention in a layer.
        vocabulary: V.
        weights: Bytes of all tensors.
        generates: Whether it can continue a text.
        embeds: Whether it gives embeddings.
    """

    layers: int
    width: int
    inner: int
    keys: int
    heads: int
    vocabulary: int
    weights: int
    generates: bool = True
    embeds: bool = False


@dataclass(frozen=True)
class Need:
    """What serving takes, in bytes.

    Args:
        weights: Shared by all contexts.
        cache: Keys and values of one context.
        compute: What a step of one context needs.
        embedding: What embeddings need.
    """

    weights: int
    cache: int
    compute: int
    embedding: int

    @property
    def context(self) -> int:
        """Of one context."""
        return self.cache + self.compute

    @property
    def total(self) -> int:
        """Of the model with one context."""
        return self.weights + self.context + self.embedding

    def plain(self, contexts: int, adapters: int) -> dict[str, Json]:
        """Give the figures for so many contexts.

        Args:
            contexts: That exist.
            adapters: Bytes of all adapters, which count as weights.

        Returns:
            ``weights``, ``cache``, ``compute`` and ``total``.
        """
        weights, cache = self.weights + adapters, self.cache * contexts
        compute = self.compute * contexts + self.embedding
        return {"weights": weights, "cache": cache, "compute": compute, "total": weights + cache + compute}


def shape(header: Header, name: str) -> Shape:
    """Read a model's dimensions.

    Args:
        header: Of its file.
        name: The model's, for messages.

    Returns:
        The dimensions.

    Raises:
        UntrustedBundle: If one is not there.
    """
    architecture = header.values.get("general.architecture")
    family = "" if architecture is None else str(architecture.data)

    def data(key: str) -> object:
        value = header.values.get(f"{family}.{key}")
        return None if value is None else value.data

    def number(key: str, default: int | None = None) -> int:
        found = data(key)
        if found is None:
            found = default
        if isinstance(found, tuple):
            found = max((one for one in found if isinstance(one, int)), default=None)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise UntrustedBundle(
                "serve.model",
                f"The model {name} does not say its {family}.{key}, so nobody knows what it takes.",
                remedy="Import the model again; this file is damaged or not a model.",
            )
        return found

    width, heads = number("embedding_length"), number("attention.head_count")
    head = number("attention.key_length", max(width // heads, 1))
    tokens = header.values.get("tokenizer.ggml.tokens")
    return Shape(
        layers=number("block_count"),
        width=max(width, heads * head),
        inner=number("feed_forward_length"),
        keys=number("attention.head_count_kv", heads) * head,
        heads=heads,
        vocabulary=len(tokens.data) if tokens is not None and isinstance(tokens.data, tuple) else 0,
        weights=sum(tensor.size for tensor in header.tensors),
        generates=data("attention.causal") is not False,
        embeds=bool(data("pooling_type")),
    )


def need(of: Shape, model: ModelSpec, parallel: int) -> Need:
    """Estimate what serving takes.

    Args:
        of: The model's dimensions.
        model: How it is to be served.
        parallel: Sequences of a context.

    Returns:
        The estimate.
    """
    slots, rows = slots_of(parallel), rows_of(parallel)
    length = -(-model.context // CELLS) * CELLS
    _, elements, size = next(entry for entry in TYPES.values() if entry[0] == model.kv.upper())
    cache = 2 * of.layers * length * slots * -(-of.keys // elements) * size
    scores = 2 * rows * of.vocabulary * FLOAT  # in the graph, and where they are read
    step = rows * (LAYER * of.width + INNER * of.inner + 2 * of.keys) * FLOAT
    # llama.cpp writes most matrices anew for the processor's own kernels; beside them the mapped file is read again from the
    # disk if memory is short, but not where it is kept from being swapped out.
    weights = of.weights * (2 if model.mmap and model.mlock else 1)
    embedding = 0
    if of.embeds:  # without the flash kernels: every token's scores of every other
        inputs = min(model.context, MAX_INPUT)
        wide = LAYER * of.width + INNER * of.inner + 2 * of.keys
        embedding = inputs * (inputs * of.heads + wide) * FLOAT + inputs * of.layers * 2 * of.keys * HALF
    if not of.generates:
        return Need(weights + FIXED, 0, 0, embedding)
    return Need(weights + FIXED, cache, scores + step + rows * length * MASK, embedding)


def check(of: Shape, model: ModelSpec, limits: Limits, budget: int) -> Need:
    """Refuse what does not fit.

    Args:
        of: The model's dimensions.
        model: What is to be served.
        limits: How much side by side.
        budget: Bytes that it may take.

    Returns:
        What it takes.

    Raises:
        NoSpace: With the numbers, and with what would fit.
    """
    needed = need(of, model, limits.parallel)
    if needed.total <= budget:
        return needed
    longest = _largest(
        model.context,
        lambda context: (
            need(of, model.model_copy(update={"context": context}), limits.parallel).total <= budget
        ),
    )
    most = _largest(limits.parallel, lambda parallel: need(of, model, parallel).total <= budget)
    fits = [f"a context of {longest} tokens"] if longest >= MIN_CONTEXT else []
    fits += [f"{most} answers side by side"] if most else []
    raise NoSpace(
        "serve.memory",
        f"{model.id} takes {mib(needed.weights)} for its weights, {mib(needed.cache)} for the keys and values of "
        f"{limits.parallel} sequences of {model.context} tokens and {mib(needed.compute)} to compute: "
        f"{mib(needed.total)}, and {mib(budget)} are allowed.",
        remedy=f"Serve it with {' or with '.join(fits)}, or allow more memory."
        if fits
        else "Allow more memory, or serve a smaller quantization.",
        needed_bytes=needed.total,
        budget_bytes=budget,
        longest_context=longest,
        most_parallel=most,
    )


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """Find the largest number up to a bound that fits, if smaller ones do too; 0 if none does."""
    least, most = 0, below
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least


def mib(size: int) -> str:
    """Write a size for people.

    Args:
        size: Bytes.

    Returns:
        Whole MiB.
    """
    return f"{size / MIB:,.0f} MiB"
