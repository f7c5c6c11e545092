"""The JSON files beside tokenizer.json: tokenizer_config.json, special_tokens_map.json, added_tokens.json.

Invariants: the tokenizer's class is one of those that read tokenizer.json and nothing else; every value is plain, except
tokens, tables of tokens and the chat template, whose forms are known.

Source: transformers 5.23, tokenization_utils_base and models/auto/tokenization_auto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
MAX_TOKENS = 200_000  # in one table; models with many reserved tokens list a few thousand
MAX_TEXT = 4096  # characters of a token or of a plain value
MAX_ID = 2_000_000  # the same bound as a model's vocab_size
_CLASSES = (  # each also with the ending Fast, which older writers used
    "TokenizersBackend", "PreTrainedTokenizer", "LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "Qwen2Tokenizer",
    "Qwen3Tokenizer", "CodeGenTokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer", "BertTokenizer", "T5Tokenizer",
    "XLMRobertaTokenizer",
)  # fmt: skip
CLASSES = frozenset(_CLASSES) | {f"{name}Fast" for name in _CLASSES}
_TOKEN = frozenset({"__type", "content", "lstrip", "rstrip", "single_word", "normalized", "special"})
_TABLES = frozenset({"extra_special_tokens", "additional_special_tokens", "model_specific_special_tokens"})
_SENTENCEPIECE = frozenset({"enable_sampling", "nbest_size", "alpha", "add_bos", "add_eos"})
_STATE = frozenset({"vocab", "merges"})  # a text there is opened as a file


def check(value: Mapping[str, Json], name: str) -> None:  # noqa: C901 - one branch per key with a form of its own
    """Judge one of the files.

    Args:
        value: What it holds.
        name: The file's path, for messages; its last part decides which file it is.

    Raises:
        UntrustedBundle: If it holds something else than such a file does.
    """
    kind = name.rpartition("/")[2]
    if kind == "added_tokens.json":
        for token, number in value.items():
            if len(token) > MAX_TEXT or type(number) is not int or not 0 <= number < MAX_ID:
                raise _bad(name, f"the token {token[:40]!r} has no id below {MAX_ID}")
        return
    check_class(value.get("tokenizer_class"), name)
    for key, inner in value.items():
        if key in _STATE:
            raise _bad(name, f"it holds {key}, which belongs into tokenizer.json")
        if key == "added_tokens_decoder":
            _decoder(inner, name)
        elif key == "chat_template":
            _template(inner, name)
        elif key in _TABLES:
            _table(key, inner, name)
        elif key == "sp_model_kwargs":
            if inner is not None and not (isinstance(inner, dict) and _SENTENCEPIECE.issuperset(inner)):
                raise _bad(name, f"{key} holds something else than {', '.join(sorted(_SENTENCEPIECE))}")
        elif isinstance(inner, dict):
            _token(key, inner, name)
        else:
            _plain(key, inner, name)


def check_class(value: Json, name: str) -> None:
    """Judge the name of a tokenizer's class.

    Args:
        value: The name; None where there is none.
        name: The file's path, for messages.

    Raises:
        UntrustedBundle: If it is not one that reads tokenizer.json alone.
    """
    if value is not None and (not isinstance(value, str) or value not in CLASSES):
        raise _bad(
            name, f"the tokenizer's class is {str(value)[:80]!r}; known are {', '.join(sorted(_CLASSES))}"
        )


def special_tokens(value: Mapping[str, Json]) -> frozenset[str]:
    """Give the special tokens that a tokenizer_config.json names; the library adds those that tokenizer.json lacks.

    Args:
        value: What ``check`` has let through.

    Returns:
        Their texts.
    """
    found: list[Json] = [inner for key, inner in value.items() if key.endswith("_token")]
    for key in ("added_tokens_decoder", *_TABLES):
        table = value.get(key)
        found += table.values() if isinstance(table, dict) else table if isinstance(table, list) else []
    texts = [one.get("content") if isinstance(one, dict) else one for one in found]
    return frozenset(text for text in texts if isinstance(text, str))


def _decoder(value: Json, name: str) -> None:
    if not isinstance(value, dict) or len(value) > MAX_TOKENS:
        raise _bad(name, f"added_tokens_decoder is not a table of at most {MAX_TOKENS} tokens")
    for number, token in value.items():
        if (
            not (number.isascii() and number.isdecimal())
            or len(number) > len(str(MAX_ID))
            or int(number) >= MAX_ID
        ):
            raise _bad(name, f"added_tokens_decoder has the id {number[:40]!r}; ids are below {MAX_ID}")
        if not isinstance(token, dict):
            raise _bad(name, f"added_tokens_decoder has no token for the id {number}")
        _token(f"added_tokens_decoder {number}", token, name)


def _table(key: str, value: Json, name: str) -> None:
    items = [*value.values()] if isinstance(value, dict) else [] if value is None else value
    if not isinstance(items, list) or len(items) > MAX_TOKENS:
        raise _bad(name, f"{key} is not a table of at most {MAX_TOKENS} tokens")
    for item in items:
        if isinstance(item, dict):
            _token(key, item, name)
        elif not isinstance(item, str) or len(item) > MAX_TEXT:
            raise _bad(name, f"{key} holds something else than tokens of at most {MAX_TEXT} characters")


def _token(key: str, value: Mapping[str, Json], name: str) -> None:
    content = value.get("content")
    flags = [inner for field, inner in value.items() if field not in {"__type", "content"}]
    if (
        not _TOKEN.issuperset(value)
        or value.get("__type", "AddedToken") != "AddedToken"
        or not isinstance(content, str)
        or len(content) > MAX_TEXT
        or not all(isinstance(flag, bool) for flag in flags)
    ):
        raise _bad(name, f"{key[:80]!r} is an object and not a token")


def _template(value: Json, name: str) -> None:
    """Judge the form of the chat template; its text is judged as every template."""
    named = value if isinstance(value, list) else []
    for item in named:
        if (
            not isinstance(item, dict)
            or set(item) != {"name", "template"}
            or not all(isinstance(part, str) for part in item.values())
        ):
            raise _bad(name, "chat_template lists something else than named templates")
    if value is not None and not isinstance(value, str | list):
        raise _bad(name, "chat_template is neither a text nor a list of named ones")


def _plain(key: str, value: Json, name: str) -> None:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict | list) or (isinstance(item, str) and len(item) > MAX_TEXT):
            raise _bad(
                name,
                f"{key[:80]!r} is not plain: a number, a text of at most {MAX_TEXT} characters, a list of them",
            )


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.config",
        f"{name} is refused: {why}.",
        remedy="Have the tokenizer saved again by transformers 5, without settings of its own.",
        file=name,
    )
