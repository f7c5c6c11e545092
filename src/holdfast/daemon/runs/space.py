"""What a run will write, compared with what is free before it is started.

Invariants: the figure is an upper bound from the recipe and the base's configuration alone, so that it costs nothing; what a
run that goes on has written already is not asked for again.
"""

from __future__ import annotations

import shutil
from math import prod
from typing import TYPE_CHECKING

from holdfast.daemon import scratch
from holdfast.daemon.runs import folders
from holdfast.daemon.runs.sources import bounded
from holdfast.errors import NoSpace
from holdfast.formats import families, jsonconfig
from holdfast.store.disk import RESERVE
from holdfast.training import estimate, patterns, spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.artefact import Artefact
    from holdfast.daemon.runs.sources import Inputs
    from holdfast.daemon.services import Services
    from holdfast.training.spec import Recipe

CONFIG = "config.json"
MATRIX = 2  # dimensions of what an adapter goes beside


def free(services: Services) -> int:
    """Tell how much is free where runs write.

    Args:
        services: The daemon's parts.

    Returns:
        Bytes.
    """
    return shutil.disk_usage(services.home.jobs).free


def require(services: Services, recipe: Recipe, inputs: Inputs, resumes: int | None) -> None:
    """Refuse to start what the disk can't hold.

    Args:
        services: The daemon's parts.
        recipe: The recipe.
        inputs: What the run is made from.
        resumes: The stopped run whose checkpoints are used.

    Raises:
        NoSpace: If fewer bytes are free than the run will write and the reserve that is left to everything else.
    """
    needed = estimate.disk_bytes(recipe, trained(services, recipe, inputs.base), inputs.base.size)
    if resumes is not None:
        needed = max(needed - scratch.size(services.jobs.folder(resumes) / folders.OUT), 0)
    here = free(services)
    if here < needed + RESERVE:
        raise NoSpace(
            "train.no-space",
            f"The run will write up to {needed} bytes, {RESERVE} more are kept free, and {here} are free.",
            remedy=f"Free at least {needed + RESERVE - here} bytes in the home, then start it again.",
            needed=needed + RESERVE,
            free=here,
        )


def trained(services: Services, recipe: Recipe, base: Artefact) -> int:
    """Count what a recipe trains of a base.

    Args:
        services: The daemon's parts.
        recipe: The recipe.
        base: The base.

    Returns:
        Parameters; those of all weights where the base's configuration tells no shapes.
    """
    config = services.store.folder(base.digest) / CONFIG
    facts = jsonconfig.model(bounded(config, jsonconfig.MAX_CONFIG), CONFIG)
    shapes = families.expected(facts)
    if shapes is None:
        return base.size
    tuning = recipe.tuning
    if isinstance(tuning, spec.FullTuning):
        return sum(prod(shape) for name, shape in shapes.items() if _fits(name, tuning.targets))
    targets = None if tuning.targets == [spec.ALL_LINEAR] else tuning.targets
    return sum(
        tuning.rank * sum(shape) + (shape[0] if tuning.type == "dora" else 0)
        for name, shape in _matrices(shapes)
        if _fits(name, targets)
    )


def _matrices(shapes: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, shape in shapes.items():
        if len(shape) == MATRIX and "embed" not in name and "lm_head" not in name:
            yield name, shape


def _fits(name: str, targets: list[str] | None) -> bool:
    """Tell whether a weight lies beneath one of the modules that are named or fit a pattern."""
    if targets is None:
        return True
    parts = name.split(".")
    modules = [".".join(parts[:at]) for at in range(1, len(parts))]
    return any(patterns.matches(module, target) for module in modules for target in targets)
