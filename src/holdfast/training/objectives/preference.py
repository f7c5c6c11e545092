"""Direct preference optimisation: the better answer shall gain more likelihood than the worse one.

The loss of a pair is -log sigmoid(beta * (gain of the chosen - gain of the rejected)), a gain being the log-likelihood of an
answer's tokens less what the model gave it before training (the reference). Invariant: the reference is computed once, by the
untrained model and in the order of the rows, so that a run that goes on after a stop has the same to the bit.

Source: Rafailov et al. (2023), "Direct preference optimization", arXiv:2305.18290, equation 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from holdfast.training.objectives import head
from holdfast.training.tokens import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from transformers import PreTrainedModel

    Batch = dict[str, torch.Tensor]
    Autocast = Callable[[], AbstractContextManager[None]]


def items(batch: Batch) -> torch.Tensor:
    """Count what the loss of a step is divided by.

    Args:
        batch: A batch of ``rows.PairCollator``.

    Returns:
        Pairs, a scalar.
    """
    return torch.tensor(len(batch["labels"]) // 2)


def loss(
    model: PreTrainedModel, batch: Batch, count: torch.Tensor | int, autocast: Autocast, *, beta: float
) -> torch.Tensor:
    """Compute a batch's share of a step's loss.

    Args:
        model: The model, without PEFT's wrapping.
        batch: A batch of ``rows.PairCollator`` with its ``reference``.
        count: Pairs of the whole step, all its batches together.
        autocast: Opens the context in which the model computes.
        beta: How strongly the model is held to its reference.

    Returns:
        A scalar; the sum over a step's batches is the mean loss of its pairs.
    """
    gains = likelihoods(model, batch, autocast) - batch["reference"]  # [2b]
    chosen, rejected = gains.chunk(2)
    total = -torch.nn.functional.logsigmoid(beta * (chosen - rejected)).sum()
    return total / count


def reference(
    model: PreTrainedModel, batches: Iterable[Batch], autocast: Autocast
) -> tuple[list[float], list[float]]:
    """Compute the log-likelihoods before training.

    Args:
        model: The model, without PEFT's wrapping and with its adapter off.
        batches: The rows in their order, ``rows.PairCollator`` made them.
        autocast: Opens the context in which the model computes.

    Returns:
        Of each row the chosen and the rejected answer's.
    """
    chosen: list[float] = []
    rejected: list[float] = []
    was = model.training
    model.train(False)
    with torch.no_grad():
        for batch in batches:
            better, worse = likelihoods(model, batch, autocast).chunk(2)
            chosen += better.tolist()
            rejected += worse.tolist()
    model.train(was)
    return chosen, rejected


def likelihoods(model: PreTrainedModel, batch: Batch, autocast: Autocast) -> torch.Tensor:
    """Compute the log-likelihood of each answer.

    Args:
        model: The model, without PEFT's wrapping.
        batch: ``input_ids``, ``labels`` and ``attention_mask`` [2b, s].
        autocast: Opens the context in which the model computes.

    Returns:
        Sums over the learnt tokens of each row [2b], in float32.
    """
    labels = batch["labels"][:, 1:]
    learnt = labels != IGNORED
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with autocast():
        found = head.logits(model, inputs, learnt)
    each = -torch.nn.functional.cross_entropy(found.float(), labels[learnt], reduction="none")
    return torch.zeros(labels.shape, device=each.device).masked_scatter(learnt, each).sum(dim=1)
