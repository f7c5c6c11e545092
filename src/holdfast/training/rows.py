"""From examples to batches of tensors.

Invariants: a batch holds ``sequences`` rows; in a packed row every example starts again at position 0, by which the model
keeps their attention apart (the first token of an example is never a target), and padding is an example of its own. The
order of rows is the sampler's; examples and rows themselves never depend on chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdfast.training import packing
from holdfast.training.tokens import IGNORED, Example, Pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset  # type: ignore[import-untyped]  # it has no type hints

PAD_TO = 8  # tokens; matrix kernels work in blocks of this size


def of_examples(examples: Sequence[Example], *, sequence_length: int, packed: bool) -> Dataset:
    """Lay examples out as rows.

    Args:
        examples: The examples.
        sequence_length: The most tokens of one row.
        packed: Whether a row takes several examples.

    Returns:
        A data set in memory with ``input_ids``, ``labels`` and ``seq_lengths`` (tokens of each example in the row).
    """
    from datasets import Dataset

    lengths = [len(one.input_ids) for one in examples]
    layout = packing.pack(lengths, sequence_length) if packed else packing.one_each(lengths)
    return Dataset.from_dict(
        {
            "input_ids": [[token for at in row for token in examples[at].input_ids] for row in layout],
            # The first token of an example would otherwise be predicted from the example before it.
            "labels": [
                [label for at in row for label in (IGNORED, *examples[at].labels[1:])] for row in layout
            ],
            "seq_lengths": [[lengths[at] for at in row] for row in layout],
        }
    )


def of_pairs(pairs: Sequence[Pair]) -> Dataset:
    """Lay pairs of answers out as rows, one pair each.

    Args:
        pairs: The pairs.

    Returns:
        A data set in memory with ``chosen_ids``, ``chosen_labels``, ``rejected_ids`` and ``rejected_labels``.
    """
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "chosen_ids": [one.chosen.input_ids for one in pairs],
            "chosen_labels": [one.chosen.labels for one in pairs],
            "rejected_ids": [one.rejected.input_ids for one in pairs],
            "rejected_labels": [one.rejected.labels for one in pairs],
        }
    )


def width_of(longest: int) -> int:
    """Give the width of a batch.

    Args:
        longest: Tokens of its longest row.

    Returns:
        Positions of each of its rows, padding included.
    """
    return -(-longest // PAD_TO) * PAD_TO


@dataclass(frozen=True)
class Collator:
    """Makes a batch of rows.

    Args:
        pad: The token that fills the end of short rows.
        packed: Whether rows hold several examples.
    """

    pad: int
    packed: bool

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Make a batch.

        Args:
            rows: Rows of ``of_examples``.

        Returns:
            ``input_ids`` and ``labels`` [b, s], with ``position_ids`` [b, s] if packed, else ``attention_mask`` [b, s].
        """
        batch = _filled([row["input_ids"] for row in rows], [row["labels"] for row in rows], self.pad)
        if not self.packed:
            return batch
        width = batch.pop("attention_mask").shape[1]
        places = [
            torch.cat([torch.arange(part) for part in (*row["seq_lengths"], width - len(row["input_ids"]))])
            for row in rows
        ]
        return batch | {"position_ids": torch.stack(places)}


@dataclass(frozen=True)
class PairCollator:
    """Makes a batch of pairs.

    Args:
        pad: The token that fills the end of short rows.
    """

    pad: int

    def __call__(self, rows: Sequence[dict[str, list[int] | float]]) -> dict[str, torch.Tensor]:
        """Make a batch: the chosen answers, then the rejected ones in the same order.

        Args:
            rows: Rows of ``of_pairs``, with the columns of ``objectives.preference.reference`` if they are known.

        Returns:
            ``input_ids``, ``labels`` and ``attention_mask`` [2b, s], and ``reference`` [2b] if it is known.
        """
        sides = ("chosen", "rejected")
        ids = [row[f"{side}_ids"] for side in sides for row in rows]
        labels = [row[f"{side}_labels"] for side in sides for row in rows]
        batch = _filled(ids, labels, self.pad)  # type: ignore[arg-type]  # these columns hold lists
        if "chosen_reference" in rows[0]:
            batch["reference"] = torch.tensor([row[f"{side}_reference"] for side in sides for row in rows])
        return batch


def _filled(ids: Sequence[list[int]], labels: Sequence[list[int]], pad: int) -> dict[str, torch.Tensor]:
    shape = (len(ids), width_of(max(map(len, ids))))
    batch = {
        "input_ids": torch.full(shape, pad),
        "labels": torch.full(shape, IGNORED),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
    }
    for at, (tokens, targets) in enumerate(zip(ids, labels, strict=True)):
        batch["input_ids"][at, : len(tokens)] = torch.tensor(tokens)
        batch["labels"][at, : len(tokens)] = torch.tensor(targets)
        batch["attention_mask"][at, : len(tokens)] = 1
    return batch
