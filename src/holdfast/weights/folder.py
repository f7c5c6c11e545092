"""A folder of a model or an adapter, opened under the checks of an import, its tensors read one at a time.

Order of operations: all files are judged by their headers and by what they say of each other (``formats.inspection``), so
that a missing shard, an index that names what is not there, or a tensor of another shape than the configuration says ends the
work before it begins; then tensors are read on demand, or all are looked through for values that are no numbers.

Source: https://github.com/huggingface/safetensors, section "Format"; IEEE 754: all bits of the exponent set is no number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfast import canonical
from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats import inspection, safetensors
from holdfast.formats.families import DERIVED
from holdfast.formats.jsonconfig import MAX_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from holdfast.canonical import Json

STEP = 64 * 2**20  # bytes looked through at a time; the memory that a check needs
# Element type -> (the integer that holds its bits, its exponent's bits, the magnitude from which float16 has infinity).
_FLOATS: dict[str, tuple[str, int, int]] = {
    "F32": ("<u4", 0x7F800000, 0x477FF000),  # 65520 rounds up to infinity
    "BF16": ("<u2", 0x7F80, 0x4780),  # 65536, the next after 65280
    "F16": ("<u2", 0x7C00, 0x7C00),
}


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies.

    Args:
        name: Its name.
        file: The shard.
        dtype: Element type, as safetensors writes it.
        shape: Its dimensions.
        offset: First byte in the file.
        size: Bytes.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int

    def read(self) -> bytearray:
        """Read its bytes.

        Returns:
            The bytes, little-endian, rows first.

        Raises:
            UntrustedBundle: If the file ends early.
        """
        data = bytearray(self.size)
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            if stream.readinto(data) != self.size:
                raise refused("weights.short", f"{self.file.name} ends within the tensor {self.name}")
        return data


@dataclass(frozen=True)
class Folder:
    """An opened folder.

    Args:
        path: Where it is.
        config: Its configuration: ``config.json`` or ``adapter_config.json``.
        tensors: All tensors by name, sorted.
    """

    path: Path
    config: dict[str, Json]
    tensors: dict[str, Stored]


def open_model(path: Path) -> Folder:
    """Open a model's folder; a tokenizer may lie in it.

    Args:
        path: The folder.

    Returns:
        The folder.

    Raises:
        UntrustedBundle: If a file is missing, malformed or contradicts another.
    """
    return _open(path, Kind.BASE, "config.json")


def open_adapter(path: Path) -> Folder:
    """Open an adapter's folder.

    Args:
        path: The folder.

    Returns:
        The folder.

    Raises:
        UntrustedBundle: If a file is missing, malformed or contradicts another.
    """
    return _open(path, Kind.ADAPTER, "adapter_config.json")


def check_numbers(folder: Folder, *, for_half: bool = False) -> None:
    """Look through all weights for values that are no numbers.

    Args:
        folder: The folder.
        for_half: Whether values must also fit float16, in which matrices are written to GGUF.

    Raises:
        UntrustedBundle: At the first tensor that holds infinity, NaN or, if asked for, a value beyond float16; or whose
            element type is none of float32, bfloat16 and float16.
    """
    for tensor in folder.tensors.values():
        if DERIVED.fullmatch(tensor.name):  # is read by nobody, and may hold whole numbers
            continue
        if tensor.dtype not in _FLOATS:
            raise refused(
                "weights.type", f"{tensor.file.name}: {tensor.name} is of the element type {tensor.dtype}"
            )
        integer, exponent, beyond = _FLOATS[tensor.dtype]
        magnitude = exponent | (exponent & -exponent) - 1  # all bits but the sign
        largest = 0
        for bits in _bits(tensor, integer):
            largest = max(largest, int((bits & magnitude).max(initial=0)))
        if largest >= exponent:
            raise refused(
                "weights.not-finite",
                f"{tensor.file.name}: {tensor.name} holds infinity, or what is not a number",
                remedy="Train or export the model again; a training that diverged leaves such weights.",
            )
        if for_half and len(tensor.shape) > 1 and largest >= beyond:
            raise refused(
                "weights.beyond-half",
                f"{tensor.file.name}: {tensor.name} holds values beyond 65504, which float16 can't hold",
                remedy="Serve another base; GGUF files are made by way of float16.",
            )


def refused(
    key: str, why: str, *, remedy: str = "Have the model written again and imported again."
) -> UntrustedBundle:
    """Make the refusal of a folder's content.

    Args:
        key: Stable name of the reason.
        why: What is wrong and where, without the full stop.
        remedy: What to do next.

    Returns:
        The error, not raised.
    """
    return UntrustedBundle(key, f"{why}.", remedy=remedy)


def _bits(tensor: Stored, integer: str) -> Iterator[npt.NDArray[np.unsignedinteger[npt.NBitBase]]]:
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.offset)
        left = tensor.size
        while left:
            data = stream.read(min(STEP, left))
            if not data:
                raise refused("weights.short", f"{tensor.file.name} ends within the tensor {tensor.name}")
            left -= len(data)
            yield np.frombuffer(data, dtype=integer)


def _open(path: Path, kind: Kind, config: str) -> Folder:
    files = {
        found.relative_to(path).as_posix(): found for found in sorted(path.rglob("*")) if found.is_file()
    }

    def read(name: str, offset: int, length: int) -> bytes:
        with files[name].open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    sizes = {name: found.stat().st_size for name, found in files.items()}
    problems = inspection.inspect(kind, sizes, read).refusals
    if problems:
        raise problems[0]
    document = canonical.decode(
        files[config].read_bytes(), limit=MAX_CONFIG, what=config, error=UntrustedBundle, wide=True
    )
    tensors = [
        one for name in files if name.endswith(".safetensors") for one in _table(files[name], sizes[name])
    ]
    return Folder(
        path,
        document if isinstance(document, dict) else {},
        {tensor.name: tensor for tensor in sorted(tensors, key=lambda one: one.name)},
    )


def _table(file: Path, size: int) -> Iterator[Stored]:
    def read(offset: int, length: int) -> bytes:
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    header = safetensors.parse(read, size, file.name)
    for tensor in header.tensors:
        yield Stored(
            tensor.name,
            file,
            tensor.dtype,
            tensor.shape,
            header.size + tensor.start,
            tensor.end - tensor.start,
        )
