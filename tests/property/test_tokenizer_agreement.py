"""Nothing is accepted of a tokenizer that the tokenizers library rejects, panics on, or runs away with."""

from __future__ import annotations

import copy
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from holdfast.errors import UntrustedBundle
from holdfast.formats import patterns, tokenizer

TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
BYTE_LEVEL = {"add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
}


def document(model, **parts):
    return {"version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", **TOKEN}], "model": model, **parts}


DOCUMENTS = [
    document(
        {
            "type": "BPE", "dropout": None, "unk_token": "a", "continuing_subword_prefix": "", "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": True, "ignore_merges": False, "vocab": {"a": 0, "b": 1, "ab": 2},
            "merges": [["a", "b"]],
        },
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "x"}]},
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": r"\s+|a"}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", **BYTE_LEVEL},
                {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": True},
            ],
        },
        post_processor={"type": "Sequence", "processors": [{"type": "ByteLevel", **BYTE_LEVEL}, TEMPLATE]},
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
    ),
    document(
        {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<u>", 0.0], ["a", -1.0], ["b", -2.5]]},
        truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        padding={
            "strategy": {"Fixed": 5}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 3, "pad_type_id": 0,
            "pad_token": "<s>",
        },
        decoder={"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": False},
    ),
    document(
        {
            "type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
            "vocab": {"u": 0, "a": 1, "##b": 2},
        },
        normalizer={
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor={"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["u", 0], "trim_offsets": True, "add_prefix_space": True},
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    ),
]  # fmt: skip
VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        3,
        -1,
        2**33,
        0.5,
        "",
        "a",
        "ab",
        "##",
        "Regex",
        "NFC",
        "Sequence",
        "Strip",
        [],
        {},
        ["a", "b"],
        [3],
    ]
)
ALPHABET = st.sampled_from(
    [
        "a", "b", "[", "]", "[^", "(", ")", "(?:", "(?i:", "(?-i:", "(?=", "(?<!", "(?<=", "(?>", "|", "*", "+", "?", "{2}", "{1,}",
        "{,3}", "{", "}", "-", "^", "$", "\\", r"\d", r"\p{L}", r"\b", r"\z", r"\n", r"\-", r"\]", r"\x41", r"\u0041", "&&",
        "[:alpha:]", ",", "2", ".", r"\x{1F600}", " ", "é",
    ]
)  # fmt: skip


def places(value, at=()):
    """Give every place in a document."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*at, key))


def changed(draw, value):
    """Replace, remove or repeat a part of a document."""
    value = copy.deepcopy(value)
    *above, last = draw(st.sampled_from([place for place in places(value) if place]))
    holder = value
    for key in above:
        holder = holder[key]
    act = draw(st.sampled_from(["replace", "remove", "repeat", "add"]))
    if act == "replace":
        holder[last] = draw(VALUES)
    elif act == "remove":
        del holder[last]
    elif isinstance(holder, list):
        holder.insert(last, copy.deepcopy(holder[last]))
    else:
        holder[draw(st.sampled_from(["more", "type", "c", "split", "add_prefix_space"]))] = draw(VALUES)
    return value


@st.composite
def mutants(draw):
    value = draw(st.sampled_from(DOCUMENTS))
    for _ in range(draw(st.integers(1, 3))):
        value = changed(draw, value)
    return value


@settings(max_examples=1500)
@given(mutants())
def test_what_is_accepted_the_library_reads_and_uses(value):
    data = json.dumps(value)
    try:
        facts, _ = tokenizer.read(data.encode(), "tokenizer.json")
    except UntrustedBundle:
        return
    try:
        made = Tokenizer.from_str(data)
        ids = made.encode("ab ba _a").ids
        made.decode(ids)
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":
            raise
        pytest.fail(f"the library panics: {data}")
    assert made.get_vocab_size() == facts["vocab_size"]
    assert all(number <= facts["highest_id"] for number in ids)


@pytest.mark.parametrize("value", DOCUMENTS, ids=["bpe", "unigram", "word-piece"])
def test_the_documents_that_are_changed_are_accepted_unchanged(value):
    tokenizer.read(json.dumps(value).encode(), "tokenizer.json")
    Tokenizer.from_str(json.dumps(value))


def split(pattern):
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return Tokenizer.from_str(json.dumps({**DOCUMENTS[0], "pre_tokenizer": part}))


@settings(max_examples=1500)
@given(st.lists(ALPHABET, max_size=10).map("".join))
@example(r"(?<!\d\]\z.)|")
@example(r"{\b(?:$){2}b")
@example("[a--b]")
@example("(?<=(a|bc))b")
def test_an_accepted_pattern_is_one_that_the_engine_accepts(pattern):
    if not patterns.problem(pattern):
        split(pattern)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(["a", "[ab]", "(?:a|b)", "(a)", "*", "+", "?", "{2,}", "{1,5}", "a?", "a*", ".", "(?:ab?)", "|", "x"]),
        max_size=12,
    ).map("".join)
)  # fmt: skip
@example("a?" * 12 + "a" * 12)
@example(".*.*.*.*.*x")
def test_an_accepted_pattern_does_not_run_away(pattern):
    if not patterns.problem(pattern):
        made = split(pattern)
        start = time.process_time()
        made.encode("ab" * 12 + "y")
        assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+", "(a*)*", "(a|a)*b", "(a|b|ab)+$", "(?:(?:x+)y)+", "(a?){25}a{25}", "a?" * 13, "(a{1,5}){1,900}", "(a{2,}b)*",
        "a*" * 7, r"(a)\1", "(?R)", "(?P<n>a)", r"\g<1>", r"\k<n>", "(?#x)", "(*FAIL)", "(?{1})", "(?~a)", "(?s:a)", "x" * 5000,
        "a{1025}", "a{2,1}", "(" * 40 + ")" * 40, "(", ")", "[", "[]", "[z-a]", "[[:evil:]]", r"\p{Evil}", "\\", r"\q", "*a", "|+",
    ],
)  # fmt: skip
def test_a_pattern_that_could_run_away_is_refused(pattern):
    assert patterns.problem(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[一-龥ぁ-ヿ]+",
        r".*layers\.\d+\.(self_attn|mlp)\.(q_proj|up_proj)",
        r"^(?!.*lm_head).*proj$",
        "a{x",
    ],
)
def test_patterns_of_the_known_families_are_accepted(pattern):
    assert patterns.problem(pattern) == ""
    split(pattern)
