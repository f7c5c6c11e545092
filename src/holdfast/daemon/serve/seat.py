"""A seat: what must run for one set of weights, whoever fills it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.daemon import resident
from holdfast.daemon.serve.deaths import Deaths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.canonical import Json
    from holdfast.daemon.serve.engine import Engine
    from holdfast.daemon.serve.planning import EnginePlan, Lane


@dataclass
class Seat:
    """What must run.

    Args:
        plan: What an engine is launched with.
        lanes: The adapters that it must have, by name.
        engine: Who fills it.
        deaths: Of the engines that filled it.
        out: Why it was taken out (``why``, ``remedy``, and what applications are ``told``), if it was.
        lacking: Why its engine does without some adapters (``why``, ``remedy``), by name.
        filling: Held while an engine is launched into it, or given an adapter.
    """

    plan: EnginePlan
    lanes: dict[str, Lane]
    engine: Engine | None = None
    deaths: Deaths = field(default_factory=Deaths)
    out: dict[str, Json] | None = None
    lacking: dict[str, dict[str, Json]] = field(default_factory=dict)
    filling: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def digests(self) -> set[str]:
        """Everything that its engine has open."""
        return {*self.plan.digests, *(lane.digest for lane in self.lanes.values())}

    async def describe(self, models: Iterable[str]) -> dict[str, Json]:
        """Describe it with its engine.

        Args:
            models: The ids that it answers for.

        Returns:
            ``engine`` (name), ``digest`` of its weights, ``models``, ``state`` (``up``, ``starting`` or ``out``), ``pid``,
            ``memory`` in bytes, ``quantization`` of its weights, ``context`` (tokens of a prompt and its answer), ``kv``,
            ``adapters``, ``lacking`` (adapters that it could not be given: ``adapter``, ``why``, ``remedy``), ``deaths`` within the
            window, ``why`` and ``remedy`` if it was taken out, and the engine's own figures.
        """
        engine = None if self.engine is None or self.engine.gone else self.engine
        figures = {} if engine is None else await engine.look()
        memory: dict[str, Json] = {} if engine is None else {**engine.memory}
        adapters: list[Json] = [lane.digest for lane in self.lanes.values() if lane.name not in self.lacking]
        lacking: list[Json] = [
            {"adapter": self.lanes[name].digest, **why} for name, why in self.lacking.items()
        ]
        out = self.out or {}
        return {
            **resident.counts(figures, "active", "queued", "served"),
            "engine": self.plan.name,
            "digest": self.plan.model["digest"],
            "models": [*models],
            "state": "out" if self.out else "starting" if engine is None else "up",
            "pid": None if engine is None else engine.pid,
            "memory": memory,
            "quantization": self.plan.quantization,
            "context": self.plan.model["context"],
            "kv": self.plan.model["kv"],
            "adapters": adapters,
            "lacking": lacking,
            "deaths": len(self.deaths),
            "why": out.get("why"),
            "remedy": out.get("remedy"),
        }
