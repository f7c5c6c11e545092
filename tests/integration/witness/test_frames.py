"""Frames and QR codes: split, drawn, read back by a decoder that is not ours, joined."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import threading
from contextlib import suppress

import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.witness.toylog import ToyLog

from holdfast.audit import frames, qr, witness
from holdfast.errors import HoldfastError, VerificationFailed

CELLS = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
MODULE = 4  # pixels
LOCAL = 3  # of a terminal's attributes, the index of its local modes
DOCUMENT = "".join(f"line {n} {n * 7919 % 104729:x}\n" for n in range(90)).encode()


def photograph(lines: list[str]) -> np.ndarray:
    """Turn what the terminal shows, in the middle of a dark screen of 80 x 24, into pixels."""
    screen = np.zeros((2 * 24, 80), dtype=np.uint8)
    for row, line in enumerate(lines):
        for column, cell in enumerate(line):
            screen[2 * row : 2 * row + 2, column] = CELLS[cell]
    return np.kron(screen * 255, np.ones((MODULE, MODULE), dtype=np.uint8))


def scan(lines: list[str]) -> str:
    found = zxingcpp.read_barcodes(photograph(lines), formats=zxingcpp.BarcodeFormat.QRCode)
    assert len(found) == 1
    return found[0].text


@given(st.binary(max_size=2_000), st.randoms())
def test_frames_in_any_order_and_twice_give_the_document(document, chance):
    cut = frames.split(document)
    assert all(len(frame) <= frames.FRAME for frame in cut)
    pasted = [*cut, *cut]
    chance.shuffle(pasted)
    text = "\n\n".join(f"  {frame.lower() if chance.random() < 0.5 else frame}\r" for frame in pasted)
    assert frames.join(text.encode()) == document
    assert frames.is_frames(text.encode())


@given(st.data())
def test_a_changed_character_or_a_missing_frame_is_named(data):
    cut = frames.split(DOCUMENT)
    at = data.draw(st.integers(0, len(cut) - 1))
    with pytest.raises(VerificationFailed, match=f"{at + 1}") as caught:
        frames.join("\n".join(cut[:at] + cut[at + 1 :]).encode())
    assert caught.value.exit_code == 3
    place = data.draw(st.integers(0, len(cut[at]) - 1))
    other = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/ ").filter(lambda c: c != cut[at][place])
    )
    changed = cut[at][:place] + other + cut[at][place + 1 :]
    with pytest.raises(VerificationFailed):
        frames.join("\n".join([*cut[:at], changed, *cut[at + 1 :]]).encode())


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_whatever_is_pasted_only_our_errors_come(data):
    with pytest.raises(HoldfastError) as caught:
        frames.join(b"HF1/" + data)
    assert caught.value.key == "audit.frames"


def test_two_sets_a_bomb_and_too_much_are_refused():
    one, other = frames.split(b"one" * 200), frames.split(b"other" * 200)
    with pytest.raises(VerificationFailed, match="different sets"):
        frames.join("\n".join([*one, *other]).encode())
    with pytest.raises(VerificationFailed, match="does not fit"):
        frames.split(bytes(frames.MAX_DOCUMENT + 1))
    with pytest.raises(VerificationFailed, match="more than"):
        frames.join(b"HF1/" * frames.MAX_TEXT)
    import base64
    import zlib

    bomb = base64.b32encode(zlib.compress(bytes(10**6), 9, wbits=-15)).decode().rstrip("=")
    pieces = [bomb[at : at + frames.DATA] for at in range(0, len(bomb), frames.DATA)]
    heads = [f"HF1/00000000/{n}/{len(pieces)}/{piece}/" for n, piece in enumerate(pieces, 1)]
    text = "\n".join(f"{head}{zlib.crc32(head.encode()):08X}" for head in heads)
    with pytest.raises(VerificationFailed, match="not one document"):
        frames.join(text.encode())


def test_a_request_of_a_long_log_is_read_off_a_terminal_of_80_by_24_by_another_decoder():
    log = ToyLog(3_000)
    request = witness.parse(log.request(1_777))
    small = witness.Request(request.old, request.proof, witness.compact(request.checkpoint))
    cut = frames.split(small.encode())
    pages = [qr.draw(frame) for frame in cut]
    for page in pages:
        assert len(page) == qr.HEIGHT < 24  # a line is left for the caption
        assert {len(line) for line in page} == {qr.WIDTH}
    scanned = [scan(page) for page in pages]
    assert scanned == cut
    assert frames.join("\n".join(reversed(scanned)).encode()) == small.encode()
    assert len(cut) <= 10


def test_a_code_keeps_its_quiet_zone_and_is_still_read_with_a_smudge():
    page = qr.draw(frames.split(DOCUMENT)[0])
    pixels = photograph(page)
    edge = qr.QUIET * MODULE
    side = qr.WIDTH * MODULE
    for strip in (
        pixels[:edge, :side],
        pixels[:side, :edge],
        pixels[:side, side - edge : side],
        pixels[side - edge : side, :side],
    ):
        assert strip.min() == 255
    middle = 20 * MODULE
    pixels[middle : middle + 2 * MODULE, middle : middle + 2 * MODULE] = 0
    found = zxingcpp.read_barcodes(pixels, formats=zxingcpp.BarcodeFormat.QRCode)
    assert [one.text for one in found] == [frames.split(DOCUMENT)[0]]


@pytest.mark.parametrize("text", ["A", "HF1/" + "A" * 150])
def test_every_code_has_one_size(text):
    assert scan(qr.draw(text)) == text
    assert len(qr.draw(text)) == qr.HEIGHT


def test_cells_pair_rows_and_pad_an_odd_one():
    assert qr.cells([[True, False], [True, True], [False, True]]) == ["█▄", " ▀"]


def test_on_a_terminal_codes_come_one_after_the_other_and_back(tmp_path):
    cut = frames.split(DOCUMENT)
    (tmp_path / "frames").write_text("\n".join(cut))
    script = (
        "import sys; from holdfast.cli import witnessing; witnessing._show(open(sys.argv[1]).read().split())"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm"}
    words = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "frames")]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as shown:
        os.close(theirs)
        for key, caption in (("\r", "1/"), ("b", "2/"), ("\x1b", "1/")):
            seen = ""
            while "end" not in seen:
                seen += os.read(ours, 65_536).decode("utf-8", "replace")
            while (
                termios.tcgetattr(ours)[LOCAL] & termios.ICANON
            ):  # what is typed before it listens is thrown away
                threading.Event().wait(0.005)
            os.write(ours, key.encode())
            assert f"\n{caption}{len(cut)}" in seen
            assert "\x1b[97m\x1b[40m█" in seen  # white on black, whatever the terminal's colours
        with suppress(OSError):  # the other end is closed
            while os.read(ours, 65_536):
                pass
        assert shown.wait() == 0
    os.close(ours)


def test_a_terminal_without_blocks_is_told_before_anybody_is_asked_for_anything(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "HOLDFAST_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "holdfast.cli", "audit", "checkpoint", "--qr"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--out FILE" in done.stderr
