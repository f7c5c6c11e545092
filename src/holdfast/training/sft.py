"""Supervised fine-tuning of a LoRA adapter with TRL, repeatable to the bit.

Order of operations: read examples → tokens → rows → manifest (its digest names the run) → the last good checkpoint of that
run, if the run is to go on → train, reporting every step → adapter. Invariants: equal manifests give equal adapter bytes,
also when the run was stopped and went on; a run stops between two steps and leaves a checkpoint; nothing looks for the
network.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from holdfast.dataset import messages
from holdfast.errors import UntrustedRecipe
from holdfast.training import adapter, checkpoints, environment, manifest, rows, tokens
from holdfast.training.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftModel
    from transformers import (
        PreTrainedTokenizerBase,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

    from holdfast.canonical import Json
    from holdfast.training.spec import Recipe

CHECKPOINTS = "checkpoints"
SCRATCH = "partial"  # a checkpoint that is being written; never used to go on from
SMOOTHING = 20  # steps that the displayed rate is averaged over
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Reporter(Protocol):
    """Whom a run reports to; ``workers.channel.Channel`` is one."""

    @property
    def cancelled(self) -> bool:
        """Whether the run is asked to stop."""

    def progress(self, step: str, done: int, total: int, **fields: Json) -> None:
        """Take how far the run is."""

    def metric(self, **fields: Json) -> None:
        """Take one step's figures."""


@dataclass(frozen=True)
class Inputs:
    """What a run is made from.

    Args:
        recipe: The recipe.
        model: Folder of the base and its tokenizer.
        data: File of each of the recipe's data paths.
        digests: Digests of base, tokenizer, recipe and data, for the manifest.
        out: A writable folder: checkpoints, telemetry, adapter.
        threads: CPU threads of one operation.
        resume: Whether to go on from the last good checkpoint.
    """

    recipe: Recipe
    model: Path
    data: Mapping[str, Path]
    digests: Mapping[str, Json]
    out: Path
    threads: int
    resume: bool


def train(inputs: Inputs, reporter: Reporter) -> dict[str, Json]:
    """Run a recipe.

    Args:
        inputs: What the run is made from. ``environment.prepare`` has been called.
        reporter: Whom to report to.

    Returns:
        ``manifest``, ``run`` (its digest), ``adapter`` (file names, empty if stopped), ``steps``, ``tokens``,
        ``tokens_per_second``, ``seconds``, ``final_loss``, ``finished`` and ``resumed_from`` (a step, or 0).

    Raises:
        UntrustedRecipe: If the data don't suit the recipe, or the loss is no number any more.
    """
    recipe = inputs.recipe
    reporter.progress("reading the data", 0, 0)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(inputs.model, local_files_only=True)
    examples = _examples(inputs, tokenizer)
    dataset = rows.to_dataset(
        examples, sequence_length=recipe.batch.sequence_length, packed=recipe.batch.packing
    )
    per_epoch = -(-len(dataset) // recipe.batch.sequences)
    plan = manifest.Plan(
        examples=len(examples),
        rows=len(dataset),
        tokens=sum(len(one.input_ids) for one in examples),
        steps=recipe.batch.steps or per_epoch * (recipe.batch.epochs or 1),
    )
    record = manifest.build(recipe.to_json(), inputs.digests, environment.describe(inputs.threads), plan)
    run = manifest.digest(record)
    root = inputs.out / CHECKPOINTS
    resumed = checkpoints.latest(root, run=run) if inputs.resume else None
    checkpoints.discard_after(root, resumed[1] if resumed else 0)
    shutil.rmtree(inputs.out / SCRATCH, ignore_errors=True)
    reporter.progress("loading the base", 0, plan.steps)
    watch = _Watch(inputs, plan, run, reporter, resumed[1] if resumed else 0)
    with environment.without_deprecations():
        model = _model(recipe, inputs.model)
        trainer = _Trainer(
            model=model,
            args=_arguments(recipe, plan, inputs.out / SCRATCH),
            train_dataset=dataset,
            data_collator=rows.Collator(_pad(tokenizer), packed=recipe.batch.packing),
            processing_class=tokenizer,
            callbacks=[watch],
        )
    trainer.remove_callback(PrinterCallback)
    try:
        with disable_input_dtype_casting(model):  # autocast does it, once and to bfloat16
            trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
    finally:
        watch.telemetry.close()
        shutil.rmtree(inputs.out / SCRATCH, ignore_errors=True)
    finished = trainer.state.global_step >= plan.steps
    if finished:
        adapter.save(model, inputs.out / "adapter", base=str(inputs.digests["base"]))
        shutil.rmtree(root, ignore_errors=True)
    return {
        "manifest": record,
        "run": run,
        "adapter": list(adapter.FILES) if finished else [],
        "steps": trainer.state.global_step,
        "finished": finished,
        "resumed_from": resumed[1] if resumed else 0,
        **watch.summary(trainer.state.global_step),
    }


def _examples(inputs: Inputs, tokenizer: PreTrainedTokenizerBase) -> list[tokens.Example]:
    found = []
    for one in inputs.recipe.data:
        read = messages.read_rows(inputs.data[one.path].read_bytes(), file=one.path)
        found += one.repeat * tokens.encode_rows(
            read,
            cast("tokens.ChatTokenizer", tokenizer),
            loss=inputs.recipe.loss,
            sequence_length=inputs.recipe.batch.sequence_length,
            file=one.path,
        )
    return found


def _model(recipe: Recipe, folder: Path) -> PeftModel:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=DTYPES[recipe.precision.dtype], attn_implementation="sdpa", local_files_only=True
    )
    targets = recipe.adapter.targets
    torch.manual_seed(recipe.seed)
    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=recipe.adapter.rank,
            lora_alpha=recipe.adapter.alpha,
            lora_dropout=recipe.adapter.dropout,
            target_modules="all-linear" if targets == ["all-linear"] else sorted(targets),
        ),
    )


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    """Give the token that fills rows; its value never matters, for it is neither attended to nor learnt."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def _arguments(recipe: Recipe, plan: manifest.Plan, scratch: Path) -> SFTConfig:
    schedule = {"constant": "constant_with_warmup"}.get(recipe.optimiser.schedule, recipe.optimiser.schedule)
    return SFTConfig(
        output_dir=str(scratch),
        seed=recipe.seed,
        full_determinism=True,
        use_cpu=True,
        bf16=recipe.precision.dtype == "bf16",
        activation_checkpointing=False,
        max_steps=plan.steps,
        per_device_train_batch_size=recipe.batch.sequences,
        learning_rate=recipe.optimiser.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=recipe.optimiser.warmup_steps,
        weight_decay=recipe.optimiser.weight_decay,
        max_grad_norm=recipe.optimiser.max_grad_norm,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_strategy="steps",
        save_steps=recipe.checkpoint_every,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


class _Trainer(SFTTrainer):
    """TRL's trainer, less what costs time: logits of tokens that are not learnt, and a model card per checkpoint."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the trainer's signature
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Compute the mean cross entropy of the learnt tokens.

        Args:
            model: The model as the trainer wrapped it; the adapter's layers are in the base model too.
            inputs: A batch of ``rows.Collator``.
            return_outputs: Never asked for, as there is no evaluation in training.
            num_items_in_batch: Learnt tokens of the whole step.

        Returns:
            The loss, a scalar.
        """
        del model, return_outputs
        base: Any = cast("PeftModel", self.model).get_base_model()
        labels = inputs.pop("labels")[:, 1:]  # [b, s - 1]
        learnt = labels != tokens.IGNORED
        with self.accelerator.autocast():
            hidden = base.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1]  # [b, s - 1, h]
            logits = base.get_output_embeddings()(hidden[learnt])  # [n, v]
        total = torch.nn.functional.cross_entropy(logits.float(), labels[learnt], reduction="sum")
        return total / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write nothing: a checkpoint is for going on, not for reading."""


class _Watch(TrainerCallback):
    """Reports each step, stops when asked, and puts finished checkpoints in their place."""

    def __init__(
        self, inputs: Inputs, plan: manifest.Plan, run: str, reporter: Reporter, resumed_from: int
    ) -> None:
        self.telemetry = Telemetry(inputs.out / "telemetry.jsonl", resumed_from)
        self._inputs = inputs
        self._plan = plan
        self._run = run
        self._reporter = reporter
        self._first = resumed_from
        self._started = time.monotonic()
        self._times: list[float] = []
        self._loss: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Start the clock after the set-up."""
        del args, state, control
        self._started = time.monotonic()
        self._times = [self._started]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Stop here, with a checkpoint, if asked to."""
        del args, state
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
        """Report a step's figures."""
        del args, control
        if logs is None or "loss" not in logs:
            return  # the summary at the end
        self._loss = logs["loss"]
        if not math.isfinite(self._loss):
            raise UntrustedRecipe(
                "recipe.diverged",
                f"The loss is no number any more at step {state.global_step}.",
                remedy="Lower learning_rate or raise warmup_steps in [optimiser], and run again.",
                step=state.global_step,
            )
        self._times = [*self._times[-SMOOTHING:], time.monotonic()]
        rate = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)  # steps per second
        trained = self._tokens(state.global_step)
        recent = trained - self._tokens(state.global_step - len(self._times) + 1)
        figures: dict[str, Json] = {
            "step": state.global_step,
            "steps": self._plan.steps,
            "loss": round(self._loss, 6),
            "learning_rate": logs["learning_rate"],
            "grad_norm": round(float(logs.get("grad_norm", 0.0)), 6),
            "tokens": trained,
            "tokens_per_second": round(recent * rate / (len(self._times) - 1), 1),
            "eta_s": round((self._plan.steps - state.global_step) / rate, 1),
        }
        self.telemetry.write(figures)
        self._reporter.metric(**figures)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Put the checkpoint that was just written among the good ones."""
        del control
        checkpoints.adopt(
            Path(str(args.output_dir)) / f"checkpoint-{state.global_step}",
            self._inputs.out / CHECKPOINTS,
            step=state.global_step,
            run=self._run,
        )

    def summary(self, steps: int) -> dict[str, Json]:
        """Give the figures of the whole run.

        Args:
            steps: Steps done.

        Returns:
            ``tokens``, ``seconds``, ``tokens_per_second`` (of this process) and ``final_loss``.
        """
        seconds = max(time.monotonic() - self._started, 1e-9)
        done = self._tokens(steps) - self._tokens(self._first)
        return {
            "tokens": self._tokens(steps),
            "seconds": round(seconds, 3),
            "tokens_per_second": round(done / seconds, 1),
            "final_loss": self._loss,
        }

    def _tokens(self, step: int) -> int:
        return self._plan.tokens_at(step, self._inputs.recipe.batch.sequences)
