"""Which modules of a base a recipe's targets mean.

A target is a plain name or a pattern (``patterns``), or ``all-linear``. Invariants: a target that matches nothing is refused with what there is; an adapter never goes on an embedding
or the output layer, which a GGUF LoRA can't carry. No I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from holdfast.errors import UntrustedRecipe
from holdfast.training.patterns import is_pattern, matches
from holdfast.training.spec import ALL_LINEAR

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from transformers import PreTrainedModel

MAX_SHOWN = 40  # names listed in a refusal


def linear(model: PreTrainedModel, targets: Sequence[str]) -> list[str]:
    """Find the linear layers that an adapter is to go on.

    Args:
        model: The base.
        targets: The recipe's targets.

    Returns:
        What PEFT takes as ``target_modules``: the names as written, or where patterns are among them the dotted name of
        every layer that is meant.

    Raises:
        UntrustedRecipe: If a target matches no linear layer, or the output layer.
    """
    if list(targets) == [ALL_LINEAR]:
        return [ALL_LINEAR]
    output = cast("Any", model).get_output_embeddings()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    found: set[str] = set()
    for target in targets:
        matched = [name for name in layers if matches(name, target)]
        if not matched:
            raise _nothing(target, "linear layer", [name for name in layers if layers[name] is not output])
        for name in matched:
            if layers[name] is output:
                raise UntrustedRecipe(
                    "recipe.targets",
                    f"Target {target!r} matches the output layer {name}; a GGUF LoRA carries no output layer.",
                    remedy='Narrow the pattern in [tuning], for example to "model.layers.*", or use ["all-linear"].',
                    target=target,
                )
        found.update(matched)
    return sorted(found) if any(map(is_pattern, targets)) else sorted(targets)


def weights(model: PreTrainedModel, targets: Sequence[str] | None) -> set[str]:
    """Find the weights that are trained without an adapter.

    Args:
        model: The base.
        targets: The recipe's targets; None for every weight.

    Returns:
        Names of parameters. A tensor that is shared, as tied embeddings are, has the first of its names.

    Raises:
        UntrustedRecipe: If a target matches no module with weights.
    """
    own = {name: parameter for name, parameter in model.named_parameters() if parameter.is_floating_point()}
    if targets is None:
        return set(own)
    modules = {name: module for name, module in model.named_modules() if name}
    chosen: set[int] = set()
    for target in targets:
        beneath = {
            id(parameter)
            for name, module in modules.items()
            if matches(name, target)
            for parameter in module.parameters()
        }
        if not beneath:
            raise _nothing(target, "module with weights", modules)
        chosen |= beneath
    return {name for name, parameter in own.items() if id(parameter) in chosen}


def _nothing(target: str, what: str, names: Collection[str]) -> UntrustedRecipe:
    shown = _shown(names)
    return UntrustedRecipe(
        "recipe.targets",
        f"Target {target!r} matches no {what} of this base.",
        remedy=f"Name what there is in [tuning]: {', '.join(shown)}.",
        target=target,
        known=shown,
    )


def _shown(names: Iterable[str]) -> list[str]:
    """Give names once per kind: numbers of layers become ``*``, as a pattern would have them."""
    kinds = dict.fromkeys(
        ".".join("*" if part.isdigit() else part for part in name.split(".")) for name in names
    )
    return [*kinds][:MAX_SHOWN]
