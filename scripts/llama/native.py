"""Compile llama.cpp's libraries with CMake and Ninja.

For the wheels only the target `llama` is built, which brings `ggml`, `ggml-base` and one CPU library per variant; no tools,
examples or server. CMake and Ninja are the system's where it has them, else they are installed by pip beside the build. The
objects stay in the work folder until the wheels are complete, so that an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from . import pin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from .compiler import Compiler

# The newest of each that was tried; only used where the system has none.
CMAKE_REQUIREMENT = "cmake==4.4.4"
NINJA_REQUIREMENT = "ninja==1.13.2"
LOG_TAIL_LINES = 30
PROGRESS_STEPS = 10

_NINJA_LINE = re.compile(r"\[(\d+)/(\d+)\] ")


class BuildError(Exception):
    """The compiler or CMake failed; the message holds the end of the log."""


def build_tools(work: Path) -> tuple[str, str]:
    """Find CMake and Ninja, or install them beside the build.

    Args:
        work: Work folder of the build.

    Returns:
        Paths of `cmake` and `ninja`.
    """
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if cmake and ninja:
        return cmake, ninja
    tools = work / "tools"
    if not (tools / "bin" / "ninja").exists():
        subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True, stdout=sys.stderr)
        subprocess.run(
            [str(tools / "bin" / "pip"), "install", "--quiet", CMAKE_REQUIREMENT, NINJA_REQUIREMENT],
            check=True,
            stdout=sys.stderr,
        )
    return str(tools / "bin" / "cmake"), str(tools / "bin" / "ninja")


def compile_libraries(
    source: Path, work: Path, compiler: Compiler, log: Path, say: Callable[[str], None]
) -> list[Path]:
    """Compile the libraries.

    Args:
        source: Root of the llama.cpp tree.
        work: Work folder.
        compiler: The compiler.
        log: File that receives the output of the tools.
        say: Receives lines of progress for people.

    Returns:
        The shared libraries, without the variants that the compiler cannot build rightly.
    """
    build = run_tools(source, work, compiler, pin.FLAGS, ("llama",), log, say)
    libraries = sorted((build / "bin").glob("lib*.so"))
    unwanted = {f"libggml-cpu-{variant}.so" for variant in compiler.left_out}
    return [library for library in libraries if library.name not in unwanted]


def run_tools(  # noqa: PLR0917 - what is built, where, by whom and how
    source: Path,
    work: Path,
    compiler: Compiler,
    flags: Sequence[str],
    targets: Sequence[str],
    log: Path,
    say: Callable[[str], None],
) -> Path:
    """Configure and build with CMake and Ninja.

    Args:
        source: Folder of the `CMakeLists.txt`.
        work: Work folder.
        compiler: The compiler.
        flags: For CMake.
        targets: What is built.
        log: File that receives the output of the tools.
        say: Receives lines of progress for people.

    Returns:
        The build folder, with what was built in `bin`.

    Raises:
        BuildError: If a tool fails.
    """
    cmake, ninja = build_tools(work)
    build = work / "build"
    jobs = len(os.sched_getaffinity(0))
    configure = [
        cmake, "-S", str(source), "-B", str(build), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}",
        f"-DCMAKE_C_COMPILER={compiler.cc}", f"-DCMAKE_CXX_COMPILER={compiler.cxx}", *flags,
    ]  # fmt: skip
    with log.open("w", encoding="utf-8") as stream:
        stages = (configure, [cmake, "--build", str(build), "--target", *targets, "--parallel", str(jobs)])
        for command in stages:
            stream.write(" ".join(command) + "\n")
            stream.flush()
            with subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process:
                for line in _passed_on(process.stdout or (), say):
                    stream.write(line)
            if process.returncode != 0:
                stream.flush()
                tail = "\n".join(
                    log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
                )
                message = (
                    f"{tail}\nthe build of llama.cpp failed (exit {process.returncode}); the whole log: {log}"
                )
                raise BuildError(message)
    return build


def _passed_on(lines: Iterable[str], say: Callable[[str], None]) -> Iterator[str]:
    """Pass the tools' lines on and speak each time another tenth of the files is compiled."""
    spoken = 0
    for line in lines:
        found = _NINJA_LINE.match(line)
        if found:
            done, total = int(found[1]), int(found[2])
            step = done * PROGRESS_STEPS // total
            if step > spoken:
                spoken = step
                say(f"  {done} of {total} files compiled")
        yield line
