"""Ending a run before its last step, when a suite's score has not risen for a while.

Order of operations, every so many steps: the model, as it is, answers the suite → a rise: its trained weights are kept as the
best → no rise for ``patience`` looks: the run ends here. What a run with this makes are the best weights, also when it went
to its last step. Invariants: looking moves no random number; what was seen so far is in every checkpoint, the best weights
too, so that a run that was stopped and went on looks, waits and ends as if it had not been; weights are kept in whole or not.
Source: Prechelt, "Early stopping, but when?" (1998), the criterion of successive looks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from holdfast.evaluation import live
from holdfast.evaluation.generate_transformers import TransformersEngine
from holdfast.training import environment
from holdfast.training.checkpoints import sync

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from holdfast.canonical import Json
    from holdfast.evaluation.spec import Suite
    from holdfast.training.checkpoints import Checkpoint
    from holdfast.training.spec import StopSpec
    from holdfast.training.trainer import RunTrainer

BEST = "best.safetensors"


class EarlyStop:
    """The looks of one run.

    Args:
        spec: When to look and when to end.
        suite: What is answered.
        tokenizer: The base's.
        out: The run's folder.
        resumed: The checkpoint that the run goes on from, or None.
    """

    def __init__(
        self,
        spec: StopSpec,
        suite: Suite,
        tokenizer: PreTrainedTokenizerBase,
        *,
        out: Path,
        resumed: Checkpoint | None,
    ) -> None:
        self._spec = spec
        self._suite = suite
        self._tokenizer = tokenizer
        self._file = out / BEST
        seen = resumed.notes.get("looks") if resumed else None
        self._seen: dict[str, Json] = (
            seen if isinstance(seen, dict) else {"best": None, "step": 0, "waited": 0}
        )
        self._kept = resumed.folder / BEST if resumed else None

    def open(self) -> None:
        """Take the best weights out of the checkpoint that the run goes on from."""
        self._file.unlink(missing_ok=True)
        if self._kept is not None and self._kept.exists():
            os.link(self._kept, self._file)

    def due(self, step: int, *, last: bool) -> bool:
        """Tell whether a step is one to look at.

        Args:
            step: Optimiser steps done.
            last: Whether it is the run's last.

        Returns:
            True if so.
        """
        return last or step % self._spec.every == 0

    def look(self, trainer: RunTrainer, step: int) -> bool:
        """Answer the suite, and keep the weights if they are the best.

        Args:
            trainer: The trainer, between two steps.
            step: Optimiser steps done.

        Returns:
            True if the run ends here.
        """
        with environment.apart(), TransformersEngine.over(trainer.learnt_model(), self._tokenizer) as engine:
            value = live.value(engine, self._suite, self._spec.section)
        best, waited = self._seen["best"], self._seen["waited"]
        if not isinstance(best, int | float) or value > best + self._spec.min_change:
            self._keep(trainer)
            self._seen = {"best": value, "step": step, "waited": 0}
            return False
        waited = waited + 1 if isinstance(waited, int) else 1
        self._seen = self._seen | {"waited": waited}
        return waited >= self._spec.patience

    def notes(self) -> dict[str, Json]:
        """Give what a checkpoint keeps.

        Returns:
            ``best`` (the score, or None), its ``step``, and how many looks have ``waited`` since.
        """
        return dict(self._seen)

    def add_to(self, scratch: Path) -> None:
        """Put the best weights into a checkpoint.

        Args:
            scratch: The checkpoint's folder, on the same file system.
        """
        if self._file.exists():
            os.link(self._file, scratch / BEST)

    def restore_best(self, trainer: RunTrainer) -> None:
        """Give the model its best weights.

        Args:
            trainer: The trainer, done.
        """
        trainer.restore(self._file)

    def _keep(self, trainer: RunTrainer) -> None:
        draft = self._file.with_name(BEST + ".partial")
        trainer.keep(draft)
        sync(draft)
        draft.rename(self._file)  # a checkpoint that holds the former best keeps it
