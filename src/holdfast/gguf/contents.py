"""What is in a GGUF file: read with our own reader, judged as at an import, compared with what was asked for.

Invariants: llama.cpp is given exact names of tensors, never a pattern of a user's; each tensor that an override names has the
type that it names afterwards, or nothing is kept.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, NamedTuple

from holdfast.artefact import Kind
from holdfast.errors import UntrustedRequest
from holdfast.formats import gguf, inspection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from holdfast.gguf.quantizations import Override

_MATRIX = 2  # dimensions


class Contents(NamedTuple):
    """What our own reader finds in a file.

    Args:
        tensors: Its tensors.
        size: Bytes of the file.
    """

    tensors: tuple[gguf.Tensor, ...]
    size: int

    @property
    def bits_per_weight(self) -> float:
        """Average size of one weight, in bits."""
        weights = 0
        for tensor in self.tensors:
            count = 1
            for length in tensor.shape:
                count *= length
            weights += count
        return sum(tensor.size for tensor in self.tensors) * 8 / weights

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the matrices of its layers."""
        return tuple(
            tensor.name
            for tensor in self.tensors
            if tensor.name.startswith("blk.") and tensor.name.endswith(".weight") and _is_matrix(tensor)
        )


def read(path: Path) -> Contents:
    """Read a GGUF file with our own reader, and judge it as at an import.

    Args:
        path: The file.

    Returns:
        Its contents.

    Raises:
        HoldfastError: If it would be refused at an import.
    """
    size = path.stat().st_size
    with path.open("rb") as file:

        def part(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        found = inspection.inspect(Kind.GGUF, {path.name: size}, lambda _, at, count: part(at, count))
        if found.refusals:
            raise found.refusals[0]
        return Contents(gguf.parse(part, size, path.name).tensors, size)


def resolve(tensors: Sequence[gguf.Tensor], overrides: Sequence[Override]) -> dict[str, str]:
    """Find the tensors that overrides name.

    Args:
        tensors: The model's.
        overrides: Patterns and types; of two that match a tensor the first counts.

    Returns:
        The type of each tensor that has one of its own, by name.

    Raises:
        UntrustedRequest: If a pattern matches no matrix.
    """
    found: dict[str, str] = {}
    for override in overrides:
        names = [
            one.name for one in tensors if _is_matrix(one) and fnmatch.fnmatchcase(one.name, override.pattern)
        ]
        if not names:
            known = sorted({re.sub(r"\d+", "*", one.name) for one in tensors if _is_matrix(one)})
            raise UntrustedRequest(
                "quantize.override",
                f"The override {override.pattern!r} matches no matrix of this model.",
                remedy=f"Its matrices are {', '.join(known)}.",
            )
        for name in names:
            found.setdefault(name, override.tensor)
    return found


def checked(path: Path, types: Mapping[str, str]) -> Contents:
    """Read what was quantized with our own reader, and compare it with what was asked for.

    Args:
        path: The file.
        types: Type of each tensor that has one of its own, by name.

    Returns:
        Its contents.

    Raises:
        UntrustedRequest: If llama.cpp gave a tensor another type than its own.
    """
    found = read(path)
    for one in found.tensors:
        wanted = types.get(one.name, one.type.lower())
        if one.type.lower() != wanted:
            raise UntrustedRequest(
                "quantize.override",
                f"llama.cpp keeps {one.name} in {one.type}, not in {wanted}.",
                remedy="Its rows are no multiple of the type's block, or it is never quantized so; leave it out.",
            )
    return found


def _is_matrix(tensor: gguf.Tensor) -> bool:
    return len(tensor.shape) >= _MATRIX and min(tensor.shape[:_MATRIX]) > 1
