"""What a run will take: memory, disk, time, processor time; from its exact plan and a short calibration. No I/O, no clock.

FLOPs count what the mathematics needs and nothing that is computed twice: 2 for each weight and token forwards, 2 for the
gradient of what comes before it, 2 for its own gradient if it is trained (Kaplan et al., 2020, arXiv:2001.08361, section
2.1), and 12 · layers · width · length for each token's attention (Chowdhery et al., 2022, arXiv:2204.02311, appendix B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.training.checkpoints import KEPT

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.training.manifest import Plan
    from holdfast.training.spec import Recipe

FLOAT = 4  # bytes of a number in fp32: a trained weight, and each of the optimiser's two moments of it
MOMENTS = 2  # numbers that AdamW keeps for each trained weight
# Bytes that the first steps of any run add: code that is loaded late, what an allocator keeps; measured.
LATE = 128 * 2**20
TELEMETRY_LINE = 400  # bytes of one step's line
STATE_LINE = 220  # bytes of one state hash's line
CHECKPOINT_REST = 256 * 2**10  # bytes of a checkpoint besides tensors: random state, configuration, seal


@dataclass(frozen=True)
class Sizes:
    """What of a model decides the work of a step.

    Args:
        frozen: Weights in matrix products that are not trained, without the output layer.
        tuned: Weights in matrix products that are trained, without the output layer.
        head: Weights of the output layer.
        head_tuned: Whether the output layer is trained.
        layers: Layers with attention.
        width: Width of all attention heads of a layer together.
        trained: Trained weights, of every kind.
    """

    frozen: int
    tuned: int
    head: int
    head_tuned: bool
    layers: int
    width: int
    trained: int


@dataclass(frozen=True)
class Calibration:
    """What a few passes on the real model showed.

    Args:
        pass_seconds: One pass forwards and backwards over the rows of one pass.
        pass_tokens: Tokens of it, padding included.
        update_seconds: One step of the optimiser.
        hash_seconds: One state hash.
        processors: Processor time of a second of such work.
        memory_bytes: The most memory held so far, with the activations and gradients of the longest rows.
    """

    pass_seconds: float
    pass_tokens: int
    update_seconds: float
    hash_seconds: float
    processors: float
    memory_bytes: int


def flops(sizes: Sizes, *, tokens: int, learnt: int, squares: int) -> int:
    """Count the floating-point operations of training on some tokens.

    Args:
        sizes: The model's.
        tokens: Tokens, padding excluded.
        learnt: Tokens among them whose prediction is computed.
        squares: Sum over the examples of the square of their tokens.

    Returns:
        Operations.
    """
    body = tokens * (4 * sizes.frozen + 6 * sizes.tuned)
    head = learnt * sizes.head * (6 if sizes.head_tuned else 4)
    attention = 12 * sizes.layers * sizes.width * squares
    return body + head + attention


def checkpoint_bytes(trained: int) -> int:
    """Give the size of one checkpoint.

    Args:
        trained: Trained weights.

    Returns:
        Bytes.
    """
    return (1 + MOMENTS) * FLOAT * trained + CHECKPOINT_REST


def disk_bytes(recipe: Recipe, trained_parameters: int, model_bytes: int) -> int:
    """Give the most disk that a run's folder takes at one time.

    Args:
        recipe: The recipe.
        trained_parameters: Weights that are trained.
        model_bytes: Bytes of the base; a run on all weights writes as many for its product.

    Returns:
        Bytes: the checkpoints that are kept, the one that is being written, the best weights of a run that may end
        early, and the product. Telemetry is counted by ``compute``, which knows the steps.
    """
    trained_bytes = FLOAT * trained_parameters
    best = (KEPT + 2) * trained_bytes if recipe.stop is not None else 0  # each checkpoint may hold another
    product = model_bytes if recipe.tuning.type == "full" else trained_bytes
    return (KEPT + 1) * checkpoint_bytes(trained_parameters) + best + product


def compute(
    recipe: Recipe, plan: Plan, sizes: Sizes, seen: Calibration, *, model_bytes: int, other_seconds: float
) -> dict[str, Json]:
    """Estimate a run.

    Args:
        recipe: The recipe.
        plan: What it comes to with its data.
        sizes: The model's.
        seen: The calibration.
        model_bytes: Bytes of the base.
        other_seconds: What goes on outside the steps: the set-up, and held-out text before and after.

    Returns:
        ``steps``, ``tokens``, ``tokens_per_second``, ``seconds``, ``cpu_seconds``, ``memory_bytes``, ``disk_bytes`` and
        ``how`` they were found.
    """
    epochs = plan.steps * plan.rows_per_step / plan.rows
    computed = plan.tokens / max(1.0 - plan.padding, 1e-9)  # tokens of an epoch, padding included
    passes = computed * epochs * seen.pass_seconds / seen.pass_tokens
    updates = plan.steps * seen.update_seconds
    hashes = plan.steps // recipe.state_every * seen.hash_seconds
    steps = passes + updates + hashes
    seconds = steps + other_seconds
    tokens = plan.tokens_at(plan.steps)
    lines = plan.steps * TELEMETRY_LINE + plan.steps // recipe.state_every * STATE_LINE * (KEPT + 2)
    moments = MOMENTS * FLOAT * sizes.trained
    return {
        "steps": plan.steps,
        "tokens": tokens,
        "tokens_per_second": round(tokens / max(steps, 1e-9), 1),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(seconds * seen.processors, 3),
        "memory_bytes": seen.memory_bytes + moments + LATE,
        "disk_bytes": disk_bytes(recipe, sizes.trained, model_bytes) + lines,
        "how": "exact plan of the data; a few passes on this model and machine, extrapolated",
    }
