"""How much each input of a matrix matters: the importance matrix, as llama.cpp's own tool computes it.

For each matrix of the layers, the mean over all tokens of the squared input of each column. llama.cpp weighs the errors of
quantizing by it. The inputs are seen where they are multiplied: llama.cpp's scheduler calls back before and after each node of
its graph.

Invariants: sums are taken in float64, in the order of the tokens; a value that is no number ends the work; the layout of
``ggml_tensor`` is checked against the library's own figure before anything is read through it. Stricter than the tool: each
matrix of the layers must have been seen, or llama.cpp would quantize it as if it had not been asked.

Source: llama.cpp ``tools/imatrix/imatrix.cpp`` (``collect_imatrix``), ``ggml/include/ggml.h`` (``struct ggml_tensor``),
``ggml/include/ggml-backend.h`` (``ggml_backend_sched_eval_callback``).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import UntrustedBundle, WorkerFailed
from holdfast.gguf import llama

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from holdfast.gguf.model import GgufModel

MAX_TOKENS = 32_768  # tokens to calibrate on; the figures hardly change beyond, and each has to be computed
_LEAST_ROWS = 16  # products of fewer rows are left out, as by the tool: of tokens that are written, not read
_OBJECT_BYTES = 32  # GGML_OBJECT_SIZE, which ggml_tensor_overhead counts too
_OPERATIONS = 64  # looked through for the product of matrices; there are more
_F32 = 0  # GGML_TYPE_F32


class _Tensor(ctypes.Structure):
    """``struct ggml_tensor``."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class Importance:
    """An importance matrix.

    Args:
        columns: Mean squared input of each column [columns] of each matrix, by the matrix' name.
        tokens: Tokens that it was taken from.
    """

    columns: Mapping[str, npt.NDArray[np.float32]]
    tokens: int


class Collector:
    """Takes the inputs of matrices while a model computes; give ``callback`` to its context and keep this alive."""

    def __init__(self) -> None:
        ggml = llama.load_ggml()
        if ggml.ggml_tensor_overhead() != _OBJECT_BYTES + ctypes.sizeof(_Tensor):
            raise WorkerFailed(
                "gguf.layout",
                "llama.cpp lays out its tensors otherwise than this version of Holdfast reads them.",
                remedy="Run the set-up again, so that both are of one release.",
            )
        self._product = next(
            number for number in range(_OPERATIONS) if ggml.ggml_op_name(number) == b"MUL_MAT"
        )
        self._sums: dict[str, npt.NDArray[np.float64]] = {}
        self._counts: dict[str, int] = {}
        self._error: Exception | None = None
        self.callback = llama.load_backends().ggml_backend_sched_eval_callback(self._called)

    def _called(self, address: int, ask: bool, _data: object) -> bool:  # noqa: FBT001 - the library's signature
        node = _Tensor.from_address(address)
        if node.op != self._product or not node.src[0] or not node.src[1]:
            return not ask
        weights, inputs = _Tensor.from_address(node.src[0]), _Tensor.from_address(node.src[1])
        name = weights.name.decode("utf-8", errors="replace")
        wanted = (
            name.startswith("blk.")
            and name.endswith(".weight")
            and inputs.type == _F32
            and inputs.ne[1] >= _LEAST_ROWS
        )
        if ask or not wanted:
            return wanted or not ask
        try:
            self._take(name, inputs)
        except (ValueError, MemoryError) as error:
            self._error = error
            return False  # ends the computation
        return True

    def _take(self, name: str, inputs: _Tensor) -> None:
        columns, rows = inputs.ne[0], inputs.ne[1] * inputs.ne[2] * inputs.ne[3]
        width = ctypes.sizeof(ctypes.c_float)
        strides = (inputs.nb[3], inputs.nb[2], inputs.nb[1], inputs.nb[0])
        size = sum((length - 1) * step for length, step in zip(inputs.ne, inputs.nb, strict=True)) + width
        memory = (ctypes.c_char * size).from_address(inputs.data)
        shape = (inputs.ne[3], inputs.ne[2], inputs.ne[1], columns)
        values: npt.NDArray[np.float32] = np.ndarray(shape, dtype="<f4", buffer=memory, strides=strides)
        squares = np.square(values.reshape(rows, columns), dtype=np.float64).sum(axis=0)
        if name in self._sums and len(self._sums[name]) != columns:
            raise ValueError(f"{name} is used with inputs of two lengths")
        self._sums[name] = self._sums[name] + squares if name in self._sums else squares
        self._counts[name] = self._counts.get(name, 0) + rows

    def found(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """Give the means.

        Returns:
            Mean squared input of each column, by the matrix' name.

        Raises:
            UntrustedBundle: If a mean is no number, or inputs could not be taken.
        """
        if self._error is not None:
            raise _refused(str(self._error)) from self._error
        means = {
            name: (self._sums[name] / self._counts[name]).astype(np.float32) for name in sorted(self._sums)
        }
        for name, values in means.items():
            if not np.isfinite(values).all():
                raise _refused(f"the inputs of {name} are not numbers")
        return means


def collect(
    open_model: Callable[[Collector], GgufModel],
    matrices: Iterable[str],
    chunks: Iterable[Sequence[int]],
    progress: Callable[[int], None],
) -> Importance:
    """Compute a model's importance matrix.

    Args:
        open_model: Opens the f16 model with the collector's callback.
        matrices: Names of the matrices of its layers.
        chunks: Token ids of each chunk of text.
        progress: Called with the number of tokens done; may raise to stop.

    Returns:
        The importance matrix.

    Raises:
        UntrustedBundle: If an input is no number, or a matrix was never multiplied.
    """
    collector = Collector()
    tokens = 0
    with open_model(collector) as model:
        for chunk in chunks:
            if len(chunk) < _LEAST_ROWS:
                continue
            model.compute(chunk)
            tokens += len(chunk)
            progress(tokens)
    columns = collector.found()
    missing = sorted(set(matrices) - columns.keys())
    if missing:
        raise _refused(f"no input of {missing[0]} was seen")
    return Importance(columns, tokens)


def write(importance: Importance, source: str, target: Path) -> None:
    """Write an importance matrix as llama.cpp's tool does.

    Args:
        importance: What was computed.
        source: Digest of the data.
        target: File to write: a GGUF of the type ``imatrix``, with sums and counts per matrix.
    """
    from holdfast.gguf.convert import enter_upstream

    enter_upstream()
    import gguf  # type: ignore[import-not-found]  # upstream's tree is on the path only in this worker

    writer = gguf.GGUFWriter(target, arch="")
    try:
        writer.kv_data[0].clear()  # an importance matrix has no architecture
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", [source])
        writer.add_uint32("imatrix.chunk_count", 1)
        writer.add_uint32("imatrix.chunk_size", importance.tokens)
        for name, values in importance.columns.items():
            sums = (values * np.float32(importance.tokens)).reshape(1, -1)
            writer.add_tensor(f"{name}.in_sum2", sums)
            writer.add_tensor(f"{name}.counts", np.array([[importance.tokens]], dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _refused(why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "quantize.importance",
        f"The importance of the model's weights can't be computed: {why}.",
        remedy="Quantize without --calibration, to a type that needs none.",
    )
