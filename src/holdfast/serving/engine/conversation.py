"""From messages to token ids, so that what people write is never read as a control token.

A chat template writes control tokens (``<|end|>`` and the like) as text, around contents in which the same text may stand.
Order of operations: the messages are rendered; if a content holds characters that control tokens are made of, they are
rendered once more with these characters replaced, in contents alone, by private ones that stand for nothing else. The
control tokens of that second text are the template's own. If the first has the very same, it is tokenized as transformers
would. Otherwise somebody wrote one: then the second text is cut at the template's control tokens, the private characters
are turned back, and what lies between is tokenized as plain text.

Invariants: no control token comes from a content, nor from a content joined to what the template wrote beside it; where no
content holds the text of a control token the ids are those of the rendered text. Roles are not contents: who calls this has
checked them.

Source: transformers' ``apply_chat_template``, which adds no begin token: templates write it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.serving.engine.template import ChatTemplate

_PRIVATE = (*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE))  # Unicode's private use areas


class Reader(Protocol):
    """What is needed of a vocabulary."""

    @property
    def controls(self) -> Mapping[str, int]:
        """The texts that stand for control tokens, and their ids."""

    def tokenize(self, text: str, *, begin: bool, special: bool) -> list[int]:
        """Turn text into token ids."""


def tokens(template: ChatTemplate, vocabulary: Reader, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Turn messages into the prompt's token ids.

    Args:
        template: The model's.
        vocabulary: The model's.
        messages: Objects with ``role`` and ``content``.

    Returns:
        The ids, ending where the assistant's answer begins.

    Raises:
        UntrustedRequest: If the template can't express these messages, or a content can't be told from a control token.
        UntrustedBundle: If the template fails or exceeds its budget.
    """
    text = template.render(messages)
    signs = _signs(tuple(vocabulary.controls))
    contents = [message["content"] for message in messages]
    if not any(map(signs.inside.search, contents)):
        return vocabulary.tokenize(text, begin=False, special=True)
    there = _replacements(signs.characters, contents)
    guarded = template.render(
        [{**message, "content": message["content"].translate(there)} for message in messages]
    )
    own = list(signs.find(guarded))
    back = {ord(private): sign for sign, private in there.items()}
    # A template that reads contents may write another text when they are changed. Then positions say nothing, and the first
    # text is used only if no content holds a control token at all.
    same = guarded.translate(back) == text or not any(map(any, map(signs.find, contents)))
    if same and [control for _, control in own] == [control for _, control in signs.find(text)]:
        return vocabulary.tokenize(text, begin=False, special=True)
    return list(chain.from_iterable(_pieces(vocabulary, guarded, own, back)))


def _pieces(
    vocabulary: Reader, guarded: str, own: list[tuple[int, str]], back: Mapping[int, int]
) -> Iterator[list[int]]:
    """Tokenize what lies between the template's control tokens, and give these."""
    controls = vocabulary.controls
    forbidden = frozenset(controls.values())
    at = 0
    for start, control in [*own, (len(guarded), "")]:
        if start < at:
            continue  # it begins inside the one before
        if at < start:
            plain = vocabulary.tokenize(guarded[at:start].translate(back), begin=False, special=False)
            if not forbidden.isdisjoint(plain):
                raise UntrustedRequest(
                    "serve.messages",
                    "A message holds text that the model's tokenizer can't tell from a control token.",
                    remedy="Leave the names of control tokens out of the messages.",
                )
            yield plain
        if control:
            yield [controls[control]]
        at = start + len(control)


def _replacements(characters: frozenset[str], contents: Sequence[str]) -> dict[int, str]:
    """Give each character a private one that no content holds."""
    taken = set().union(*map(set, contents))
    free = (character for character in map(chr, _PRIVATE) if character not in taken)
    found = {ord(sign): private for sign, private in zip(sorted(characters), free, strict=False)}
    if len(found) < len(characters):
        raise UntrustedRequest(
            "serve.messages",
            "The messages use nearly every private character of Unicode.",
            remedy="Send text.",
        )
    return found


@dataclass(frozen=True)
class _Signs:
    """What control tokens look like.

    Args:
        characters: Those that give them away: every control token has one, and all that are neither letters, digits nor
            spaces are among them.
        inside: Finds one of them.
        begins: Finds where a control token may begin.
        lengths: Of control tokens by their first character, the longest first.
        controls: Their texts.
    """

    characters: frozenset[str]
    inside: re.Pattern[str]
    begins: re.Pattern[str]
    lengths: Mapping[str, tuple[int, ...]]
    controls: frozenset[str]

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """Find every control token's text, also where they overlap; in order, the longer first."""
        for found in self.begins.finditer(text):
            at = found.start()
            for length in self.lengths[found[0]]:
                control = text[at : at + length]
                if control in self.controls:
                    yield at, control


@lru_cache(maxsize=4)
def _signs(controls: tuple[str, ...]) -> _Signs:
    characters: set[str] = set()
    lengths: dict[str, set[int]] = {}
    for control in controls:
        characters |= {sign for sign in control if not (sign.isalnum() or sign.isspace())} or {control[0]}
        lengths.setdefault(control[0], set()).add(len(control))
    return _Signs(
        frozenset(characters),
        _any_of(characters),
        _any_of(lengths),
        {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()},
        frozenset(controls),
    )


def _any_of(characters: set[str] | Mapping[str, object]) -> re.Pattern[str]:
    return re.compile("[" + "".join(map(re.escape, sorted(characters))) + "]" if characters else r"(?!)")
