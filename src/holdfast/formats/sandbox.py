"""The sandbox that chat templates are rendered in: Jinja's immutable one, with a budget.

A template is a program that came on a medium. Invariants: it reaches no attribute of Python's machinery, no file, no clock
and no address of an object; the steps it takes and the characters it builds are bounded, and so time and memory; nothing of
it runs while it is compiled. Order of operations: the tree is rewritten so that loops, outputs, comparisons, slices and ``~``
ask the budget; filters, tests, calls, attributes and operators ask it where Jinja hands them to the environment.

What is left out of Jinja: filters that format, pad or wrap without bound, ``cycler``, ``joiner`` and ``lipsum``, ``%`` on texts.
What is added are the names that transformers offers: ``raise_exception``, ``strftime_now``, ``tojson`` without HTML escapes,
loop controls and the ``generation`` tag.

Source: the rendering rules of transformers 5.23, utils/chat_template_utils.
"""

from __future__ import annotations

import functools
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jinja2 import TemplateError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from holdfast.formats.budget import (
    CHARACTERS_PER_STEP,
    BrokenError,
    Budget,
    ExhaustedError,
    Limits,
    PrivateError,
    RefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2.environment import Template
    from jinja2.parser import Parser
    from jinja2.runtime import Context, Undefined

MAX_INTEGER = 2**63  # of arithmetic; a template counts messages
MAX_INDENT = 16  # spaces per level that tojson and indent may put in
MAX_FORMAT = 64  # characters of a date's format
_GROWING = frozenset(
    {
        "center",
        "encode",
        "expandtabs",
        "format",
        "format_map",
        "ljust",
        "maketrans",
        "rjust",
        "translate",
        "zfill",
    }
)
FILTERS = frozenset(
    {
        "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby", "indent", "int",
        "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse",
        "round", "safe", "select", "selectattr", "sort", "string", "striptags", "title", "tojson", "trim", "truncate",
        "unique", "upper", "wordcount",
    }
)  # fmt: skip
_SHALLOW = frozenset(  # filters that do not look into the items of what they are given
    {
        "count", "d", "default", "first", "items", "last", "length", "list", "map", "reject", "rejectattr", "reverse",
        "select", "selectattr",
    }
)  # fmt: skip
_COMPARING = frozenset(
    {"==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan", ">=", "ge", "in"}
)  # fmt: skip
_DATE = re.compile(r"(?:[^%]|%-?[aAbBdeHIjmMpSyYZ%])*")
_FAILURES = (
    TemplateError, SyntaxError, RecursionError, MemoryError, TypeError, ValueError, LookupError, ArithmeticError,
    AttributeError, AssertionError,
)  # fmt: skip
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)  # the day that a rendering without a clock takes place on


class Generation(Extension):
    """The tag by which templates mark what the assistant says; its body is judged like any other."""

    tags = {"generation"}  # noqa: RUF012 - the name and form that Jinja prescribes

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag's body.

        Args:
            parser: Jinja's, after the tag's name.

        Returns:
            The body, in a scope of its own.
        """
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


EXTENSIONS = (Generation, loopcontrols)


class Program:
    """One compiled template; not for use by two threads at once.

    Args:
        source: Its text, which ``chattemplate.check`` has let through: no name in it begins with an underscore.
        limits: What one rendering may use.
        now: The time that ``strftime_now`` tells; None: templates are not told the time, and find that it is not defined.

    Raises:
        BrokenError: If it is no template.
    """

    def __init__(self, source: str, limits: Limits, now: datetime | None = EPOCH) -> None:
        self._sandbox = _Sandbox(limits, now)
        try:
            tree = _Rewriter().visit(self._sandbox.parse(source))
            self._template: Template = self._sandbox.from_string(tree)
        except _FAILURES as problem:
            raise _broken(problem) from problem

    def render(self, variables: Mapping[str, object]) -> str:
        """Render it.

        Args:
            variables: What it may name, as plain data.

        Returns:
            The text.

        Raises:
            RefusedError: If it calls ``raise_exception``.
            BrokenError: If it fails, or as ``ExhaustedError`` if it exceeds its budget.
        """
        budget = self._sandbox.budget
        budget.reset()
        parts, size = [], 0
        try:
            for part in self._template.generate(variables):
                size += len(part)
                budget.fits(size)
                parts.append(part)
            return "".join(parts)
        except _FAILURES as problem:
            raise _broken(problem) from problem


def _broken(problem: BaseException) -> BrokenError:
    line = getattr(problem, "lineno", None)
    where = f"line {line}: " if isinstance(problem, TemplateError) and isinstance(line, int) else ""
    return BrokenError(f"{where}{type(problem).__name__}: {str(problem)[:200]}")


class _Rewriter(NodeTransformer):
    """Makes what Jinja compiles to plain Python ask the budget."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - the name that Jinja's visitor looks for
        self.generic_visit(node)
        step = _call("__write", [nodes.Const(1, lineno=node.lineno)], node)
        if node.test is None:
            node.body.insert(0, nodes.Output([step], lineno=node.lineno))
        else:  # rounds that the condition skips count too; the step itself gives an empty text
            node.test = nodes.And(nodes.Not(step), node.test, lineno=node.lineno)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - as above
        self.generic_visit(node)
        fixed = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        node.nodes.insert(0, _call("__write", [nodes.Const(fixed, lineno=node.lineno)], node))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802 - as above
        self.generic_visit(node)
        return _call("__join", node.nodes, node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802 - as above
        self.generic_visit(node)
        node.expr = _call("__read", [node.expr], node)
        for operand in node.ops:
            name = "__read_keys" if operand.op in {"in", "notin"} else "__read"
            operand.expr = _call(name, [operand.expr], node)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802 - as above
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _call("__touch", [node.node], node)
        return node


def _call(name: str, arguments: list[nodes.Expr], node: nodes.Node) -> nodes.Call:
    function = nodes.Name(name, "load", lineno=node.lineno)
    return nodes.Call(function, arguments, [], None, None, lineno=node.lineno)


class _Namespace(Namespace):
    """Jinja's namespace, without private names."""

    def __init__(self, *args: Mapping[str, object], **kwargs: object) -> None:
        values = dict(*args, **kwargs)
        if any(str(name).startswith("_") for name in values):
            raise BrokenError("a namespace has a private name")
        super().__init__(values)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with every step counted and every growth bounded."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, limits: Limits, now: datetime | None) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=EXTENSIONS,
            optimized=False,  # constants are computed when the template runs, where they cost steps
            cache_size=0,
        )
        budget = self.budget = Budget(limits)
        self._limits = limits
        own: dict[str, Callable[..., object]] = {
            "tojson": self._to_json,
            "replace": self._replace,
            "join": self._join_filter,
            "indent": self._indent,
            "round": _round,
        }
        known = {name: own.get(name, self.filters[name]) for name in FILTERS}
        self.filters = {
            name: _charged(budget, name, one, deep=name not in _SHALLOW) for name, one in known.items()
        }
        tests: dict[str, Callable[..., object]] = {**self.tests}  # type: ignore[dict-item]  # Jinja's type names no call
        self.tests = {
            name: _charged(budget, name, one, deep=name in _COMPARING) for name, one in tests.items()
        }
        bounded_range = self.globals["range"]
        self.globals = {
            "range": bounded_range,
            "dict": _dict,
            "namespace": _Namespace,
            "raise_exception": _raise,
            "__write": budget.write,
            "__join": self._join,
            "__read": self._read,
            "__read_keys": self._read_keys,
            "__touch": self._touch,
        }

        if now is not None:
            self.globals["strftime_now"] = functools.partial(_strftime, now)

        @pass_context
        def finish(_context: Context, value: object) -> str:
            return self._finish(value)

        self.finalize = finish

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        growing = isinstance(obj, str) and attr in _GROWING
        return not growing and super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: object, attribute: str) -> Undefined:
        """Stop a template that reaches for the private at once; what changes data is merely not there."""
        if attribute.startswith("_") or (isinstance(obj, str) and attribute in _GROWING):
            raise PrivateError(f"it reaches for {attribute[:40]!r} of an object of type {type(obj).__name__}")
        return super().unsafe_undefined(obj, attribute)

    def wrap_str_format(self, value: object) -> Callable[..., str] | None:  # noqa: ARG002 - Jinja gives it
        """Leave methods that format to ``is_safe_attribute``, which refuses them: a width is a length without bound."""
        return None

    def getattr(self, obj: object, attribute: str) -> object:
        self.budget.spend()
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: str | object) -> object | Undefined:
        self.budget.spend()
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        self.budget.touch(left)
        self.budget.touch(right)
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise ExhaustedError(f"it uses {operator} in a way that can grow without bound")
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            self.budget.fits(len(left) + len(right))
        if operator == "*":
            self._check_times(left, right)
            self._check_times(right, left)
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > MAX_INTEGER:
            raise ExhaustedError(f"it computes a number beyond {MAX_INTEGER}")
        self.budget.touch(result)
        return result

    def call(self, context: Context, function: object, *args: object, **kwargs: object) -> object:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        for value in (owner, *args, *kwargs.values()):
            self.budget.touch(value)
        if isinstance(owner, str) and name == "replace":
            return self._replace(owner, *args)
        if isinstance(owner, str) and name == "join":
            return self._join_filter(args[0] if args else (), owner)
        result = super().call(context, function, *args, **kwargs)
        self.budget.touch(result)
        return result

    def _check_times(self, value: object, times: object) -> None:
        if isinstance(value, (str, list, tuple)) and isinstance(times, int) and times > 0:
            self.budget.fits(len(value) * times)
            self.budget.spend(len(value) * times // CHARACTERS_PER_STEP)

    def _finish(self, value: object) -> str:
        """Count what an output gives."""
        if not isinstance(value, str):
            self.budget.read(value, plain=True)
            value = str(value)
        self.budget.touch(value)
        self.budget.write(len(value))
        return value

    def _to_json(
        self, value: object, indent: int | None = None, *, ensure_ascii: bool = False,
        separators: tuple[str, str] | None = None, sort_keys: bool = False,
    ) -> str:  # fmt: skip
        self.budget.read(value, plain=True)
        if indent is not None and not (isinstance(indent, int) and 0 <= indent <= MAX_INDENT):
            raise BrokenError(f"it indents JSON by something else than 0 to {MAX_INDENT}")
        if separators is not None and any(len(str(one)) > MAX_INDENT for one in separators):
            raise BrokenError(f"it separates JSON by more than {MAX_INDENT} characters")
        encoder = json.JSONEncoder(
            ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=bool(sort_keys)
        )
        parts, size = [], 0
        for part in encoder.iterencode(value):
            size += len(part)
            self.budget.fits(size)
            parts.append(part)
        return "".join(parts)

    def _replace(self, text: object, old: object, new: object, count: object = None) -> str:
        whole, before, after = self._text(text), self._text(old), self._text(new)
        limit = count if isinstance(count, int) and count is not None else -1
        self.budget.fits(len(whole) + whole.count(before) * len(after))
        result = whole.replace(before, after, limit)
        self.budget.touch(result)
        return result

    def _join_filter(self, value: object, between: object = "", attribute: object = None) -> str:
        self.budget.touch(value)
        items = list(value) if isinstance(value, (list, tuple, dict, range)) else self._drain(value)
        if attribute is not None:
            items = [self.getitem(item, attribute) for item in items]
        texts, separator = [self._text(item) for item in items], self._text(between)
        self.budget.fits(sum(map(len, texts)) + len(separator) * len(texts))
        result = separator.join(texts)
        self.budget.touch(result)
        return result

    def _drain(self, value: object) -> list[object]:
        items: list[object] = []
        if not hasattr(value, "__iter__"):
            raise BrokenError("it joins what is no list")
        for item in value:
            self.budget.spend()
            items.append(item)
        return items

    def _indent(self, text: object, width: object = 4, first: object = None, blank: object = None) -> str:
        if isinstance(width, int) and 0 <= width <= MAX_INDENT:
            width = " " * width
        if not isinstance(width, str) or len(width) > MAX_INDENT:
            raise BrokenError(f"it indents by something else than 0 to {MAX_INDENT}")
        lines = self._text(text).split("\n")
        self.budget.touch(lines)
        self.budget.fits(sum(map(len, lines)) + len(lines) * (len(width) + 1))
        head = (width if first else "") + lines[0]
        return "\n".join([head, *(width + line if line or blank else line for line in lines[1:])])

    def _join(self, *parts: object) -> str:
        return self._join_filter(parts)

    def _text(self, value: object) -> str:
        """Give a value as text, at the price of its depth."""
        if not isinstance(value, str):
            self.budget.read(value, plain=True)
        text = str(value)
        self.budget.touch(text)
        return text

    def _read(self, value: object) -> object:
        self.budget.read(value)
        return value

    def _read_keys(self, value: object) -> object:
        """Looking for a key costs the same however large the table is."""
        if not isinstance(value, dict):
            self.budget.read(value)
        return value

    def _touch(self, value: object) -> object:
        self.budget.touch(value)
        return value


def _charged(
    budget: Budget, name: str, function: Callable[..., object], *, deep: bool
) -> Callable[..., object]:
    """Make a filter or test spend steps for what it is given and what it gives."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context comes before the value

    @functools.wraps(function)
    def charged(*args: object, **kwargs: object) -> object:
        for value in (*args[first:], *kwargs.values()):
            if deep:
                budget.read(value)
            else:
                budget.touch(value)
        result = function(*args, **kwargs)
        budget.touch(result)
        return result

    charged.__name__ = name
    return charged


def _raise(message: object = "") -> str:
    raise RefusedError(str(message)[:200])


def _dict(*args: Mapping[str, object], **kwargs: object) -> dict[str, object]:
    return dict(*args, **kwargs)


def _strftime(now: datetime, form: object) -> str:
    if not isinstance(form, str) or len(form) > MAX_FORMAT or not _DATE.fullmatch(form):
        raise BrokenError("it asks for a date in a form that is not known")
    return now.strftime(form)


def _round(value: object, precision: object = 0, method: object = "common") -> float:
    if (
        not isinstance(value, (int, float))
        or not isinstance(precision, int)
        or not 0 <= precision <= MAX_INDENT
    ):
        raise BrokenError(f"it rounds something else than a number to 0 to {MAX_INDENT} digits")
    if method != "common":
        raise BrokenError("it rounds other than to the nearest")
    return round(value, precision)
