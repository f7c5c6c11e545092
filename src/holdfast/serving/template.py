"""Chat templates: messages in, the prompt's text out, by the same rules as transformers' ``apply_chat_template``.

A template is a program that came on a medium, so it runs in Jinja's immutable sandbox with a budget. Invariants: it reaches
no attribute of Python's machinery, no file and no clock; the steps it takes (loop rounds, calls, attributes) and the
characters it builds are bounded, and so the time and memory; the same messages give the same text on every day.

Source: the rendering rules of Hugging Face transformers' chat templates (trimmed blocks, loop controls, ``raise_exception``).
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from jinja2 import TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from holdfast.errors import UntrustedBundle, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jinja2.runtime import Undefined

MAX_TEMPLATE = 128 * 2**10  # characters of a template's source; the longest in use have about 20,000
MAX_STEPS = 50_000  # loop rounds, calls and attributes; a thousand messages take about ten each
MAX_TEXT = 16 * 2**20  # characters of a prompt or of anything built on the way; a request's body is smaller
_GROWING = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill"})
_DROPPED_FILTERS = ("center", "format", "indent", "pprint", "random", "urlize", "wordwrap", "xmlattr")


class _RefusedError(Exception):
    """The template itself called ``raise_exception``: the messages are not what it can express."""


class _ExhaustedError(Exception):
    """The budget is spent."""


class _Budget:
    """What one rendering may still use."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> str:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _ExhaustedError(f"it takes more than {MAX_STEPS} steps")
        return ""


class _CountRounds(NodeTransformer):
    """Makes every round of a loop call the budget, and every ``~`` check what it builds."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - the name that Jinja's visitor looks for
        self.generic_visit(node)
        step = _call("__step", [], node)
        if node.test is None:
            node.body.insert(0, nodes.Output([step], lineno=node.lineno))
        else:  # rounds that the condition skips count too; the step itself gives an empty text
            node.test = nodes.And(nodes.Not(step), node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802 - the name that Jinja's visitor looks for
        self.generic_visit(node)
        return _call("__join", node.nodes, node)


def _call(name: str, arguments: list[nodes.Expr], node: nodes.Node) -> nodes.Call:
    function = nodes.Name(name, "load", lineno=node.lineno)
    return nodes.Call(function, arguments, [], None, None, lineno=node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with every step counted and every growth bounded."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.budget = _Budget()
        for name in _DROPPED_FILTERS:
            self.filters.pop(name)
        self.filters["tojson"] = _to_json
        self.filters["replace"] = _replace
        self.globals.pop("lipsum")
        self.globals.update(raise_exception=_raise, __join=_join)
        self.globals["__step"] = self.budget.step

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        growing = isinstance(obj, str) and attr in _GROWING
        return not growing and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: object, attribute: str) -> object:
        self.budget.step()
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: str | object) -> object | Undefined:
        self.budget.step()
        return super().getitem(obj, argument)

    def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
        self.budget.step()
        if operator == "+":
            _bounded(_size(left) + _size(right))
        elif operator == "*":
            _bounded(
                max(_size(left), 1) * right if isinstance(right, int) else max(_size(right), 1) * _whole(left)
            )
        elif operator == "**" or isinstance(left, str):
            raise _ExhaustedError(f"it uses {operator} in a way that can grow without bound")
        return super().call_binop(context, operator, left, right)  # type: ignore[arg-type]  # Jinja's own context, passed on

    def call(self, context: object, function: object, *args: object, **kwargs: object) -> object:
        self.budget.step()
        if getattr(function, "__name__", "") == "replace" and len(args) >= 2:  # noqa: PLR2004 - old and new
            return _replace(getattr(function, "__self__", ""), *args)
        return super().call(context, function, *args, **kwargs)  # type: ignore[arg-type]  # as above


class ChatTemplate:
    """One compiled template.

    Args:
        source: Its text.
        tokens: The texts of the special tokens that templates name (``bos_token``, ``eos_token``, ...).

    Raises:
        UntrustedBundle: If it is too long or is no template.
    """

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        if len(source) > MAX_TEMPLATE:
            raise _unusable(f"it has {len(source)} characters and {MAX_TEMPLATE} are allowed")
        self._tokens = dict(tokens)
        self._rendering = threading.Lock()  # one budget, so one rendering at a time; it takes microseconds
        self._sandbox = _Sandbox()
        try:
            self._program = self._sandbox.from_string(_CountRounds().visit(self._sandbox.parse(source)))
        except (TemplateError, RecursionError) as error:
            raise _unusable(str(error)) from error

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
        try:
            with self._rendering:
                self._sandbox.budget.steps = 0
                return self._whole(messages)
        except _RefusedError as refusal:
            raise UntrustedRequest(
                "serve.messages",
                f"The model's chat template refuses these messages: {str(refusal)[:200]}.",
                remedy="Send roles in the order that the model was trained on.",
            ) from refusal
        except (
            _ExhaustedError, TemplateError, RecursionError, MemoryError, TypeError, ValueError, LookupError, ArithmeticError,
            AttributeError,
        ) as error:  # fmt: skip
            raise _unusable(f"{type(error).__name__}: {error}") from error

    def _whole(self, messages: Iterable[Mapping[str, str]]) -> str:
        parts, size = [], 0
        for part in self._program.generate(
            messages=[dict(message) for message in messages],
            add_generation_prompt=True,
            tools=None,
            documents=None,
            **self._tokens,
        ):
            size += len(part)
            _bounded(size)
            parts.append(part)
        return "".join(parts)


def _raise(message: str) -> str:
    raise _RefusedError(message)


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=None if indent is None else min(indent, 8))


def _replace(text: object, old: object, new: object, count: object = None) -> str:
    whole, before, after = str(text), str(old), str(new)
    limit = count if isinstance(count, int) else -1
    _bounded(len(whole) + whole.count(before) * len(after))
    return whole.replace(before, after, limit)


def _join(*parts: object) -> str:
    texts = [str(part) for part in parts]
    _bounded(sum(len(text) for text in texts))
    return "".join(texts)


def _size(value: object) -> int:
    return len(value) if isinstance(value, (str, list, tuple)) else 0


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 1


def _bounded(size: int) -> None:
    if size > MAX_TEXT:
        raise _ExhaustedError(f"it builds more than {MAX_TEXT} characters")


def _unusable(why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "serve.template",
        f"The model's chat template can't be used: {why[:300]}.",
        remedy="Import the model with a working chat template.",
    )
