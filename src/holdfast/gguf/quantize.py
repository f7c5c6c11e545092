"""Quantize an f16 GGUF with llama.cpp, in process."""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest, WorkerFailed
from holdfast.gguf.llama import load_backends, recent_errors
from holdfast.gguf.quantizations import TENSORS, find

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.gguf.importance import Importance


def quantize(
    source: Path,
    target: Path,
    name: str,
    threads: int,
    *,
    importance: Importance | None = None,
    types: Mapping[str, str] | None = None,
) -> None:
    """Write a quantized copy of a model.

    Args:
        source: The f16 GGUF.
        target: File to write.
        name: The type's name.
        threads: Threads to compute with; the result does not depend on them.
        importance: The importance matrix, if the model was calibrated.
        types: Type of each tensor that has one of its own, by name; what ``resolve`` gave.

    Raises:
        UntrustedRequest: If there is no such type, or it needs an importance matrix and there is none.
        WorkerFailed: If llama.cpp fails.
    """
    quantization = find(name)
    if quantization.calibrated and importance is None:
        raise UntrustedRequest(
            "quantize.uncalibrated",
            f"llama.cpp makes {quantization.name} with an importance matrix alone.",
            remedy="Name a data set or a suite with --calibration.",
        )
    llama = load_backends()
    options = llama.llama_model_quantize_default_params()
    options.ftype = quantization.file_type
    options.nthread = threads
    kept: list[object] = []
    if importance is not None:
        matrices = (
            llama.llama_model_imatrix_data * (len(importance.columns) + 1)
        )()  # the last one ends the list
        for entry, (matrix, columns) in zip(matrices, importance.columns.items(), strict=False):
            values = (ctypes.c_float * len(columns))(*columns.tolist())
            kept.append(values)
            entry.name, entry.size = matrix.encode(), len(columns)
            entry.data = ctypes.cast(values, ctypes.POINTER(ctypes.c_float))
        options.imatrix = matrices
    if types:
        overrides = (llama.llama_model_tensor_override * (len(types) + 1))()
        for entry, (matrix, tensor) in zip(overrides, types.items(), strict=False):
            entry.pattern, entry.type = f"^{re.escape(matrix)}$".encode(), TENSORS[tensor].number
        options.tt_overrides = overrides
    recent_errors()
    result = llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options))
    if result != 0:
        raise WorkerFailed(
            "gguf.quantize",
            f"llama.cpp could not quantize {source.name} to {quantization.name}: {recent_errors() or result}.",
            remedy="Check the disk space and the job's log, then start the job again.",
        )
