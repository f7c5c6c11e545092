r"""What an adapter adds to its base's matrices: LoRA, rsLoRA and DoRA.

For a matrix W [outputs, inputs] with A [rank, inputs] and B [outputs, rank]:

* LoRA: W + s·B·A with s = alpha / rank; rsLoRA: s = alpha / √rank.
* DoRA: V = W + s·B·A; each row of V is scaled to the learnt magnitude m [outputs]: m / ‖V‖ · V.

Invariants: all in float32; every tensor of the adapter is used, and anything that is not one of these is refused.

Source: Hu et al. 2021 (LoRA); Kalajdzievski 2023 (rsLoRA); Liu et al. 2024 (DoRA); peft 0.21 ``tuners/lora``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdfast.weights.folder import refused
from holdfast.weights.spec import EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json
    from holdfast.errors import UntrustedBundle
    from holdfast.weights.folder import Folder, Stored

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
# Peft adds the base's own head or embedding.
_COPY = re.compile(r"base_model\.model\.(.+)\.base_layer\.weight")
_PART = re.compile(
    r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector(?:\.weight)?)"
)
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class Pair:
    """The matrices of one module.

    Args:
        first: A.
        second: B.
        magnitude: m, for DoRA.
    """

    first: Stored
    second: Stored
    magnitude: Stored | None


class Adapter:
    """An opened adapter over an opened base.

    Args:
        adapter: The adapter's folder.
        base: The base's folder.

    Raises:
        UntrustedBundle: If it is not LoRA, rsLoRA or DoRA over matrices of this base.
    """

    def __init__(self, adapter: Folder, base: Folder) -> None:
        config = adapter.config
        option = next((name for name in EXTENSIONS if config.get(name)), None)
        if option is not None or config.get("bias") not in (None, "none"):
            raise _bad(f"it uses {option or 'bias'}")
        self._dora = bool(config.get("use_dora"))
        rank, alpha = _number(config, "r"), _number(config, "lora_alpha")
        self.scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        self.pairs = self._match(adapter.tensors, base)

    def _match(self, tensors: Mapping[str, Stored], base: Folder) -> dict[str, Pair]:
        modules: dict[str, dict[str, Stored]] = {}
        for name, tensor in tensors.items():
            match = _PART.fullmatch(name)
            if tensor.dtype not in DTYPES:
                raise _bad(f"its tensor {name[:120]} is of the element type {tensor.dtype}")
            if match is None:
                _check_copy(name, tensor, base)
                continue
            modules.setdefault(f"{match[1]}.weight", {})[match[2].removesuffix(".weight")] = tensor
        found = {}
        for target, parts in modules.items():
            wanted = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if self._dora else set())
            if set(parts) != wanted:
                raise _bad(f"it has not {', '.join(sorted(wanted))} for {target[:120]}")
            pair = Pair(parts["lora_A"], parts["lora_B"], parts.get("lora_magnitude_vector"))
            _check_shapes(target, pair, base)
            found[target] = pair
        return found

    def merged(self, target: str, weight: torch.Tensor) -> torch.Tensor:
        """Compute a matrix with the adapter in it.

        Args:
            target: Its name in the base.
            weight: Its values, [outputs, inputs] of float32.

        Returns:
            The new values, [outputs, inputs] of float32.
        """
        pair = self.pairs[target]
        value = weight + (tensor_of(pair.second) @ tensor_of(pair.first)) * self.scale
        if pair.magnitude is not None:
            norm = torch.linalg.vector_norm(value, dim=1, keepdim=True)
            value *= tensor_of(pair.magnitude).reshape(-1, 1) / norm
        return value


def tensor_of(stored: Stored) -> torch.Tensor:
    """Read a tensor and widen it.

    Args:
        stored: Where it lies.

    Returns:
        Its values in float32.
    """
    flat = torch.frombuffer(stored.read(), dtype=DTYPES[stored.dtype])
    return flat.reshape(stored.shape).float()


def _held(target: str, base: Folder) -> Stored | None:
    """Find a matrix of the base; a tied head is the embedding's, and may be missing under its own name."""
    return base.tensors.get(target) or (base.tensors.get(EMBEDDING) if target == HEAD else None)


def _check_copy(name: str, tensor: Stored, base: Folder) -> None:
    """Let a copy of the base's own matrix pass; peft would put it in the base's place."""
    match = _COPY.fullmatch(name)
    held = _held(f"{match[1]}.weight", base) if match else None
    if held is None:
        raise _bad(f"its tensor {name[:120]} is not a LoRA matrix of a linear layer")
    if tensor.shape != held.shape or not torch.equal(tensor_of(tensor), tensor_of(held)):
        raise _bad(f"its tensor {name[:120]} is not what its base has in this place")


def _check_shapes(target: str, pair: Pair, base: Folder) -> None:
    held = _held(target, base)
    if held is None or target == EMBEDDING or len(held.shape) != 2:  # noqa: PLR2004 - a matrix
        raise _bad(f"its base has no linear layer {target[:120]}")
    outputs, inputs = held.shape
    rank = pair.first.shape[0]
    if pair.first.shape != (rank, inputs) or pair.second.shape != (outputs, rank):
        raise _bad(f"its matrices for {target[:120]} do not fit the base's {[*held.shape]}")
    if pair.magnitude is not None and math.prod(pair.magnitude.shape) != outputs:
        raise _bad(f"its magnitudes for {target[:120]} are not {outputs}")


def _number(config: Mapping[str, Json], name: str) -> float:
    value = config.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _bad(f"its {name} is not a number")
    return float(value)


def _bad(why: str) -> UntrustedBundle:
    return refused(
        "merge.adapter",
        f"The adapter can't be merged: {why}",
        remedy="Merge a LoRA, rsLoRA or DoRA adapter over linear layers into the base that it was trained on.",
    )
