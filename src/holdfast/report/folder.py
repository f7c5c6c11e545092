"""A report's folder: put together, written, read.

Invariants: a folder appears whole or not at all; nothing is overwritten; reading follows no link, enters no subfolder and
takes a bounded number of bounded files, because the folder comes from somebody else's machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from importlib import resources
from typing import TYPE_CHECKING

from holdfast.errors import Conflict, NotFound, OperationFailed, VerificationFailed
from holdfast.report import sign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.keys.person import KeyPair
    from holdfast.report.sign import Form

MAX_FILE = 64 * 2**20  # bytes of one file; a report of thousands of rows has a few MiB
MAX_ENTRIES = 64  # names in the folder; a report has six


def assemble(
    form: Form, pdf: bytes, facts: bytes, *, checkpoint: bytes, log_keys: bytes, pair: KeyPair
) -> dict[str, bytes]:
    """Put a report together: the pages, the facts, what they are checked with, and the signature.

    Args:
        form: What kind of report it is.
        pdf: The pages.
        facts: The canonical JSON that they were made from.
        checkpoint: The signed checkpoint whose origin, size and root the facts state.
        log_keys: The log's verifier keys (``log.pub``).
        pair: The appliance's keys.

    Returns:
        Every file of the folder by name.
    """
    files = {
        form.pdf: pdf,
        form.facts: facts,
        sign.CHECKPOINT: checkpoint,
        sign.LOG_KEYS: log_keys,
        sign.VERIFIER: (resources.files("holdfast.audit") / "verify.py").read_bytes(),
    }
    return {**files, form.signature: sign.sign(form, files, pair=pair)}


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a report's folder, whole or not at all.

    Args:
        path: The folder to make; it may exist if it is empty.
        files: Every file by name.

    Raises:
        Conflict: If something lies there already.
        OperationFailed: If the disk refuses.
    """
    partial = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        for name, data in files.items():
            (partial / name).write_bytes(data)
        partial.rename(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise _occupied(path) from error
    except OSError as error:
        if path.exists() and any(path.iterdir()):
            raise _occupied(path) from error
        raise OperationFailed(
            "report.write",
            f"The report can't be written to {path}: {error.strerror}.",
            remedy="Choose another folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read(path: Path) -> dict[str, bytes]:
    """Read a report's folder.

    Args:
        path: The folder.

    Returns:
        Every file by name.

    Raises:
        NotFound: If there is no such folder.
        VerificationFailed: If it holds anything but a few plain files of moderate size.
    """
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208 - names, not paths: they are looked up beneath the folder
    except OSError as error:
        raise NotFound(
            "report.folder",
            f"There is no report in {path}: {error.strerror}.",
            remedy="Give the folder that `holdfast report residency` or `holdfast bundle receipt` made.",
        ) from error
    if len(names) > MAX_ENTRIES:
        raise _bad(f"it holds {len(names)} entries; {MAX_ENTRIES} are allowed", "")
    return {name: _file(path / name, name) for name in names}


def _file(path: Path, name: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _bad(f"{name!r} can't be read: {error.strerror}", name) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _bad(f"{name!r} is not a plain file", name)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise _bad(f"{name!r} is larger than {MAX_FILE} bytes", name)
    return data


def _bad(why: str, name: str) -> VerificationFailed:
    return VerificationFailed(
        "report.folder-form",
        f"The report's folder is refused: {why}.",
        remedy="Ask the site for the folder again, as it was made.",
        files=[name],
    )


def _occupied(path: Path) -> Conflict:
    return Conflict("report.occupied", f"{path} is taken.", remedy="Choose a folder that does not exist yet.")
