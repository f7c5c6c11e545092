"""What goes into the two wheels.

`llama_cpp_python` holds the Python bindings and one copy of each library, all in `llama_cpp/lib`, where the loader of
backends looks beside `libggml.so`. Upstream's own HTTP server is left out.

`holdfast_llama_conversion` holds upstream's converters and the `gguf` package of the same source, inside one folder
that only the convert worker puts on its path: PyPI's `gguf` of the same number lacks bounds checks.
"""

from __future__ import annotations

import sysconfig
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from . import pin
from .wheel import write_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CONVERSION_PACKAGE = "holdfast_llama_conversion"
CONVERTERS = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py")

_CONVERSION_INIT = b'''"""Upstream's HF-to-GGUF converters, kept in `tree/`, which is no package and is imported from by path."""

from pathlib import Path

TREE = Path(__file__).resolve().parent / "tree"
'''
_CONVERSION_METADATA = f"""\
Metadata-Version: 2.1
Name: holdfast-llama-conversion
Version: {pin.VERSION}
Summary: The HF-to-GGUF and LoRA converters of the llama.cpp source in {pin.DISTRIBUTION} {pin.VERSION}
License: MIT
Requires-Python: >=3.11
Requires-Dist: numpy
Requires-Dist: pyyaml
Requires-Dist: tqdm
"""


def bindings_wheel(sdist: Path, libraries: Iterable[Path], folder: Path) -> Path:
    """Write the wheel of the bindings and libraries.

    Args:
        sdist: Root of the unpacked source archive.
        libraries: The shared libraries.
        folder: Folder that receives the wheel.

    Returns:
        The wheel.
    """
    files: dict[str, bytes | Path] = {
        name: path
        for name, path in _modules(sdist / "llama_cpp", "llama_cpp")
        if not name.startswith(("llama_cpp/server/", "llama_cpp/lib/"))
    }
    files.update({f"llama_cpp/lib/{library.name}": library for library in libraries})
    info = f"llama_cpp_python-{pin.VERSION}.dist-info"
    files[f"{info}/licenses/LICENSE.md"] = sdist / "LICENSE.md"
    files[f"{info}/licenses/llama.cpp/LICENSE"] = sdist / "vendor" / "llama.cpp" / "LICENSE"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    metadata = (sdist / "PKG-INFO").read_bytes()
    return write_wheel(folder, f"llama_cpp_python-{pin.VERSION}", f"py3-none-{platform}", metadata, files)


def conversion_wheel(sdist: Path, folder: Path) -> Path:
    """Write the wheel of the converters.

    Args:
        sdist: Root of the unpacked source archive.
        folder: Folder that receives the wheel.

    Returns:
        The wheel.
    """
    llama = sdist / "vendor" / "llama.cpp"
    tree = f"{CONVERSION_PACKAGE}/tree"
    files: dict[str, bytes | Path] = {
        f"{CONVERSION_PACKAGE}/__init__.py": _CONVERSION_INIT,
        f"{CONVERSION_PACKAGE}/py.typed": b"",
    }
    files.update({f"{tree}/{name}": llama / name for name in CONVERTERS})
    files.update(_modules(llama / "conversion", f"{tree}/conversion"))
    files.update(_modules(llama / "gguf-py" / "gguf", f"{tree}/gguf"))
    info = f"{CONVERSION_PACKAGE}-{pin.VERSION}.dist-info"
    files[f"{info}/licenses/llama.cpp/LICENSE"] = llama / "LICENSE"
    files[f"{info}/licenses/gguf-py/LICENSE"] = llama / "gguf-py" / "LICENSE"
    distribution = f"{CONVERSION_PACKAGE}-{pin.VERSION}"
    return write_wheel(folder, distribution, "py3-none-any", _CONVERSION_METADATA.encode(), files)


def libraries(bindings: Path, folder: Path) -> None:
    """Take the libraries out of the wheel of the bindings.

    Args:
        bindings: The wheel.
        folder: Folder that receives them.
    """
    with zipfile.ZipFile(bindings) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith("llama_cpp/lib/"):
                (folder / PurePosixPath(entry.filename).name).write_bytes(archive.read(entry))


def _modules(package: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(package.rglob("*")):
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed":
            yield f"{prefix}/{path.relative_to(package).as_posix()}", path
