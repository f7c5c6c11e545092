"""The pre-tokenizer is decided by structure; what llama.cpp cannot reproduce is refused."""

from __future__ import annotations

import copy

import pytest

from holdfast.errors import UntrustedBundle
from holdfast.gguf.spec import BOUNDS, Bound, Closeness
from holdfast.gguf.vocabulary import SPLITS, byte_alphabet, pre_tokenizer

PATTERNS = {name: (pattern, skips) for pattern, (name, skips) in SPLITS.items()}


def tokenizer(name: str = "qwen2") -> dict:
    pattern, skips_merges = PATTERNS[name]
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "model": {
            "type": "BPE",
            "byte_fallback": False,
            "ignore_merges": skips_merges,
            "vocab": {character: index for index, character in enumerate(sorted(byte_alphabet()))},
            "merges": [],
        },
    }


def changed(path: list, value: object) -> dict:
    document = copy.deepcopy(tokenizer())
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_a_known_expression_names_its_pre_tokenizer(name: str) -> None:
    assert pre_tokenizer(tokenizer(name)) == name


def test_the_published_expressions_are_known_letter_by_letter() -> None:
    assert (
        pre_tokenizer(
            changed(
                ["pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"],
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            )
        )
        == "qwen2"
    )


def test_a_byte_level_alone_is_gpt2() -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    assert pre_tokenizer(changed(["pre_tokenizer"], byte_level)) == "gpt-2"


def test_composing_characters_is_allowed() -> None:
    assert pre_tokenizer(changed(["normalizer"], {"type": "NFC"})) == "qwen2"


def test_the_byte_alphabet_is_that_of_byte_level_tokenizers() -> None:
    from tokenizers import pre_tokenizers

    assert byte_alphabet() == set(pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        changed(["model"], None),
        changed(["model", "type"], "Unigram"),
        changed(["model", "byte_fallback"], True),
        changed(["model", "dropout"], 0.1),
        changed(["model", "continuing_subword_prefix"], "##"),
        changed(["model", "end_of_word_suffix"], "</w>"),
        changed(["model", "ignore_merges"], True),
        changed(["model", "vocab"], {"a": 0}),
        changed(["model", "vocab"], [["a", 0]]),
        changed(["normalizer"], {"type": "Lowercase"}),
        changed(["normalizer"], "NFC"),
        changed(["pre_tokenizer"], None),
        changed(["pre_tokenizer"], {"type": "Whitespace"}),
        changed(["pre_tokenizer"], {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        changed(["pre_tokenizer", "pretokenizers"], []),
        changed(["pre_tokenizer", "pretokenizers", 0], "Split"),
        changed(["pre_tokenizer", "pretokenizers", 0, "behavior"], "Removed"),
        changed(["pre_tokenizer", "pretokenizers", 0, "invert"], True),
        changed(["pre_tokenizer", "pretokenizers", 0, "pattern"], {"String": " "}),
        changed(["pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"], r"\p{L}+"),
        changed(["pre_tokenizer", "pretokenizers", 1, "use_regex"], True),
        changed(["pre_tokenizer", "pretokenizers", 1], {"type": "Digits"}),
    ],
)
def test_anything_else_is_refused(document: object) -> None:
    with pytest.raises(UntrustedBundle) as caught:
        pre_tokenizer(document)
    assert caught.value.key == "gguf.tokenizer"
    assert "qwen2" in caught.value.remedy


@pytest.mark.parametrize(("kl", "top1", "kept"), [(0.1, 0.9, True), (0.11, 0.95, False), (0.05, 0.89, False)])
def test_a_bound_needs_both_figures(kl: float, top1: float, kept: bool) -> None:  # noqa: FBT001 - a table of cases
    measured = Closeness(kl, top1, bits_per_weight=5.0, tokens=100)
    assert measured.within(Bound(kl=0.1, top1=0.9)) is kept


def test_the_report_of_a_type_judges_it_by_its_own_bound() -> None:
    between = Closeness(kl=BOUNDS["q4_k_m"].kl, top1=BOUNDS["q4_k_m"].top1, bits_per_weight=5.0, tokens=100)
    assert between.to_json("q4_k_m")["within_bounds"] is True
    assert between.to_json("q8_0")["within_bounds"] is False
