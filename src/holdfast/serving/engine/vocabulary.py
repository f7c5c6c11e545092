"""A model's vocabulary: text to token ids and back, as llama.cpp reads it.

Invariants: nothing here computes with the model, so any thread may call it; text that a client wrote is read for special
tokens only where ``special`` says so; ids that a client names are checked before llama.cpp sees them.

Source: llama.h of the pinned llama.cpp; shapes: V = tokens of the vocabulary.
"""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRequest, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

MAX_PIECE = 1024  # bytes of one token's text; the longest in known vocabularies has 512
_NO_TOKEN = -1  # llama.h, LLAMA_TOKEN_NULL


class Vocabulary:
    """The tokens of one open model.

    Args:
        llama: The low-level bindings.
        model: llama.cpp's model, which must outlive this.
    """

    def __init__(self, llama: ModuleType, model: int) -> None:
        self._llama = llama
        self._handle = llama.llama_model_get_vocab(model)
        self.size: int = llama.llama_vocab_n_tokens(self._handle)  # V
        self._control = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        self._marked = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        self._spaced = self._puts_spaces(model)
        self._pieces: dict[int, bytes] = {}  # those asked for so far, at most V
        self._ends: dict[int, bool] = {}  # the same

    def _puts_spaces(self, model: int) -> bool:
        """Tell whether the tokenizer puts a space before each stretch of text, as SentencePiece's do."""
        if self._llama.llama_vocab_type(self._handle) != self._llama.LLAMA_VOCAB_TYPE_SPM:
            return False
        room = ctypes.create_string_buffer(8)
        self._llama.llama_model_meta_val_str(model, b"tokenizer.ggml.add_space_prefix", room, len(room))
        return room.value != b"false"

    @cached_property
    def controls(self) -> Mapping[str, int]:
        """The texts that stand for control tokens, and their ids; tokens without a text are left out."""
        found: dict[str, int] = {}
        for token in range(self.size):
            if self._llama.llama_vocab_get_attr(self._handle, token) & self._control:
                text = self._text(token)
                if text:
                    found.setdefault(text, token)
        return found

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of all control tokens."""
        attribute = self._llama.llama_vocab_get_attr
        return frozenset(
            token for token in range(self.size) if attribute(self._handle, token) & self._control
        )

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end an answer, ascending."""
        return tuple(token for token in range(self.size) if self.ends(token))

    def pieces(self) -> list[bytes | None]:
        """Give what every token stands for, in order of ids.

        Returns:
            V items: bytes, or None for control tokens, which stand for no text.
        """
        controls = self.control_ids
        return [None if token in controls else self.piece(token) for token in range(self.size)]

    def tokenize(self, text: str, *, begin: bool, special: bool) -> list[int]:
        """Turn text into token ids.

        Args:
            text: Any text that UTF-8 can hold.
            begin: Whether to add the tokens that begin (and, for encoders, end) a text, where the model wants them.
            special: Whether the texts of control tokens are read as such; otherwise they are text like any other.

        Returns:
            The ids.

        Raises:
            UntrustedRequest: If the text holds half of a surrogate pair.
            WorkerFailed: If llama.cpp can't tokenize it.
        """
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise UntrustedRequest(
                "serve.text",
                "A text holds half of a surrogate pair, which no UTF-8 can hold.",
                remedy="Send whole characters.",
            ) from error
        room = len(data) + 8  # a token stands for at least one byte, but for a few special ones
        ids = (ctypes.c_int32 * room)()
        count = self._llama.llama_tokenize(self._handle, data, len(data), ids, room, begin, special)
        if count < 0:
            raise WorkerFailed(
                "serve.tokenize", "llama.cpp can't tokenize a text.", remedy="See the worker's log."
            )
        return list(ids[:count])

    def continued(self, text: str) -> list[int]:
        """Turn text that follows other text into token ids, without a space that a tokenizer puts before text.

        Args:
            text: Any text that UTF-8 can hold.

        Returns:
            Ids whose pieces, joined, are the text; none where the tokenizer does not give such ids.
        """
        if not self._spaced:
            return self.tokenize(text, begin=False, special=False)
        before = self.tokenize("\n", begin=False, special=False)
        found = self.tokenize("\n" + text, begin=False, special=False)
        return found[len(before) :] if found[: len(before)] == before else []

    def check(self, tokens: Sequence[int]) -> None:
        """Refuse ids that the vocabulary does not have.

        Args:
            tokens: Ids that a client named.

        Raises:
            UntrustedRequest: If one is not in the vocabulary.
        """
        for token in tokens:
            if not 0 <= token < self.size:
                raise UntrustedRequest(
                    "serve.token",
                    f"There is no token {token}: the model has tokens 0 to {self.size - 1}.",
                    remedy="Send ids that /tokenize of the same model gives.",
                    token=token,
                )

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Turn token ids into text; control tokens become their names.

        Args:
            tokens: Ids.

        Returns:
            The text, malformed UTF-8 replaced.

        Raises:
            UntrustedRequest: If an id is not in the vocabulary.
        """
        self.check(tokens)
        ids = (ctypes.c_int32 * max(len(tokens), 1))(*tokens)
        room = 16 * len(tokens) + 64  # bytes; asked again with what it takes
        for _ in range(2):
            text = ctypes.create_string_buffer(room)
            count = self._llama.llama_detokenize(self._handle, ids, len(tokens), text, room, False, True)
            if count >= 0:
                return text.raw[:count].decode("utf-8", "replace")
            room = -count
        raise WorkerFailed(
            "serve.tokenize", "llama.cpp can't write tokens as text.", remedy="See the worker's log."
        )

    def piece(self, token: int, *, after: int | None = None) -> bytes:
        """Give the bytes that a token stands for.

        Args:
            token: Its id.
            after: The prompt's last token, if this is the first of an answer. After a special token a tokenizer that puts
                spaces before text put one that nobody wrote; it is left out.

        Returns:
            Bytes, perhaps a part of a character; none for control tokens.
        """
        put = (
            after is not None
            and self._spaced
            and bool(self._llama.llama_vocab_get_attr(self._handle, after) & self._marked)
        )
        if not put and (known := self._pieces.get(token)) is not None:
            return known
        room = ctypes.create_string_buffer(MAX_PIECE)
        count = self._llama.llama_token_to_piece(self._handle, token, room, MAX_PIECE, int(put), False)
        piece = room.raw[: max(count, 0)]
        if not put:
            self._pieces[token] = piece
        return piece

    def ends(self, token: int) -> bool:
        """Tell whether a token ends an answer.

        Args:
            token: Its id.

        Returns:
            True for end-of-text and end-of-turn tokens.
        """
        known = self._ends.get(token)
        if known is None:
            known = self._ends[token] = bool(self._llama.llama_vocab_is_eog(self._handle, token))
        return known

    def special_texts(self) -> dict[str, str]:
        """Give the special tokens that chat templates name.

        Returns:
            ``bos_token`` and ``eos_token`` where the model has them, as texts.
        """
        found = {
            "bos_token": self._llama.llama_vocab_bos(self._handle),
            "eos_token": self._llama.llama_vocab_eos(self._handle),
        }
        return {name: self._text(token) for name, token in found.items() if token != _NO_TOKEN}

    def _text(self, token: int) -> str:
        text: bytes = self._llama.llama_vocab_get_text(self._handle, token)
        return text.decode("utf-8", "replace")
