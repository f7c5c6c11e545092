"""What bytes say of themselves, whatever the name; and prose, data and tensors that are none of it."""

from __future__ import annotations

import json
import pickle
import pickletools
import zipfile
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts.crafted import disguises, tensors

from holdfast.errors import UntrustedBundle
from holdfast.formats import content, pickles
from holdfast.formats.forms import Form


def check(data, form=Form.TEXT, name="x"):
    content.check(lambda offset, length: data[offset : offset + length], len(data), name, form)


class Called:
    def __reduce__(self):
        return print, ("x",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("before", [b"", b"N0", b"(0", b"(I1\nI2\nt0", b"]0}0", b"S'a'\np5\n0"])
def test_a_pickle_of_any_protocol_is_found_whatever_idles_before_it(protocol, before):
    assert pickles.is_pickle(
        before + pickle.dumps(Called(), protocol).removeprefix(b"\x80" + bytes([protocol]))
    )


def test_a_pickle_of_plain_data_without_a_mark_is_none():
    assert not pickles.is_pickle(pickle.dumps([1, "a", {"b": 2.0}], 0))  # opening it calls nothing


@pytest.mark.parametrize(
    "prose",
    [
        "cat\ndog\nRat\n",
        "intro\nmodel\n",
        "I1\nis one\n.",
        "(c) 2031 The makers\nAll rights reserved.\n",
        "# Model\n\n- c\n- i\n",
        "license: apache-2.0\n",
        "",
        ".",
        "N.",
    ],
)
def test_prose_is_no_pickle(prose):
    assert not pickles.is_pickle(prose.encode())


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_recogniser_fail(data):
    pickles.is_pickle(data)
    content.recognise(data)


def test_a_safetensors_file_can_be_a_pickle_too():
    data = disguises.pickled_tensors()
    names = [operation.name for operation, _, _ in pickletools.genops(data)]
    assert names[-2:] == ["REDUCE", "STOP"]
    with pytest.raises(UntrustedBundle, match="pickle"):
        check(data, Form.SAFETENSORS)


@pytest.mark.parametrize("comment", [b"", b"x" * 10, b"x" * 65535])
@pytest.mark.parametrize("before", [b"", b"a" * 100, b"a" * 200_000])
def test_a_zip_archive_is_found_from_its_end(comment, before):
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x", b"y")
        archive.comment = comment
    data = before + out.getvalue()
    assert zipfile.is_zipfile(BytesIO(data))
    with pytest.raises(UntrustedBundle, match="zip"):
        check(data, Form.GGUF)


def test_tensors_of_any_bytes_pass():
    for data in (bytes(range(256)) * 64, b"PK\x05\x06" * 2000, b"PK\x03\x04" * 2000, b"MZ" * 4000):
        check(tensors.pack({"a": tensors.tensor(0, len(data))}, data), Form.SAFETENSORS)


@pytest.mark.parametrize(
    "text",
    [
        "Größe, עברית (\u200f), العربية, हिन्दी, 日本語, 🚀\n",
        '<p align="center"><img src="x.png"></p>\n',
        "In JavaScript: `let a = 1`.\n",
        "<!-- a comment -->\n# Model\n",
        "tab\tand\r\nline ends\n",
    ],
)
def test_ordinary_prose_passes(text):
    check(text.encode())


def test_data_may_say_what_prose_may_not():
    words = "<script>alert(1)</script> \u202e \x7f \x9b"
    check(json.dumps({"text": words}, ensure_ascii=False).encode() + b"\n", Form.LINES)
    check(json.dumps({words: 1}, ensure_ascii=False).encode(), Form.TOKENIZER)
    with pytest.raises(UntrustedBundle):
        check(words.encode(), Form.TEXT)


def test_a_script_across_two_parts_is_found():
    with pytest.raises(UntrustedBundle, match="web page"):
        check(b"a" * (content.STEP - 4) + b"<script>")


@pytest.mark.parametrize(
    "part",
    [
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        '<a href="#" onmouseover = "x()">',
        "<object data=x></object>",
        "[x](data:text/html;base64,PHNj)",
        "<javascript:alert(1)>",
    ],
)
def test_parts_of_a_web_page_that_run_things_are_found(part):
    with pytest.raises(UntrustedBundle, match="web page"):
        check(f"# Model\n\n{part}\n".encode())
    with pytest.raises(UntrustedBundle, match="web page"):
        check(b"a" * (content.STEP - 8) + part.encode())


@pytest.mark.parametrize(
    "text", ["a List<object> of <b>bold</b> one=1", "if a <b and c, only = 3", '<a title="on click">']
)
def test_prose_with_angles_passes(text):
    check(text.encode())


# Little-endian, these lengths begin as the marks of pickles of the protocols 2 to 5 do.
@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x10280])
def test_a_header_whose_length_looks_like_the_mark_of_a_pickle_passes(length):
    data = tensors.pack({"a": tensors.tensor(0, 8)}, bytes(8))
    table = data[8:-8].ljust(length)
    again = length.to_bytes(8, "little") + table + bytes(8)
    assert pickles.is_pickle(again)
    check(again, Form.SAFETENSORS)


def test_a_letter_across_two_parts_is_read():
    check(b"a" * (content.STEP - 1) + "é".encode())
