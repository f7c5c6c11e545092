"""The run manifest: everything that determines an adapter's bytes.

Invariants: equal manifests give equal adapters, bit for bit; what can't change the adapter (paths, times, who asked) is not
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


@dataclass(frozen=True)
class Environment:
    """The part of a run that is neither data nor recipe; each of these has been seen to change bits.

    Args:
        packages: Version of each library that computes.
        python: Version of the interpreter.
        machine: Architecture, for example ``x86_64``.
        cpu_capability: The instruction set that torch chose for its own kernels.
        cpu_features: What the processor offers to the matrix library, sorted.
        threads: CPU threads of one operation.
        world_size: Processes that share the run.
    """

    packages: dict[str, str]
    python: str
    machine: str
    cpu_capability: str
    cpu_features: list[str]
    threads: int
    world_size: int


@dataclass(frozen=True)
class Plan:
    """What recipe and data come to.

    Args:
        examples: Training examples of one epoch, repeats included.
        rows: Rows of one epoch, after packing.
        tokens: Tokens of one epoch, padding excluded.
        steps: Optimiser steps in all.
    """

    examples: int
    rows: int
    tokens: int
    steps: int

    def tokens_at(self, step: int, sequences: int) -> int:
        """Give the tokens trained on after some steps; exact at the end of every epoch.

        Args:
            step: Optimiser steps done.
            sequences: Rows per step.

        Returns:
            Tokens, padding excluded.
        """
        per_epoch = -(-self.rows // sequences)
        epochs, rest = divmod(step, per_epoch)
        return epochs * self.tokens + round(self.tokens * min(rest * sequences, self.rows) / self.rows)


def build(
    recipe: Mapping[str, Json], digests: Mapping[str, Json], environment: Environment, plan: Plan
) -> dict[str, Json]:
    """Build a run's manifest.

    Args:
        recipe: ``Recipe.to_json``.
        digests: Digests of base, tokenizer, recipe and each data file.
        environment: Where it runs.
        plan: What it comes to.

    Returns:
        Plain data, ready for canonical JSON.
    """
    return {
        "schema": SCHEMA,
        "recipe": dict(recipe),
        "digests": dict(digests),
        "environment": asdict(environment),
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


def differences(before: Json, after: Json, *, at: str = "") -> list[str]:
    """Say where two manifests differ, so that a replay with another outcome explains itself.

    Args:
        before: One manifest, or a part of it.
        after: The other.
        at: The path of the part; empty for the whole.

    Returns:
        One line per differing value, for example ``environment.threads: 2 → 1``.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for name in sorted(before.keys() | after.keys())
            for line in differences(before.get(name), after.get(name), at=f"{at}.{name}" if at else name)
        ]
    return [] if before == after else [f"{at}: {_told(before)} → {_told(after)}"]


def _told(value: Json) -> str:
    return canonical.encode(value).decode("utf-8")[:120]
