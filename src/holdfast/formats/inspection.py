"""The judgement of one artefact's files: what a publisher checks before signing and a site before admitting.

Order of operations: the inventory (names), then every file by its bytes, then by its form, then what the files say of each
other (tensor table against index, dimensions against tokenizer). All findings are collected, so that a person sees
everything that is wrong at once. Pure: files are read through a callback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.formats import chattemplate, content, inventory, jsonconfig, safetensors, tokenizer
from holdfast.formats.inventory import Form

if TYPE_CHECKING:
    from holdfast.artefact import Kind
    from holdfast.canonical import Json

ReadFile = Callable[[str, int, int], bytes]  # (path, offset, length) -> at most that many bytes of that file

MAX_LINE = 2**20  # bytes of one line of a data set: far beyond any context
STEP = 4 * 2**20  # bytes of a data set read at a time
_WHOLE = {
    Form.JSON: jsonconfig.MAX_CONFIG,
    Form.MODEL_CONFIG: jsonconfig.MAX_CONFIG,
    Form.ADAPTER_CONFIG: jsonconfig.MAX_CONFIG,
    Form.TOKENIZER: tokenizer.MAX_TOKENIZER,
    Form.TEMPLATE: chattemplate.MAX_TEMPLATE,
}


@dataclass
class Inspection:
    """What was found in one artefact.

    Args:
        refusals: Why it may not come in; empty if nothing speaks against it.
        facts: What it is: architecture, dimensions, tensors, lines.
    """

    refusals: list[UntrustedBundle] = field(default_factory=list)
    facts: dict[str, Json] = field(default_factory=dict)


def inspect(kind: Kind, sizes: Mapping[str, int], read: ReadFile) -> Inspection:
    """Judge an artefact.

    Args:
        kind: Its kind.
        sizes: Size in bytes of each file, by its path.
        read: Gives bytes of its files.

    Returns:
        Findings and facts.
    """
    result = Inspection()
    try:
        forms = inventory.forms(kind, sizes)
    except UntrustedBundle as problem:
        result.refusals.append(problem)
        return result
    for path, form in sorted(forms.items()):
        try:
            _file(path, form, sizes[path], read, result.facts)
        except UntrustedBundle as problem:
            result.refusals.append(problem)
    return result


def _file(path: str, form: Form, size: int, read: ReadFile, facts: dict[str, Json]) -> None:
    def part(offset: int, length: int) -> bytes:
        return read(path, offset, length)

    content.check(part, size, path, text=form is not Form.SAFETENSORS)
    if form is Form.SAFETENSORS:
        header = safetensors.parse(part, size, path)
        before = facts.get("tensors", 0)
        facts["tensors"] = (before if isinstance(before, int) else 0) + len(header.tensors)
        facts["dtypes"] = [*sorted({tensor.dtype for tensor in header.tensors})]
    elif form is Form.LINES:
        facts[f"lines {path}"] = _lines(path, size, read)
    elif form in _WHOLE:
        data = part(0, min(size, _WHOLE[form] + 1))
        if form is Form.MODEL_CONFIG:
            facts.update(jsonconfig.model(data, path))
        elif form is Form.ADAPTER_CONFIG:
            facts.update(jsonconfig.adapter(data, path))
        elif form is Form.TOKENIZER:
            facts["tokenizer"] = tokenizer.parse(data, path)
        elif form is Form.TEMPLATE:
            chattemplate.check(data, path)
        else:
            _embedded_template(jsonconfig.parse(data, path), path)


def _embedded_template(config: dict[str, Json], path: str) -> None:
    """A tokenizer's configuration may carry the chat template, as text or as a list of named ones."""
    value = config.get("chat_template")
    texts = [value] if isinstance(value, str) else []
    if isinstance(value, list):
        texts = [str(item.get("template", "")) for item in value if isinstance(item, dict)]
    for text in texts:
        chattemplate.check(text.encode("utf-8", "surrogatepass"), path)


def _lines(path: str, size: int, read: ReadFile) -> int:
    """Check that every line is one JSON object, and count them."""
    count, rest = 0, b""
    for offset in range(0, size, STEP):
        *whole, rest = (rest + read(path, offset, min(STEP, size - offset))).split(b"\n")
        for line in whole:
            count += 1
            _line(path, count, line)
        if len(rest) > MAX_LINE:
            raise _bad_line(path, count + 1, f"it is longer than {MAX_LINE} bytes")
    if rest:
        count += 1
        _line(path, count, rest)
    return count


def _line(path: str, number: int, line: bytes) -> None:
    what = f"{path}, line {number}"
    value = canonical.decode(line, limit=MAX_LINE, what=what, error=UntrustedBundle)
    if not isinstance(value, dict):
        raise _bad_line(path, number, "it is not an object")


def _bad_line(path: str, number: int, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.lines",
        f"{path}, line {number} is refused: {why}.",
        remedy="Write one JSON object per line.",
        file=path,
        line=number,
    )
