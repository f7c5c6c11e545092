"""The one door to llama.cpp in this process.

Invariants:
    * The CPU libraries are loaded from beside `libggml.so`, and llama.cpp picks the best one for this machine.
    * llama.cpp's log goes to the Python logger `holdfast.llama` through a callback; file descriptors are never
      redirected, so a console in the same terminal stays whole.

Source: ggml-backend.h (`ggml_backend_load_all_from_path`), llama.h (`llama_log_set`).
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from types import ModuleType

LOGGER = logging.getLogger("holdfast.llama")
LOGGER.setLevel(logging.WARNING)  # below it, llama.cpp describes every tensor of every model
KEPT_LINES = 20  # lines of llama.cpp's errors kept to explain a refusal
_LEVELS = {
    1: logging.DEBUG,
    2: logging.INFO,
    3: logging.WARNING,
    4: logging.DEBUG,
}  # llama.cpp's errors are ours to raise
_LEVEL_ERROR = 3
_LEVEL_CONTINUED = 5

_recent_errors: deque[str] = deque(maxlen=KEPT_LINES)
_kept_alive: list[object] = []  # ctypes callbacks must outlive the library's use of them


@functools.cache
def load_backends() -> ModuleType:
    """Load llama.cpp and the CPU library that fits this machine; the second call costs nothing.

    Returns:
        The low-level bindings, `llama_cpp.llama_cpp`.

    Raises:
        WorkerFailed: If no CPU library loads on this machine.
    """
    from llama_cpp import llama_cpp

    def log(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", errors="replace").rstrip()
        if level == _LEVEL_ERROR:
            _recent_errors.append(line)
        if line and level != _LEVEL_CONTINUED:
            LOGGER.log(_LEVELS.get(level, logging.DEBUG), "%s", line)

    callback = llama_cpp.llama_log_callback(log)
    _kept_alive.append(callback)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    folder, ggml = _folder(), load_ggml()
    ggml.ggml_backend_load_all_from_path(str(folder).encode())
    if ggml.ggml_backend_reg_count() == 0:
        raise WorkerFailed(
            "llama.no-backend",
            f"No CPU library of llama.cpp in {folder} loads on this machine.",
            remedy="Run the set-up again on this machine; it builds one for every CPU.",
        )
    llama_cpp.llama_backend_init()
    return llama_cpp


@functools.cache
def load_ggml() -> ctypes.CDLL:
    """Load the library beneath llama.cpp; what of it is called here has its types declared.

    Returns:
        The library.
    """
    ggml = ctypes.CDLL(str(_folder() / "libggml.so"))
    ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_load_all_from_path.restype = None
    ggml.ggml_backend_reg_count.restype = ctypes.c_size_t
    ggml.ggml_tensor_overhead.restype = ctypes.c_size_t
    ggml.ggml_op_name.argtypes = [ctypes.c_int]
    ggml.ggml_op_name.restype = ctypes.c_char_p
    return ggml


def _folder() -> Path:
    from llama_cpp import llama_cpp

    return Path(llama_cpp.__file__).parent / "lib"


def recent_errors() -> str:
    """Take what llama.cpp last reported as errors.

    Returns:
        The lines, joined; empty if there were none since the last call.
    """
    lines = "; ".join(line for line in _recent_errors if line)
    _recent_errors.clear()
    return lines
