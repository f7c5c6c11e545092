"""The likelihood of what is learnt: mean cross entropy over all learnt tokens of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdfast.training.objectives import head
from holdfast.training.tokens import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from transformers import PreTrainedModel

    Batch = dict[str, torch.Tensor]


def items(batch: Batch) -> torch.Tensor:
    """Count what the loss of a step is divided by.

    Args:
        batch: A batch of ``rows.Collator``.

    Returns:
        Learnt tokens, a scalar.
    """
    return (batch["labels"][:, 1:] != IGNORED).sum()


def loss(
    model: PreTrainedModel,
    batch: Batch,
    count: torch.Tensor | int,
    autocast: Callable[[], AbstractContextManager[None]],
) -> torch.Tensor:
    """Compute a batch's share of a step's loss.

    Args:
        model: The model, without PEFT's wrapping.
        batch: A batch of ``rows.Collator``.
        count: Learnt tokens of the whole step, all its batches together.
        autocast: Opens the context in which the model computes.

    Returns:
        A scalar; the sum over a step's batches is the mean cross entropy of its learnt tokens.
    """
    labels = batch["labels"][:, 1:]  # [b, s - 1]
    learnt = labels != IGNORED
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with autocast():
        found = head.logits(model, inputs, learnt)
    total = torch.nn.functional.cross_entropy(found.float(), labels[learnt], reduction="sum")
    return total / count
