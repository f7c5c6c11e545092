"""The judgement of a set of files: what a publisher checks before signing and a site before admitting.

Order of operations: the inventory (names), then every file by its bytes, then by its form, then what the files say of each
other (tensor table against index, dimensions against tokenizer). All findings are collected, so that a person sees
everything that is wrong at once. Pure: files are read through a callback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import UntrustedBundle
from holdfast.formats import (
    chattemplate,
    content,
    crosscheck,
    gguf,
    ggufmodel,
    inventory,
    jsonconfig,
    names,
    pooling,
    safetensors,
    sniff,
    tokenizer,
    tokenizerconfig,
)
from holdfast.formats.forms import Form

if TYPE_CHECKING:
    from holdfast.artefact import Kind
    from holdfast.canonical import Json

ReadFile = Callable[[str, int, int], bytes]  # (path, offset, length) -> at most that many bytes of that file

MAX_LINE = 2**20  # bytes of one line of a data set: far beyond any context
MAX_LINES = 5_000_000  # of one data set: larger ones are sharded, and judging that many takes about a minute
STEP = 4 * 2**20  # bytes of a data set read at a time
_WHOLE = {
    Form.JSON: jsonconfig.MAX_CONFIG,
    Form.MODEL_CONFIG: jsonconfig.MAX_CONFIG,
    Form.ADAPTER_CONFIG: jsonconfig.MAX_CONFIG,
    Form.TOKENIZER: tokenizer.MAX_TOKENIZER,
    Form.TEMPLATE: chattemplate.MAX_TEMPLATE,
    Form.POOLING: pooling.MAX_CONFIG,
}


@dataclass
class FileReport:
    """What was found in one file.

    Args:
        form: How it was read; None if no reader is for it.
        facts: What it is: architecture, dimensions, tensors, lines.
        refusals: Why it may not come in; empty if nothing speaks against it.
        shapes: Of its tensors, by name, if it is a safetensors file.
        weights: The shard of each tensor, by name, if it is an index.
        pieces: What a tokenizer has ids for.
        special: The special tokens that a tokenizer's configuration names.
    """

    form: Form | None
    facts: dict[str, Json] = field(default_factory=dict)
    refusals: list[UntrustedBundle] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights: dict[str, str] | None = None
    pieces: frozenset[str] = frozenset()
    special: frozenset[str] = frozenset()


@dataclass
class Inspection:
    """What was found in a set of files.

    Args:
        files: Each file's report, by its path.
        together: What speaks against the set: its names, and what its files say of each other.
    """

    files: dict[str, FileReport] = field(default_factory=dict)
    together: list[UntrustedBundle] = field(default_factory=list)

    @property
    def refusals(self) -> list[UntrustedBundle]:
        """Everything that speaks against the set."""
        return [*self.together, *(one for report in self.files.values() for one in report.refusals)]

    @property
    def facts(self) -> dict[str, Json]:
        """What the set is: architecture, dimensions, number and types of tensors, lines."""
        found: dict[str, Json] = {}
        tensors, lines, types = 0, 0, set()
        for report in self.files.values():
            count, kinds = report.facts.get("tensors"), report.facts.get("dtypes")
            if report.form is Form.SAFETENSORS:
                tensors += count if isinstance(count, int) else 0
                types |= {str(kind) for kind in (kinds if isinstance(kinds, list) else [])}
                found |= {"tensors": tensors, "dtypes": [*sorted(types)]}
            elif report.form is Form.TOKENIZER:
                found["tokenizer"] = report.facts
            elif report.form is Form.LINES:
                counted = report.facts.get("lines")
                lines += counted if isinstance(counted, int) else 0
                found["lines"] = lines
            elif report.form in {Form.MODEL_CONFIG, Form.ADAPTER_CONFIG, Form.GGUF, Form.POOLING}:
                found |= report.facts
        return found


def inspect(kind: Kind, sizes: Mapping[str, int], read: ReadFile) -> Inspection:
    """Judge an artefact.

    Args:
        kind: Its kind.
        sizes: Size in bytes of each file, by its path.
        read: Gives bytes of its files.

    Returns:
        Findings and facts.
    """
    forms, problems = inventory.forms(kind, sizes)
    result = Inspection(together=problems)
    for path, form in sorted(forms.items()):
        result.files[path] = _judge(path, path, form, sizes[path], read)
    if not result.refusals:  # files that are wrong in themselves are not compared
        result.together += crosscheck.compare(result.files, whole=True)
    return result


def inspect_loose(sizes: Mapping[str, int], read: ReadFile) -> Inspection:
    """Judge files that belong to no artefact, each by what its name and its content say it is.

    Args:
        sizes: Size in bytes of each file, by its name; of one folder, so that they are compared with each other.
        read: Gives bytes of them.

    Returns:
        Findings and facts.
    """
    result = Inspection()
    for path, size in sorted(sizes.items()):
        try:
            form, known_as = sniff.form_of(path, size, partial(read, path))
        except UntrustedBundle as odd:
            result.files[path] = FileReport(None, refusals=[odd])
        else:
            result.files[path] = _judge(path, known_as, form, size, read)
    for problem in names.check(sizes):
        result.files[str(problem.fields["file"])].refusals.append(problem)
    if not result.refusals:
        result.together += crosscheck.compare(result.files, whole=False)
    return result


def _judge(path: str, known_as: str, form: Form, size: int, read: ReadFile) -> FileReport:
    report = FileReport(form)
    part = partial(read, path)
    try:
        content.check(part, size, path, form)
        if form is Form.SAFETENSORS:
            _safetensors(report, safetensors.parse(part, size, path))
        elif form is Form.GGUF:
            table = gguf.parse(part, size, path)
            gguf.check_padding(part, table, path)
            report.facts.update(ggufmodel.judge(table, path))
        elif form is Form.LINES:
            report.facts["lines"] = _lines(path, size, part)
        elif form in _WHOLE:
            _document(report, form, part(0, min(size, _WHOLE[form] + 1)), known_as)
    except UntrustedBundle as problem:
        report.refusals.append(problem if path == known_as else _readdressed(problem, known_as, path))
    return report


def _safetensors(report: FileReport, header: safetensors.Header) -> None:
    report.facts["tensors"] = len(header.tensors)
    report.facts["dtypes"] = [*sorted({tensor.dtype for tensor in header.tensors})]
    report.shapes = {tensor.name: tensor.shape for tensor in header.tensors}


def _document(report: FileReport, form: Form, data: bytes, name: str) -> None:
    """Judge a file that is read as a whole."""
    if form is Form.MODEL_CONFIG:
        report.facts.update(jsonconfig.model(data, name))
    elif form is Form.ADAPTER_CONFIG:
        report.facts.update(jsonconfig.adapter(data, name))
    elif form is Form.TOKENIZER:
        facts, report.pieces = tokenizer.read(data, name)
        report.facts.update(facts)
    elif form is Form.POOLING and name.endswith(pooling.MODULES):
        pooling.check_modules(data, name)
    elif form is Form.POOLING:
        report.facts["pooling"] = pooling.read(data, name).value
    elif form is Form.TEMPLATE:
        chattemplate.trial(data, name)
    else:
        config = jsonconfig.parse(data, name)
        _embedded_template(config, name)
        report.special = tokenizerconfig.special_tokens(config)
        shards = config.get("weight_map")
        if isinstance(shards, dict):
            report.weights = {tensor: str(shard) for tensor, shard in shards.items()}


def _embedded_template(config: dict[str, Json], path: str) -> None:
    """A tokenizer's configuration may carry the chat template, as text or as a list of named ones."""
    value = config.get("chat_template")
    texts = [value] if isinstance(value, str) else []
    if isinstance(value, list):
        texts = [str(item.get("template", "")) for item in value if isinstance(item, dict)]
    for text in texts:
        chattemplate.trial(text.encode("utf-8", "surrogatepass"), path)


def _readdressed(problem: UntrustedBundle, known_as: str, path: str) -> UntrustedBundle:
    """Tell a finding of the file itself, not of the name under which files of its form are known."""
    fields = {**problem.fields, "file": path}
    message = problem.message.replace(known_as, path)
    return UntrustedBundle(problem.key, message, remedy=problem.remedy, **fields)


def _lines(path: str, size: int, read: safetensors.Read) -> int:
    """Check that every line but blank ones at the end is one JSON object, and count them."""
    _bound_lines(path, size, read)  # first, for judging a line takes hundreds of times as long as counting it
    count, blank, rest = 0, 0, b""
    for offset in range(0, size, STEP):
        *whole, rest = (rest + read(offset, min(STEP, size - offset))).split(b"\n")
        for line in whole:
            blank = _line(path, count, blank, line)
            count += not blank
        if len(rest) > MAX_LINE:
            raise _bad_line(path, count + blank + 1, f"it is longer than {MAX_LINE} bytes")
    return count + (not _line(path, count, blank, rest))


def _bound_lines(path: str, size: int, read: safetensors.Read) -> None:
    """Refuse more lines than a data set has."""
    ends = 0
    for offset in range(0, size, STEP):
        ends += read(offset, min(STEP, size - offset)).count(b"\n")
        if ends > MAX_LINES:
            raise _bad_line(path, MAX_LINES + 1, f"{MAX_LINES} lines are allowed")


def _line(path: str, count: int, blank: int, line: bytes) -> int:
    """Judge one line after ``count`` objects and ``blank`` blank lines, and tell how many blank lines end there."""
    if not line.strip(b" \t\r"):
        return blank + 1
    number = count + blank + 1
    if blank:
        raise _bad_line(path, number, "it is blank, and others follow")
    what = f"{path}, line {number}"
    value = canonical.decode(line, limit=MAX_LINE, what=what, error=UntrustedBundle, wide=True)
    if not isinstance(value, dict):
        raise _bad_line(path, number, "it is not an object")
    return 0


def _bad_line(path: str, number: int, why: str) -> UntrustedBundle:
    return UntrustedBundle(
        "formats.lines",
        f"{path}, line {number} is refused: {why}.",
        remedy=f"Write one JSON object per line, and at most {MAX_LINES} lines into one file.",
        file=path,
        line=number,
    )
