"""All parts of a front put together, but for its server, and what the daemon may do with them.

Invariants: everything here runs on one event loop; a change of the table, the keys or an engine takes effect between two requests,
and requests in flight keep what they came with, unless their model was withdrawn or their key revoked: those end.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from holdfast.serving.api.routes import Endpoint
from holdfast.serving.front.body import Room
from holdfast.serving.front.desk import Desk
from holdfast.serving.front.engines import Engines
from holdfast.serving.front.faults import Withdrawn
from holdfast.serving.front.gate import Gate, Vault
from holdfast.serving.front.metrics import Metrics
from holdfast.serving.front.places import Places
from holdfast.serving.front.refused import Refused
from holdfast.serving.front.routing import Routing
from holdfast.serving.front.server import shared
from holdfast.serving.front.visits import Visits
from holdfast.serving.quota import Quotas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import ASGIApp

    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError
    from holdfast.serving.front.record import Receipt, Recorder
    from holdfast.serving.keys import KeyRing
    from holdfast.serving.spec import Settings


class House:
    """A front without its server.

    Args:
        settings: What is served at first.
        withdrawn: Model ids that were withdrawn, and why.
        ring: The keys.
        recorder: Records requests and answers.
        fact: Records what is about no request in particular.
    """

    def __init__(
        self,
        settings: Settings,
        withdrawn: Mapping[str, Withdrawn],
        ring: KeyRing,
        recorder: Recorder,
        fact: Callable[[str, dict[str, Json]], Awaitable[Receipt]],
    ) -> None:
        self.routing = Routing(settings, withdrawn)
        self.vault = Vault(ring, Quotas(time.monotonic_ns, time.time))
        self.metrics = Metrics()
        self.refused = Refused(fact, time.monotonic)
        self.engines = Engines(self._died)
        self.places = Places()
        self.bodies = Room()
        self.visits = Visits(recorder, self.vault.quotas, self.refused)
        self.desk = Desk(self.routing, self.engines, recorder, self.vault, self.places, self.metrics)
        self._access = settings.access
        self.metrics.engines(self._up)
        self.metrics.gauge("places_held", "Answers being computed or waiting.", lambda: self.places.held)
        self.metrics.gauge("requests_active", "Requests under way.", lambda: self.desk.active)
        self.metrics.keep(self._names)

    def app(self) -> ASGIApp:
        """Make the application that a server serves.

        Returns:
            The routes behind their gate.
        """
        routes = Endpoint(self.routing, self.desk, self.refused, self.metrics, self.healthy, time.time).app()
        health = self._access.open_health
        gate = Gate(
            routes, self.vault, self.visits, self.refused, self.metrics, self.bodies, open_health=health
        )
        return shared(gate, self._access.origins)

    def healthy(self) -> bool:
        """Tell whether any answer can be computed.

        Returns:
            Whether the engine of at least one model is up.
        """
        return any(self._up().values())

    def settings(self, settings: Settings, withdrawn: Mapping[str, Withdrawn]) -> None:
        """Serve something else from here on; how applications reach the front stays as it began.

        Args:
            settings: What is served.
            withdrawn: Model ids that were withdrawn, and why.
        """
        self.routing.replace(settings, withdrawn)
        engines = frozenset(self.routing.engines)
        self.engines.keep(engines)
        self.places.keep(frozenset(self.routing.engines.values()))
        self.metrics.keep(self._names)
        self._end(withdrawn)

    def withdraw(self, withdrawn: Mapping[str, Withdrawn], files: Mapping[str, Withdrawn]) -> None:
        """Refuse models from here on, and end what they are answering.

        Args:
            withdrawn: Their ids, and what applications are told.
            files: Digests of weights and adapters with which nothing may be answered, and what applications are told.
        """
        for name, why in withdrawn.items():
            self.routing.withdraw(name, why)
        self._end(withdrawn)
        self.desk.withdraw_files(files)

    def keys(self, ring: KeyRing) -> None:
        """Take other keys; what is being answered for those that do not count any more is ended.

        Args:
            ring: The keys.
        """
        self.vault.ring = ring
        self.desk.disown(ring.ids)

    def pause(self, *, paused: bool) -> None:
        """Take no request, because it could not be recorded, or take them again.

        Args:
            paused: Whether to take none.
        """
        self.desk.pause(paused=paused)
        self.visits.pause(paused=paused)
        self.refused.pause(paused=paused)

    def engine(self, name: str, why: HoldfastError | None, lacking: Mapping[str, HoldfastError]) -> None:
        """Take an engine out, or expect it again.

        Args:
            name: Its name.
            why: What applications are told; None if it is expected.
            lacking: Lanes that it could not be given, all of them, and what applications are told of each.
        """
        self.routing.lack(name, lacking)
        self.engines.take_out(name, why)

    def status(self) -> dict[str, Json]:
        """Count.

        Returns:
            Requests under way, waiting for or being computed, and served; engines that are up.
        """
        computing = min(self.engines.active, self.desk.active)
        return {
            "active": computing,
            "queued": self.desk.active - computing,
            "served": self.desk.served,
            "engines": [*sorted(self.engines.up)],
        }

    async def close(self) -> None:
        """End what is still answered as if its client had gone, and record the last count."""
        self.desk.hurry()
        await self.desk.drain()
        await self.visits.close()
        self.engines.close()
        await self.refused.close()
        await asyncio.sleep(0)  # links tell of their end in the next turn

    @property
    def _names(self) -> frozenset[str]:
        return self.routing.ids | frozenset(self.routing.engines.values())

    def _end(self, withdrawn: Mapping[str, Withdrawn]) -> None:
        self.desk.withdraw(withdrawn.keys(), lambda name: withdrawn[name])

    def _died(self, name: str) -> None:
        model = self.routing.engines.get(name)
        if model is not None:
            self.metrics.death(model)

    def _up(self) -> dict[str, bool]:
        return {model: name in self.engines.up for name, model in self.routing.engines.items()}


def withdrawn(value: Json) -> dict[str, Withdrawn]:
    """Read which models were withdrawn.

    Args:
        value: ``{id: {"message", "remedy"}}``.

    Returns:
        What applications are told, by model id.
    """
    return {
        name: Withdrawn(
            "serve.revoked",
            str(why.get("message")),
            remedy=str(why.get("remedy")),
            param="model",
            code="model_revoked",
        )
        for name, why in (value.items() if isinstance(value, dict) else ())
        if isinstance(why, dict)
    }
