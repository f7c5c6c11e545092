"""Which compiler builds llama.cpp, and what that costs.

clang-16 comes first. GCC before 12.4 drops stores to the AMX tile configuration (GCC bug 114098), so a library for
CPUs with AMX that it builds dies on every quantized model; with GCC that one variant is therefore left out and such CPUs
run the next best one.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

AMX_VARIANT = "sapphirerapids"


class NoCompilerError(Exception):
    """No usable C and C++ compiler is installed."""


@dataclass(frozen=True)
class Compiler:
    """A C and C++ compiler pair.

    Attributes:
        name: Name to show to people.
        cc: Path of the C compiler.
        cxx: Path of the C++ compiler.
        identity: First line of its `--version` and its target.
        left_out: CPU variants that it cannot build rightly.
    """

    name: str
    cc: str
    cxx: str
    identity: str
    left_out: frozenset[str]


def find_compiler() -> Compiler:
    """Find the compiler to build with: clang-16, else GCC.

    Returns:
        The compiler.

    Raises:
        NoCompilerError: If neither is installed.
    """
    for name, cxx_name, left_out in (
        ("clang-16", "clang++-16", frozenset[str]()),
        ("gcc", "g++", frozenset({AMX_VARIANT})),
    ):
        cc, cxx = shutil.which(name), shutil.which(cxx_name)
        if cc and cxx:
            return Compiler(name, cc, cxx, _identity(cc), left_out)
    message = "no C++ compiler found: install clang-16 (preferred) or g++, e.g. `apt-get install clang-16`"
    raise NoCompilerError(message)


def _identity(cc: str) -> str:
    version = subprocess.run([cc, "--version"], check=True, capture_output=True, text=True).stdout
    target = subprocess.run([cc, "-dumpmachine"], check=True, capture_output=True, text=True).stdout
    return f"{version.splitlines()[0].strip()} {target.strip()}"
