"""The registry for people: what each event is, holds and serves, as lines of text and as Markdown.

Both are made of the same rows that the index has as a table. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.audit import actions
from holdfast.audit.registry.controls import CONTROLS, EVERY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

_INTRODUCTION = """\
# What the audit log records

Every event is of one of these types. Nothing else can be recorded: an event whose action is not listed here, or which lacks a
parameter, has one more, or one of another type, is refused with the key `audit.params`. `holdfast audit events` prints the
same on any machine, and the index has it as the table `event_types`.

Beside its parameters, every event says when (`time`, `clock`), who (`actor`: person, uid, role, session), what
(`action`), to what (`subject`: kind and digest, and its `label`), after which event (`cause`), in which place (`seq`) and by
which producer (`source`: name, run, count).

An **act** is recorded twice: its intent before it begins, and exactly one outcome when it ends (`.done`, `.failed`, `.cancelled`
or `.interrupted`), whose cause is the intent. A **fact** is recorded once. An **essential** event is accepted even when only the log's
reserve is left.

## Types

A `?` after a name: the parameter may be left out. `or null`: it is always there, but there may be nothing to tell.

| written | means |
|---|---|
| text ≤ n | a text of at most n characters |
| a \\| b | one of these texts |
| count | a whole number from 0 to 2⁵³ minus 1 |
| sequence | the sequence number of an event |
| number | a number of at most 2⁵³ minus 1 either way, whole or not |
| flag | true or false |
| digest | `sha512:` and 128 hexadecimal digits, or `sha256:` and 64 |
| hex n | n bytes in lower-case hexadecimal digits |
| time | a moment, RFC 3339 |
| [type] ≤ n | a list of at most n items |
| {…: type} ≤ n | a map of at most n names |
| {a: type, b: type} | a record of exactly these fields |
| JSON ≤ n (form) | a document of at most n bytes in canonical form, whose form is given elsewhere |
"""


def notation(kind: Json) -> str:
    """Write a type briefly.

    Args:
        kind: The type as ``params.Type.to_json`` gives it.

    Returns:
        For example ``[text ≤ 64] ≤ 16, or null``.
    """
    if not isinstance(kind, dict):
        return ""
    null = ", or null" if kind.get("null") else ""
    name, of = str(kind["type"]), kind.get("of")
    if name == "text":
        told = f"text ≤ {kind['characters']}"
    elif name == "choice":
        told = " | ".join(_texts(kind["values"]))
    elif name == "hex":
        told = f"hex {kind['bytes']}"
    elif name == "list":
        told = f"[{notation(of)}] ≤ {kind['items']}"
    elif name == "map":
        told = f"{{…: {notation(of)}}} ≤ {kind['names']}"
    elif name == "either":
        told = " or ".join(notation(one) for one in of) if isinstance(of, list) else ""
    elif name == "document":
        told = f"JSON ≤ {kind['bytes']} ({kind['form']})"
    elif name == "record":
        told = str(kind["name"]) if kind.get("name") else fields(kind["fields"])
    else:
        told = name
    return told + null


def fields(described: Json) -> str:
    """Write a record's fields briefly.

    Args:
        described: Types by name, as ``params.Record.described`` gives them.

    Returns:
        For example ``{name: text ≤ 64, size?: count}``.
    """
    return "{" + ", ".join(f"{name}: {kind}" for name, kind in listed(described)) + "}"


def listed(described: Json) -> list[tuple[str, str]]:
    """List a record's fields.

    Args:
        described: Types by name, as ``params.Record.described`` gives them.

    Returns:
        Each name, with a question mark if it may be left out, and its type.
    """
    if not isinstance(described, dict):
        return []
    return [
        (f"{name}{'?' if isinstance(kind, dict) and kind.get('optional') else ''}", notation(kind))
        for name, kind in described.items()
    ]


def markdown() -> str:
    """Write the registry as one page.

    Returns:
        The page, ending with a newline.
    """
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    rows = actions.rows()
    yield _INTRODUCTION
    yield "Records that several events have:\n\n| name | fields |\n|---|---|"
    named: dict[str, str] = {}
    for row in rows:
        _collect(row["params"], named)
    yield from (f"| {name} | {_cell(named[name])} |" for name in sorted(named))
    yield "\n## Controls\n"
    every = ", ".join(EVERY)
    yield f"Of NIST SP 800-53 Rev. 5. Every event serves {every}; each section below names what its events serve beside these.\n"
    yield "| control | title | events that serve it show | acts and facts |\n|---|---|---|---|"
    for one in CONTROLS.values():
        serving = [
            f"`{row['action']}`"
            for row in rows
            if row["phase"] != "outcome" and one.id in _texts(row["controls"])
        ]
        who = "all" if one.id in EVERY else ", ".join(serving)
        yield f"| {one.id} | {one.title} | {one.how} | {who} |"
    yield "\n## Events"
    for row in rows:
        if row["phase"] != "outcome":
            yield from _section(
                row, [one for one in rows if one["phase"] == "outcome" and one["act"] == row["act"]]
            )


def _section(row: dict[str, Json], outcomes: list[dict[str, Json]]) -> Iterator[str]:
    beside = [name for name in _texts(row["controls"]) if name not in EVERY]
    marks = [
        "fact" if row["phase"] == "fact" else "act",
        *(["recorded by the front of serving"] if row["producer"] == "serve" else []),
        *(["essential"] if row["essential"] else []),
        f"serves {', '.join(beside)}",
    ]
    yield f"\n### {row['action']}\n\n{row['meaning']} ({'; '.join(marks)})\n"
    yield "| event | sentence | parameters |\n|---|---|---|"
    for one in (row, *outcomes):
        parts = ", ".join(f"`{name}`: {_cell(kind)}" for name, kind in listed(one["params"]))
        yield f"| `{one['action']}` | {_cell(str(one['sentence']))} | {parts or 'none'} |"


def _collect(kind: Json, named: dict[str, str]) -> None:
    """Find the named records in a type, and in those that it is made of."""
    if isinstance(kind, dict):
        if kind.get("type") == "record" and kind.get("name"):
            named[str(kind["name"])] = fields(kind["fields"])
        for part in kind.values():
            _collect(part, named)
    elif isinstance(kind, list):
        for part in kind:
            _collect(part, named)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _texts(value: Json) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
