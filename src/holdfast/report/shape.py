"""The shape of ``holdfast.residency/1``: which sections there are and what kind of data each is.

Invariant: what ``facts.gather`` gives has this shape, and ``verify`` refuses what has not. Rows may gain fields within a
version of the schema; sections may not come or go. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

SCHEMA = "holdfast.residency/1"
TEXT, OBJECT, ROWS, TEXTS = "a text", "an object", "a list of objects", "a list of texts"
SECTIONS = {
    "schema": TEXT,
    "made": TEXT,
    "site": OBJECT,
    "period": OBJECT,
    "log": OBJECT,
    "label": OBJECT,
    "banner": TEXT,
    "software": OBJECT,
    "walls": OBJECT,
    "egress": OBJECT,
    "trust": ROWS,
    "imports": ROWS,
    "imports_refused": ROWS,
    "generations": ROWS,
    "stores": ROWS,
    "artefacts": ROWS,
    "added": ROWS,
    "training": ROWS,
    "replays": ROWS,
    "conversions": ROWS,
    "evaluations": ROWS,
    "gates": ROWS,
    "releases": ROWS,
    "serving": ROWS,
    "answers": ROWS,
    "exceptions": ROWS,
    "revocations": ROWS,
    "inventories": ROWS,
    "people": ROWS,
    "shared_uids": ROWS,
    "system": OBJECT,
    "endings": ROWS,
    "open": ROWS,
    "access_denied": ROWS,
    "worker_denied": ROWS,
    "left_out": OBJECT,
    "gaps": TEXTS,
}


def faults(facts: Json) -> Iterator[str]:
    """Name what is wrong with the shape of a document.

    Args:
        facts: A parsed document.

    Yields:
        One clause per fault; nothing if the document has the shape.
    """
    if not isinstance(facts, dict):
        yield "it is not an object"
        return
    if facts.get("schema") != SCHEMA:
        yield f"its schema is not {SCHEMA}"
    for name in sorted(SECTIONS.keys() - facts.keys()):
        yield f"the section {name!r} is missing"
    for name in sorted(facts.keys() - SECTIONS.keys()):
        yield f"the section {name[:40]!r} is unknown"
    for name, kind in SECTIONS.items():
        if name in facts and not _is(facts[name], kind):
            yield f"the section {name!r} is not {kind}"


def _is(value: Json, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == OBJECT:
        return isinstance(value, dict)
    inner = dict if kind == ROWS else str
    return isinstance(value, list) and all(isinstance(entry, inner) for entry in value)
