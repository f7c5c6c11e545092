"""Opening a folder or file that somebody named: only beneath a given root, through no symbolic link.

Uses openat2(2) with RESOLVE_BENEATH, so that the kernel decides and nothing can be swapped between check and use.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from holdfast.errors import NotFound, NotPermitted

_SYS_OPENAT2 = 437  # the same number on every architecture (Linux 5.6)
_RESOLVE_BENEATH = 0x08
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_NO_MAGICLINKS = 0x02


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_LIBC = ctypes.CDLL(None, use_errno=True)


def open_folder(roots: list[str], named: str) -> int:
    """Open a folder beneath one of the roots.

    Args:
        roots: Absolute paths of the configured roots.
        named: The absolute path that the client named.

    Returns:
        A descriptor of the folder; the caller closes it.

    Raises:
        NotPermitted: If it lies beneath no root, or a symbolic link is on the way.
        NotFound: If it does not exist or is no folder.
    """
    if "\0" in named:  # the kernel would read the path only up to there
        raise NotFound(
            "media.missing", "A path can't hold a NUL character.", remedy="Name the medium's folder."
        )
    wanted = Path(os.path.normpath(named))
    for root in roots:
        if wanted.is_absolute() and wanted.is_relative_to(root):
            return _open(root, wanted.relative_to(root), os.O_DIRECTORY)
    raise NotPermitted(
        "media.root",
        f"{named} lies beneath none of this site's media roots ({', '.join(roots)}).",
        remedy="Mount or copy the medium beneath one of them.",
    )


def open_file(root: str, named: str) -> int:
    """Open a file beneath a root, to read it.

    Args:
        root: Absolute path of the folder.
        named: The file's path, relative to it.

    Returns:
        A descriptor of the file; the caller closes it.

    Raises:
        NotPermitted: If it lies outside, or a symbolic link is on the way.
        NotFound: If it does not exist.
    """
    return _open(root, Path(named), os.O_NONBLOCK)  # nobody waits for a pipe's other end


def _open(root: str, inside: Path, kind: int) -> int:
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(
            "media.root-missing",
            f"The media root {root} can't be opened: {error.strerror}.",
            remedy="Mount the medium.",
        ) from error
    try:
        how = _OpenHow(
            os.O_RDONLY | kind | os.O_CLOEXEC,
            0,
            _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,
        )
        found: int = _LIBC.syscall(
            ctypes.c_long(_SYS_OPENAT2), top, os.fsencode(inside), ctypes.byref(how), ctypes.sizeof(how)
        )
        if found >= 0:
            return found
        code = ctypes.get_errno()
    finally:
        os.close(top)
    wanted = Path(root) / inside
    if code in (errno.ELOOP, errno.EXDEV):
        raise NotPermitted(
            "media.link", f"{wanted} is reached through a symbolic link.", remedy="Name the folder itself."
        )
    raise NotFound(
        "media.missing",
        f"{wanted} can't be opened: {os.strerror(code)}.",
        remedy="Check that the medium is mounted there.",
    )
