"""How well a model foretells text that it was not trained on: bits per byte.

Bits per byte is the negative log-likelihood of what is learnt of each held-out example, in bits, over its UTF-8 bytes, so
that tokenizers and bases can be compared. Invariants: each example is measured alone, in the numbers that the run computes
in; nothing of the model, of its mode or of the random numbers is afterwards other than before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from holdfast.training import environment
from holdfast.training.objectives import likelihood

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.training.material import Held
    from holdfast.training.trainer import RunTrainer


def bits_per_byte(
    trainer: RunTrainer, held_out: Mapping[str, Sequence[Held]], proceed: Callable[[int], bool]
) -> dict[str, float] | None:
    """Measure held-out examples.

    Args:
        trainer: The trainer, with the model as it stands.
        held_out: Examples by data path.
        proceed: Called with the number of examples done before each; False stops.

    Returns:
        Bits per byte by data path, rounded to six places; None if it was stopped.
    """
    found: dict[str, float] = {}
    model = trainer.learnt_model()
    done = 0
    with environment.apart(model), torch.no_grad(), trainer.computing():
        torch.nn.Module.eval(model)
        for path, examples in held_out.items():
            bits = 0.0
            for one in examples:
                if not proceed(done):
                    return None
                bits += _bits(trainer, one)
                done += 1
            size = sum(one.bytes for one in examples)
            if size:
                found[path] = round(bits / size, 6)
    return found


def _bits(trainer: RunTrainer, one: Held) -> float:
    model = trainer.learnt_model()
    batch = {
        "input_ids": torch.tensor([one.input_ids], device=model.device),  # [1, s]
        "labels": torch.tensor([one.labels], device=model.device),  # [1, s]
    }
    if not likelihood.items(batch):
        return 0.0
    return float(likelihood.loss(model, batch, 1, trainer.accelerator.autocast).item()) / math.log(2)
