"""Chat templates: Jinja programs, read as a syntax tree first and rendered only in the sandbox.

Invariants: a template loads nothing (no import, include or extends), names nothing private, neither as an attribute nor as an
item nor through a filter, however the name is put together from constants, and uses only filters that the sandbox has; its
size and its number of nodes are bounded. What passes is rendered on sample conversations within a budget of steps and
characters (``sandbox``), and must give a text for at least one of them.

Source: the chat templates of transformers 5.23; Jinja's sandbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from holdfast.errors import UntrustedBundle
from holdfast.formats import sandbox
from holdfast.formats.budget import BrokenError, ExhaustedError, Limits, PrivateError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.canonical import Json

MAX_TEMPLATE = 256 * 1024  # bytes; published ones with tool calling have up to 25 KB
MAX_NODES = 50_000  # of the syntax tree; published ones have up to 5,000
LIMITS = Limits(steps=100_000, characters=2**20)  # a sample takes a few hundred steps and gives a few KB
MAX_NAME = 512  # characters of a text that is put together from constants
_LOADS = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Block)
_NAMES = frozenset({"self", "super", "cycler", "joiner", "lipsum"})  # objects with methods of Jinja's own
_TAKES_ATTRIBUTE = frozenset(
    {"map", "selectattr", "rejectattr", "groupby", "sort", "unique", "min", "max", "join"}
)
_FORMATS = frozenset({"format", "format_map"})
TOKENS: Mapping[str, str] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
}
_TOOL: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city's name."}},
            "required": ["city"],
        },
    },
}
_ASKED: dict[str, Json] = {"role": "user", "content": "Will it rain in Kyiv?"}
_ANSWERED: dict[str, Json] = {"role": "assistant", "content": "Yes, towards the evening."}
_TOLD: dict[str, Json] = {"role": "system", "content": "Be brief."}
_PARTS: dict[str, Json] = {"role": "user", "content": [{"type": "text", "text": "Will it rain?"}]}
_CALL: dict[str, Json] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": "Kyiv"}},
        }
    ],
}
_RESULT: dict[str, Json] = {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "rain"}
_SAMPLES: tuple[tuple[tuple[dict[str, Json], ...], tuple[Json, ...]], ...] = (
    ((_ASKED,), ()),
    ((_ASKED, _ANSWERED, _ASKED), ()),
    ((_TOLD, _ASKED, _ANSWERED, _ASKED), ()),
    ((_PARTS,), ()),
    ((_ASKED, _CALL, _RESULT), (_TOOL,)),
)


def check(data: bytes, name: str) -> None:
    """Judge a chat template by its text, without running it.

    Args:
        data: The template's bytes.
        name: The file's path, for messages.

    Raises:
        UntrustedBundle: If it is too large, malformed, or does what a template may not.
    """
    if len(data) > MAX_TEMPLATE:
        raise _bad(name, f"it has {len(data)} bytes and {MAX_TEMPLATE} are allowed")
    environment = ImmutableSandboxedEnvironment(extensions=sandbox.EXTENSIONS)
    try:
        tree = environment.parse(data.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise _bad(name, "it is not UTF-8 text") from problem
    except TemplateSyntaxError as problem:
        raise _bad(name, f"line {problem.lineno}: {str(problem.message)[:200]}") from problem
    except ValueError as problem:  # a number with more digits than Python reads
        raise _bad(name, "it holds a number that is too long") from problem
    except RecursionError as problem:
        raise _bad(name, "it nests too deeply") from problem
    pending: list[nodes.Node] = [tree]
    seen = 0
    while pending:
        node = pending.pop()
        seen += 1
        if seen > MAX_NODES:
            raise _bad(name, f"it has more than {MAX_NODES} parts")
        why = _problem(node)
        if why:
            raise _bad(name, f"line {node.lineno}: it {why}")
        pending.extend(node.iter_child_nodes())


def render(
    data: bytes,
    name: str,
    messages: Iterable[Mapping[str, Json]],
    *,
    tools: Sequence[Json] = (),
    tokens: Mapping[str, str] = TOKENS,
    limits: Limits = LIMITS,
) -> str:
    """Render a chat template that ``check`` has let through.

    Args:
        data: The template's bytes.
        name: The file's path, for messages.
        messages: The conversation.
        tools: Descriptions of the functions that may be called; none: the template is told that there are none.
        tokens: Texts of the special tokens that templates name.
        limits: What the rendering may use.

    Returns:
        The text that ends where the assistant's answer begins.

    Raises:
        UntrustedBundle: If it refuses these messages, fails or exceeds its limits.
    """
    check(data, name)
    try:
        program = sandbox.Program(data.decode("utf-8"), limits)
        return program.render(_variables([dict(one) for one in messages], tools, tokens))
    except RefusedError as refusal:
        raise _bad(name, f"it refuses the conversation: {refusal}") from refusal
    except BrokenError as problem:
        raise _bad(name, str(problem)) from problem


def trial(data: bytes, name: str) -> dict[str, Json]:
    """Judge a chat template by its text, then by what it makes of sample conversations.

    A template may refuse a conversation (roles that do not alternate, no system message) or fail on one that is not of the
    form it expects; it must express at least one, and on none exceed its limits or reach for what is private.

    Args:
        data: The template's bytes.
        name: The file's path, for messages.

    Returns:
        The facts: how many of the samples it expresses.

    Raises:
        UntrustedBundle: If ``check`` refuses it, or it renders none of the samples.
    """
    check(data, name)
    expressed, last = 0, ""
    try:
        program = sandbox.Program(data.decode("utf-8"), LIMITS)
    except BrokenError as problem:
        raise _bad(name, str(problem)) from problem
    for messages, tools in _SAMPLES:
        try:
            program.render(_variables(list(messages), tools, TOKENS))
            expressed += 1
        except (ExhaustedError, PrivateError) as problem:
            raise _bad(name, str(problem)) from problem
        except (RefusedError, BrokenError) as problem:
            last = str(problem)
    if not expressed:
        raise _bad(
            name, f"it renders none of {len(_SAMPLES)} ordinary conversations; the last attempt: {last}"
        )
    return {"expresses": expressed, "samples": len(_SAMPLES)}


def _variables(
    messages: list[dict[str, Json]], tools: Sequence[Json], tokens: Mapping[str, str]
) -> dict[str, object]:
    return {
        "messages": messages,
        "tools": list(tools) or None,
        "documents": None,
        "add_generation_prompt": True,
        **tokens,
    }


def _problem(node: nodes.Node) -> str:  # noqa: C901 - one branch per kind of node
    """Tell what a node does that a template may not; empty if nothing."""
    if isinstance(node, _LOADS):
        return "loads another template or is a part of one"
    if isinstance(node, nodes.Name):
        if node.name.startswith("_") or node.name in _NAMES:
            return f"uses the private name {node.name[:40]}"
    elif isinstance(node, nodes.NSRef | nodes.Getattr):
        if node.attr.startswith("_"):
            return f"reaches for the private attribute {node.attr[:40]}"
        if node.attr in _FORMATS:
            return f"uses {node.attr}, which can reach attributes and grow without bound"
    elif isinstance(node, nodes.Getitem):
        name = _constant(node.arg)
        if name.startswith("_") or name in _FORMATS:
            return f"reaches for the private item {name[:40]}"
    elif isinstance(node, nodes.Filter):
        return _filter_problem(node)
    elif isinstance(node, nodes.Keyword) and node.key.startswith("_"):
        return f"gives the private name {node.key[:40]}"
    elif isinstance(node, nodes.Pow):
        return "uses **, which can grow without bound"
    elif isinstance(node, nodes.Mod) and _constant(node.left):
        return "formats a text with %, which can grow without bound"
    return ""


def _filter_problem(node: nodes.Filter) -> str:
    if node.name not in sandbox.FILTERS:
        return f"uses the filter {node.name[:40]}, which templates have no need of"
    if node.name not in _TAKES_ATTRIBUTE:
        return ""
    named = [argument.value for argument in node.kwargs if argument.key == "attribute"]
    for argument in (*node.args, *named):
        for part in _constant(argument).split("."):
            if part.startswith("_"):
                return f"reaches for the private attribute {part[:40]} through the filter {node.name}"
    first = _constant(node.args[0]) if node.args else ""
    if node.name == "map" and first and first not in sandbox.FILTERS:
        return f"maps the filter {first[:40]}, which templates have no need of"
    return ""


def _constant(node: nodes.Node) -> str:
    """Give the text that constants put together, as far as that is plain; else an empty text."""
    if isinstance(node, nodes.Const):
        return node.value[:MAX_NAME] if isinstance(node.value, str) else ""
    if isinstance(node, nodes.Concat):
        return "".join(map(_constant, node.nodes))[:MAX_NAME]
    if isinstance(node, nodes.Add):
        return (_constant(node.left) + _constant(node.right))[:MAX_NAME]
    if isinstance(node, nodes.Filter) and isinstance(node.node, nodes.Expr):
        inner = node.node
        parts = inner.items if isinstance(inner, nodes.List | nodes.Tuple) else [inner]
        text = "".join(map(_constant, parts))
        return text[::-1] if node.name == "reverse" else text
    return ""


def _bad(name: str, why: str) -> UntrustedBundle:
    shown = "".join(
        one if one.isprintable() else "?" for one in why
    )  # a template may speak through its exceptions
    return UntrustedBundle(
        "formats.chat-template",
        f"{name} is refused: {shown}.",
        remedy="Have the template written with plain loops, conditions and fields of its messages.",
        file=name,
    )
