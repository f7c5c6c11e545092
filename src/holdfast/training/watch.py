"""What watches a run: reports each step, hashes its state, stops it when it is time, keeps its checkpoints.

Order of operations in one step: (asked to stop?) → (a look at the suite) → figures, (state hash, compared with the recorded
one) → (checkpoint, with everything that a run that goes on must know). Invariants: state hashes are made at the same steps
whether or not the run was stopped in between; a checkpoint holds the hashes up to its step.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback

from holdfast.errors import UntrustedRecipe
from holdfast.training import checkpoints, environment, statehash
from holdfast.training.telemetry import STATES, TELEMETRY, StepLines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import TrainerControl, TrainerState, TrainingArguments

    from holdfast.canonical import Json
    from holdfast.hashing import Digest
    from holdfast.training.checkpoints import Checkpoint
    from holdfast.training.earlystop import EarlyStop
    from holdfast.training.manifest import Plan
    from holdfast.training.meter import Meter
    from holdfast.training.reporting import Reporter
    from holdfast.training.spec import Recipe
    from holdfast.training.trainer import RunTrainer

SMOOTHING = 20  # steps that the displayed rate is averaged over


@dataclass(frozen=True)
class Scene:
    """What is watched.

    Args:
        recipe: The recipe.
        plan: What recipe and data come to.
        run: The run's digest.
        origin: The digest that the chain of state hashes begins with: the run's, or that of the run that is repeated.
        out: The run's folder.
        resumed: The checkpoint that the run goes on from, or None.
        expected: State hashes of the run that is repeated, by step; empty otherwise.
    """

    recipe: Recipe
    plan: Plan
    run: Digest
    origin: Digest
    out: Path
    resumed: Checkpoint | None
    expected: Mapping[int, Digest]

    @property
    def first(self) -> int:
        """The step that the run goes on from; 0 for a new run."""
        return self.resumed.step if self.resumed else 0


class Watch(TrainerCallback):
    """Watches one run.

    Args:
        scene: What is watched.
        reporter: Whom to report to.
        meter: What counts time and energy.
        stop: The looks that may end the run, or None.
    """

    def __init__(self, scene: Scene, reporter: Reporter, meter: Meter, stop: EarlyStop | None) -> None:
        self.stopped_early: int | None = None
        self.diverged: tuple[int, int] | None = None  # the last step that was equal, the first that was not
        self.loss: float | None = None
        self.peak = 0.0  # operations per second that this machine reaches at best; known once attached
        self.disk_bytes = 0  # the most that the run's folder held
        self.kept = scene.first  # the last step with a checkpoint
        self.training_seconds = 0.0  # of all steps, without looks
        self.notes: dict[str, Json] = {}  # what a checkpoint remembers for ``run``
        self._scene = scene
        self._reporter = reporter
        self._meter = meter
        self._stop = stop
        self._trainer: RunTrainer | None = None
        self._flops_per_token = 0.0
        self._times: list[float] = []
        self._hashed = 0  # the last step with a state hash
        self._state = statehash.first(scene.origin)
        if scene.resumed is not None:
            self._state = str(scene.resumed.notes["state"])
            self._hashed = int(str(scene.resumed.notes["hashed"]))
            loss = scene.resumed.notes["loss"]
            self.loss = loss if isinstance(loss, float) else None
            self.training_seconds = float(str(scene.resumed.notes["training_seconds"]))
            early = scene.resumed.notes["stopped_early"]
            self.stopped_early = early if isinstance(early, int) else None
        self._telemetry = StepLines(scene.out / TELEMETRY)
        self._states = StepLines(scene.out / STATES)

    def open(self) -> None:
        """Open the files, as they were when the checkpoint was made that the run goes on from."""
        scene = self._scene
        self._telemetry.open(scene.first)
        self._states.open(scene.first, scene.resumed.folder / STATES if scene.resumed else None)
        if self._stop is not None:
            self._stop.open()

    def attach(self, trainer: RunTrainer, *, flops_per_token: float, peak: float) -> None:
        """Take the trainer that is watched.

        Args:
            trainer: The trainer, built with this watch among its callbacks.
            flops_per_token: Operations that one token takes.
            peak: Operations per second that this machine reaches at best.
        """
        self._trainer = trainer
        self._flops_per_token = flops_per_token
        self.peak = peak

    def close(self) -> None:
        """Close the files."""
        self._telemetry.close()
        self._states.close()

    def measure_disk(self) -> None:
        """Take note of what the run's folder holds."""
        held = sum(path.stat().st_blocks * 512 for path in self._scene.out.rglob("*") if path.is_file())
        self.disk_bytes = max(self.disk_bytes, held)

    def gemm_fraction(self, tokens: float, seconds: float) -> float:
        """Give the fraction of the machine's best that some work reached.

        Args:
            tokens: Tokens trained on, padding excluded.
            seconds: In what time.

        Returns:
            0 to about 1.
        """
        return round(tokens * self._flops_per_token / max(seconds * self.peak, 1e-9), 4)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Start the clock after the set-up."""
        del args, state, control
        self._times = [time.monotonic()]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Look at the suite if it is time; stop here, with a checkpoint, if asked to."""
        del args
        step = state.global_step
        last = step >= self._scene.plan.steps
        if self._stop is not None and self._trainer is not None and self._stop.due(step, last=last):
            begun = time.monotonic()
            if self._stop.look(self._trainer, step):
                self.stopped_early = step
                control.should_save = control.should_training_stop = True
            looked = time.monotonic() - begun
            self._times = [at + looked for at in self._times]  # a look is no part of a step
        if self._reporter.cancelled:
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Report a step's figures and hash its state."""
        del args
        state.log_history.clear()  # it would be in every checkpoint; the figures are in the telemetry
        if logs is None or "loss" not in logs:
            return  # the summary at the end
        step = state.global_step
        self.loss = float(logs["loss"])
        if not math.isfinite(self.loss):
            raise UntrustedRecipe(
                "recipe.diverged",
                f"The loss is no number any more at step {step}.",
                remedy="Lower learning_rate or raise warmup_steps in [optimiser], and run again.",
                step=step,
            )
        self._report(step, logs)
        ends = step >= self._scene.plan.steps or self.stopped_early == step
        if step % self._scene.recipe.state_every == 0 or ends:
            self._hash(step, self.loss)
            if self.diverged is not None:
                control.should_save, control.should_training_stop = False, True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Put the checkpoint that was just written among the good ones."""
        del control
        scratch = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        self._telemetry.sync()
        self._states.sync()
        shutil.copyfile(self._states.path, scratch / STATES)
        notes: dict[str, Json] = self.notes | {
            "state": self._state,
            "hashed": self._hashed,
            "loss": self.loss,
            "stopped_early": self.stopped_early,
            "training_seconds": round(self.training_seconds, 3),
            "used": self._meter.notes(),
        }
        if self._stop is not None:
            self._stop.add_to(scratch)
            notes["looks"] = self._stop.notes()
        self.measure_disk()
        checkpoints.adopt(
            scratch,
            self._scene.out / checkpoints.FOLDER,
            step=state.global_step,
            run=self._scene.run,
            notes=notes,
        )
        self.kept = state.global_step

    def _report(self, step: int, logs: Mapping[str, float]) -> None:
        plan = self._scene.plan
        self._times = [*self._times[-SMOOTHING:], time.monotonic()]
        steps = len(self._times) - 1
        self.training_seconds += self._times[-1] - self._times[-2]
        took = max(self._times[-1] - self._times[0], 1e-9)
        trained = plan.tokens_at(step)
        recent = trained - plan.tokens_at(step - steps)
        figures: dict[str, Json] = {
            "step": step,
            "steps": plan.steps,
            "loss": round(logs["loss"], 6),
            "learning_rate": logs["learning_rate"],
            "grad_norm": round(float(logs.get("grad_norm", 0.0)), 6),
            "tokens": trained,
            "tokens_per_second": round(recent / took, 1),
            "gemm_fraction": self.gemm_fraction(recent, took),
            "memory_bytes": environment.memory(),
            "cpu_seconds": round(self._meter.cpu_seconds, 3),
            "eta_s": round((plan.steps - step) * took / steps, 1),
        }
        # The names say how each is known; what the processor's own counters say is the daemon's to read.
        if self._meter.joules_estimated is not None:
            figures["joules_estimated"] = round(self._meter.joules_estimated, 1)
        if self._meter.gpu_joules is not None:
            figures["gpu_joules"] = round(self._meter.gpu_joules, 1)
        self._telemetry.write(figures)
        self._reporter.metric(**figures)

    def _hash(self, step: int, loss: float) -> None:
        if self._trainer is None:
            return
        tuned = self._trainer.tuned_parameters()
        self._state = statehash.following(self._state, step=step, tensors=tuned, loss=loss)
        self._states.write({"step": step, "hash": self._state, "loss": loss})
        if self._scene.expected and self._scene.expected.get(step) != self._state:
            self.diverged = (self._hashed, step)
        self._hashed = step
