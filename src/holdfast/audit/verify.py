"""Verify a Holdfast audit log, or one receipt from it. One file: Python 3.11 and the package ``cryptography``.

    python verify.py LOG_FOLDER [--key log.pub] [--json]
    python verify.py RECEIPT.tlog-proof --key log.pub [--event EVENT_FILE] [--json]

Exit 0: everything matches. Exit 3: something does not, and the first bad sequence number is named. Exit 2: usage.

What is checked, in this order: the checkpoint's signatures (every key given must have signed), then each stored event,
streaming: record head (CRC-32), leaf hash, layout, sequence number, time, outcomes against open intents; then the Merkle
root over the stored bytes against the signed one. Events after the checkpoint are checked too, but nobody signed them yet.

A log folder holds ``log.pub`` (verifier keys, one per line), ``checkpoint`` (a signed note) and segments
``<first sequence number, 20 digits>.seg``. A segment is a header of four lines (the last one empty) and records: a head
(length, events that were synced before this record was written, leaf hash, CRC-32 of the three) and the event's bytes.

Sources: RFC 6962 (leaf and node hashes), RFC 9162 (proof verification), RFC 8785 (event bytes), C2SP signed-note,
tlog-checkpoint, tlog-cosignature (ML-DSA-44, signature type 0x06) and tlog-proof.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import struct
import sys
import zlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_EVENT = 2**18  # bytes of one event: the records of hundreds of files; payloads are kept out of the log
MAX_SEGMENT = 64 * 2**20  # bytes of one segment file, read whole; the log rolls at a quarter of it
MAX_NOTE = 65_536  # bytes of a checkpoint; 16 witnesses' ML-DSA-44 lines fit
MAX_PROOF = 2**19  # bytes of a receipt: an event in base64, 64 hashes and a checkpoint
MAX_NAME = 255  # bytes of a log's or key's name; ML-DSA-44 signs it behind a length byte
MAX_KEYS = 16  # verifier keys of one log
LINES = 3  # of a checkpoint: origin, size, root; no extension lines
KEY_ID = 4  # bytes
HASH = 32  # bytes of SHA-256
MAX_PATH = 64  # hashes of an inclusion proof; sizes have at most 63 bits
MAX_PROBLEMS = 100  # problems listed; the first one matters most
ED25519, ML_DSA_44 = 0x01, 0x06  # signature types of C2SP signed-note and tlog-cosignature
MAGIC = "holdfast-segment/v1"
PROOF_MAGIC = "c2sp.org/tlog-proof@v1"
HEAD = struct.Struct(">IQ32sI")  # length, events synced before, leaf hash, CRC-32 of what precedes
# Acts, and how each ends: with exactly one outcome, whose cause is the act's sequence number.
ACT = re.compile(
    rb"(bundle\.(?:import|admit|reject|discard|rollback)|store\.(?:scrub|gc)|exception\.grant|request\.(?:make|grant)|"
    rb"train\.(?:run|replay)|eval\.run|model\.convert|serve\.(?:start|stop)|audit\.(?:rebuild|export)|"
    rb"report\.(?:residency|receipt)|answer)(?:\.(done|failed|cancelled|interrupted))?"
)
_TEXT = rb'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"'
_LIST = rb"\[(?:%b(?:,%b)*)?\]" % (_TEXT, _TEXT)
# The one layout of an event in RFC 8785 bytes: fields sorted, nothing between them. Groups: action, cause, seq, time.
LAYOUT = re.compile(
    rb'\{"action":"([a-z][a-z0-9.-]*)","actor":\{"person":%(text)b,"role":%(text)b,"session":(?:null|%(text)b),'
    rb'"uid":(?:null|\d+)\},"cause":(null|\d{1,18}),"clock":"(?:trusted|host)","label":(?:null|\{"compartments":%(list)b,'
    rb'"level":%(text)b,"zones":%(list)b\}),"params":\{.*\},"seq":(0|[1-9]\d{0,17}),"subject":(?:null|\{"digest":'
    rb'"sha(?:512:[0-9a-f]{128}|256:[0-9a-f]{64})","kind":"[a-z][a-z0-9._-]*"\}),'
    rb'"time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"\}' % {b"text": _TEXT, b"list": _LIST},
    re.DOTALL,
)


class Refused(ValueError):  # noqa: N818 - reads as a verdict
    """Evidence that can't be read or does not match; the message says what and where."""


def leaf_hash(data: bytes) -> bytes:
    """Give a leaf: SHA-256(0x00 || data), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Give an inner node: SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees of a growing tree: enough for its root, in O(log n) memory."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Take the next leaf's hash (32 bytes)."""
        carry = self.size
        while carry & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            carry >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Give the root over all leaves so far; SHA-256 of nothing for an empty tree."""
        if not self._peaks:
            return hashlib.sha256().digest()
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Give the root that an inclusion proof leads to (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        raise Refused(f"event {index} is not below the tree size {size}")
    position, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Refused("the inclusion proof is too long")
        if position & 1 or position == last:
            root = node_hash(sibling, root)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise Refused("the inclusion proof is too short")
    return root


@dataclass(frozen=True)
class Key:
    """A verifier key: name, signature type and raw public key."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, type, public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def verifies(self, signature: bytes, note: Note) -> bool:
        """Tell whether this key made the signature (without its 4-byte id) over the note."""
        try:
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, note.text)
            else:
                time, signed = int.from_bytes(signature[:8], "big"), signature[8:]
                message = cosigned_message(self.name, time, note.origin, note.size, note.root)
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signed, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Note:
    """A checkpoint: what was signed, and (key name, key id, signature) of each line."""

    text: bytes
    origin: str
    size: int
    root: bytes
    signatures: tuple[tuple[str, bytes, bytes], ...]


def cosigned_message(name: str, time: int, origin: str, size: int, root: bytes) -> bytes:
    """Give what ML-DSA-44 signs: C2SP ``cosigned_message`` over the whole tree (start 0, end ``size``)."""
    who, log = name.encode(), origin.encode()
    head = b"subtree/v1\n\0" + bytes([len(who)]) + who + struct.pack(">Q", time)
    return head + bytes([len(log)]) + log + struct.pack(">QQ", 0, size) + root


def parse_keys(data: bytes) -> list[Key]:
    """Read verifier keys, one per line."""
    *lines, end = _text(data, MAX_NOTE, "the key file").split("\n")
    keys = []
    for line in lines:
        name, _, rest = line.partition("+")
        given, _, encoded = rest.partition("+")
        raw = _unb64(encoded, "a verifier key")
        sizes = {ED25519: HASH, ML_DSA_44: 1312}  # bytes of a public key
        if not raw or sizes.get(raw[0]) != len(raw) - 1 or not 0 < len(name.encode()) <= MAX_NAME:
            raise Refused("a verifier key is neither Ed25519 nor ML-DSA-44")
        keys.append(Key(name, raw[0], raw[1:]))
        if keys[-1].id.hex() != given:
            raise Refused(f"the verifier key of {name} does not match its id {given[:16]}")
    if end or not 0 < len(keys) <= MAX_KEYS:
        raise Refused(f"there are {len(keys)} whole lines of verifier keys; 1 to {MAX_KEYS} are allowed")
    return keys


def parse_note(data: bytes) -> Note:
    """Read a checkpoint without verifying it."""
    text, blank, tail = _text(data, MAX_NOTE, "the checkpoint").rpartition("\n\n")
    lines, signed = text.split("\n"), tail.split("\n")
    if not blank or signed.pop() or len(lines) != LINES or not lines[0]:
        raise Refused("the checkpoint is not origin, size and root, an empty line and signatures")
    root = _unb64(lines[2], "the checkpoint's root")
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", lines[1]) or len(root) != HASH:
        raise Refused("the checkpoint's size is not a number or its root not 32 bytes")
    signatures = []
    for line in signed:
        found = re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
        raw = _unb64(found[2], "a signature") if found else b""
        if not found or len(raw) <= KEY_ID:
            raise Refused("a signature line of the checkpoint is malformed")
        signatures.append((found[1], raw[:KEY_ID], raw[KEY_ID:]))
    return Note((text + "\n").encode(), lines[0], int(lines[1]), root, tuple(signatures))


def verify_note(data: bytes, keys: Sequence[Key]) -> Note:
    """Read a checkpoint and require a valid signature by every key given."""
    note = parse_note(data)
    if not keys:
        raise Refused("there is no key to verify the checkpoint with")
    for key in keys:
        mine = [raw for name, id_, raw in note.signatures if (name, id_) == (key.name, key.id)]
        what = f"{'Ed25519' if key.kind == ED25519 else 'ML-DSA-44'} signature by {key.name} ({key.id.hex()})"
        if not mine or key.name != note.origin:
            raise Refused(f"the checkpoint of {note.origin} has no {what}")
        if not all(key.verifies(raw, note) for raw in mine):
            raise Refused(f"the checkpoint's {what} is wrong")
    return note


@dataclass(frozen=True, slots=True)
class Record:
    """One stored event: where its head begins and its body ends, and what is wrong with it (None: nothing)."""

    offset: int
    end: int
    synced: int
    leaf: bytes
    body: bytes
    fault: str | None
    torn: bool = False


def segments(folder: Path) -> list[Path]:
    """List a log's segment files in order."""
    return sorted(path for path in folder.glob("*.seg") if re.fullmatch(r"[0-9]{20}", path.stem))


def read_segment(path: Path) -> tuple[str, int, bytes, int]:
    """Read a segment: (origin, first sequence number, all bytes, where the records begin)."""
    data = _read(path, MAX_SEGMENT)
    found = re.match(rb"%b\n([^\x00-\x20]{1,255})\n(0|[1-9]\d{0,17})\n\n" % MAGIC.encode(), data)
    if not found:
        raise Refused(f"segment {path.name} does not begin with a segment header")
    origin, first = _text(found[1], MAX_NAME, "the log's name"), int(found[2])
    if path.stem != f"{first:020}":
        raise Refused(f"segment {path.name} says that it begins at event {first}")
    return origin, first, data, found.end()


def records(data: bytes, offset: int) -> Iterator[Record]:
    """Walk a segment's records; the walk ends after a record whose end can't be known."""
    total = len(data)
    while offset < total:
        start = offset + HEAD.size
        if start > total:
            yield Record(offset, total, 0, b"", b"", "its head is cut off", torn=True)
            return
        length, synced, leaf, check = HEAD.unpack_from(data, offset)
        if zlib.crc32(data[offset : start - 4]) != check or not 0 < length <= MAX_EVENT:
            yield Record(offset, total, 0, b"", b"", "the head of its record was changed")
            return
        end = start + length
        if end > total:
            yield Record(offset, total, synced, leaf, b"", "its bytes are cut off", torn=True)
            return
        body = data[start:end]
        fault = None if leaf_hash(body) == leaf else "its bytes do not have the hash stored with them"
        yield Record(offset, end, synced, leaf, body, fault)
        offset = end


class Chain:
    """What must hold from one event to the next; fed every event in order, it keeps the root at size ``watch``."""

    def __init__(self, tree: Frontier, watch: int) -> None:
        self.tree = tree
        self.watch = watch
        self.root = tree.root() if tree.size == watch else None
        self.open: dict[int, str] = {}
        self.time = ""

    def take(self, seq: int, leaf: bytes, body: bytes) -> tuple[str | None, str | None]:
        """Check the event expected to be number ``seq``; give (what is wrong, what is worth a note)."""
        self.tree.append(leaf)
        if self.tree.size == self.watch:
            self.root = self.tree.root()
        found = LAYOUT.fullmatch(body)
        if not found:
            return "it is not an event in canonical layout", None
        if int(found[3]) != seq:
            return f"an event numbered {int(found[3])} stands in its place", None
        time, previous = found[4].decode(), self.time
        try:
            datetime.fromisoformat(time)
        except ValueError:
            return f"its time {time} does not exist", None
        self.time = time
        note = f"the clock went back from {previous} to {time}" if time < previous else None
        act = ACT.fullmatch(found[1])
        if act and not act[2]:
            self.open[seq] = act[1].decode()
        elif act and self.open.pop(-1 if found[2] == b"null" else int(found[2]), "") != act[1].decode():
            return f"{found[1].decode()} is the outcome of no open act (cause {found[2].decode()})", note
        return None, note


@dataclass(frozen=True)
class Finding:
    """Something about the evidence; ``seq`` is None when it is about no single event."""

    seq: int | None
    text: str


@dataclass
class Verdict:
    """What verification found; it holds if there are no problems."""

    origin: str = ""  # the log's name, as signed
    size: int = 0  # events read; of a receipt: the tree's size
    root: str = ""  # Merkle root over them, hexadecimal
    signed: int = 0  # events that the checkpoint covers
    problems: list[Finding] = field(default_factory=list)  # what is wrong, first bad event first
    notes: list[Finding] = field(default_factory=list)  # what is right but worth knowing

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        rows = [("PROBLEM", each) for each in self.problems] + [("note", each) for each in self.notes]
        lines = [f"{kind}: {'' if x.seq is None else f'event {x.seq}: '}{x.text}" for kind, x in rows]
        state = "verified" if self.ok else "NOT VERIFIED"
        return "\n".join([*lines, f"{state}: {self.origin} size {self.size} root {self.root}"])

    def to_json(self) -> dict[str, object]:
        """Give the verdict as plain data."""
        return {"ok": self.ok, **asdict(self)}

    def add(self, seq: int | None, text: str) -> None:
        """Note a problem."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Finding(seq, text))

    def remark(self, seq: int | None, text: str) -> None:
        """Note what is no problem."""
        if len(self.notes) < MAX_PROBLEMS:
            self.notes.append(Finding(seq, text))


def verify_log(folder: Path, keys: Sequence[Key]) -> Verdict:
    """Verify a log folder with keys received from somewhere else."""
    verdict, tree = Verdict(), Frontier()
    note = Note(b"", "", 0, tree.root(), ())
    try:
        note = verify_note(_read(folder / "checkpoint", MAX_NOTE), keys)
    except Refused as error:
        verdict.add(None, str(error))
    verdict.origin, verdict.signed = note.origin, note.size
    chain, files = Chain(tree, note.size), segments(folder)
    try:
        for path in files:
            _verify_segment(path, verdict, chain, note, last=path == files[-1])
    except Refused as error:
        verdict.add(tree.size, str(error))
    verdict.size, verdict.root = tree.size, tree.root().hex()
    if tree.size < note.size:
        verdict.add(tree.size, f"the log ends before this event; the checkpoint covers {note.size} events")
    elif chain.root != note.root:
        verdict.add(None, f"the root over the first {note.size} events is not the signed one")
    if tree.size > note.size:
        verdict.remark(note.size, f"{tree.size - note.size} events from here on are not signed yet")
    for seq, action in list(chain.open.items())[:MAX_PROBLEMS]:
        verdict.remark(seq, f"{action} has no outcome yet")
    return verdict


def _verify_segment(path: Path, verdict: Verdict, chain: Chain, note: Note, *, last: bool) -> None:
    origin, first, data, offset = read_segment(path)
    if note.origin not in ("", origin):
        raise Refused(f"segment {path.name} belongs to the log {origin}, not {note.origin}")
    if first != chain.tree.size:
        raise Refused(f"event {first} follows in segment {path.name}: events are missing or doubled")
    for record in records(data, offset):
        seq = chain.tree.size
        if record.torn and last and seq >= note.size:
            verdict.remark(seq, "an unfinished write ends the log; nobody was told of it")
        elif record.fault and not record.body:
            raise Refused(record.fault)
        else:
            problem, remark = chain.take(seq, record.leaf, record.body)
            if record.fault or problem:
                verdict.add(seq, record.fault or str(problem))
            if remark:
                verdict.remark(seq, remark)


def verify_proof(data: bytes, keys: Sequence[Key], event: bytes | None = None) -> Verdict:
    """Verify a receipt (C2SP tlog-proof); the event is its extra line unless given."""
    verdict = Verdict()
    try:
        index, path, extra, checkpoint = _parse_proof(data)
        note = verify_note(checkpoint, keys)
        body = extra if event is None else event
        verdict = Verdict(note.origin, note.size, note.root.hex(), note.size)
        found = LAYOUT.fullmatch(body)
        if not found or int(found[3]) != index:
            verdict.add(index, "the event's bytes are not those of an event with this number")
        elif inclusion_root(leaf_hash(body), index, note.size, path) != note.root:
            verdict.add(index, "the event is not in the tree that the checkpoint signs")
    except Refused as error:
        verdict.add(None, str(error))
    return verdict


def _parse_proof(data: bytes) -> tuple[int, list[bytes], bytes, bytes]:
    """Read a receipt: (index, path, extra data, checkpoint)."""
    head, blank, checkpoint = data.partition(b"\n\n")
    lines, extra = _text(head, MAX_PROOF, "the receipt").split("\n"), b""
    if lines[1:] and lines[1].startswith("extra "):
        extra = _unb64(lines.pop(1)[6:], "the extra line")
    index = re.fullmatch(r"index (0|[1-9][0-9]{0,17})", lines[1]) if lines[1:] else None
    if not blank or lines[0] != PROOF_MAGIC or not index or len(lines) - 2 > MAX_PATH:
        raise Refused(f"the receipt is not in the form {PROOF_MAGIC}")
    path = [_unb64(line, "a hash of the receipt") for line in lines[2:]]
    return int(index[1]), path, extra, checkpoint


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Refused(f"{path.name} can't be read: {error.strerror}") from error
    if len(data) > limit:
        raise Refused(f"{path.name} has more than {limit} bytes")
    return data


def _text(data: bytes, limit: int, what: str) -> str:
    if len(data) > limit:
        raise Refused(f"{what} has {len(data)} bytes; {limit} are allowed")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{what} is not UTF-8") from error


def _unb64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{what} is not base64") from error
    if base64.b64encode(raw).decode() != text:  # one text per value: a flipped padding bit is a change too
        raise Refused(f"{what} is not canonical base64")
    return raw


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see the module's description."""
    parser = argparse.ArgumentParser(description="Verify a Holdfast audit log or a receipt from it.")
    parser.add_argument("path", type=Path, help="a log folder, or a .tlog-proof file")
    parser.add_argument("--key", type=Path, help="verifier keys (log.pub) that you received from the site")
    parser.add_argument("--event", type=Path, help="the event's bytes, if not those inside the receipt")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    chosen = parser.parse_args(arguments)
    folder = chosen.path if chosen.path.is_dir() else None
    if folder is None and chosen.key is None:
        parser.error("a receipt is verified with --key")
    try:
        keys = parse_keys(_read(chosen.key or chosen.path / "log.pub", MAX_NOTE))
        event = _read(chosen.event, MAX_EVENT) if chosen.event else None
        receipt = b"" if folder else _read(chosen.path, MAX_PROOF)
        verdict = verify_log(folder, keys) if folder else verify_proof(receipt, keys, event)
    except Refused as error:
        verdict = Verdict(problems=[Finding(None, str(error))])
    if chosen.key is None:
        verdict.remark(None, "the keys came from the log itself; use --key with keys you received")
    sys.stdout.write((json.dumps(verdict.to_json()) if chosen.json else str(verdict)) + "\n")
    return 0 if verdict.ok else 3


if __name__ == "__main__":
    sys.exit(main())
