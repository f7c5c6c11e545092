"""Every type to which llama.cpp quantizes a model. Pure.

A type is a mixture: most weights get its ``tensor`` type, some a finer one, by llama.cpp's rules for the places that suffer
most. Invariants: the names are llama.cpp's own in small letters; each is a type that ``llama_model_quantize`` of the pinned
source takes; ``bits`` are those of the tensor type, so what a file really has per weight is measured, not looked up here.

Source: llama.cpp ``include/llama.h`` (``enum llama_ftype``), ``src/llama-quant.cpp`` (``llama_ftype_get_default_type``,
``tensor_requires_imatrix``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest
from holdfast.formats import gguf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_OVERRIDES = 64  # patterns of one quantization
MAX_PATTERN = 200  # characters of one; the longest tensor name has 64


@dataclass(frozen=True)
class TensorType:
    """A type of one tensor.

    Args:
        number: llama.cpp's ``ggml_type``.
        bits: Bits per weight.
    """

    number: int
    bits: float


@dataclass(frozen=True)
class Quantization:
    """A type of a whole model.

    Args:
        name: Its name.
        file_type: llama.cpp's ``llama_ftype``.
        tensor: Type of most tensors.
        calibrated: Whether llama.cpp makes it with an importance matrix alone.
    """

    name: str
    file_type: int
    tensor: str
    calibrated: bool = False

    @property
    def bits(self) -> float:
        """Bits per weight of most tensors."""
        return TENSORS[self.tensor].bits


# By name, all in which llama.cpp's quantizer writes matrices: not what only computations use, nor NVFP4, of which it makes no file.
TENSORS: Mapping[str, TensorType] = {
    name.lower(): TensorType(number, size * 8 / block)
    for number, (name, block, size) in gguf.TYPES.items()
    if name not in {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64", "NVFP4"}
}

# From the finest to the coarsest.
ALL: tuple[Quantization, ...] = (
    Quantization("f32", 0, "f32"),
    Quantization("f16", 1, "f16"),
    Quantization("bf16", 32, "bf16"),
    Quantization("q8_0", 7, "q8_0"),
    Quantization("q6_k", 18, "q6_k"),
    Quantization("q5_1", 9, "q5_1"),
    Quantization("q5_k_m", 17, "q5_k"),
    Quantization("q5_k_s", 16, "q5_k"),
    Quantization("q5_0", 8, "q5_0"),
    Quantization("q4_1", 3, "q4_1"),
    Quantization("q4_k_m", 15, "q4_k"),
    Quantization("q4_k_s", 14, "q4_k"),
    Quantization("iq4_nl", 25, "iq4_nl"),
    Quantization("q4_0", 2, "q4_0"),
    Quantization("iq4_xs", 30, "iq4_xs"),
    Quantization("mxfp4_moe", 38, "mxfp4"),  # experts alone; a model without any gets q8_0 throughout
    Quantization("q3_k_l", 13, "q3_k"),
    Quantization("q3_k_m", 12, "q3_k"),
    Quantization("iq3_m", 27, "iq3_s"),
    Quantization("iq3_s", 26, "iq3_s"),
    Quantization("q3_k_s", 11, "q3_k"),
    Quantization("iq3_xs", 22, "iq3_s", calibrated=True),
    Quantization("iq3_xxs", 23, "iq3_xxs", calibrated=True),
    Quantization("q2_k", 10, "q2_k"),
    Quantization("q2_k_s", 21, "q2_k", calibrated=True),
    Quantization("iq2_m", 29, "iq2_s", calibrated=True),
    Quantization("iq2_s", 28, "iq2_xs", calibrated=True),
    Quantization("iq2_xs", 20, "iq2_xs", calibrated=True),
    Quantization("q2_0", 41, "q2_0"),
    Quantization("tq2_0", 37, "tq2_0"),
    Quantization("iq2_xxs", 19, "iq2_xxs", calibrated=True),
    Quantization("iq1_m", 31, "iq1_m", calibrated=True),
    Quantization("tq1_0", 36, "tq1_0"),
    Quantization("iq1_s", 24, "iq1_s", calibrated=True),
    Quantization("q1_0", 40, "q1_0"),
)
NAMES: tuple[str, ...] = tuple(one.name for one in ALL)
_BY_NAME = {one.name: one for one in ALL}


def find(name: str) -> Quantization:
    """Find a type.

    Args:
        name: Its name; llama.cpp's capital letters will do.

    Returns:
        The type.

    Raises:
        UntrustedRequest: If there is none of that name.
    """
    found = _BY_NAME.get(name.lower())
    if found is None:
        raise UntrustedRequest(
            "quantize.type",
            f"There is no quantization {name[:40]!r}.",
            remedy=f"Name one of: {', '.join(NAMES)}.",
        )
    return found


@dataclass(frozen=True)
class Override:
    """A type of its own for some tensors.

    Args:
        pattern: Names of tensors; ``*`` stands for any characters, ``?`` for one.
        tensor: Their type.
    """

    pattern: str
    tensor: str


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """Read overrides as people write them.

    Args:
        texts: Each ``PATTERN=TYPE``; of two that match a tensor the first counts.

    Returns:
        The overrides.

    Raises:
        UntrustedRequest: If one is malformed, names no type of tensors, or there are too many.
    """
    found = []
    for text in texts:
        pattern, equals, tensor = text.rpartition("=")
        if not equals or not 0 < len(pattern) <= MAX_PATTERN or tensor.lower() not in TENSORS:
            raise UntrustedRequest(
                "quantize.override",
                f"The override {text[:80]!r} is not PATTERN=TYPE.",
                remedy=f"Write blk.*.ffn_down.weight=q6_k; a tensor's type is one of {', '.join(TENSORS)}.",
            )
        found.append(Override(pattern, tensor.lower()))
    if len(found) > MAX_OVERRIDES:
        raise UntrustedRequest(
            "quantize.override",
            f"There are {len(found)} overrides; {MAX_OVERRIDES} are allowed.",
            remedy="Join patterns with * and ?.",
        )
    return tuple(found)
