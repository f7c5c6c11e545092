"""Quantize an f16 GGUF with llama.cpp, in process."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from holdfast.errors import WorkerFailed
from holdfast.gguf.llama import load_backends, recent_errors

if TYPE_CHECKING:
    from pathlib import Path

FILE_TYPES = {"q8_0": 7, "q4_k_m": 15}  # llama.h, enum llama_ftype


def quantize(source: Path, target: Path, quantization: str, threads: int) -> None:
    """Write a quantized copy of a model.

    Args:
        source: The f16 GGUF.
        target: File to write.
        quantization: A key of `FILE_TYPES`.
        threads: Threads to compute with; the result does not depend on them.

    Raises:
        WorkerFailed: If llama.cpp fails.
    """
    llama = load_backends()
    options = llama.llama_model_quantize_default_params()
    options.ftype = FILE_TYPES[quantization]
    options.nthread = threads
    recent_errors()
    result = llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options))
    if result != 0:
        raise WorkerFailed(
            "gguf.quantize",
            f"llama.cpp could not quantize {source.name} to {quantization}: {recent_errors() or result}.",
            remedy="Check the disk space and the job's log, then start the job again.",
        )
