"""Two evaluations side by side: every section of a suite, and the examples that changed.

Invariants: nothing is judged against a rule here, so no result is good or bad but better, the same, worse within noise, or a
regression; an example is shown with the question as the model saw it, what was expected, and both answers, cut to a stated
length with a mark; what is malformed in a stored file is refused, never guessed at. No I/O.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

from holdfast.dataset import messages
from holdfast.errors import UntrustedInput
from holdfast.evaluation import paired, record
from holdfast.evaluation.spec import ALL, MAX_ITEM, PRIMARY

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from holdfast.canonical import Json

ALPHA = Fraction(1, 20)  # of a comparison; a gate states its own
MAX_SHOWN = 1000  # characters of one text of an example
MAX_EXPECTED = 5  # right answers of an example that are shown
MAX_ROW = 4 * MAX_ITEM  # bytes of one line of answers: an item's own texts, and what a model said to it


def sections(first: Json, second: Json) -> list[dict[str, Json]]:
    """Compare every section.

    Args:
        first: What ``score.result`` gave for one model.
        second: The same for the other, of the same suite.

    Returns:
        One object per section (see ``paired.figures``); all items and the headline come first where they differ.

    Raises:
        UntrustedRecipe: If the results are not of one suite.
        UntrustedInput: If one is malformed.
    """
    before, after = record.read(first), record.read(second)
    own = after.sections
    names = [
        *([ALL] if len(own) > 1 else []),
        *([PRIMARY] if 0 < len(after.primary) < len(own) else []),
        *own,
    ]
    return [paired.figures(paired.pair(before, after, name), ALPHA) for name in names]


def changed(compared: Sequence[Mapping[str, Json]]) -> tuple[list[str], list[str]]:
    """List the items that changed.

    Args:
        compared: What ``sections`` gave.

    Returns:
        Ids of those that became better and of those that became worse, each once.
    """
    found: tuple[dict[str, None], dict[str, None]] = ({}, {})
    for one in compared:
        for ids, name in zip(found, ("fixed", "broken"), strict=True):
            listed = one[name]
            ids.update((str(item), None) for item in (listed if isinstance(listed, list) else []))
    return list(found[0]), list(found[1])


def rows(data: bytes, wanted: Container[str] | None = None, *, what: str) -> dict[str, dict[str, Json]]:
    """Pick rows out of a stored file of JSON Lines: a suite's items, or the answers of an evaluation.

    Args:
        data: The file.
        wanted: Ids; left out, all rows are taken.
        what: What the file is, for the message.

    Returns:
        The rows, by id, in the file's order.

    Raises:
        UntrustedInput: If a line is no object with an id.
    """
    found: dict[str, dict[str, Json]] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = cast("dict[str, Json]", messages.load_object(_bounded(line)))
            name = messages.text_of(row.get("id"), "'id'")
        except ValueError as error:
            raise UntrustedInput(
                "evaluation.rows", f"Line {number} of {what} is refused: {error}.", remedy="Evaluate again."
            ) from error
        if wanted is None or name in wanted:
            found[name] = row
    return found


def example(
    item: Mapping[str, Json], first: Mapping[str, Json], second: Mapping[str, Json]
) -> dict[str, Json]:
    """Show one item under both models.

    Args:
        item: Its row of the suite.
        first: Its row of one model's answers.
        second: Its row of the other's.

    Returns:
        ``id``, ``section``, ``question``, ``expected`` (a list) and ``answers`` (the first model's and the second's).
    """
    return {
        "id": item["id"],
        "section": _shown(item.get("section")),
        "question": _shown(messages.question_of(item)),
        "expected": _listed(second.get("expected")),
        "answers": [_answer(first), _answer(second)],
    }


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_ROW:
        raise ValueError(f"it has {len(line)} bytes and {MAX_ROW} are allowed")
    return line


def _answer(row: Mapping[str, Json]) -> str:
    """Give what a model said, and why it does not count if that is told; of a text, the bits it needs for each byte."""
    if isinstance(row.get("value"), int | float):
        return f"{row['value']} {record.BITS}"
    said, why = row.get("answer"), row.get("told")
    return _shown(said) + (f" [{_shown(why)}]" if why else "")


def _listed(value: Json) -> list[Json]:
    texts = [_shown(one) for one in (value if isinstance(value, list) else [] if value is None else [value])]
    return [*texts[:MAX_EXPECTED], *(["…"] if len(texts) > MAX_EXPECTED else [])]


def _shown(value: Json) -> str:
    # A model may say half a surrogate pair.
    text = "" if value is None else str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
