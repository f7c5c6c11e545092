"""The trainer of one run: TRL's, with what makes it repeatable, resumable and quick.

TRL's ``SFTTrainer`` carries every method: it gives the loop, the optimiser, the schedule and the state of a run that goes on.
The loss is one of ``objectives``, over learnt tokens alone. TRL's ``DPOTrainer`` is not used: it would keep a second adapter
or a second model in each checkpoint and in memory, where the reference's figures for each row suffice.

Invariants: equal recipe, data and environment give equal bits; a step's loss is a mean over all that its batches learn, however
it is divided into batches; a checkpoint holds exactly the tensors that are trained, in float32, and what the loop needs to go
on as if it had not stopped. On a GPU, bits are equal only between equal devices.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from holdfast.errors import UntrustedRecipe
from holdfast.training import environment, tuning
from holdfast.training.objectives import head, likelihood, preference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from holdfast.training.material import Material
    from holdfast.training.spec import Recipe

TUNED = "tuned.safetensors"  # of a checkpoint: what is trained

_SCHEDULES = {"constant": "constant_with_warmup", "wsd": "warmup_stable_decay"}


class RunTrainer(SFTTrainer):
    """TRL's trainer, less what costs time or disk: logits of tokens that are not learnt, model cards, frozen weights.

    Args:
        recipe: The recipe.
        origin: The base's folder.
        **options: What ``SFTTrainer`` takes.
    """

    def __init__(self, recipe: Recipe, origin: Path, **options: Any) -> None:
        super().__init__(**options)
        self.recipe = recipe
        self.origin = origin
        self.model_accepts_loss_kwargs = True  # losses of a step's batches are summed, not averaged
        modules = cast("torch.nn.Module", self.model).modules()
        self._layers: list[Any] = [one for one in modules if isinstance(one, BaseTunerLayer)]

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the trainer's signature
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Compute a batch's share of a step's loss.

        Args:
            model: The model as the trainer wrapped it; what is trained is in the plain model too.
            inputs: A batch of the material's collator.
            return_outputs: Never asked for, as there is no evaluation in training.
            num_items_in_batch: Learnt tokens, or pairs, of the whole step; None if the batch stands alone.

        Returns:
            The loss, a scalar.
        """
        del model, return_outputs
        count = self._items(inputs) if num_items_in_batch is None else num_items_in_batch
        model_, autocast = self.learnt_model(), self.accelerator.autocast
        if self.recipe.dpo is None:
            return likelihood.loss(model_, inputs, count, autocast)
        return preference.loss(model_, inputs, count, autocast, beta=self.recipe.dpo.beta)

    def run(self, resume: Path | None) -> None:
        """Train.

        Args:
            resume: The checkpoint to go on from; None to begin.
        """
        if self.recipe.dpo is not None:
            self._add_reference()
        self.train(resume_from_checkpoint=None if resume is None else str(resume))

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Go forwards and backwards once.

        Args:
            model: The model as the trainer wrapped it.
            inputs: A batch of the material's collator.
            num_items_in_batch: Learnt tokens, or pairs, of the whole step.

        Returns:
            The batch's share of the step's loss.
        """
        with self.computing():
            plain = cast("Any", super())
            return cast("torch.Tensor", plain.training_step(model, inputs, num_items_in_batch))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute as in training: casts of an adapter's inputs are left to autocast, which makes them once.

        Forward and backward belong into one such context: what is computed twice has to come out the same.

        Yields:
            Nothing.
        """
        before = [one.cast_input_dtype_enabled for one in self._layers]
        for one in self._layers:
            one.cast_input_dtype_enabled = False
        try:
            yield
        finally:
            for one, was in zip(self._layers, before, strict=True):
                one.cast_input_dtype_enabled = was

    def batch_of(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """Make a batch of some rows.

        Args:
            rows: Their positions in the data set.

        Returns:
            The batch, on the trainer's device.
        """
        dataset = cast("Any", self.train_dataset)
        return cast(
            "dict[str, torch.Tensor]",
            self._prepare_inputs(self.data_collator([dataset[int(at)] for at in rows])),
        )

    def loss_of(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Compute the loss of one batch as in training; call it, and go backwards, within ``computing``.

        Args:
            batch: What ``batch_of`` gave; of pairs whose reference is not known yet, zeros stand for it.

        Returns:
            The loss, a scalar that can be differentiated.
        """
        if self.recipe.dpo is not None and "reference" not in batch:
            batch = batch | {"reference": torch.zeros(len(batch["labels"]), device=batch["labels"].device)}
        return self.compute_loss(self.learnt_model(), batch)

    def learnt_model(self) -> PreTrainedModel:
        """Give the model as it stands, with what was learnt in it.

        Returns:
            The model, without PEFT's wrapping; an adapter's layers are in it.
        """
        return tuning.plain(cast("PreTrainedModel | PeftModel", self.model))

    def tuned_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Give what is trained.

        Returns:
            The parameters, all float32, by name and in the order of names.
        """
        return {
            name: parameter
            for name, parameter in sorted(cast("torch.nn.Module", self.model).named_parameters())
            if parameter.requires_grad
        }

    def keep(self, file: Path) -> None:
        """Write what is trained.

        Args:
            file: The file.
        """
        own = {name: one.detach().cpu().contiguous() for name, one in self.tuned_parameters().items()}
        save_file(own, file)

    def restore(self, file: Path) -> None:
        """Put tensors that were kept into the model.

        Args:
            file: What ``keep`` wrote; in a checkpoint it is called ``TUNED``.
        """
        saved = load_file(file)
        with torch.no_grad():
            for name, parameter in self.tuned_parameters().items():
                parameter.copy_(saved[name])

    def create_model_card(self, *_: object, **__: object) -> None:
        """Write nothing: a checkpoint is for going on, not for reading."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write what is trained, and nothing that the base or the recipe has."""
        del state_dict
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.keep(folder / TUNED)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        del model
        self.restore(Path(resume_from_checkpoint) / TUNED)

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, torch.Tensor]], device: torch.device
    ) -> torch.Tensor | None:
        """Count what a step's loss is divided by, over all its batches."""
        if not batch_samples:
            return None
        return torch.stack([self._items(batch) for batch in batch_samples]).sum().to(device)

    def _items(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return likelihood.items(batch) if self.recipe.dpo is None else preference.items(batch)

    def _add_reference(self) -> None:
        """Add to each pair what the untrained model gives its answers."""
        size, count = self.recipe.batch.sequences, len(cast("Any", self.train_dataset))
        batches = (self.batch_of(range(at, min(at + size, count))) for at in range(0, count, size))
        with ExitStack() as stack:
            stack.enter_context(self.computing())
            if isinstance(self.model, PeftModel):
                stack.enter_context(self.model.disable_adapter())
            columns = preference.reference(self.learnt_model(), batches, self.accelerator.autocast)
        for side, column in zip(("chosen", "rejected"), columns, strict=True):
            self.train_dataset = cast("Any", self.train_dataset).add_column(f"{side}_reference", column)


def build(
    recipe: Recipe,
    material: Material,
    model_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    steps: int,
    scratch: Path,
    callbacks: Sequence[TrainerCallback],
    device: str = "cpu",
) -> RunTrainer:
    """Make a run's trainer.

    Args:
        recipe: The recipe.
        material: What it trains on.
        model_folder: The base.
        tokenizer: The base's tokenizer.
        steps: Optimiser steps in all.
        scratch: Where checkpoints are written.
        callbacks: Who is told of each step.
        device: ``cpu`` or ``cuda``.

    Returns:
        The trainer, its model loaded.

    Raises:
        UntrustedRecipe: If the recipe's targets mean nothing in this base, or it has fewer positions than a sequence tokens.
    """
    with environment.without_deprecations():
        model = tuning.load(recipe, model_folder)
        _require_positions(tuning.plain(model), material.longest)
        head.verify(tuning.plain(model))
        if recipe.batch.gradient_checkpointing:
            tuning.plain(model).activation_checkpointing_enable({"use_reentrant": False})
        trainer = RunTrainer(
            recipe,
            model_folder,
            model=model,
            args=_arguments(recipe, steps, scratch, device),
            train_dataset=material.dataset,
            data_collator=material.collator,
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _require_positions(model: PreTrainedModel, longest: int) -> None:
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and longest > most:
        raise UntrustedRecipe(
            "recipe.positions",
            f"The longest example has {longest} tokens, and the base has {most} positions.",
            remedy=f"Set sequence_length in [batch] to at most {most}, or use a base that sees further.",
        )


def _arguments(recipe: Recipe, steps: int, scratch: Path, device: str) -> SFTConfig:
    optimiser = recipe.optimiser
    options: dict[str, Any] = {}
    if optimiser.decay_share is not None:
        falling = min(round(optimiser.decay_share * steps), steps - optimiser.warmup_steps)
        options["lr_scheduler_kwargs"] = {"num_decay_steps": max(falling, 1), "decay_type": "linear"}
    if recipe.batch.gradient_checkpointing:
        options["activation_checkpointing_kwargs"] = {"use_reentrant": False}
    return SFTConfig(
        output_dir=str(scratch),
        seed=recipe.seed,
        full_determinism=True,
        use_cpu=device == "cpu",
        bf16=recipe.precision.dtype == "bf16",
        activation_checkpointing=recipe.batch.gradient_checkpointing,
        max_steps=steps,
        per_device_train_batch_size=recipe.batch.sequences,
        gradient_accumulation_steps=recipe.batch.accumulation,
        learning_rate=optimiser.learning_rate,
        lr_scheduler_type=_SCHEDULES.get(optimiser.schedule, optimiser.schedule),
        warmup_steps=optimiser.warmup_steps,
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.max_grad_norm,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_strategy="steps",
        save_steps=recipe.checkpoint_every,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        **options,
    )
