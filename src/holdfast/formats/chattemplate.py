"""Chat templates: Jinja programs, read as a syntax tree and never run here.

Invariants: a template loads nothing (no import, include or extends) and touches no private attribute, neither by name nor by
subscript nor through the ``attr`` filter; its size and its number of nodes are bounded. Whoever renders one does so in a
sandbox with limits of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from jinja2.parser import Parser

MAX_TEMPLATE = 256 * 1024  # bytes; published ones with tool calling have up to 25 KB
MAX_NODES = 50_000  # of the syntax tree; published ones have up to 5,000
_LOADS = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends)
_FILTERS = frozenset({"attr"})


class _Generation(Extension):
    """The tag by which templates mark what the assistant says; its body is judged like any other."""

    tags = {"generation"}  # noqa: RUF012 - the name and form that Jinja prescribes

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def check(data: bytes, name: str) -> None:
    """Judge a chat template.

    Args:
        data: The template's bytes.
        name: The file's path, for messages.

    Raises:
        UntrustedBundle: If it is too large, malformed, or does what a template may not.
    """
    if len(data) > MAX_TEMPLATE:
        raise _bad(name, f"it has {len(data)} bytes and {MAX_TEMPLATE} are allowed")
    environment = ImmutableSandboxedEnvironment(extensions=[_Generation, loopcontrols])
    try:
        tree = environment.parse(data.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise _bad(name, "it is not UTF-8 text") from problem
    except TemplateSyntaxError as problem:
        raise _bad(name, f"line {problem.lineno}: {problem.message}") from problem
    except RecursionError as problem:
        raise _bad(name, "it nests too deeply") from problem
    pending: list[nodes.Node] = [tree]
    seen = 0
    while pending:
        node = pending.pop()
        seen += 1
        if seen > MAX_NODES:
            raise _bad(name, f"it has more than {MAX_NODES} parts")
        _check_node(node, name)
        pending.extend(node.iter_child_nodes())


def _check_node(node: nodes.Node, name: str) -> None:
    if isinstance(node, _LOADS):
        raise _bad(name, f"line {node.lineno}: it loads another template")
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        raise _bad(name, f"line {node.lineno}: it reaches for the private attribute {node.attr[:40]}")
    if (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and str(node.arg.value).startswith("_")
    ):
        raise _bad(name, f"line {node.lineno}: it reaches for the private item {str(node.arg.value)[:40]}")
    if isinstance(node, nodes.Filter) and node.name in _FILTERS:
        raise _bad(name, f"line {node.lineno}: it uses the filter {node.name}")
    if isinstance(node, nodes.Name) and node.name.startswith("_"):
        raise _bad(name, f"line {node.lineno}: it uses the private name {node.name[:40]}")


def _bad(name: str, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.chat-template",
        f"{name} is refused: {why}.",
        remedy="Have the template written with plain loops, conditions and fields of its messages.",
        file=name,
    )
