"""Which quantization is kept when nobody names one: the smallest that keeps a stated floor. Pure.

Invariants: a file that was not measured, or whose figures are no numbers, keeps no floor; what is chosen depends on the
measured figures and the bounds alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.canonical import Json

# Measured where neither a type nor a floor was named; from the finest to the coarsest. One of each size that llama.cpp's
# makers recommend; the second row can only be made with an importance matrix.
CANDIDATES = ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "iq4_xs", "q3_k_m", "q2_k")
CALIBRATED = ("iq3_xxs", "iq2_m")


@dataclass(frozen=True)
class Floor:
    """How far a quantized model may be from its f16 original.

    The default was set on the starter base, 2,048 tokens: KL, top 1 of q8_0 are 0.00004, 0.983 on what it was trained on and
    0.00035, 0.986 on words new to it; of q4_k_m 0.00115, 0.950 and 0.02228, 0.906. It leaves q4_k_m twice its distance.

    Args:
        kl: Largest mean Kullback-Leibler divergence per token, in nats.
        top1: Smallest share of positions at which both models put the same token first.
        cosine: Smallest mean cosine of the two embeddings of a text, for a model that embeds.
    """

    kl: float = 0.05
    top1: float = 0.85
    cosine: float = 0.99

    def to_json(self) -> dict[str, Json]:
        """Give the floor as plain data.

        Returns:
            Its figures.
        """
        return {"kl": self.kl, "top1": self.top1, "cosine": self.cosine}


@dataclass(frozen=True)
class Closeness:
    """How close a quantized model is to its f16 original.

    Args:
        tokens: Tokens on which it was measured.
        kl: Mean Kullback-Leibler divergence per token, in nats; None for a model that embeds.
        top1: Share of positions with the same most likely token; None for a model that embeds.
        cosine: Mean cosine of the two embeddings of a text; None for any other model.
    """

    tokens: int
    kl: float | None = None
    top1: float | None = None
    cosine: float | None = None

    def keeps(self, floor: Floor) -> bool:
        """Say whether the measurement keeps a floor.

        Args:
            floor: The floor.

        Returns:
            Whether all its figures do.
        """
        if self.cosine is not None:
            return self.cosine >= floor.cosine
        return (
            self.kl is not None and self.top1 is not None and self.kl <= floor.kl and self.top1 >= floor.top1
        )

    def is_number(self) -> bool:
        """Say whether its figures are numbers.

        Returns:
            False if a model computed something else.
        """
        return all(math.isfinite(one) for one in (self.kl, self.top1, self.cosine) if one is not None)


@dataclass(frozen=True)
class Row:
    """One line of a model's quality table.

    Args:
        name: The type.
        size: Bytes of the file.
        bits: Bits per weight, over all tensors.
        closeness: How close it is to f16; None for f16 itself.
        prefill: Tokens per second read, as measured here.
        decode: Tokens per second written, as measured here; None for a model that embeds.
        score: What a suite gave, if one was asked for.
    """

    name: str
    size: int
    bits: float
    closeness: Closeness | None
    prefill: float
    decode: float | None
    score: float | None = None

    def to_json(self, floor: Floor) -> dict[str, Json]:
        """Give the line as plain data.

        Args:
            floor: The floor that it is compared with.

        Returns:
            Its figures.
        """
        found: dict[str, Json] = {
            "size": self.size,
            "bits_per_weight": round(self.bits, 4),
            "prefill": round(self.prefill, 1),
            "decode": None if self.decode is None else round(self.decode, 1),
        }
        if self.closeness is not None:
            figures = {"kl": self.closeness.kl, "top1": self.closeness.top1, "cosine": self.closeness.cosine}
            found |= {name: value for name, value in figures.items() if value is not None}
            found |= {"tokens": self.closeness.tokens, "within_floor": self.closeness.keeps(floor)}
        if self.score is not None:
            found["score"] = self.score
        return found


def fits(row: Row, floor: Floor, memory: int | None) -> bool:
    """Say whether a line may be chosen.

    Args:
        row: The line.
        floor: What it has to keep.
        memory: Most bytes of the file; None if any size will do.

    Returns:
        Whether it keeps both.
    """
    small = memory is None or row.size <= memory
    return small and row.closeness is not None and row.closeness.keeps(floor)


def choose(rows: Sequence[Row], floor: Floor, memory: int | None) -> Row | None:
    """Choose the smallest file that keeps the floor.

    Args:
        rows: The table.
        floor: What it has to keep.
        memory: Most bytes of the file; None if any size will do.

    Returns:
        The line, of two equally large the one that was measured first; None if none does.
    """
    return min((row for row in rows if fits(row, floor, memory)), key=lambda row: row.size, default=None)


def refusal(table: Mapping[str, Mapping[str, Json]], floor: Floor, memory: int | None) -> UntrustedRequest:
    """Refuse to choose where nothing keeps the floor.

    Args:
        table: The figures of each type that was measured, as ``Row.to_json`` gives them.
        floor: What it has to keep.
        memory: Most bytes of the file; None if any size will do.

    Returns:
        The error, not raised; its ``table`` has a line for each type.
    """
    wanted = f"KL of at most {floor.kl:g} nats and the same top token in {floor.top1:g} of all places"
    if any("cosine" in row for row in table.values()):
        wanted = f"a cosine of at least {floor.cosine:g}"
    size = "" if memory is None else f" within {memory} bytes"
    return UntrustedRequest(
        "quantize.none-keeps",
        f"None of the types that were measured keeps {wanted}{size}.",
        remedy="Allow more memory or a lower floor, calibrate with --calibration, or name the type with --type.",
        table=[f"{name}: {_told(row)}" for name, row in table.items()],
    )


def _told(row: Mapping[str, Json]) -> str:
    names = {"kl": "KL", "top1": "same top token", "cosine": "cosine"}
    figures = [
        f"{words} {value:.5g}" for name, words in names.items() if isinstance(value := row.get(name), float)
    ]
    return ", ".join([*figures, f"{row.get('size')} bytes"])
