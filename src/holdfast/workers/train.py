"""The training worker: runs one recipe and leaves an adapter, or a checkpoint if it is stopped."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from holdfast.training import environment
from holdfast.training.spec import Recipe

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.training.sft import Reporter


class Digests(BaseModel):
    """What the inputs are, for the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    tokenizer: str
    recipe: str
    data: dict[str, str]


class TrainOrder(BaseModel):
    """What the daemon asks for.

    ``data`` gives the file of each of the recipe's data paths, ``digests.data`` the digest; ``out`` receives ``adapter/``,
    ``checkpoints/`` and ``telemetry.jsonl``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    model: Path
    data: dict[str, Path]
    digests: Digests
    out: Path
    resume: bool
    threads: int


def main(channel: Reporter, order: dict[str, Json]) -> dict[str, Json]:
    """Run a recipe.

    Args:
        channel: Whom to report to.
        order: A ``TrainOrder`` as plain data.

    Returns:
        What ``training.sft.train`` returns.
    """
    asked = TrainOrder.model_validate(order)
    channel.progress("loading the training libraries", 0, 0)
    environment.prepare(asked.threads, tempfile.gettempdir())
    from holdfast.training import sft

    return sft.train(
        sft.Inputs(
            recipe=asked.recipe,
            model=asked.model,
            data=asked.data,
            digests=asked.digests.model_dump(),
            out=asked.out,
            threads=asked.threads,
            resume=asked.resume,
        ),
        channel,
    )
