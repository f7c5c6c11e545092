"""The base, made ready to be trained: an adapter beside it, or its own weights.

Invariants: what is trained is in float32 whatever the recipe's precision, so that small updates are not lost: an adapter's
tensors beside a base in the recipe's precision, or float32 masters of the base's own weights, which autocast turns into
bfloat16 for each product of matrices. Everything else is frozen. Equal recipes start from equal bits: an adapter's first
values come from the recipe's seed alone.

Sources: Micikevicius et al., "Mixed precision training" (2018, arXiv:1710.03740); the adapters' are in ``spec``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from holdfast.training import targets
from holdfast.training.spec import ALL_LINEAR, FullTuning

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from holdfast.training.spec import Recipe

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def load(recipe: Recipe, folder: Path) -> PreTrainedModel | PeftModel:
    """Load a base and make it ready.

    Args:
        recipe: The recipe.
        folder: The base.

    Returns:
        The model; of its parameters those that are trained require gradients.

    Raises:
        UntrustedRecipe: If a target means nothing in this base.
    """
    tuning = recipe.tuning
    full = isinstance(tuning, FullTuning)
    model = cast(
        "PreTrainedModel",
        AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if full else DTYPES[recipe.precision.dtype],
            attn_implementation="sdpa",
            local_files_only=True,
        ),
    )
    if isinstance(tuning, FullTuning):
        trained = targets.weights(model, tuning.targets)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        return model
    modules = targets.linear(model, tuning.targets)
    torch.manual_seed(recipe.seed)
    return get_peft_model(
        model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=tuning.rank,
            lora_alpha=tuning.alpha,
            lora_dropout=tuning.dropout,
            target_modules=ALL_LINEAR if modules == [ALL_LINEAR] else modules,
            use_rslora=tuning.type == "rslora",
            use_dora=tuning.type == "dora",
        ),
    )


def plain(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Give the model without PEFT's wrapping; an adapter's layers stay in it.

    Args:
        model: What ``load`` gave.

    Returns:
        The model.
    """
    return cast("PreTrainedModel", model.get_base_model()) if isinstance(model, PeftModel) else model
