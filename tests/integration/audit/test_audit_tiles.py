"""A log written as C2SP tlog-tiles is recomputed by a small reader made from the specification alone."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.audit import checkpoint, segment, tiles, verify
from holdfast.errors import Conflict, VerificationFailed

ORIGIN = "holdfast.example/test/0"


def tree_hash(hashes):
    """MTH of RFC 6962 over hashes that stand for their leaves."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_hash(hashes[:split]) + tree_hash(hashes[split:])).digest()


def place(folder, level, number):
    """A tile's path as the specification writes it: groups of three digits, all but the last behind an x."""
    digits = str(number)
    while len(digits) % 3:
        digits = "0" + digits
    groups = re.findall("...", digits)
    return folder / "tile" / level / "/".join(["x" + group for group in groups[:-1]] + groups[-1:])


def tile(folder, level, number, count):
    """Read one tile of a tree that has so many hashes in this level."""
    width = min(256, count - number * 256)
    path = place(folder, level, number)
    return (path if width == 256 else path.with_name(f"{path.name}.p") / str(width)).read_bytes(), width


def read(folder):
    """Read a log from tiles: entries, after comparing every hash of every level with what they lead to."""
    origin, size, root = (folder / "checkpoint").read_text().split("\n\n")[0].split("\n")
    size, entries = int(size), []
    for number in range(-(-size // 256)):
        data, width = tile(folder, "entries", number, size)
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
        assert data == b""
    hashes, level = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries], 0
    leaves, seen = hashes, 0
    while hashes:
        for number in range(-(-len(hashes) // 256)):
            data, width = tile(folder, str(level), number, len(hashes))
            assert data == b"".join(hashes[number * 256 : number * 256 + width])
            seen += 1
        hashes = [tree_hash(hashes[at : at + 256]) for at in range(0, len(hashes) // 256 * 256, 256)]
        level += 1
    files = [path for path in (folder / "tile").rglob("*") if path.is_file()]
    assert len(files) == seen + -(-size // 256)
    assert tree_hash(leaves) == base64.b64decode(root)
    return origin, entries


def write(folder, signer, count):
    bodies = [b"event %d " % number + b"x" * (number % 90) for number in range(count)]
    folder.mkdir()
    data, tree = bytearray(segment.header(ORIGIN, 0)), verify.Frontier()
    for body in bodies:
        data += segment.record(body, verify.leaf_hash(body), 0)
        tree.append(verify.leaf_hash(body))
    (folder / segment.name(0)).write_bytes(data)
    (folder / "checkpoint").write_bytes(checkpoint.make(ORIGIN, count, tree.root(), signer, time=1))
    return bodies


@pytest.mark.parametrize("count", [1, 255, 256, 257, 511, 1024, 70_000])
def test_a_log_is_read_from_its_tiles(tmp_path, signer, count):
    bodies = write(tmp_path / "log", signer, count)
    assert tiles.write(tmp_path / "log", tmp_path / "log") == count
    assert read(tmp_path / "log") == (ORIGIN, bodies)
    if count == 70_000:  # the specification's own example
        for name in ("tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"):
            assert (tmp_path / "log" / name).is_file()


def test_tiles_are_neither_written_over_nor_made_of_less_than_a_log(tmp_path, signer):
    write(tmp_path / "log", signer, 5)
    tiles.write(tmp_path / "log", tmp_path / "log")
    with pytest.raises(Conflict):
        tiles.write(tmp_path / "log", tmp_path / "log")
    path = tmp_path / "log" / segment.name(0)
    path.write_bytes(path.read_bytes().replace(b"event 3", b"event 4"))
    with pytest.raises(VerificationFailed):
        tiles.write(tmp_path / "log", tmp_path)
    (tmp_path / "log" / "archived").write_text('{"peaks":["' + "00" * 32 + '"],"size":1}')
    with pytest.raises(Conflict):
        tiles.write(tmp_path / "log", tmp_path)


@given(st.integers(0, 2**40), st.integers(1, 256))
def test_paths_are_those_of_the_specification(number, width):
    name = tiles.path("3", number, width)
    assert re.fullmatch(r"tile/3/(x\d{3}/)*\d{3}(\.p/[1-9]\d{0,2})?", name)
    assert (".p/" in name) == (width < 256)
    assert int(re.sub(r"\D", "", name.split("/", 2)[2].split(".")[0])) == number
