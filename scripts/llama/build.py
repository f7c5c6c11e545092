"""Have the two wheels in the cache, building them if they are not there.

Order of operations: find the compiler, derive the key, take the lock, look again, fetch, compile, write the wheels into a
temporary folder, rename it into place. So two set-ups never build twice, and an interrupted one leaves nothing that
looks finished.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import cache, native, packages, pin, source
from .compiler import Compiler, find_compiler

if TYPE_CHECKING:
    from collections.abc import Callable


def wheels(root: Path, say: Callable[[str], None]) -> list[Path]:
    """Give the wheels of the pinned source for this machine's compiler.

    Args:
        root: Cache folder.
        say: Receives lines for people.

    Returns:
        Paths of the two wheels.
    """
    compiler = find_compiler()
    key = pin.build_key(pin.VERSION, pin.FLAGS, compiler.identity, pin.LAYOUT)
    finished = root / key
    if not finished.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with cache.exclusive(
            root / f"{key}.lock", lambda: say("another set-up builds llama.cpp; waiting for it")
        ):
            if not finished.is_dir():
                _build(root, key, compiler, say)
    return sorted(finished.glob("*.whl"))


def servers(root: Path, say: Callable[[str], None]) -> Path:
    """Give upstream's server and its bench, from the same source, flags and compiler as the wheels, on the wheels' libraries.

    Args:
        root: Cache folder.
        say: Receives lines for people.

    Returns:
        Folder with `llama-server`, `llama-batched-bench` and the libraries that they load.
    """
    bindings = next(wheel for wheel in wheels(root, say) if wheel.name.startswith("llama_cpp_python"))
    compiler = find_compiler()
    key = f"{bindings.parent.name}-server{pin.SERVER_LAYOUT}"
    finished = root / key
    if not finished.is_dir():
        with cache.exclusive(
            root / f"{key}.lock", lambda: say("llama-server is being built; waiting for it")
        ):
            if not finished.is_dir():
                _build_servers(root, key, compiler, bindings, say)
    return finished


def _build_servers(
    root: Path, key: str, compiler: Compiler, bindings: Path, say: Callable[[str], None]
) -> None:
    say(
        f"building llama-server of llama.cpp {pin.VERSION} with {compiler.name}; this takes 3 to 6 minutes, once"
    )
    work = root / f"{key}.work"
    sdist = source.unpack(source.fetch(root / "downloads"), work / "source")
    complete = work / "complete"
    complete.mkdir(exist_ok=True)
    packages.libraries(bindings, complete)
    flags = (
        *pin.SERVER_FLAGS,
        f"-DLLAMA_SOURCE={sdist / 'vendor' / 'llama.cpp'}",
        f"-DLLAMA_LIBRARIES={complete}",
    )
    project = Path(__file__).with_name("server")
    build = native.run_tools(project, work, compiler, flags, pin.SERVER_TARGETS, root / f"{key}.log", say)
    for name in pin.SERVER_TARGETS:
        shutil.copy2(build / "bin" / name, complete)
    complete.rename(root / key)
    shutil.rmtree(work)


def _build(root: Path, key: str, compiler: Compiler, say: Callable[[str], None]) -> None:
    archive = source.fetch(root / "downloads")
    say(f"building llama.cpp {pin.VERSION} with {compiler.name}; this takes 4 to 12 minutes, once")
    for variant in sorted(compiler.left_out):
        say(f"  without the CPU variant {variant}: {compiler.name} builds it wrongly (clang-16 would not)")
    started = time.monotonic()
    work = root / f"{key}.work"
    sdist = source.unpack(archive, work / "source")
    libraries = native.compile_libraries(
        sdist / "vendor" / "llama.cpp", work, compiler, root / f"{key}.log", say
    )
    with tempfile.TemporaryDirectory(dir=root) as temporary:
        complete = Path(temporary) / "wheels"
        complete.mkdir()
        packages.bindings_wheel(sdist, libraries, complete)
        packages.conversion_wheel(sdist, complete)
        complete.rename(root / key)
    shutil.rmtree(work)
    say(f"built llama.cpp {pin.VERSION} in {time.monotonic() - started:.0f} s; kept in {root / key}")
