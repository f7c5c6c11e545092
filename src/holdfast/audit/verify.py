"""Verify a Holdfast audit log, evidence exported from it, or one receipt (Python 3.11 and ``cryptography``).

    python -I verify.py FOLDER [--key log.pub] [--strict] [--json]
    python -I verify.py RECEIPT.tlog-proof --key log.pub [--json]

Exit 0: everything matches. 3: something does not, and the first bad event is named. 2: wrong usage. Silences
in the log, rows beside it and whose cosignature it bears are for ``complete.py``, which runs this file first.
A log folder holds ``log.pub`` (verifier keys), ``checkpoint`` (a signed note), segments ``<first event>.seg``
and perhaps ``archived`` (Merkle peaks of the events before) and ``witness/*`` (checkpoints that a witness
cosigned). A segment is a header of four lines (the last one empty) and records: a head, the event's bytes.

Sources: RFC 6962 (hashes, inclusion proofs), RFC 8785 (event bytes), C2SP signed-note, tlog-checkpoint,
tlog-proof and tlog-cosignature (Ed25519, type 0x04; ML-DSA-44, type 0x06).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

Each = Callable[[int, re.Match[bytes]], None]  # is given an event's sequence number and its parts
Keys = Sequence["Key"]

MAX_EVENT = 2**16 - 1  # bytes of one event: an entry of C2SP tlog-tiles says its length in 16 bits
MAX_SEGMENT = 64 * 2**20  # bytes of one segment file, read whole; the log rolls at a quarter of it
MAX_NOTE = 2**16  # bytes of a checkpoint or another small file; 16 witnesses' ML-DSA-44 lines fit
MAX_PROOF = 2**18  # bytes of a receipt: an event in base64, 64 hashes and a checkpoint
MAX_NAME = 255  # bytes of a log's or key's name; ML-DSA-44 signs it behind a length byte
MAX_FINDINGS = 100  # problems, gaps and notes listed of each; the first one matters most
KEY_ID, HASH = 4, 32  # bytes
ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06  # signature types of C2SP signed-note and tlog-cosignature
PUBLIC = {ED25519: HASH, COSIGNATURE: HASH, ML_DSA_44: 1312}  # bytes of a public key
MAGIC, PROOF_MAGIC = "holdfast-segment/v1", "c2sp.org/tlog-proof@v1"
WITNESSED = "witness/" + "[0-9a-f]" * 8  # files of cosigned checkpoints, each named by a key id
HEAD = struct.Struct(">IQ32sI")  # a record's: length, events synced before, leaf hash, CRC-32 of these
ACT = re.compile(  # an act, or its one outcome, whose cause is the act's sequence number: (act, ending)
    r"(answer|audit\.(?:archive|backup|export|forget|rebuild|result)|bundle\.(?:admit|discard|import|reject"
    r"|rollback)|dataset\.prepare|eval\.run|exception\.grant|model\.(?:merge|quantize)"
    r"|release\.(?:approve|rollback)|report\.(?:receipt|residency)|request\.(?:grant|make)"
    r"|sealed\.(?:erase|retention|unseal)|serve\.(?:change|request|start|stop)|store\.(?:gc|scrub)"
    r"|train\.(?:estimate|replay|run))(?:\.(done|failed|cancelled|interrupted))?"
)
_TEXT = rb'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"'
_LIST = rb"\[(?:%b(?:,%b)*)?\]" % (_TEXT, _TEXT)
_UINT = rb"(?:0|[1-9][0-9]{0,17})"
LAYOUT = re.compile(  # of an event, in RFC 8785 bytes: fields sorted, nothing between them
    rb"""(?sx)\{"action":"(?P<action>[a-z][a-z0-9.-]*)",
    "actor":\{"person":%(text)b,"role":%(text)b,"session":(?:null|%(text)b),"uid":(?:null|%(uint)b)\},
    "cause":(?P<cause>null|%(uint)b),"clock":"(?:trusted|host)",
    "label":(?:null|\{"compartments":%(list)b,"level":%(text)b,"zones":%(list)b\}),
    "params":(?P<params>\{.*\}),"seq":(?P<seq>%(uint)b),
    "source":\{"count":(?P<count>%(uint)b),"name":"(?P<source>daemon|serve)","run":"(?P<run>[0-9a-f]{16})"\},
    "subject":(?:null|\{"digest":"sha(?:512:[0-9a-f]{128}|256:[0-9a-f]{64})","kind":"[a-z][a-z0-9._-]*"\}),
    "time":"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"\}"""
    % {b"text": _TEXT, b"list": _LIST, b"uint": _UINT}
)


class Refused(ValueError):  # noqa: N818 - reads as a verdict
    """Evidence that can't be read or does not match; the message says what and where."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Refuse what can't be read, whatever is wrong with it."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        text = str(error) if isinstance(error, Refused) else f"{what} can't be read: {error}"
        raise Refused(text) from error


def read(path: Path, limit: int) -> bytes:
    """Read a plain file (no link, pipe or device) of at most so many bytes."""
    with reading(path.name):
        if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > limit:
            raise Refused(f"{path.name} is no plain file of at most {limit} bytes")
        with path.open("rb") as file:
            return file.read(limit)


def _unb64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:  # one text per value: a flipped padding bit is a change too
        raise Refused("base64 stands there that is not canonical")
    return raw


def leaf_hash(data: bytes) -> bytes:
    """Give a leaf: SHA-256(0x00 || data), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Give an inner node: SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots (peaks) of a growing tree's complete subtrees: enough for its root, in O(log n) memory."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size, self._peaks = size, list(peaks)

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
        root = self._peaks[-1] if self._peaks else hashlib.sha256().digest()
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Give the root that an inclusion proof leads to (RFC 6962 section 2.1.1)."""
    if not 0 <= index < size or (size > 1) != bool(path):
        raise Refused(f"the proof is too {'short' if size > 1 else 'long'}, or event {index} beyond the tree")
    if size == 1:
        return leaf
    left = 1 << (size - 1).bit_length() - 1
    if index < left:
        return node_hash(inclusion_root(leaf, index, left, path[:-1]), path[-1])
    return node_hash(path[-1], inclusion_root(leaf, index - left, size - left, path[:-1]))


class Key(NamedTuple):
    """A verifier key: name, signature type and raw public key."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, type, public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:KEY_ID]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verifies(self, signature: bytes, note: Note) -> bool:
        """Tell whether this key made the signature (without its 4-byte id) over the note."""
        time, stamped = int.from_bytes(signature[:8], "big"), signature[8:]
        try:
            if self.kind == ML_DSA_44:
                message = cosigned_message(self.name, time, note.origin, note.size, note.root)
                MLDSA44PublicKey.from_public_bytes(self.public).verify(stamped, message)
            else:
                cosigned = b"cosignature/v1\ntime %d\n%b" % (time, note.text)
                signed = (stamped, cosigned) if self.kind == COSIGNATURE else (signature, note.text)
                Ed25519PublicKey.from_public_bytes(self.public).verify(*signed)
        except (InvalidSignature, ValueError):
            return False
        return True


class Note(NamedTuple):
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


@reading("the key file")
def parse_keys(data: bytes) -> list[Key]:
    """Read verifier keys, one per line."""
    lines = [line.split("+", 2) for line in data.decode().splitlines()]
    keys = [Key(name, raw[0], raw[1:]) for name, raw in ((name, _unb64(code)) for name, _, code in lines)]
    fit = [PUBLIC.get(kind) == len(raw) and 0 < len(name.encode()) <= MAX_NAME for name, kind, raw in keys]
    if not keys or not all(fit) or "".join(f"{key}\n" for key in keys).encode() != data:
        raise Refused("the key file is not one or more lines, each an Ed25519 or ML-DSA-44 key under its id")
    return keys


@reading("the checkpoint")
def parse_note(data: bytes) -> Note:
    """Read a checkpoint without verifying it."""
    found = re.fullmatch(r"((.+)\n(0|[1-9][0-9]{0,17})\n(\S+)\n)\n((?:— [^\s+]+ \S+\n)+)", data.decode())
    if not found or len(root := _unb64(found[4])) != HASH:
        raise Refused("the checkpoint is not origin, size and root, an empty line and signatures")
    lines = [(name, _unb64(code)) for name, code in re.findall(r"— (\S+) (\S+)\n", found[5])]
    signatures = tuple((name, raw[:KEY_ID], raw[KEY_ID:]) for name, raw in lines)
    return Note(found[1].encode(), found[2], int(found[3]), root, signatures)


def verify_note(data: bytes, keys: Keys, name: str | None = None) -> Note:
    """Read a checkpoint and require a valid signature by every key: the log's own, or those of ``name``."""
    note = parse_note(data)
    for key in keys:
        mine = [raw for who, id_, raw in note.signatures if (who, id_) == (key.name, key.id)]
        kind = "ML-DSA-44" if key.kind == ML_DSA_44 else "Ed25519"
        what = f"{kind} signature by {key.name} ({key.id.hex()})"
        if not mine or key.name != (name or note.origin) or not all(key.verifies(raw, note) for raw in mine):
            raise Refused(f"the checkpoint of {note.origin} has no {what}, or a wrong one")
    if not keys:
        raise Refused("there is no key to verify the checkpoint with")
    return note


def begin(folder: Path) -> Frontier:
    """Give the tree that a log folder begins with: empty, or over the events that ``archived`` stands for."""
    if not (folder / "archived").exists():
        return Frontier()
    with reading("archived"):
        value = json.loads(read(folder / "archived", MAX_NOTE))
        size, peaks = value["size"], [bytes.fromhex(peak) for peak in value["peaks"]]
        counted = type(size) is int and 0 < size < 2**63
        if not counted or [len(peak) for peak in peaks] != [HASH] * size.bit_count():
            raise Refused("archived does not give the peaks of a tree of its size")
        return Frontier(size, peaks)


def segments(folder: Path) -> list[Path]:
    """List a log's segment files in order."""
    return sorted(folder.glob("*.seg"))


def read_segment(path: Path) -> tuple[str, int, bytes, int]:
    """Read a segment: (origin, first sequence number, all bytes, where the records begin)."""
    data = read(path, MAX_SEGMENT)
    found = re.match(rb"%b\n([^\x00-\x20]{1,255})\n(0|[1-9]\d{0,17})\n\n" % MAGIC.encode(), data)
    if not found or path.stem != f"{int(found[2]):020}":
        raise Refused(f"segment {path.name} does not begin with the header of a segment of this name")
    return found[1].decode(errors="replace"), int(found[2]), data, found.end()


class Record(NamedTuple):
    """One stored event: where its head begins, where its body ends, what is wrong with it (None: nothing)."""

    offset: int
    end: int
    synced: int
    leaf: bytes
    body: bytes
    fault: str | None
    torn: bool = False


def records(data: bytes, offset: int) -> Iterator[Record]:
    """Walk a segment's records; the walk ends after a record whose end can't be known."""
    total = len(data.rstrip(b"\0"))  # zeros at the end are unused space: an event ends with a bracket
    while offset < total:
        start = offset + HEAD.size
        length, synced, leaf, check = HEAD.unpack(data[offset:start].ljust(HEAD.size))
        if start <= total and (zlib.crc32(data[offset : start - 4]) != check or not 0 < length <= MAX_EVENT):
            yield Record(offset, total, 0, b"", b"", "the head of its record was changed")
            return
        end, body = start + length, data[start : start + length]
        if end > total:
            yield Record(offset, total, synced, leaf, b"", "its end is cut off", torn=True)
            return
        fault = None if leaf_hash(body) == leaf else "its bytes do not have the hash stored with them"
        yield Record(offset, end, synced, leaf, body, fault)
        offset = end


class Chain:
    """What must hold from one event to the next; it takes all events, and keeps the roots at sizes given."""

    def __init__(self, tree: Frontier, *sizes: int) -> None:
        self.tree, self.start = tree, tree.size
        self.roots = {size: tree.root() if size == tree.size else None for size in sizes}
        self.open: dict[int, str] = {}  # acts without an outcome
        self.keys: tuple[int, object] = (0, None)  # the last event that names the log's keys, and these

    def take(self, record: Record) -> tuple[str | None, re.Match[bytes] | None]:
        """Take the next event; give (what is wrong with it, its parts if nothing is)."""
        found = LAYOUT.fullmatch(record.body)
        problem = self._fault(self.tree.size, found) if found else "it is not an event in canonical layout"
        problem = record.fault or problem
        self.tree.append(record.leaf)
        if self.tree.size in self.roots:
            self.roots[self.tree.size] = self.tree.root()
        return problem, None if problem else found

    def _fault(self, seq: int, found: re.Match[bytes]) -> str | None:
        if int(found["seq"]) != seq:
            return f"an event numbered {int(found['seq'])} stands in its place"
        action = found["action"].decode()
        try:
            datetime.fromisoformat(found["time"].decode())
            params = json.loads(found["params"]) if action in ("site.founded", "home.restored") else None
        except (ValueError, RecursionError) as error:
            return f"its time or its parameters can't be read: {error}"
        if params is not None:
            self.keys, cited = (seq, params.get("log_keys")), (params.get("size"), params.get("root"))
            if action == "home.restored" and cited != (seq, self.tree.root().hex()):
                return "it cites another size or root of the restored log than the events before it have"
        elif act := ACT.fullmatch(action):
            cause = None if found["cause"] == b"null" else int(found["cause"])
            if not act[2]:
                self.open[seq] = action
            elif cause is None or (self.open.pop(cause, "") != act[1] and cause >= self.start):
                return f"{action} is the outcome of no open act (cause {cause})"
        return None


@dataclass(frozen=True)
class Finding:
    """Something about the evidence; ``seq`` is None when it is about no single event."""

    seq: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.seq is None else f"event {self.seq}: {self.text}"


@dataclass
class Verdict:
    """What was found; it holds without problems and, if strict, without gaps and unsigned events."""

    origin: str = ""  # the log's name, as signed
    first: int = 0  # the first event that is here; hashes stand for those before it
    size: int = 0  # events, with those before the first; of a receipt: the tree's size
    root: str = ""  # Merkle root over them, hexadecimal
    signed: int = 0  # events that the checkpoint covers
    strict: bool = False
    problems: list[Finding] = field(default_factory=list)  # what is wrong, first bad event first
    gaps: list[Finding] = field(default_factory=list)  # silences
    notes: list[Finding] = field(default_factory=list)  # what is right but worth knowing

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return not self.problems and not (self.strict and (self.gaps or self.size > self.signed))

    def __str__(self) -> str:
        kinds = (("PROBLEM", self.problems), ("gap", self.gaps), ("note", self.notes))
        lines = [f"{kind}: {one}\n" for kind, found in kinds for one in found]
        told = f"{self.origin} first {self.first} size {self.size} root {self.root}"
        text = "".join([*lines, "verified: " if self.ok else "NOT VERIFIED: ", told])
        return "".join(one if one == "\n" or one.isprintable() else "?" for one in text)  # a terminal obeys

    def add(self, kind: list[Finding], text: object, seq: int | None = None) -> None:
        """Add to the problems, gaps or notes."""
        if len(kind) < MAX_FINDINGS:
            kind.append(Finding(seq, str(text)))

    @contextmanager
    def expecting(self, what: str = "", tree: Frontier | None = None) -> Iterator[None]:
        """Turn a refusal into a problem, of the event that comes next if there is a tree."""
        try:
            yield
        except Refused as error:
            self.add(self.problems, f"{what}{error}", tree.size if tree else None)


def verify_log(folder: Path, keys: Keys, each: Each | None = None) -> Verdict:
    """Verify a log folder with keys received from elsewhere; ``each`` takes every good event."""
    verdict, tree, note = Verdict(), Frontier(), Note(b"", "", 0, Frontier().root(), ())
    with verdict.expecting():
        note = verify_note(read(folder / "checkpoint", MAX_NOTE), keys)
    with verdict.expecting(tree=tree):
        tree = begin(folder)
    verdict.origin, verdict.signed, verdict.first = note.origin, note.size, tree.size
    heads = [("the checkpoint", note)]
    for path in sorted(folder.glob(WITNESSED)):
        with verdict.expecting(f"witness/{path.name}: "):
            heads.append((f"witness/{path.name}", verify_note(read(path, MAX_NOTE), keys)))
    chain = Chain(tree, *(head.size for _, head in heads))
    with verdict.expecting(tree=tree):
        _read(segments(folder), note, chain, verdict, each)
    verdict.size, verdict.root = tree.size, tree.root().hex()
    _compare(heads, chain, verdict)
    seq, named = chain.keys
    if isinstance(named, list) and not {str(key) for key in keys}.issubset(map(str, named)):
        verdict.add(verdict.problems, "it names other keys of this log, which was signed anew", seq)
    if tree.size > note.size:
        verdict.add(verdict.notes, f"{tree.size - note.size} events from here are not signed yet", note.size)
    for seq, action in chain.open.items():
        verdict.add(verdict.notes, f"{action} has no outcome yet", seq)
    return verdict


def _read(paths: Sequence[Path], note: Note, chain: Chain, verdict: Verdict, each: Each | None) -> None:
    """Take every event of all segments, in order."""
    for path in paths:
        origin, first, data, end = read_segment(path)
        if note.origin not in ("", origin):
            raise Refused(f"segment {path.name} belongs to the log {origin}, not {note.origin}")
        if first != chain.tree.size:
            raise Refused(f"event {first} follows in segment {path.name}: events are missing or doubled")
        for record in records(data, end):
            seq, end = chain.tree.size, record.end
            if record.torn and path == paths[-1] and seq >= note.size:
                verdict.add(verdict.notes, "an unfinished write ends the log; nobody was told of it", seq)
            elif record.fault and not record.body:
                raise Refused(record.fault)
            else:
                problem, found = chain.take(record)
                if problem:
                    verdict.add(verdict.problems, problem, seq)
                elif each and found:
                    each(seq, found)
        if path != paths[-1] and end != len(data):
            raise Refused(f"segment {path.name} goes on behind its last event")


def _compare(heads: list[tuple[str, Note]], chain: Chain, verdict: Verdict) -> None:
    """Compare the tree with every signed head; what is bad comes after the last head that was met."""
    good, signed, problems = 0, verdict.signed, verdict.problems
    if signed < verdict.first:
        verdict.add(problems, "the log begins here, and the checkpoint ends before it", verdict.first)
    for name, head in sorted(heads, key=lambda one: one[1].size):
        root = chain.roots[head.size]
        if head.size > verdict.size:
            text = f"the log ends before this event; {name} covers {head.size} events"
            verdict.add(problems, text, verdict.size)
        elif head.size > signed:
            verdict.add(problems, f"{name} covers {head.size} events: the checkpoint is an older one", signed)
        if root == head.root:
            good = head.size
        elif root:
            text = f"it or a later one, before {head.size}, was changed: the root is not that of {name}"
            verdict.add(problems, text, good)


def verify_proof(data: bytes, keys: Keys, event: bytes | None = None) -> Verdict:
    """Verify a receipt (C2SP tlog-proof); the event is its extra line unless given."""
    verdict = Verdict()
    with verdict.expecting(), reading("the receipt"):
        form = re.escape(PROOF_MAGIC) + r"\n(?:extra (\S+)\n)?index (0|[1-9][0-9]{0,17})\n((?:\S+\n)*)\n(.*)"
        found = re.fullmatch(form, data.decode(), re.DOTALL)
        if not found:
            raise Refused(f"the receipt is not in the form {PROOF_MAGIC}")
        body = _unb64(found[1] or "") if event is None else event
        seq, path = int(found[2]), [_unb64(line) for line in found[3].splitlines()]
        note = verify_note(found[4].encode(), keys)
        verdict.origin, verdict.root = note.origin, note.root.hex()
        verdict.size = verdict.signed = note.size
        layout = LAYOUT.fullmatch(body)
        if not layout or int(layout["seq"]) != seq:
            verdict.add(verdict.problems, "the event's bytes are not those of an event with this number", seq)
        elif inclusion_root(leaf_hash(body), seq, note.size, path) != note.root:
            verdict.add(verdict.problems, "the event is not in the tree that the checkpoint signs", seq)
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see the module's description."""
    parser = argparse.ArgumentParser(description="Verify a Holdfast audit log or a receipt from it.")
    parser.add_argument("path", type=Path, help="a log folder, or a .tlog-proof file")
    parser.add_argument("--key", type=Path, help="verifier keys (log.pub) that you received from the site")
    parser.add_argument("--strict", action="store_true", help="gaps and unsigned events count as problems")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    chosen, verdict = parser.parse_args(arguments), Verdict()
    path: Path = chosen.path
    if chosen.key is None and not path.is_dir():
        parser.error("a receipt is verified with --key")
    with verdict.expecting():
        keys = parse_keys(read(chosen.key or path / "log.pub", MAX_NOTE))
        verdict = verify_log(path, keys) if path.is_dir() else verify_proof(read(path, MAX_PROOF), keys)
    if (path / "filter.json").exists():
        verdict.add(verdict.notes, "the rows beside the log are compared with its filter by complete.py")
    if chosen.key is None:
        verdict.add(verdict.notes, "the keys came from the log itself; use --key with keys you received")
    verdict.strict = chosen.strict
    told = json.dumps({"ok": verdict.ok, **asdict(verdict)}) if chosen.json else str(verdict)
    sys.stdout.write(told + "\n")
    return 0 if verdict.ok else 3


if __name__ == "__main__":
    sys.exit(main())
