"""A run: the order of operations from a recipe and its data to what it makes, repeatable to the bit.

Order of operations: can this host keep to the recipe? → data → manifest (its digest names the run) → the last good
checkpoint of that run, if the run is to go on → base → calibration and estimate → held-out text → train, every step
reported, hashed and kept now and then → best weights, if the run may end early → held-out text again → the product. A
replay is the same, compared with the recorded state hashes on the way. Invariants: equal manifests give equal products,
also when the run was stopped and went on; a run stops between two steps and leaves a checkpoint; a full disk stops it and
leaves the last good one; the last checkpoint stays until who asked has the product; nothing looks for the network.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from holdfast.errors import VerificationFailed
from holdfast.training import (
    calibrate,
    checkpoints,
    diskfull,
    environment,
    estimate,
    heldout,
    manifest,
    product,
    setup,
)
from holdfast.training.earlystop import EarlyStop
from holdfast.training.meter import Meter
from holdfast.training.telemetry import STATES
from holdfast.training.trainer import TUNED
from holdfast.training.watch import Scene, Watch

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.training.checkpoints import Checkpoint
    from holdfast.training.product import Product
    from holdfast.training.reporting import Reporter
    from holdfast.training.setup import Inputs
    from holdfast.training.trainer import RunTrainer

DISK_FULL = "disk-full"
REPORTS = 100  # of how far the measuring of held-out text is; one for each example would be no news


def train(inputs: Inputs, reporter: Reporter) -> dict[str, Json]:
    """Run a recipe.

    Args:
        inputs: What the run is made from. ``environment.prepare`` has been called.
        reporter: Whom to report to.

    Returns:
        ``manifest``, ``run`` (its digest), ``product`` (``kind``, ``folder`` and ``files``; no files if it was stopped),
        ``steps``, ``tokens``, ``tokens_per_second``, ``seconds``, ``final_loss``, ``finished``, ``paused`` (None or
        ``disk-full``), ``resumed_from`` (a step, or 0), ``stopped_early`` (a step, or None), ``states`` (a file's name),
        ``padding``, ``gemm_fraction``, ``gemm_peak_flops``, ``cpu_seconds``, ``gpu_joules``, ``spent`` (of this process
        alone; the others are of the run in all its processes), ``gpu``, ``peak_memory_bytes``, ``disk_bytes``, ``held_out`` (bits per byte by data path, ``before`` and ``after``),
        ``estimate``, ``diverged`` (None, or ``after`` and ``at`` a step), ``differences`` and ``quarantined``.

    Raises:
        UntrustedRecipe: If the data don't suit the recipe, this host can't keep to it, or the loss is no number any more.
        VerificationFailed: If a run is to be repeated, or to go on, where it would not come out the same.
    """
    return _Run(inputs, reporter).train()


def appraise(inputs: Inputs, reporter: Reporter) -> dict[str, Json]:
    """Estimate what a recipe will take, without training.

    Args:
        inputs: What the run would be made from; ``out`` holds nothing afterwards.
        reporter: Whom to report to.

    Returns:
        ``estimate``, ``manifest``, ``run``, ``padding``, ``gemm_peak_flops`` and ``quarantined``.

    Raises:
        UntrustedRecipe: As ``train`` does.
    """
    ready = setup.prepare(inputs, reporter)
    meter = Meter(ready.here.device["type"], {})
    reporter.progress("loading the base", 0, 0)
    try:
        built = setup.build(inputs, ready, [])
        reporter.progress("calibrating", 0, 0)
        figures = setup.foresee(inputs, ready, built, calibrate.sizes(built), meter)
    finally:
        shutil.rmtree(inputs.out / setup.SCRATCH, ignore_errors=True)
    return {
        "estimate": figures,
        "manifest": ready.manifest,
        "run": ready.run,
        "padding": ready.plan.padding,
        "gemm_peak_flops": round(setup.best_rate(inputs.recipe, ready.here)),
        "quarantined": [*ready.material.set_aside],
    }


class _Run:
    """One run, from its inputs to its result."""

    def __init__(self, inputs: Inputs, reporter: Reporter) -> None:
        self._inputs = inputs
        self._reporter = reporter
        self._ready = ready = setup.prepare(inputs, reporter)
        self._resumed = resumed = self._checkpoint()
        self._notes: dict[str, Json] = resumed.notes if resumed else {}
        self._steps = resumed.step if resumed else 0
        self._product: Product | None = None
        self._held_after: dict[str, float] | None = None
        self._stop: EarlyStop | None = None
        if inputs.recipe.stop is not None and ready.suite is not None:
            self._stop = EarlyStop(
                inputs.recipe.stop, ready.suite, ready.material.tokenizer, out=inputs.out, resumed=resumed
            )
        used = self._notes.get("used")
        self._meter = Meter(ready.here.device["type"], used if isinstance(used, dict) else {}, inputs.watts)
        scene = Scene(
            recipe=inputs.recipe,
            plan=ready.plan,
            run=ready.run,
            origin=ready.origin,
            out=inputs.out,
            resumed=resumed,
            expected=inputs.expected.states if inputs.expected else {},
        )
        self._watch = Watch(scene, reporter, self._meter, self._stop)

    def train(self) -> dict[str, Json]:
        """Run, and say what came of it."""
        paused: str | None = None
        try:
            try:
                self._watch.open()
                self._go()
            finally:
                self._watch.close()
        except diskfull.WRITING as error:
            if not diskfull.met(error, self._inputs.out):
                raise
            paused = DISK_FULL
            self._steps = self._watch.kept
        finally:
            shutil.rmtree(self._inputs.out / setup.SCRATCH, ignore_errors=True)
        return self._result(paused)

    def _checkpoint(self) -> Checkpoint | None:
        root, ready = self._inputs.out / checkpoints.FOLDER, self._ready
        found = checkpoints.latest(root, run=ready.run) if self._inputs.resume else None
        other = checkpoints.latest(root, run=None) if self._inputs.resume and found is None else None
        if other is not None:
            there = other.notes.get("environment")
            differences = manifest.differences(
                there if isinstance(there, dict) else {}, ready.here.to_json()
            ) or ["Recipe, data or base differ."]
            raise VerificationFailed(
                "train.other-run",
                f"What determines the run has changed since its checkpoint of step {other.step}: {' '.join(differences)}",
                remedy="Go on where it is as it was, or start the run anew: the checkpoint would not give the same bits.",
                step=other.step,
                differences=differences,
            )
        checkpoints.discard_after(root, found.step if found else 0)
        shutil.rmtree(self._inputs.out / setup.SCRATCH, ignore_errors=True)
        return found

    def _go(self) -> None:
        inputs, ready, resumed, watch = self._inputs, self._ready, self._resumed, self._watch
        self._reporter.progress("loading the base", self._steps, ready.plan.steps)
        built = setup.build(inputs, ready, [watch])
        sizes = calibrate.sizes(built)
        plan = ready.plan
        work = estimate.flops(sizes, tokens=plan.tokens, learnt=plan.learnt, squares=ready.material.squares)
        watch.attach(
            built, flops_per_token=work / plan.tokens, peak=setup.best_rate(inputs.recipe, ready.here)
        )
        if resumed is None:
            self._reporter.progress("calibrating", 0, plan.steps)
            self._notes = {"estimate": setup.foresee(inputs, ready, built, sizes, self._meter)}
            held = self._measure(built)
            if held is None:
                return
            self._notes["held_out"] = {**held}
        watch.notes = {name: self._notes[name] for name in ("estimate", "held_out")}
        watch.notes["environment"] = ready.here.to_json()
        if resumed is not None and (resumed.step >= plan.steps or watch.stopped_early is not None):
            built.restore(resumed.folder / TUNED)
        else:
            built.run(resumed.folder if resumed else None)
            self._steps = built.state.global_step
        if watch.diverged is None and (self._steps >= plan.steps or watch.stopped_early is not None):
            self._finish(built)

    def _finish(self, built: RunTrainer) -> None:
        if self._stop is not None:
            self._stop.restore_best(built)
        held = self._measure(built)
        if held is None:
            return
        self._held_after = held
        self._reporter.progress("writing what was trained", self._steps, self._ready.plan.steps)
        self._product = product.save(built, self._inputs.out, str(self._inputs.digests["base"]))
        self._watch.measure_disk()

    def _measure(self, built: RunTrainer) -> dict[str, float] | None:
        """Measure held-out text; None if the run was asked to stop meanwhile."""
        held_out = self._ready.material.held_out
        total = sum(map(len, held_out.values()))

        def proceed(done: int) -> bool:
            if done % max(total // REPORTS, 1) == 0:
                self._reporter.progress("measuring held-out text", done, total)
            return not self._reporter.cancelled

        return heldout.bits_per_byte(built, held_out, proceed)

    def _result(self, paused: str | None) -> dict[str, Json]:
        ready, watch = self._ready, self._watch
        tokens = ready.plan.tokens_at(self._steps)
        made = self._product
        before = self._notes.get("held_out")
        held_out: dict[str, Json] = {
            path: {"before": value, "after": self._held_after.get(path) if self._held_after else None}
            for path, value in (before if isinstance(before, dict) else {}).items()
        }
        there = self._inputs.expected.environment if self._inputs.expected else None
        used = self._meter.notes()
        return {
            "manifest": ready.manifest,
            "run": ready.run,
            "product": {"kind": made.kind, "folder": made.folder, "files": [*made.files]} if made else None,
            "steps": self._steps,
            "tokens": tokens,
            "tokens_per_second": round(tokens / max(watch.training_seconds, 1e-9), 1),
            "seconds": used["seconds"],
            "final_loss": watch.loss,
            "finished": made is not None,
            "paused": paused,
            "resumed_from": self._resumed.step if self._resumed else 0,
            "stopped_early": watch.stopped_early,
            "states": STATES,
            "padding": ready.plan.padding,
            "gemm_fraction": watch.gemm_fraction(tokens, watch.training_seconds),
            "gemm_peak_flops": round(watch.peak),
            "cpu_seconds": used["cpu_seconds"],
            "gpu_joules": used["gpu_joules"],
            "spent": self._meter.spent(used),
            "gpu": ready.here.device.get("name"),
            "peak_memory_bytes": environment.peak_memory(),
            "disk_bytes": watch.disk_bytes,
            "held_out": held_out,
            "estimate": self._notes.get("estimate"),
            "diverged": {"after": watch.diverged[0], "at": watch.diverged[1]} if watch.diverged else None,
            "differences": [*manifest.differences(there, ready.here.to_json())] if there is not None else [],
            "quarantined": [*ready.material.set_aside],
        }
