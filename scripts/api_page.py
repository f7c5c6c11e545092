"""Write the tables of docs/serving-api.md, the parameters of the endpoint and its errors, from the classes that read them.

Usage: python scripts/api_page.py  (a test compares the page with what this writes)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.serving.api import openapi, refusals

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "serving-api.md"
BEGIN, END = "<!-- tables: written by scripts/api_page.py -->", "<!-- end of tables -->"


def tables() -> str:
    """Make the part of the page that is written by this script.

    Returns:
        Markdown, between its marks.
    """
    lines = [BEGIN, ""]
    schemas: Any = openapi.document()["components"]
    for operation in openapi.OPERATIONS:
        if operation.asks is not None:
            lines += _operation(operation.path, operation.asks.__name__, schemas["schemas"])
    lines += ["### Errors", "", "| status | `type` | when |", "|---|---|---|"]
    lines += [
        f"| {status} | `{refusals.STATUSES[status]}` | {why} |" for status, why in openapi.REASONS.items()
    ]
    return "\n".join([*lines, "", END])


def _operation(path: str, name: str, schemas: dict[str, Any]) -> Iterator[str]:
    schema = schemas[name]
    yield from (f"### `POST {path}`", "", "| parameter | value | meaning |", "|---|---|---|")
    refused = []
    for parameter, field in schema["properties"].items():
        if field.get("type") == "null":
            refused.append(parameter)
            continue
        needed = " (needed)" if parameter in schema.get("required", ()) else ""
        value = _value(field, schemas).replace("|", "\\|")
        yield f"| `{parameter}`{needed} | {value} | {field.get('description', '')} |"
    yield ""
    if refused:
        named = ", ".join(f"`{one}`" for one in refused)
        yield from (f"Refused by name, unless null: {named}.", "")


def _value(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Describe what a parameter may be, in words."""
    if "$ref" in field:
        return _value(schemas[field["$ref"].rpartition("/")[2]], schemas)
    for several in ("anyOf", "oneOf"):
        if several in field:
            kinds = [_value(one, schemas) for one in field[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "const" in field:
        return f"`{field['const']}`".replace("`False`", "`false`")
    if "enum" in field:
        return " or ".join(f"`{one}`" for one in field["enum"])
    match field["type"]:
        case "object":
            return _object(field, schemas)
        case "array":
            count = _range(field, "minItems", "maxItems")
            return f"list{count and f' of {count}'}: {_value(field['items'], schemas)}"
        case "string":
            length = _range(field, "minLength", "maxLength")
            form = f" as `{field['pattern']}`" if "pattern" in field else ""
            return f"string{length and f' of {length} characters'}{form}"
    return f"{field['type']} {_interval(field)}".rstrip()


def _range(field: dict[str, Any], least: str, most: str) -> str:
    low, high = field.get(least, 0), field.get(most)
    if high is None:
        return f"{low} or more" if low else ""
    return f"{low} to {high}" if low else f"at most {high}"


def _interval(field: dict[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    opening = "(" if "exclusiveMinimum" in field else "["
    closing = ")" if "exclusiveMaximum" in field or high is None else "]"
    return (
        "" if low is None else f"in {opening}{_plain(low)}, {'∞' if high is None else _plain(high)}{closing}"
    )


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _object(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "patternProperties" in field:
        ((pattern, value),) = field["patternProperties"].items()
        return f"object of at most {field['maxProperties']} members, their names as `{pattern}`: {_value(value, schemas)}"
    members = field.get("properties", {})
    inner = [
        f"`{name}`: {_value(one, schemas)}" for name, one in members.items() if one.get("type") != "null"
    ]
    return f"{{{', '.join(inner)}}}" if inner else "object"


def main() -> None:
    """Write the page's tables."""
    text = PAGE.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: tables(), text))


if __name__ == "__main__":
    main()
