"""What a file's bytes say it is, whatever its name says.

Invariants: pickles, archives, programs, scripts and documents that run things are refused under any name, also where one
hangs at the end of another file or stands before it; what is named as text is UTF-8 without the characters that make
terminals or reviewers see something else than is there.

How strict the rules for text are depends on who reads it:

* No text holds control characters other than tab, line feed and carriage return.
* What people review (prose, recipes, templates) holds no delete, no C1 controls (8-bit terminals obey them) and none of the
  overrides and isolates that reorder the shown line. Ordinary marks of right-to-left text pass.
* Data sets and vocabularies are other people's words: they are parsed as JSON and shown escaped, never raw, so these
  characters pass there.
* No text begins with a byte-order mark, which readers keep, drop or refuse.
"""

from __future__ import annotations

import codecs
import re
import struct
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle
from holdfast.formats import pickles
from holdfast.formats.forms import Form

if TYPE_CHECKING:
    from holdfast.formats.safetensors import Read

STEP = 4 * 2**20  # bytes of text judged at a time
HEAD = 1024  # bytes in which a document may hide its mark
_TAR = 257  # offset of a tar archive's mark
_MAGIC = (
    (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint is one)"),
    (b"PK\x05\x06", "a zip archive"),
    (b"PK\x07\x08", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"MSCF", "a cabinet archive"),
    (b"!<arch>\n", "an archive of programs"),
    (b"\xed\xab\xee\xdb", "a package of programs"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x1f\x9d", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"\xfd7zXZ", "a compressed file"),
    (b"]\x00\x00", "a compressed file"),
    (b"\x28\xb5\x2f\xfd", "a compressed file"),
    (b"\x04\x22\x4d\x18", "a compressed file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xfe\xed\xfa\xce", "a program"),
    (b"\xfe\xed\xfa\xcf", "a program"),
    (b"\xce\xfa\xed\xfe", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a WebAssembly program"),
    (b"dex\n", "a program"),
    (b"\x1bLua", "a program"),
    (b"BC\xc0\xde", "a program"),
    (b"#!", "a script"),
    (b"<?php", "a script"),
    (b"@echo off", "a script"),
    (b"\x93NUMPY", "a NumPy file, which may hold a pickle"),
    (b"\x89HDF\r\n", "an HDF5 file, whose layers may hold programs"),
    (b"SQLite format 3\x00", "a database"),
    (b"DUCK", "a database"),
    (b"PAR1", "a Parquet file"),
    (b"{\\rtf", "a document that may run things"),
    (b"\xd0\xcf\x11\xe0", "a document that may run things"),
    (b"%!PS", "a PostScript program"),
)
_MAGIC_WITHIN = (
    (4, b"TFL3", "a TensorFlow Lite file"),
    (_TAR, b"ustar", "a tar archive"),
    (8, b"DUCK", "a database"),
)
_COMPILED = re.compile(
    rb"[\x00-\xff][\x00-\xff]\r\n[\x00-\x03]\x00\x00\x00", re.DOTALL
)  # Python's mark, then its flags
_DOCUMENT = re.compile(rb"\A\s*(?:<!doctype|<html|<svg|<\?xml)", re.IGNORECASE)
_PDF = b"%PDF-"
_SCRIPT = re.compile(
    r"<(?:script|iframe)\b|<(?:object|embed|svg)\s+[a-z]|<[a-z][^<>]{0,200}\son[a-z]{3,20}\s*=|[(\"'=<]\s*(?:javascript|vbscript|data:text/html)\b",
    re.IGNORECASE,
)
_LONGEST_PART = 256  # characters of what the expression above finds
_END = struct.Struct("<4s4H2LH")  # a zip archive's end record
_LOCATOR = 20  # bytes of what stands before it in a very large archive
_LONGEST_COMMENT = 2**16 - 1  # bytes that may follow the end record

_TEXTS = frozenset(Form) - {Form.SAFETENSORS, Form.GGUF}
_REVIEWED = frozenset({Form.TEXT, Form.TEMPLATE})
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_DECEPTIVE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\U000e0000-\U000e007f]")


def check(read: Read, size: int, name: str, form: Form) -> None:
    """Judge a file by its bytes.

    Args:
        read: Gives bytes of the file.
        size: The file's size in bytes.
        name: The file's path, for messages.
        form: How it is going to be read.

    Raises:
        UntrustedBundle: If it is something that may not come in, or is not text where it must be.
    """
    what = identify(read, size, form)
    if what:
        raise _bad(name, f"it is {what}")
    if form in _TEXTS:
        _check_text(read, size, name, form)


def identify(read: Read, size: int, form: Form | None = None) -> str:
    """Find out whether a file is something that may not come in.

    Args:
        read: Gives bytes of the file.
        size: The file's size in bytes.
        form: How it is going to be read; None if no reader is for it.

    Returns:
        What it is, for a sentence; empty if it is nothing known.
    """
    head, scanned = read(0, min(size, HEAD)), read(0, min(size, pickles.MAX_SCANNED))
    opened = form is not None and _begins_as(form, head)
    what = "" if opened else recognise(head)
    if not what and (pickles.would_call(scanned) if opened else pickles.is_pickle(scanned)):
        what = "a Python pickle, which runs code when it is opened"
    if not what and _ends_with_zip(read, size):
        what = "a zip archive behind something else"
    return what


def recognise(head: bytes) -> str:
    """Recognise what may not come in by its first bytes.

    Args:
        head: The first ``HEAD`` bytes of a file, or all of it.

    Returns:
        What it is, for a sentence; empty if it is nothing known.
    """
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return what
    for offset, magic, what in _MAGIC_WITHIN:
        if head.startswith(magic, offset):
            return what
    if _PDF in head:
        return "a PDF document, which may run things"
    if _DOCUMENT.match(head):
        return "a web page or drawing, which may run things"
    return "a compiled Python program" if _COMPILED.match(head) else ""


def _begins_as(form: Form, head: bytes) -> bool:
    """Tell whether a file of tensors begins as it must: its first bytes are a length, which can look like anything."""
    return (form is Form.SAFETENSORS and head[8:9] == b"{") or (form is Form.GGUF and head[:4] == b"GGUF")


def _ends_with_zip(read: Read, size: int) -> bool:
    """Tell whether readers of zip archives, who begin at the end, would find one here."""
    start = max(0, size - _LOCATOR - _END.size - _LONGEST_COMMENT)
    tail = read(start, size - start)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if len(tail) - at >= _END.size:
            *_, entries, length, _, comment = _END.unpack_from(tail, at)
            directory = start + at - length
            fits = at + _END.size + comment <= len(tail) and directory >= 0
            if fits and (entries == 0 or read(directory, 4) == b"PK\x01\x02"):
                return True
            if tail[max(0, at - _LOCATOR) : at].startswith(
                b"PK\x06\x07"
            ):  # the end record of a very large archive
                return True
        at = tail.rfind(b"PK\x05\x06", 0, at)
    return False


def _check_text(read: Read, size: int, name: str, form: Form) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = ""
    for offset in range(0, size, STEP):
        part = read(offset, min(STEP, size - offset))
        try:
            shown = decoder.decode(part, final=offset + STEP >= size)
        except UnicodeDecodeError as problem:
            raise _bad(name, f"it is not UTF-8 text near byte {offset + problem.start}") from problem
        if offset == 0 and shown.startswith("\ufeff"):
            raise _bad(name, "it begins with a byte-order mark")
        if _CONTROLS.search(shown):
            raise _bad(name, f"it holds control characters after byte {offset}")
        if form in _REVIEWED and (found := _DECEPTIVE.search(shown)):
            raise _bad(
                name, f"it holds the character U+{ord(found[0]):04X}, which makes readers see another text"
            )
        if form is Form.TEXT and _SCRIPT.search(before + shown):
            raise _bad(name, "it holds parts of a web page that run things")
        before = shown[-_LONGEST_PART:]


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.content",
        f"{name} is refused: {why}.",
        remedy="Have the medium built without this file, or with what its name promises.",
        file=name,
    )
