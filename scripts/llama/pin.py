"""What is built: the one pinned source, the build flags, and the key under which a result is kept.

Invariants:
    * Whatever changes the built bytes (version, flags, compiler, layout of the wheels) changes the key, so a cached
      wheel is never used for a build it does not belong to.
    * The key is a pure function of its inputs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DISTRIBUTION = "llama-cpp-python"
VERSION = "0.3.36"
SDIST_NAME = f"llama_cpp_python-{VERSION}.tar.gz"
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"

# Raised by hand when the layout of the wheels changes while source, flags and compiler stay the same.
LAYOUT = 1

# Raised by hand when `server/CMakeLists.txt` or the flags below change.
SERVER_LAYOUT = 1

# llama-server and llama-batched-bench, beside the libraries of the wheel: compiled alike, and without a network.
SERVER_TARGETS = ("llama-server", "llama-batched-bench")
SERVER_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_BUILD_NUMBER=0",
    "-DLLAMA_BUILD_COMMIT=unknown",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_SUBPROCESS=OFF",
)

# GGML_NATIVE off and every CPU variant on: a medium is built on one machine and runs on others.
# CMAKE_PLATFORM_NO_VERSIONED_SONAME: one file per library and no symlinks. A wheel would turn the symlinks into
# copies, and then `libggml.so` and `libggml.so.0` are two libraries with two registries of backends.
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=OFF",
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=ON",
    "-DGGML_RPC=OFF",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_BUILD_NUMBER=0",
    "-DLLAMA_BUILD_COMMIT=unknown",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


def build_key(version: str, flags: Sequence[str], compiler: str, layout: int) -> str:
    """Derive the cache key of one build.

    Args:
        version: Version of the pinned source.
        flags: CMake flags; their order does not matter.
        compiler: Identity of the compiler with its version and target.
        layout: Version of the wheels' layout.

    Returns:
        The version, a dash and 16 hexadecimal digits.
    """
    described = json.dumps([version, sorted(flags), compiler, layout], separators=(",", ":"))
    return f"{version}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
