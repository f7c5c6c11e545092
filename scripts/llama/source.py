"""The pinned source: fetched by pip once, checked against its digest each time, unpacked.

Only `pip` speaks to the package index; a file already in the cache with the right digest is used as it is, so a second
set-up needs no network.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from . import pin


class SourceError(Exception):
    """The pinned source cannot be had, or is not the pinned one."""


def digest_of(path: Path) -> str:
    """Hash a file.

    Args:
        path: The file.

    Returns:
        Its SHA-256 in hexadecimal digits.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(downloads: Path) -> Path:
    """Have the pinned source archive in a folder.

    Args:
        downloads: Folder that keeps it.

    Returns:
        The archive, whose digest was checked.

    Raises:
        SourceError: If pip cannot fetch it or its digest is not the pinned one.
    """
    archive = downloads / pin.SDIST_NAME
    if archive.is_file() and digest_of(archive) == pin.SDIST_SHA256:
        return archive
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads) as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{pin.DISTRIBUTION}=={pin.VERSION} --hash=sha256:{pin.SDIST_SHA256}\n")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            pin.DISTRIBUTION,
        ]
        pip += ["--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(pip, check=False, stdout=sys.stderr)
        fetched = Path(folder) / pin.SDIST_NAME
        if done.returncode != 0 or not fetched.is_file():
            message = f"pip could not fetch {pin.DISTRIBUTION} {pin.VERSION}: the first set-up needs a package index"
            raise SourceError(message)
        if digest_of(fetched) != pin.SDIST_SHA256:
            message = f"{pin.SDIST_NAME} is not the pinned file: its SHA-256 differs"
            raise SourceError(message)
        fetched.rename(archive)
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source archive, once.

    Args:
        archive: The archive, already checked.
        folder: Where to unpack; an earlier complete unpacking there is used again.

    Returns:
        The root of the source tree.
    """
    root = folder / pin.SDIST_NAME.removesuffix(".tar.gz")
    complete = folder / "unpacked"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        complete.touch()
    return root
