"""Frames: a small document as numbered lines of text, each of which fits one QR code on a terminal of 80 x 24.

A frame is ``HF1/SET/NUMBER/COUNT/DATA/CHECK``: letters, digits and slashes only, so that it takes the alphanumeric mode of QR
codes and survives being read aloud, typed or pasted. DATA is a piece of the deflated document in base32, SET the first 32
bits of the document's SHA-256, CHECK the CRC-32 of all before it. Invariants: any order and any repetition of a set's frames
gives the same document; a frame that was damaged, is missing or belongs to another set is named; a document is bounded before
it is unpacked. CHECK and SET find accidents; forgery is found by the signatures inside. No I/O.

Sources: RFC 4648 (base32), RFC 1951 (deflate).
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib

from holdfast.errors import VerificationFailed

MAGIC = "HF1"
FRAME = 154  # characters of a frame: what a QR code of version 5 takes at error correction level L
DATA = 126  # characters of base32 in a frame: almost 79 bytes
MAX_FRAMES = 99  # of one set; nobody scans more
MAX_DOCUMENT = 8_192  # bytes of a document; a request without ML-DSA-44 has at most 3.4 kB
MAX_TEXT = 65_536  # bytes of pasted frames, repetitions and blank lines among them
_SYMBOLS = 8  # base32 symbols of five bytes
_FRAME = re.compile(r"HF1/([0-9A-F]{8})/([1-9]\d?)/([1-9]\d?)/([A-Z2-7]{1,126})/([0-9A-F]{8})")
_REMEDY = "Scan the codes again; `--qr` at the site shows them as often as you like."


def is_frames(data: bytes) -> bool:
    """Tell whether a file holds frames rather than a document.

    Args:
        data: Its bytes.

    Returns:
        True if its first line begins as a frame does.
    """
    return data.lstrip()[:4].upper() == MAGIC.encode() + b"/"


def split(document: bytes) -> list[str]:
    """Cut a document into frames.

    Args:
        document: At most ``MAX_DOCUMENT`` bytes.

    Returns:
        The frames, in order; each of at most ``FRAME`` characters.

    Raises:
        VerificationFailed: If the document is too long to be shown.
    """
    if len(document) > MAX_DOCUMENT:
        raise _refused(f"a document of {len(document)} bytes does not fit; {MAX_DOCUMENT} are allowed")
    text = base64.b32encode(zlib.compress(document, 9, wbits=-zlib.MAX_WBITS)).decode().rstrip("=")
    pieces = [text[start : start + DATA] for start in range(0, len(text), DATA)]
    if len(pieces) > MAX_FRAMES:
        raise _refused(f"{len(pieces)} frames are too many; {MAX_FRAMES} are allowed")
    frames = []
    for number, piece in enumerate(pieces, start=1):
        head = f"{MAGIC}/{_set_of(document)}/{number}/{len(pieces)}/{piece}/"
        frames.append(f"{head}{zlib.crc32(head.encode()):08X}")
    return frames


def join(data: bytes) -> bytes:
    """Put a document together from frames, in any order.

    Args:
        data: Pasted text, a frame on each line; blank lines, spaces around frames and lower case do no harm.

    Returns:
        The document.

    Raises:
        VerificationFailed: If a frame is damaged, missing, contradicts another or belongs to another set.
    """
    if len(data) > MAX_TEXT:
        raise _refused(f"the text has more than {MAX_TEXT} bytes")
    try:
        lines = [line.strip().upper() for line in data.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise _refused("the text holds characters that no frame has") from error
    sets: set[tuple[str, str]] = set()
    pieces: dict[int, str] = {}
    for place, line in enumerate(lines, start=1):
        found = _FRAME.fullmatch(line)
        if not found or f"{zlib.crc32(line[:-8].encode()):08X}" != found[5]:
            raise _refused(f"line {place} is not a whole frame, or was changed")
        sets.add((found[1], found[3]))
        if len(sets) > 1:
            raise _refused("the frames belong to different sets")
        if pieces.setdefault(int(found[2]), found[4]) != found[4]:
            raise _refused(f"there are two different frames {found[2]}")
    if not sets:
        raise _refused("there is none")
    digest, count = sets.pop()
    missing = [str(number) for number in range(1, int(count) + 1) if number not in pieces]
    if missing or len(pieces) != int(count):
        raise _refused(f"of {count} frames, {', '.join(missing) or 'too many'} are missing or wrong")
    document = _unpack("".join(pieces[number] for number in range(1, int(count) + 1)))
    if _set_of(document) != digest:
        raise _refused("together they do not give the document that was split")
    return document


def _set_of(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()[:8].upper()


def _unpack(text: str) -> bytes:
    try:
        packed = base64.b32decode(text + "=" * (-len(text) % _SYMBOLS))
        worker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        document = worker.decompress(packed, MAX_DOCUMENT + 1)
    except (ValueError, zlib.error) as error:
        raise _refused("their data can't be unpacked") from error
    if len(document) > MAX_DOCUMENT or not worker.eof or worker.unused_data:
        raise _refused(f"their data is not one document of at most {MAX_DOCUMENT} bytes")
    return document


def _refused(why: str) -> VerificationFailed:
    return VerificationFailed("audit.frames", f"The frames are refused: {why}.", remedy=_REMEDY)
