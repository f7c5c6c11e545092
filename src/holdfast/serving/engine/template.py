"""Chat templates: messages in, the prompt's text out, by the same rules as transformers' ``apply_chat_template``.

A template is a program that came on a medium, so it is read by the same rules as at its import and rendered in the same
sandbox (``formats.sandbox``), with limits for real conversations. Invariant: the same messages give the same text on every
day; a template is not told the time, and those that ask whether they can be use their own default.

Source: the rendering rules of Hugging Face transformers' chat templates (trimmed blocks, loop controls, ``raise_exception``).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedBundle, UntrustedRequest
from holdfast.formats import chattemplate
from holdfast.formats.budget import BrokenError, Limits, RefusedError
from holdfast.formats.chattemplate import MAX_TEMPLATE
from holdfast.formats.sandbox import Program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LIMITS", "MAX_TEMPLATE", "ChatTemplate"]

# A thousand messages take about a hundred steps each; a request's body has fewer characters.
LIMITS = Limits(steps=500_000, characters=16 * 2**20)


class ChatTemplate:
    """One compiled template.

    Args:
        source: Its text.
        tokens: The texts of the special tokens that templates name (``bos_token``, ``eos_token``, ...).

    Raises:
        UntrustedBundle: If it is too long, is no template, or does what a template may not.
    """

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self._tokens = dict(tokens)
        self._rendering = threading.Lock()  # one budget, so one rendering at a time; it takes microseconds
        try:
            chattemplate.check(source.encode("utf-8", "surrogatepass"), "it")
            self._program = Program(source, LIMITS, now=None)
        except UntrustedBundle as problem:
            raise _unusable(problem.message.removeprefix("it is refused: ").removesuffix(".")) from problem
        except BrokenError as problem:
            raise _unusable(str(problem)) from problem

    def render(self, messages: Iterable[Mapping[str, str]]) -> str:
        """Write messages as a prompt that ends where the assistant's answer begins.

        Args:
            messages: Objects with ``role`` and ``content``.

        Returns:
            The prompt.

        Raises:
            UntrustedRequest: If the template cannot express these messages.
            UntrustedBundle: If the template fails or exceeds its budget.
        """
        variables = {
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": True,
            "tools": None,
            "documents": None,
            **self._tokens,
        }
        try:
            with self._rendering:
                return self._program.render(variables)
        except RefusedError as refusal:
            raise UntrustedRequest(
                "serve.messages",
                f"The model's chat template refuses these messages: {str(refusal)[:200]}.",
                remedy="Send roles in the order that the model was trained on.",
            ) from refusal
        except BrokenError as problem:
            raise _unusable(str(problem)) from problem


def _unusable(why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "serve.template",
        f"The model's chat template can't be used: {why[:300]}.",
        remedy="Import the model with a working chat template.",
    )
