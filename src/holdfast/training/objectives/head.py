"""Logits of the learnt tokens alone.

Most of a step's memory would go into logits of prompts and padding, which nobody learns; here the output layer sees only the
hidden states before learnt tokens. Invariant: what it gives is what the model's own forward gives there, of every family: with
the output layer's bias (Phi) and the cap on logits (Gemma) where there is one; ``verify`` tries it on the model at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from holdfast.errors import UntrustedRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE = 8  # tokens of each of two rows that the model is tried on
TOLERANCE = {torch.bfloat16: 2.0**-5, torch.float32: 1e-3}  # of the largest logit


def logits(model: PreTrainedModel, inputs: dict[str, torch.Tensor], learnt: torch.Tensor) -> torch.Tensor:
    """Compute the logits that predict the learnt tokens.

    Args:
        model: The model, without PEFT's wrapping.
        inputs: ``input_ids`` [b, s] and what goes with them.
        learnt: Which tokens from the second on are learnt [b, s - 1].

    Returns:
        Logits [n, v], rows in order.
    """
    body: Any = model.base_model
    hidden = body(**inputs, use_cache=False).last_hidden_state[:, :-1]  # [b, s - 1, h]
    output: Any = cast("Any", model).get_output_embeddings()
    found = cast("torch.Tensor", output(hidden[learnt]))  # [n, v]
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return found if cap is None else cap * torch.tanh(found / cap)


def verify(model: PreTrainedModel) -> None:
    """Compare with the model's own forward on two short rows.

    Args:
        model: The model, without PEFT's wrapping.

    Raises:
        UntrustedRecipe: If the model does something else between its hidden states and its logits.
    """
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(2 * PROBE, device=model.device) * 7919 % vocabulary).view(2, PROBE)
    was = model.training
    model.train(False)
    with torch.no_grad():
        whole = cast("Any", model)(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1).float()
        ours = logits(model, {"input_ids": ids}, torch.ones_like(ids[:, 1:], dtype=torch.bool)).float()
    model.train(was)
    bound = TOLERANCE.get(model.dtype, 2.0**-5) * float(whole.abs().max())
    if not torch.isfinite(whole).all():
        return  # the first step's loss tells
    if float((whole - ours).abs().max()) > bound:
        raise UntrustedRecipe(
            "model.head",
            f"{type(model).__name__} turns hidden states into logits in a way that training here does not know.",
            remedy="Use a base of a family that `holdfast model list` names.",
        )
