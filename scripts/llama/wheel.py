"""Write a wheel file (PyPA binary distribution format, version 1.0).

Entries are sorted and their times fixed, so the same files give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100000


def write_wheel(
    folder: Path, distribution: str, tag: str, metadata: bytes, files: Mapping[str, bytes | Path]
) -> Path:
    """Write one wheel.

    Args:
        folder: Folder that receives the wheel.
        distribution: Normalised name and version, e.g. `holdfast_llama_conversion-0.3.36`.
        tag: Compatibility tag, e.g. `py3-none-any`.
        metadata: Core metadata (the `METADATA` file).
        files: Path inside the wheel to content, or to the file that holds it.

    Returns:
        The wheel. Shared libraries in it are executable, all else is not.
    """
    info = f"{distribution}.dist-info"
    pure = "true" if tag.endswith("-any") else "false"
    about = f"Wheel-Version: 1.0\nGenerator: holdfast\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    content: dict[str, bytes | Path] = dict(files)
    content[f"{info}/METADATA"] = metadata
    content[f"{info}/WHEEL"] = about.encode()
    record = []
    path = folder / f"{distribution}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(content):
            value = content[name]
            data = value if isinstance(value, bytes) else value.read_bytes()
            _add(archive, name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        record.append(f"{info}/RECORD,,\n")
        _add(archive, f"{info}/RECORD", "".join(record).encode())
    return path


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_ZIP_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (_REGULAR_FILE | (0o755 if name.endswith(".so") else 0o644)) << 16
    archive.writestr(entry, data)
