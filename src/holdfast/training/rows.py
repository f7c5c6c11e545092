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
from holdfast.training.tokens import IGNORED, Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset  # type: ignore[import-untyped]  # it has no type hints

PAD_TO = 8  # tokens; matrix kernels work in blocks of this size


def to_dataset(examples: Sequence[Example], *, sequence_length: int, packed: bool) -> Dataset:
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
            rows: Rows of the data set.

        Returns:
            ``input_ids`` and ``labels`` [b, s], with ``position_ids`` [b, s] if packed, else ``attention_mask`` [b, s].
        """
        width = -(-max(len(row["input_ids"]) for row in rows) // PAD_TO) * PAD_TO
        shape = (len(rows), width)
        input_ids = torch.full(shape, self.pad)
        labels = torch.full(shape, IGNORED)
        places = torch.zeros(shape, dtype=torch.long)
        for at, row in enumerate(rows):
            size = len(row["input_ids"])
            input_ids[at, :size] = torch.tensor(row["input_ids"])
            labels[at, :size] = torch.tensor(row["labels"])
            if self.packed:
                parts = [*row["seq_lengths"], width - size]
                places[at] = torch.cat([torch.arange(part) for part in parts])
            else:
                places[at, :size] = 1
        return {
            "input_ids": input_ids,
            "labels": labels,
            "position_ids" if self.packed else "attention_mask": places,
        }
