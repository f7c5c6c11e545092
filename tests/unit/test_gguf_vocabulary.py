"""The tokenizer is decided by structure; what llama.cpp cannot reproduce is refused."""

from __future__ import annotations

import copy

import pytest

from holdfast.errors import UntrustedBundle
from holdfast.gguf import pieces
from holdfast.gguf.vocabulary import GPT2, SPLITS, Kind, byte_alphabet, read

EXPRESSIONS = sorted((name, pattern, skips) for (pattern, skips), name in SPLITS.items())
SPACE = pieces.SPACE
ROWS = 300


def special(text: str, number: int, **flags: object) -> dict:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **plain, **flags}


def of_bytes(pattern: str, *, skips: bool) -> dict:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "added_tokens": [special("<s>", 256)],
        "model": {
            "type": "BPE",
            "byte_fallback": False,
            "ignore_merges": skips,
            "vocab": {character: index for index, character in enumerate(sorted(byte_alphabet()))},
            "merges": [],
        },
    }


TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}
TEXTS = [SPACE, "a", "b", "c", SPACE + "a", "ab", SPACE + "ab", "bc"]
MERGES = [[SPACE, "a"], ["a", "b"], [SPACE, "ab"], [SPACE + "a", "b"], ["b", "c"]]


def of_pieces() -> dict:
    known = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *TEXTS]
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": TEMPLATE,
        "added_tokens": [special(text, number) for number, text in enumerate(known[:3])],
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {text: number for number, text in enumerate(known)},
            "merges": copy.deepcopy(MERGES),
        },
    }


def changed(document: dict, path: list, value: object) -> dict:
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


PLAIN = of_bytes(next(pattern for name, pattern, _ in EXPRESSIONS if name == "qwen2"), skips=False)


@pytest.mark.parametrize(("name", "pattern", "skips"), EXPRESSIONS)
def test_a_known_expression_names_its_pre_tokenizer(name: str, pattern: str, skips: bool) -> None:  # noqa: FBT001 - a table
    assert read(of_bytes(pattern, skips=skips), ROWS).pre == name


def test_the_published_expressions_are_known_letter_by_letter() -> None:
    published = {
        "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "dbrx": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
    for name, pattern in published.items():
        assert read(of_bytes(pattern, skips=False), ROWS).pre == name


def test_a_byte_level_alone_is_gpt2() -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    found = read(changed(PLAIN, ["pre_tokenizer"], byte_level), ROWS)
    assert (found.model, found.pre, found.begin, found.end) == ("gpt2", GPT2, None, None)


def test_composing_characters_is_allowed() -> None:
    assert read(changed(PLAIN, ["normalizer"], {"type": "NFC"}), ROWS).pre == "qwen2"


def test_the_byte_alphabet_is_that_of_byte_level_tokenizers() -> None:
    from tokenizers import pre_tokenizers

    assert byte_alphabet() == set(pre_tokenizers.ByteLevel.alphabet())


def test_ids_without_a_token_are_filled_up() -> None:
    document = changed(PLAIN, ["added_tokens"], [special("[PAD257]", 256)])
    found = read(document, 259)
    assert found.tokens[256:] == ("[PAD257]", "[[PAD257]]", "[PAD258]")
    assert found.kinds[255:] == (Kind.NORMAL, Kind.CONTROL, Kind.UNUSED, Kind.UNUSED)


def test_pieces_get_the_scores_of_their_places() -> None:
    document = of_pieces()
    document["added_tokens"].append(special("\n\n", 267, special=False))
    found = read(document, ROWS)
    assert (found.model, found.pre, found.begin, found.end) == ("llama", "default", 1, None)
    assert found.space_prefix
    assert found.scores is not None
    by_text = dict(zip(found.tokens, found.scores, strict=True))
    assert [by_text[text] for text in (SPACE + "a", "ab", SPACE + "ab", "bc")] == [0, -1, -2, -3]
    assert by_text["a"] == by_text["<s>"] == pieces.UNREACHABLE
    kinds = dict(zip(found.tokens, found.kinds, strict=True))
    assert kinds["<unk>"] == Kind.UNKNOWN
    assert kinds["<s>"] == Kind.CONTROL
    assert kinds["<0x41>"] == Kind.BYTE
    assert kinds["\n\n"] == Kind.USER_DEFINED
    # Two ways to make a piece: texts in which they meet are compared.
    assert " ab ab" in found.trials


def test_a_text_that_begins_with_no_space_has_no_prefix() -> None:
    document = of_pieces()
    document["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    document["pre_tokenizer"] = {
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
    }  # fmt: skip
    assert read(document, ROWS).space_prefix is False


def test_an_end_token_is_read() -> None:
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    document = changed(of_pieces(), ["post_processor", "single"], [*TEMPLATE["single"], end])
    document["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    found = read(document, ROWS)
    assert (found.begin, found.end) == (1, 2)


def refused(document: object, rows: int = ROWS) -> str:
    with pytest.raises(UntrustedBundle) as caught:
        read(document, rows)  # type: ignore[arg-type]  # as wrong as a file may be
    assert caught.value.key == "gguf.tokenizer"
    assert "qwen2" in caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        changed(PLAIN, ["model"], None),
        changed(PLAIN, ["model", "type"], "Unigram"),
        changed(PLAIN, ["model", "dropout"], 0.1),
        changed(PLAIN, ["model", "continuing_subword_prefix"], "##"),
        changed(PLAIN, ["model", "end_of_word_suffix"], "</w>"),
        changed(PLAIN, ["model", "ignore_merges"], True),
        changed(PLAIN, ["model", "vocab"], {"a": 0}),
        changed(PLAIN, ["model", "vocab"], [["a", 0]]),
        changed(PLAIN, ["model", "vocab", "!"], "0"),
        changed(PLAIN, ["model", "vocab", "!"], True),
        changed(PLAIN, ["model", "vocab", "!"], -1),
        changed(PLAIN, ["model", "vocab", "!"], ROWS),
        changed(PLAIN, ["model", "merges"], [["a b", "c"]]),
        changed(PLAIN, ["model", "merges"], [["a"]]),
        changed(PLAIN, ["model", "merges"], [7]),
        changed(PLAIN, ["normalizer"], {"type": "Lowercase"}),
        changed(PLAIN, ["normalizer"], "NFC"),
        changed(PLAIN, ["pre_tokenizer"], None),
        changed(PLAIN, ["pre_tokenizer"], {"type": "Whitespace"}),
        changed(PLAIN, ["pre_tokenizer"], {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers"], []),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 0], "Split"),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 0, "behavior"], "Removed"),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 0, "invert"], True),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 0, "pattern"], {"String": " "}),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"], r"\p{L}+"),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 1, "use_regex"], True),
        changed(PLAIN, ["pre_tokenizer", "pretokenizers", 1], {"type": "Digits"}),
        changed(PLAIN, ["post_processor"], {"type": "BertProcessing"}),
        changed(PLAIN, ["post_processor"], {"type": "Sequence", "processors": 7}),
        changed(PLAIN, ["added_tokens"], None),
        changed(PLAIN, ["added_tokens"], [7]),
        changed(PLAIN, ["added_tokens"], [special("", 256)]),
        changed(PLAIN, ["added_tokens"], [special("<s>", 256, rstrip=True)]),
        changed(PLAIN, ["added_tokens"], [special("<s>", 256, single_word=True)]),
        changed(PLAIN, ["added_tokens"], [special("<s>", 256), special("<t>", 256)]),
        changed(PLAIN, ["added_tokens"], [special("xy", 256), special("yz", 257)]),
        changed(PLAIN, ["added_tokens"], [special("\n\n", 256), special("\n<td>", 257)]),
    ],
)
def test_other_tokenizers_of_bytes_are_refused(document: object) -> None:
    refused(document)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (changed(of_pieces(), ["model", "merges"], MERGES[:3] + MERGES[4:]), "lack"),
        (changed(of_pieces(), ["model", "merges"], [*MERGES, MERGES[0]]), "twice"),
        (changed(of_pieces(), ["model", "merges"], [*MERGES, ["c", "c"]]), "known pieces"),
        (
            changed(
                of_pieces(), ["model", "merges"], [MERGES[2], MERGES[0], MERGES[1], MERGES[3], MERGES[4]]
            ),
            "order",
        ),
        (changed(of_pieces(), ["model", "vocab", "bx"], 267), "lack"),  # a character that is no piece
        (changed(of_pieces(), ["model", "vocab", "<0x41>"], 299), "300"),
        (changed(of_pieces(), ["model", "ignore_merges"], True), "skips"),
        (changed(of_pieces(), ["normalizer"], None), "normalizer"),
        (changed(of_pieces(), ["normalizer", "normalizers", 0, "prepend"], "_"), "▁ for spaces"),
        (
            changed(of_pieces(), ["pre_tokenizer"], {"type": "Metaspace", "prepend_scheme": "first"}),
            "Metaspace",
        ),
        (changed(of_pieces(), ["post_processor", "single"], []), "template"),
        (changed(of_pieces(), ["post_processor", "special_tokens", "<s>", "ids"], [1, 2]), "one token"),
        (changed(of_pieces(), ["added_tokens", 1, "lstrip"], True), "stand alone"),
        (changed(of_pieces(), ["added_tokens", 2, "rstrip"], True), "Phi-3"),
    ],
)
def test_other_tokenizers_of_pieces_are_refused(document: dict, word: str) -> None:
    if word == "300":
        document["model"]["vocab"]["<0x41>"] = 300
    assert word in refused(document)


def test_a_vocabulary_without_all_bytes_is_refused() -> None:
    document = of_pieces()
    del document["model"]["vocab"]["<0x41>"]
    assert "256 bytes" in refused(document)


def test_bytes_that_are_added_tokens_are_refused() -> None:
    document = of_pieces()
    document["added_tokens"].append(special("<0x41>", 3 + 0x41))
    assert "added tokens" in refused(document)
