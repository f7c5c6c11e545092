"""From prepared data sets to what a run trains on: rows, their counts, and what is held out.

Order of operations: read each data set → check that its form suits the method → tokens → lay out as rows. Invariants: the
same data sets give the same rows; a row longer than the recipe allows is refused with its file and line, or set aside and
told where the recipe's run quarantines, never cut; what is held out is in no row.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from holdfast.dataset import prepared, profile
from holdfast.dataset.forms import Completion, Conversation, Passage, Preference
from holdfast.errors import UntrustedRecipe
from holdfast.training import rows, tokens
from holdfast.training.tokens import IGNORED, Example, Pair, UnsuitedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from datasets import Dataset  # type: ignore[import-untyped]  # it has no type hints
    from transformers import PreTrainedTokenizerBase

    from holdfast.dataset.forms import Content, Form
    from holdfast.training.spec import DataSpec, Recipe

MAX_MISTAKES = 20  # unsuited rows listed; more would not be read

Unit = Example | Pair


@dataclass(frozen=True)
class Held:
    """Something to measure a model on that it is not trained on.

    Args:
        input_ids: Token ids.
        labels: For each token its own id where it is scored, else ``IGNORED``.
        bytes: UTF-8 bytes of the text that is scored; the first window of a text has all of them, the others none.
    """

    input_ids: list[int]
    labels: list[int]
    bytes: int


@dataclass(frozen=True)
class Material:
    """What a run trains on.

    Args:
        dataset: Rows of one epoch.
        collator: Makes batches of them.
        tokenizer: The base's tokenizer.
        examples: Examples of one epoch, repeats included; for pairs, pairs.
        tokens: Tokens of one epoch, padding excluded.
        learnt: Tokens of one epoch that are learnt.
        padding: Share of the positions of a shuffled epoch that is padding.
        squares: Sum of the squared lengths of one epoch's sequences, which attention's cost goes by.
        longest: Tokens of the longest sequence.
        held_out: What is held out, by the recipe's data path; paths with nothing held out are absent.
        set_aside: ``path:line: why`` of each row that was set aside.
    """

    dataset: Dataset
    collator: Callable[..., dict[str, torch.Tensor]]
    tokenizer: PreTrainedTokenizerBase
    examples: int
    tokens: int
    learnt: int
    padding: float
    squares: int
    longest: int
    held_out: dict[str, list[Held]]
    set_aside: list[str]


def load(
    recipe: Recipe,
    folders: Mapping[str, Path],
    tokenizer: PreTrainedTokenizerBase,
    *,
    quarantine: bool = False,
) -> Material:
    """Read a recipe's data sets.

    Args:
        recipe: The recipe.
        folders: Folder of each of the recipe's data paths, as ``dataset.prepared`` describes its files.
        tokenizer: The base's tokenizer.
        quarantine: Whether rows that are too long are set aside; otherwise they are refused.

    Returns:
        What to train on.

    Raises:
        UntrustedRecipe: If a data set does not suit the method or has unsuited rows, or nothing is left to train on.
    """
    reader = _Reader(recipe, cast("tokens.ChatTokenizer", tokenizer), _marks(tokenizer))
    units: list[Unit] = []
    held_out = {}
    for entry in recipe.data:
        folder = folders[entry.path]
        form = _form(folder, entry, recipe)
        trained = reader.read(folder / prepared.ROWS, form, entry.path)
        units += entry.repeat * [unit for _, unit in trained]
        if (folder / prepared.HELD_OUT).exists():
            kept = reader.read(folder / prepared.HELD_OUT, form, entry.path)
            held_out[entry.path] = [_held(size, unit) for size, unit in kept]
    if reader.mistakes and not quarantine:
        raise _refused(reader.mistakes)
    if not units:
        raise UntrustedRecipe(
            "dataset.nothing-left",
            f"Every row was set aside, the first because {reader.mistakes[0].told}.",
            remedy="Raise sequence_length in [batch], or split the examples.",
        )
    pairs = [one for one in units if isinstance(one, Pair)]
    singles = [one for one in units if isinstance(one, Example)]
    dataset = rows.of_pairs(pairs) if pairs else _rows(recipe, singles)
    sequences = [
        side for one in units for side in ((one.chosen, one.rejected) if isinstance(one, Pair) else (one,))
    ]
    lengths = [len(one.input_ids) for one in sequences]
    # The token that fills rows is neither attended to nor learnt, so that its value never matters.
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return Material(
        dataset=dataset,
        collator=rows.PairCollator(pad) if pairs else rows.Collator(pad, packed=recipe.batch.packing),
        tokenizer=tokenizer,
        examples=len(units),
        tokens=sum(lengths),
        learnt=sum(label != IGNORED for one in sequences for label in one.labels[1:]),
        padding=_padding(recipe, dataset),
        squares=sum(length * length for length in lengths),
        longest=max(lengths),
        held_out=held_out,
        set_aside=[one.told for one in reader.mistakes],
    )


@dataclass(frozen=True)
class _Mistake:
    at: str
    why: str
    key: str
    remedy: str

    @property
    def told(self) -> str:
        return f"{self.at}: {self.why}"


@dataclass
class _Reader:
    recipe: Recipe
    tokenizer: tokens.ChatTokenizer
    marks: re.Pattern[str]
    mistakes: list[_Mistake] = field(default_factory=list)

    def read(self, path: Path, form: Form, name: str) -> list[tuple[int, Unit]]:
        """Give what a file's rows come to, each with the bytes of text that are learnt; note what is too long."""
        limit = self.recipe.batch.sequence_length
        with path.open("rb") as file:
            data = file.read(prepared.MAX_FILE + 1)
        found: list[tuple[int, Unit]] = []
        for row in prepared.read(data, form=form, file=name):
            if mark := next(filter(None, map(self.marks.search, row.content.texts())), None):
                self.mistakes.append(
                    _Mistake(
                        row.at,
                        f"the text holds {mark[0][:60]!r}, a mark of the base's own, by which it could pass for another turn",
                        "dataset.mark",
                        "Take the mark out of the text, or run with --quarantine.",
                    )
                )
                continue
            try:
                units = self._units(row.content)
            except UnsuitedError as error:
                raise _refused([_Mistake(row.at, str(error), "dataset.template", error.remedy)]) from error
            longest = max(map(_length, units), default=0)
            if longest > limit:
                self.mistakes.append(
                    _Mistake(
                        row.at,
                        f"the example has {longest} tokens and a row holds {limit}",
                        "dataset.too-long",
                        "Raise sequence_length in [batch], split the example, or run with --quarantine.",
                    )
                )
                continue
            sizes = [_size(row.content, answers_only=self.recipe.answers_only), *[0] * len(units)]
            found += zip(sizes, units, strict=False)
        return found

    def _units(self, content: Content) -> Sequence[Unit]:
        if isinstance(content, Passage):
            return tokens.passage(
                content.text, self.tokenizer, sequence_length=self.recipe.batch.sequence_length
            )
        if isinstance(content, Preference):
            return [tokens.preference(content, self.tokenizer)]
        learn: tokens.Learn = "answers" if self.recipe.answers_only else "all"
        return [tokens.conversation(tokens.as_conversation(content), self.tokenizer, learn=learn)]


def _marks(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Find the texts that the tokenizer reads as marks of turns and ends, wherever they stand."""
    added = [str(one) for one in tokenizer.added_tokens_decoder.values() if one.special]
    known = sorted({*added, *map(str, tokenizer.all_special_tokens)} - {""}, key=lambda one: (-len(one), one))
    return re.compile("|".join(map(re.escape, known)) or r"(?!)")


def _form(folder: Path, entry: DataSpec, recipe: Recipe) -> Form:
    with (folder / prepared.PROFILE).open("rb") as file:
        found = profile.read(file.read(profile.MAX_PROFILE + 1), name=entry.path)
    form = prepared.form_of(found.get("form"), name=entry.path)
    if form not in recipe.forms():
        raise UntrustedRecipe(
            "recipe.form-of-data",
            f"{entry.path} has rows of the form {form!r}, and method {recipe.method!r} takes {' or '.join(recipe.forms())}.",
            remedy="Name other data, other columns, or another method in the recipe.",
            file=entry.path,
        )
    return form


def _rows(recipe: Recipe, examples: Sequence[Example]) -> Dataset:
    return rows.of_examples(
        examples, sequence_length=recipe.batch.sequence_length, packed=recipe.batch.packing
    )


def _length(unit: Unit) -> int:
    if isinstance(unit, Pair):
        return max(len(unit.chosen.input_ids), len(unit.rejected.input_ids))
    return len(unit.input_ids)


def _size(content: Content, *, answers_only: bool) -> int:
    """Give the UTF-8 bytes of what is learnt of a row."""
    if isinstance(content, Preference):
        texts = [content.chosen]
    elif isinstance(content, Completion) and answers_only:
        texts = [content.completion]
    elif isinstance(content, Conversation) and answers_only:
        texts = [one.content for one in content.messages if one.role == "assistant"]
    else:
        texts = list(content.texts())
    return sum(len(text.encode("utf-8")) for text in texts)


def _held(size: int, unit: Unit) -> Held:
    example = unit.chosen if isinstance(unit, Pair) else unit
    return Held(example.input_ids, example.labels, size)


def _padding(recipe: Recipe, dataset: Dataset) -> float:
    """Give the share of padding in an epoch's batches, for one fixed shuffle; each epoch's own differs little."""
    columns = ("chosen_ids", "rejected_ids") if recipe.method == "dpo" else ("input_ids",)
    lengths = [[len(row) for row in dataset[column]] for column in columns]
    order = list(range(len(dataset)))
    random.Random(recipe.seed).shuffle(order)  # noqa: S311 - no secret
    used = computed = 0
    for start in range(0, len(order), recipe.batch.sequences):
        batch = [side[at] for side in lengths for at in order[start : start + recipe.batch.sequences]]
        used += sum(batch)
        computed += rows.width_of(max(batch)) * len(batch)
    return round(1 - used / computed, 6)


def _refused(mistakes: Sequence[_Mistake]) -> UntrustedRecipe:
    first = mistakes[0]
    file, _, line = first.at.rpartition(":")
    told = [one.told for one in mistakes[:MAX_MISTAKES]]
    more = f"; and {len(mistakes) - MAX_MISTAKES} more" if len(mistakes) > MAX_MISTAKES else ""
    return UntrustedRecipe(
        first.key,
        "; ".join(told) + more + ".",
        remedy=first.remedy,
        file=file,
        line=int(line) if line.isdigit() else 1,
        mistakes=list(told),
    )
