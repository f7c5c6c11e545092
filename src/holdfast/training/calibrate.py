"""A few passes on the real model, before it is trained: how long a step takes and how much memory it holds.

Order of operations: a pass over the longest rows (memory, and the first use of every kernel) → passes over rows from all of
the data, until the time is up → one optimiser step and one state hash on copies. Invariants: no random number, weight,
gradient or mode of the model is afterwards other than before, so that a run's bits don't depend on whether it was
calibrated.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from holdfast.training import environment, statehash
from holdfast.training.estimate import Calibration, Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.training.material import Material
    from holdfast.training.spec import Recipe
    from holdfast.training.trainer import RunTrainer

SECONDS = 1.0  # of passes after the first; a pass that takes longer stands for itself
PASSES = 5  # at most
COPY = 2**24  # weights of the copies that the optimiser is timed on; more would hold memory and tell the same


def sizes(trainer: RunTrainer) -> Sizes:
    """Measure a model.

    Args:
        trainer: The trainer, built.

    Returns:
        What decides the work of a step.
    """
    model = trainer.learnt_model()
    tuned = trainer.tuned_parameters()
    trained = {id(one) for one in tuned.values()}
    tables = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Embedding)}
    last = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # it has no type hints
    output = getattr(last, "weight", None)
    head = {id(output)} if output is not None else set()
    products = [one for one in model.parameters() if one.dim() > 1 and id(one) not in tables | head]
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    one_head = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Sizes(
        frozen=sum(one.numel() for one in products if id(one) not in trained),
        tuned=sum(one.numel() for one in products if id(one) in trained),
        head=output.numel() if output is not None else 0,
        head_tuned=bool(head & trained),
        layers=int(config.num_hidden_layers),
        width=heads * int(one_head),
        trained=sum(one.numel() for one in tuned.values()),
    )


def measure(trainer: RunTrainer, material: Material, recipe: Recipe) -> Calibration:
    """Calibrate.

    Args:
        trainer: The trainer, built and not yet run.
        material: Its data.
        recipe: The recipe.

    Returns:
        What was seen.
    """
    model = trainer.learnt_model()
    with environment.apart(model):
        model.train()
        return _measure(trainer, material, recipe)


def _measure(trainer: RunTrainer, material: Material, recipe: Recipe) -> Calibration:
    rows = len(material.dataset)
    size = min(recipe.batch.sequences, rows)
    columns = [name for name in material.dataset.column_names if name.endswith("_ids")]
    lengths = [sum(map(len, row)) for row in zip(*(material.dataset[name] for name in columns), strict=True)]
    longest = sorted(range(rows), key=lambda at: -lengths[at])[:size]
    processor, begun = time.process_time(), time.monotonic()
    first, first_tokens = _pass(trainer, longest)
    spent = 0.0
    tokens = done = 0
    while first + spent < SECONDS and done < PASSES:
        # Rows apart from one another, others each time: as a shuffled step has them.
        took, seen = _pass(trainer, [(done + at * rows // size) % rows for at in range(size)])
        spent += took
        tokens += seen
        done += 1
    processors = (time.process_time() - processor) / (time.monotonic() - begun)
    tuned = trainer.tuned_parameters()
    return Calibration(
        pass_seconds=spent / done if done else first,
        pass_tokens=round(tokens / done) if done else first_tokens,
        update_seconds=_update(list(tuned.values())),
        hash_seconds=_hash(tuned),
        processors=processors,
        memory_bytes=environment.peak_memory(),
    )


def _pass(trainer: RunTrainer, rows: Sequence[int]) -> tuple[float, int]:
    """Go forwards and backwards once; give seconds, and tokens with padding."""
    batch = trainer.batch_of(rows)
    tokens = batch["input_ids"].numel()
    begun = time.monotonic()
    with trainer.computing():
        torch.autograd.backward(trainer.loss_of(batch))
    took = max(time.monotonic() - begun, 1e-9)
    for one in trainer.tuned_parameters().values():
        one.grad = None
    return took, tokens


def _update(tuned: Sequence[torch.Tensor]) -> float:
    """Time clipping and one step of the optimiser on zeros of the same shapes, as many as are allowed."""
    weights = sum(one.numel() for one in tuned)
    copies: list[torch.nn.Parameter] = []
    size = 0
    for one in tuned:
        if size and size + one.numel() > COPY:
            break
        copies.append(torch.nn.Parameter(torch.zeros_like(one)))
        copies[-1].grad = torch.zeros_like(one)
        size += one.numel()
    optimiser = torch.optim.AdamW(copies)
    optimiser.step()  # makes its moments
    begun = time.monotonic()
    torch.nn.utils.clip_grad_norm_(copies, 1.0)
    optimiser.step()
    return (time.monotonic() - begun) * weights / size


def _hash(tuned: dict[str, torch.nn.Parameter]) -> float:
    begun = time.monotonic()
    statehash.following(statehash.first("sha512:" + "0" * 128), step=0, tensors=tuned, loss=0.0)
    return time.monotonic() - begun
