"""tokenizer.json: what contradicts itself, what the library would choke on, and what it is told by."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer

from holdfast.errors import UntrustedBundle
from holdfast.formats import tokenizer

START = {
    "id": 3,
    "content": "<s>",
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
FIXED = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
}
TRUNCATION = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 5}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 3, "pad_type_id": 0, "pad_token": "<s>",
}  # fmt: skip


def bpe(**changes):
    return {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], **changes}


def unigram(**changes):
    return {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.5]], **changes}


def word_piece(**changes):
    model = {
        "type": "WordPiece",
        "unk_token": "[U]",
        "continuing_subword_prefix": "##",
        "vocab": {"[U]": 0, "##a": 1},
    }
    return model | {"max_input_chars_per_word": 100} | changes


def whole(model=None, **changes):
    return {"version": "1.0", "added_tokens": [START], "model": model or bpe(), **changes}


def parse(value):
    return tokenizer.read(json.dumps(value).encode(), "tokenizer.json")[0]


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
ACCEPTED = [
    whole(),
    whole(bpe(merges=["a b"])),
    whole(bpe(merges=[])),
    whole(bpe(unk_token="a", dropout=None, fuse_unk=True, byte_fallback=True, ignore_merges=True)),
    whole(bpe(unk_token="<s>", dropout=0.0, continuing_subword_prefix="", end_of_word_suffix="</w>")),
    whole(bpe(vocab={"a": 0, "##b": 1, "ab": 2}, merges=[["a", "##b"]], continuing_subword_prefix="##")),
    whole(added_tokens=[START | {"id": 0, "content": "a"}]),
    whole(added_tokens=[START | {"id": 90}]),
    whole(unigram(byte_fallback=True), added_tokens=[]),
    whole(word_piece(), added_tokens=[]),
    whole({"type": "WordLevel", "unk_token": "x", "vocab": {"x": 0}}, added_tokens=[]),
    whole(truncation=TRUNCATION, padding=PADDING),
    whole(truncation=None, padding=PADDING | {"strategy": "BatchLongest", "pad_to_multiple_of": None}),
    whole(post_processor=FIXED),
    whole(truncation=TRUNCATION | {"stride": 3}, post_processor=FIXED),
    whole(normalizer=GROWS),
    whole(post_processor={"type": "Sequence", "processors": [FIXED, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}]}),
    whole(post_processor={"type": "BertProcessing", "sep": ["a", 0], "cls": ["<s>", 3]}),
    whole(pre_tokenizer={"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}),
    whole(pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}),
    whole(pre_tokenizer=split(r"\s+(?!\S)|\s+")),
    whole(pre_tokenizer={"type": "Sequence", "pretokenizers": [split("a"), {"type": "Digits", "individual_digits": True}]}),
    whole(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}]}),
    whole(normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
    whole(decoder={"type": "Strip", "content": " ", "start": 1, "stop": 0}),
]  # fmt: skip
REFUSED = [
    whole(normalizer={"type": "Sequence", "normalizers": [GROWS, GROWS]}),
    whole(normalizer=GROWS | {"pattern": {"Regex": "a"}, "content": "b" * 65}),
    whole(decoder={"type": "Sequence", "decoders": [GROWS, GROWS]}),
    whole(truncation=TRUNCATION | {"stride": 5}),
    whole(padding=PADDING | {"pad_to_multiple_of": 2**20}),
    whole(padding=PADDING | {"strategy": {"Fixed": 2**20}}),
    whole(truncation=TRUNCATION | {"stride": 4}, post_processor=FIXED),
    whole(
        truncation=TRUNCATION | {"stride": 2},
        post_processor={"type": "BertProcessing", "sep": ["a", 0], "cls": ["<s>", 3]},
    ),
    [],
    {},
    {"model": []},
    whole(version="2.0"),
    whole(more=1),
    whole({"type": "Lua", "vocab": {"a": 0}}),
    whole({"type": ["BPE"], "vocab": {"a": 0}}),
    whole({"vocab": {"a": 0}, "merges": []}),
    whole(bpe(evil=1)),
    whole(bpe(vocab={})),
    whole(bpe(vocab=[])),
    whole(bpe(vocab={"a": 0, "b": 0, "ab": 2})),
    whole(bpe(vocab={"a": -1, "b": 1, "ab": 2})),
    whole(bpe(vocab={"a": 2**40, "b": 1, "ab": 2})),
    whole(bpe(vocab={"a": 0.0, "b": 1, "ab": 2})),
    whole(bpe(vocab={"a": True, "b": 2, "ab": 3})),
    whole(bpe(vocab={"a" * 5000: 0}, merges=[])),
    whole(bpe(merges=None)),
    whole(bpe(merges=[["a"]])),
    whole(bpe(merges=[["a", "b", "ab"]])),
    whole(bpe(merges=[["a", "c"]])),
    whole(bpe(merges=[["b", "a"]])),
    whole(bpe(merges=[["a", 1]])),
    whole(bpe(merges=[{"a": "b"}])),
    whole(bpe(merges=["a b", ["a", "b"]])),
    whole(bpe(merges=["ab"])),
    whole(bpe(merges=["#version: 0.2", "a b"])),
    whole(bpe(continuing_subword_prefix="##")),
    whole(bpe(continuing_subword_prefix=["##"])),
    whole(bpe(unk_token="zz")),
    whole(bpe(unk_token=5)),
    whole(bpe(dropout=0.5)),
    whole(bpe(dropout="0")),
    whole(bpe(fuse_unk=None)),
    whole(bpe(byte_fallback=1)),
    whole(unigram(unk_id=5), added_tokens=[]),
    whole(unigram(unk_id=None), added_tokens=[]),
    whole(padding=PADDING | {"pad_id": 50}),
    whole(unigram(unk_id=2), added_tokens=[START | {"id": 2}]),
    whole(unigram(vocab=[["a", 0.0], ["a", 1.0]]), added_tokens=[]),
    whole(unigram(vocab=[["a"]]), added_tokens=[]),
    whole(unigram(vocab=[["a", None]]), added_tokens=[]),
    whole(word_piece(unk_token="zz"), added_tokens=[]),
    whole(word_piece(unk_token=None), added_tokens=[]),
    whole(word_piece(max_input_chars_per_word=10**9), added_tokens=[]),
    whole(word_piece(continuing_subword_prefix=None), added_tokens=[]),
    whole(added_tokens=None),
    whole(added_tokens={}),
    whole(added_tokens=["<s>"]),
    whole(added_tokens=[{"id": 3, "content": "<s>"}]),
    whole(added_tokens=[START | {"more": 1}]),
    whole(added_tokens=[START | {"content": ""}]),
    whole(added_tokens=[START | {"id": -1}]),
    whole(added_tokens=[START | {"id": 10**9}]),
    whole(added_tokens=[START | {"special": 1}]),
    whole(added_tokens=[START | {"id": 0}]),
    whole(added_tokens=[START | {"content": "a"}]),
    whole(added_tokens=[START, START | {"content": "<t>"}]),
    whole(truncation={}),
    whole(truncation=TRUNCATION | {"max_length": -1}),
    whole(truncation=TRUNCATION | {"strategy": "evil"}),
    whole(padding=PADDING | {"strategy": {"Fixed": 10**12}}),
    whole(padding=PADDING | {"strategy": ["BatchLongest"]}),
    whole(padding=PADDING | {"pad_token": None}),
    whole(normalizer={"type": "Evil"}),
    whole(normalizer={"type": "NFC", "more": 1}),
    whole(normalizer=[]),
    whole(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    whole(normalizer={"type": "Strip", "strip_left": True}),
    whole(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
    whole(normalizer={"type": "Replace", "pattern": {"Regex": "(a+)+"}, "content": ""}),
    whole(normalizer={"type": "Replace", "pattern": {"Regex": "a", "String": "a"}, "content": ""}),
    whole(normalizer={"type": "Replace", "pattern": "a", "content": ""}),
    whole(normalizer={"type": "Prepend", "prepend": "x" * 5000}),
    whole(normalizer={"type": "Sequence", "normalizers": [None]}),
    whole(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 1000}),
    whole(normalizer={"type": "Sequence"}),
    whole(pre_tokenizer=split(r"(\w|\d)*x")),
    whole(pre_tokenizer=split("a" * 5000)),
    whole(pre_tokenizer=split(r"\p{Evil}")),
    whole(pre_tokenizer=split("a") | {"behavior": "Evil"}),
    whole(pre_tokenizer=split("a") | {"invert": 1}),
    whole(pre_tokenizer={"type": "Metaspace", "replacement": "ab"}),
    whole(
        pre_tokenizer={
            "type": "Metaspace",
            "replacement": "▁",
            "add_prefix_space": False,
            "prepend_scheme": "always",
        }
    ),
    whole(pre_tokenizer={"type": "ByteLevel"}),
    whole(decoder={"type": "Strip", "content": " ", "start": -1, "stop": 0}),
    whole(decoder={"type": "Strip", "content": "  ", "start": 1, "stop": 0}),
    whole(decoder={"type": "Strip", "content": " ", "start": 10**9, "stop": 0}),
    whole(post_processor=FIXED | {"special_tokens": {}}),
    whole(post_processor=FIXED | {"special_tokens": {"<s>": {"id": "<s>", "ids": [99], "tokens": ["<s>"]}}}),
    whole(post_processor=FIXED | {"special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["a"]}}}),
    whole(
        post_processor=FIXED | {"special_tokens": {"<s>": {"id": "<s>", "ids": [3, 0], "tokens": ["<s>"]}}}
    ),
    whole(post_processor=FIXED | {"special_tokens": {"<s>": {"id": "x", "ids": [3], "tokens": ["<s>"]}}}),
    whole(post_processor=FIXED | {"single": [{"Sequence": {"id": "C", "type_id": 0}}]}),
    whole(post_processor=FIXED | {"single": [{"Sequence": {"id": ["A"], "type_id": 0}}]}),
    whole(post_processor=FIXED | {"single": [{"Evil": {"id": "A", "type_id": 0}}]}),
    whole(post_processor=FIXED | {"pair": [7]}),
    whole(post_processor={"type": "Sequence", "processors": [FIXED, FIXED]}),
    whole(post_processor={"type": "BertProcessing", "sep": ["a", 1], "cls": ["a", 0]}),
    whole(post_processor={"type": "BertProcessing", "sep": ["a"], "cls": ["a", 0]}),
]


@pytest.mark.parametrize("value", ACCEPTED, ids=lambda value: json.dumps(value)[44:110])
def test_what_the_library_reads_and_is_consistent_is_accepted(value):
    Tokenizer.from_str(json.dumps(value))
    assert parse(value)["model"] == value["model"]["type"]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: json.dumps(value)[:90])
def test_what_contradicts_itself_or_has_no_bound_is_refused(value):
    with pytest.raises(UntrustedBundle) as caught:
        parse(value)
    assert caught.value.key == "formats.tokenizer"
    assert caught.value.message.startswith("tokenizer.json is refused: ")


def test_the_facts_count_ids_and_tell_those_kept_free():
    assert parse(whole()) == {"model": "BPE", "vocab_size": 4, "highest_id": 3, "free_ids": 0}
    assert parse(whole(bpe(vocab={"a": 7, "b": 1, "ab": 2}))) == {
        "model": "BPE",
        "vocab_size": 4,
        "highest_id": 7,
        "free_ids": 4,
    }


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{L}+\p{L}+\p{N}",
        "a*a*b",
        ".*.*.*x",
        "(a+b+)c",
        "a+(?:b+)(?!c)",
        "a*b*(?:c|d)",
        r"\w+\w+\w+",
        "a+b+$",
    ],
)
def test_a_pattern_on_which_the_engine_gives_up_is_refused(pattern):
    with pytest.raises(UntrustedBundle, match="gives up in a long text"):
        tokenizer.read(json.dumps(whole(pre_tokenizer=split(pattern))).encode(), "x")


@pytest.mark.parametrize(
    "pattern", ["a+b+", "a*b+(?:c|d)?", "(?:a+b*)|c+d", "[ab]?a*b+c?", r"\s*[\r\n]+|\s+(?!\S)"]
)
def test_two_repeats_at_the_end_are_ordinary(pattern):
    tokenizer.read(json.dumps(whole(pre_tokenizer=split(pattern))).encode(), "x")
