"""What may not come in, under names that may."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile

from scripts.crafted import gguffile, tensors
from scripts.crafted.vector import Vector

KEY, NAME = "formats.content", "formats.file-name"


class Evil:
    """What a pickle of this would do when it is opened: nothing but print a line."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Give the call."""
        return print, ("a pickle was opened",)


def zipped(name: str, data: bytes) -> bytes:
    """Write a zip archive of one file, always of the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    """Write a tar archive of one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def wrong() -> list[Vector]:
    """Give files that are refused."""
    return [*_pickles(), *_archives(), *_programs(), *_texts(), *_two_in_one()]


def _pickles() -> list[Vector]:
    idle = b"(l0I1\n0" + pickle.dumps(Evil(), 0)
    torch = zipped("archive/data.pkl", pickle.dumps(Evil(), 2))
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", 54)
    array += (
        b"{'descr': '|O', 'fortran_order': False, 'shape': ()}".ljust(53) + b"\n" + pickle.dumps(Evil(), 4)
    )
    return [
        *(
            Vector(
                f"pickle-protocol-{protocol}-as-text.txt",
                pickle.dumps(Evil(), protocol),
                f"a pickle of protocol {protocol}",
                KEY,
            )
            for protocol in range(6)
        ),
        Vector(
            "pickle-after-idle-instructions.md", idle, "a pickle that begins with harmless instructions", KEY
        ),
        Vector(
            "pickle-inst.txt", b"(S'id'\nios\nsystem\n.", "a pickle that calls by its oldest instruction", KEY
        ),
        Vector(
            "pickle-as-safetensors.safetensors",
            pickle.dumps(Evil(), 4),
            "a pickle under a name for tensors",
            KEY,
        ),
        Vector("pickle-as-gguf.gguf", pickle.dumps(Evil(), 4), "the same", KEY),
        Vector("pickle-as-config.json", pickle.dumps(Evil(), 0), "a pickle under a name for JSON", KEY),
        Vector(
            "pickle-torch-as-safetensors.safetensors",
            torch,
            "a PyTorch checkpoint: a zip archive with a pickle",
            KEY,
        ),
        Vector("pickle-nested-zip.jsonl", zipped("inner.zip", torch), "the same within another archive", KEY),
        Vector(
            "pickle-numpy-as-safetensors.safetensors",
            array,
            "a NumPy file of objects, which are pickled",
            KEY,
        ),
        Vector("pytorch_model.bin", torch, "a PyTorch checkpoint under its own name", NAME),
        Vector("pickle.bin", pickle.dumps(Evil(), 2), "a pickle under the ending of PyTorch's files", NAME),
        Vector("joblib.pkl", pickle.dumps(Evil(), 3), "a pickle under its own name", NAME),
    ]


def _archives() -> list[Vector]:
    inner = b"echo harmless\n"
    return [
        Vector("archive-zip.md", zipped("x", inner), "a zip archive", KEY),
        Vector("archive-zip-empty.txt", b"PK\x05\x06" + bytes(18), "a zip archive of nothing", KEY),
        Vector(
            "archive-tar.txt",
            tarred("../../etc/cron.d/x", inner),
            "a tar archive with a path that climbs",
            KEY,
        ),
        Vector("archive-gzip.jsonl", gzip.compress(inner, mtime=0), "a compressed file", KEY),
        Vector("archive-bzip2.jsonl", bz2.compress(inner), "a compressed file", KEY),
        Vector("archive-xz.jsonl", lzma.compress(inner), "a compressed file", KEY),
        Vector("archive-lzma.jsonl", lzma.compress(inner, lzma.FORMAT_ALONE), "a compressed file", KEY),
        Vector("archive-zstandard.jsonl", b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00", "a compressed file", KEY),
        Vector("archive-7z.gguf", b"7z\xbc\xaf\x27\x1c" + bytes(26), "a 7-Zip archive", KEY),
        Vector("archive-rar.gguf", b"Rar!\x1a\x07\x01\x00" + bytes(8), "a RAR archive", KEY),
        Vector("archive-zip-own-name.zip", zipped("x", inner), "a zip archive under its own name", NAME),
    ]


def _programs() -> list[Vector]:
    cases: list[tuple[str, bytes, str]] = [
        ("program-elf.txt", b"\x7fELF\x02\x01\x01" + bytes(57), "a Linux program or library"),
        (
            "program-elf-as-tensors.safetensors",
            b"\x7fELF\x02\x01\x01" + bytes(57),
            "the same under a name for tensors",
        ),
        ("program-windows.md", b"MZ\x90\x00" + bytes(60), "a Windows program"),
        ("program-mac.gguf", b"\xcf\xfa\xed\xfe\x07\x00\x00\x01" + bytes(24), "a Mac program"),
        (
            "program-mac-universal.gguf",
            b"\xca\xfe\xba\xbe\x00\x00\x00\x02" + bytes(24),
            "a Mac program, or a Java class",
        ),
        ("program-webassembly.jsonl", b"\x00asm\x01\x00\x00\x00", "a WebAssembly program"),
        (
            "program-python-compiled.md",
            b"\xa7\r\r\n\x00\x00\x00\x00" + bytes(8) + b"\xe3",
            "a compiled Python program",
        ),
        ("program-lua.txt", b"\x1bLuaS\x00\x19\x93\r\n\x1a\n", "a compiled Lua program"),
        ("script-shell.txt", b"#!/bin/sh\nid\n", "a shell script"),
        (
            "script-python.jinja",
            b"#!/usr/bin/env python3\nprint()\n",
            "a Python script under a name for templates",
        ),
        ("script-php.md", b"<?php system('id'); ?>\n", "a PHP script"),
        (
            "model-hdf5.gguf",
            b"\x89HDF\r\n\x1a\n" + bytes(40),
            "an HDF5 file: a Keras model, whose layers may hold programs",
        ),
        ("model-keras.safetensors", zipped("config.json", b"{}"), "a Keras model: a zip archive"),
        ("model-tflite.gguf", b"\x1c\x00\x00\x00TFL3" + bytes(24), "a TensorFlow Lite model"),
        ("database-sqlite.txt", b"SQLite format 3\x00" + bytes(84), "a database"),
        (
            "document-pdf.txt",
            b"%PDF-1.7\n1 0 obj\n<< /OpenAction << /S /JavaScript >> >>\nendobj\n",
            "a PDF document that runs something",
        ),
        (
            "document-html.md",
            b"<!DOCTYPE html>\n<html><script>alert(1)</script></html>\n",
            "a web page that runs something",
        ),
        (
            "document-svg.txt",
            b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>\n',
            "a drawing that runs something",
        ),
        ("document-postscript.txt", b"%!PS-Adobe-3.0\n(x) run\n", "a PostScript program"),
        ("document-rtf.txt", b"{\\rtf1{\\object\\objupdate}}", "a document that opens something"),
        ("document-script-within.md", b"# Model\n\n<script src='x'></script>\n", "a script within text"),
        (
            "markdown-onerror.md",
            b"# Model\n\n<img src=x onerror=alert(1)>\n",
            "a picture that runs something where it is not found",
        ),
        ("document-script-link.md", b"[more](javascript:alert(1))\n", "a link that runs something"),
        ("model-onnx.txt", b"\x08\x07\x12\x07pytorch\x1a\x031.0", "an ONNX model, which is no text"),
    ]
    named = [
        ("tokenizer.model", b"\x0a\x07\x0a\x03<s>", "a SentencePiece model, for which there is no reader"),
        ("libcuda.so.1", b"\x7fELF\x02\x01\x01" + bytes(57), "a library"),
        ("model.onnx", b"\x08\x07", "an ONNX model"),
        ("saved_model.pb", b"\x08\x01", "a TensorFlow graph"),
        ("model.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ]
    return [
        *(Vector(name, data, why, KEY) for name, data, why in cases),
        *(Vector(name, data, why, NAME) for name, data, why in named),
    ]


def _texts() -> list[Vector]:
    cases: list[tuple[str, bytes, str]] = [
        ("text-utf16.txt", "text".encode("utf-16"), "UTF-16"),
        ("text-byte-order-mark.md", b"\xef\xbb\xbf# Model\n", "a mark that readers keep, drop or refuse"),
        ("text-latin1.txt", b"caf\xe9\n", "no UTF-8"),
        ("text-overlong.txt", b"\xc0\xaf\n", "a slash, written in two bytes"),
        ("text-nul.txt", b"shown\x00hidden\n", "a NUL"),
        ("text-terminal-escape.md", b"\x1b[2J\x1b]0;x\x07\n", "commands to the terminal of whoever reads it"),
        ("text-terminal-8-bit.md", "\x9b2J\n".encode(), "the same in one character"),
        ("text-backspaces.toml", b"safe = true # \x08\x08\x08\n", "text that overwrites itself"),
        (
            "text-reordered.toml",
            "safe = true # \u202e eurt = efas\n".encode(),
            "a line that is shown in another order",
        ),
        ("text-isolated.md", "a\u2066b\u2069\n".encode(), "the same by other characters"),
        ("text-tags.md", "a\U000e0041\n".encode(), "letters that are not shown at all"),
        ("template-reordered.jinja", "{# \u202e #}\n".encode(), "a template that is shown in another order"),
        ("lines-byte-order-mark.jsonl", b'\xef\xbb\xbf{"a": 1}\n', "data with a byte-order mark"),
    ]
    return [Vector(name, data, why, KEY) for name, data, why in cases]


def _two_in_one() -> list[Vector]:
    archive = zipped("x", b"echo harmless\n")
    held = tensors.pack({"a": tensors.tensor(0, len(archive))}, archive)
    appended = tensors.pack({"a": tensors.tensor(0, 4)}, bytes(4)) + archive
    model = gguffile.model(width=8)
    model.tensors[0].data = (bytes(256) + archive)[-256:]
    last = model.tensors[-1]
    last.data = (bytes(1024) + archive)[-gguffile.extent(last) :]
    return [
        Vector(
            "two-in-one-tensor-is-zip.safetensors",
            held,
            "a right safetensors file whose last tensor is a zip archive",
            KEY,
        ),
        Vector(
            "two-in-one-zip-appended.safetensors",
            appended,
            "a right safetensors file with a zip archive behind it",
            KEY,
        ),
        Vector(
            "two-in-one-zip-appended.json",
            json.dumps({"model_type": "llama"}).encode() + archive,
            "JSON with a zip archive behind it",
            KEY,
        ),
        Vector(
            "two-in-one-zip-appended.gguf",
            gguffile.model(width=8).pack() + archive,
            "a right GGUF file with a zip archive behind it",
            KEY,
        ),
        Vector(
            "two-in-one-tensor-is-zip.gguf",
            model.pack(),
            "a right GGUF file whose last tensor is a zip archive",
            KEY,
        ),
        Vector(
            "two-in-one-pickle.safetensors",
            pickled_tensors(),
            "a right safetensors file that is also a pickle",
            KEY,
        ),
    ]


def pickled_tensors() -> bytes:
    """Write a right safetensors file that is also a pickle.

    The length's first byte is the instruction X, which skips to within the metadata; there stand instructions that push two
    names, each of a length that is a printable character, and that fetch and call what they name. The instruction that
    fetches is no ASCII: as the second byte of a letter whose first byte is an argument, it is right UTF-8.
    """
    before = b'{"__metadata__":{"a":"'
    module, name = b"multiprocessing.popen_spawn_posix", b"spawn.get_preparation_data_______"
    calls = b"U!" + module + b"U!" + name + b"q\xc3\x93" + b")R."
    skipped = 8 + len(before) - 5
    return tensors.pack((before + calls + b'"}}').ljust(ord("X") + 256 * skipped))
