"""The run manifest: everything that determines a product's bytes.

Invariants: equal manifests give equal products, bit for bit; what can't change the product (paths, times, who asked) is not
in it. The run's digest is over the manifest's canonical bytes. No I/O.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from holdfast import canonical, hashing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

SCHEMA = "holdfast.run/1"
MAX_DIFFERENCES = 64  # sentences about two environments; beyond it they have nothing in common


@dataclass(frozen=True)
class Environment:
    """The part of a run that is neither data nor recipe; each of these has been seen to change bits.

    Args:
        software: ``version`` and ``digest`` of Holdfast itself.
        packages: Version of each library that computes.
        python: Version of the interpreter.
        machine: Architecture, for example ``x86_64``.
        cpu_capability: The instruction set that torch chose for its own kernels.
        cpu_features: What the processor offers to the matrix library, sorted.
        settings: Variables of the environment that tell the matrix libraries which instructions to use; usually none.
        device: ``type`` (``cpu`` or ``cuda``) and, for the latter, its ``name``, ``cuda`` and ``driver``.
        threads: CPU threads of one operation.
        world_size: Processes that share the run.
    """

    software: dict[str, str]
    packages: dict[str, str]
    python: str
    machine: str
    cpu_capability: str
    cpu_features: list[str]
    settings: dict[str, str]
    device: dict[str, str]
    threads: int
    world_size: int

    def to_json(self) -> dict[str, Json]:
        """Give the environment as plain data.

        Returns:
            The fields.
        """
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What recipe and data come to.

    Args:
        examples: Training examples of one epoch, repeats included.
        rows: Rows of one epoch, after packing.
        rows_per_step: Rows of one optimiser step.
        tokens: Tokens of one epoch, padding excluded.
        learnt: Those of them that are learnt.
        padding: Share of what is computed that is padding, 0 to 1.
        held_out: Examples that are measured and never trained on.
        set_aside: Rows that could not be used and were set aside.
        steps: Optimiser steps in all.
    """

    examples: int
    rows: int
    rows_per_step: int
    tokens: int
    learnt: int
    padding: float
    held_out: int
    set_aside: int
    steps: int

    def tokens_at(self, step: int) -> int:
        """Give the tokens trained on after some steps; exact at the end of every epoch.

        Args:
            step: Optimiser steps done.

        Returns:
            Tokens, padding excluded.
        """
        epochs, rest = divmod(step, -(-self.rows // self.rows_per_step))
        return epochs * self.tokens + round(self.tokens * rest * self.rows_per_step / self.rows)


def build(
    recipe: Mapping[str, Json], digests: Mapping[str, Json], environment: Environment, plan: Plan
) -> dict[str, Json]:
    """Build a run's manifest.

    Args:
        recipe: ``Recipe.to_json``.
        digests: Digests of base, tokenizer, recipe and each data set, and of the suite that may end the run early.
        environment: Where it runs.
        plan: What it comes to.

    Returns:
        Plain data, ready for canonical JSON.
    """
    return {
        "schema": SCHEMA,
        "recipe": dict(recipe),
        "digests": dict(digests),
        "environment": environment.to_json(),
        "plan": asdict(plan),
    }


def digest(manifest: Mapping[str, Json]) -> hashing.Digest:
    """Name a run.

    Args:
        manifest: What ``build`` gave.

    Returns:
        SHA-512 over the canonical bytes.
    """
    return hashing.sha512(canonical.encode(dict(manifest)))


def differences(there: Mapping[str, Json], here: Mapping[str, Json]) -> list[str]:
    """Say in what two environments differ.

    Args:
        there: The environment of a recorded run, as its manifest has it.
        here: This one.

    Returns:
        One sentence per difference, sorted, at most ``MAX_DIFFERENCES``; empty if a run can be repeated here.
    """
    return sorted(_differences("", dict(there), dict(here)))[:MAX_DIFFERENCES]


def _differences(name: str, there: Json, here: Json) -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            one
            for key in {**there, **here}
            for one in _differences(f"{name}.{key}" if name else str(key), there.get(key), here.get(key))
        ]
    if isinstance(there, list) and isinstance(here, list):
        lacking = sorted(str(one) for one in there if one not in here)
        added = sorted(str(one) for one in here if one not in there)
        return [f"{name}: the run had {one}, which is not here." for one in lacking] + [
            f"{name}: {one} is here, which the run did not have." for one in added
        ]
    if there == here:
        return []
    return [f"{name}: the run had {_shown(there)}, here it is {_shown(here)}."]


def _shown(value: Json) -> str:
    if value is None:
        return "none"
    return hashing.short(value) if isinstance(value, str) and value.startswith("sha512:") else str(value)
