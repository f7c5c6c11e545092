"""How a model that embeds pools, and what of its tokenizer llama.cpp can be."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import UntrustedBundle
from holdfast.formats import pooling
from holdfast.gguf import vocabulary, wordpiece

STEPS = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]


def modules(steps=STEPS, **changed) -> bytes:
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(steps)
    ]
    listed[1] |= changed
    return json.dumps(listed).encode()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (
            {
                "word_embedding_dimension": 384,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_cls_token": False,
            },
            "mean",
        ),
        ({"pooling_mode_cls_token": True, "include_prompt": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "mean", "embedding_dimension": 64}, "mean"),
    ],
)
def test_one_way_of_pooling_is_read(config, wanted):
    assert pooling.read(json.dumps(config).encode(), "x") == wanted


@pytest.mark.parametrize(
    "config",
    [
        {}, [], {"pooling_mode_max_tokens": True}, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": 1}, {"pooling_mode_mean_tokens": True, "weights": "x"}, {"pooling_mode": "max"},
        {"pooling_mode_mean_tokens": True, "word_embedding_dimension": -1}, {"pooling_mode_mean_tokens": True, "include_prompt": 1},
    ],
)  # fmt: skip
def test_anything_else_is_refused(config):
    with pytest.raises(UntrustedBundle) as caught:
        pooling.read(json.dumps(config).encode(), "x")
    assert caught.value.key == "formats.pooling"


def test_the_usual_steps_are_accepted_with_and_without_normalising():
    pooling.check_modules(modules(), "modules.json")
    pooling.check_modules(modules(STEPS[:2]), "modules.json")


@pytest.mark.parametrize(
    "data",
    [
        b"{}", modules(STEPS[:1] * 2), modules([*STEPS[:2], ("2_Dense", "Dense")]), modules([STEPS[1], STEPS[0]]),
        modules(path="../x"), modules(type="os.system.Pooling"), modules(idx=7), modules(extra=1), b"[1, 2]",
    ],
)  # fmt: skip
def test_other_steps_are_refused(data):
    with pytest.raises(UntrustedBundle) as caught:
        pooling.check_modules(data, "modules.json")
    assert caught.value.key == "formats.pooling"


def tokenizer(**changed) -> dict:
    texts = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "form", "##s", "a"]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "added_tokens": [{"id": at, "content": text, **special} for at, text in enumerate(texts[:5])],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "vocab": {text: at for at, text in enumerate(texts)},
        },
    } | changed  # fmt: skip


def test_pieces_are_spelled_as_llama_cpp_wants_them():
    found = vocabulary.read(tokenizer(), 10)
    assert found.model == "bert"
    assert found.tokens[2:9] == ("[CLS]", "[SEP]", "[MASK]", "▁form", "s", "▁a", "[PAD8]")
    assert (found.begin, found.end) == (2, 3)
    assert found.words == wordpiece.WordPiece(
        lowercase=True, strips_accents=True, unknown=1, padding=0, mask=4
    )


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFC"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"post_processor": None},
        {"model": {**tokenizer()["model"], "continuing_subword_prefix": "@@"}},
        {"model": {**tokenizer()["model"], "vocab": tokenizer()["model"]["vocab"] | {"▁x": 8}}},
        {"model": {**tokenizer()["model"], "vocab": tokenizer()["model"]["vocab"] | {"##": 8}}},
        {"model": {**tokenizer()["model"], "vocab": tokenizer()["model"]["vocab"] | {"##[CLS]": 8}}},
    ],
)
def test_a_word_piece_tokenizer_of_another_structure_is_refused(change):
    with pytest.raises(UntrustedBundle) as caught:
        vocabulary.read(tokenizer(**change), 12)
    assert caught.value.key == "gguf.tokenizer"


@pytest.mark.parametrize(
    ("text", "kept"), [("Größe, naïveté", True), ("한국어", False), ("हिन्दी", False), ("a\x85b", False)]
)
def test_texts_that_llama_cpp_normalises_otherwise_are_known(text, kept):
    assert wordpiece.comparable(text, strips_accents=True) is kept
    assert wordpiece.comparable(text, strips_accents=False)
