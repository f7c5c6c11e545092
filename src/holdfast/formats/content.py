"""What a file's bytes say it is, whatever its name says.

Invariants: pickles, archives, programs and scripts are refused under any name; what is named as text is UTF-8 without
control characters that terminals obey.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from holdfast.formats.safetensors import Read

STEP = 4 * 2**20  # bytes of text judged at a time
_MAGIC = (
    (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint is one)"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"#!", "a script"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"BZh", "a compressed archive"),
    (b"\xfd7zXZ", "a compressed archive"),
    (b"\x28\xb5\x2f\xfd", "a compressed archive"),
    (b"\x89HDF", "an HDF5 file"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # PROTO opcode of protocols 2 to 5
_PICKLE_0 = re.compile(rb"\A\(*c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n")  # protocol 0 names a callable first
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check(read: Read, size: int, name: str, *, text: bool) -> None:
    """Judge a file by its bytes.

    Args:
        read: Gives bytes of the file.
        size: The file's size in bytes.
        name: The file's path, for messages.
        text: Whether it must be text.

    Raises:
        UntrustedBundle: If it is something that may not come in, or is not text where it must be.
    """
    head = read(0, 512)
    if _PICKLE.match(head) or _PICKLE_0.match(head):
        raise _bad(name, "it is a Python pickle, which can run code when it is opened")
    # A safetensors header may begin with any length, so only what its JSON can't be mistaken for is judged by magic.
    if not name.endswith(".safetensors"):
        for magic, what in _MAGIC:
            if head.startswith(magic):
                raise _bad(name, f"it is {what}")
    if text:
        _check_text(read, size, name)


def _check_text(read: Read, size: int, name: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for offset in range(0, size, STEP):
        part = read(offset, min(STEP, size - offset))
        try:
            shown = decoder.decode(part, final=offset + STEP >= size)
        except UnicodeDecodeError as problem:
            raise _bad(name, f"it is not UTF-8 text near byte {offset + problem.start}") from problem
        if _UNSAFE.search(shown):
            raise _bad(name, f"it holds control characters after byte {offset}")


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.content",
        f"{name} is refused: {why}.",
        remedy="Have the medium built without this file.",
        file=name,
    )
