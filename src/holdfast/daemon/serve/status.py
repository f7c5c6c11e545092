"""What people are shown of what is served."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from holdfast.daemon import resident
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.serve.serving import Serving


async def describe(serving: Serving) -> dict[str, Json]:
    """Describe what is served.

    Args:
        serving: It.

    Returns:
        ``running``, ``address``, ``models`` (each with ``release`` and ``revoked``: why it was withdrawn, or None),
        ``left_out`` (aliases that are released and can't be served, and why), ``engines`` (see ``Seat.describe``), ``budget``
        (bytes that they may take together), ``parallel`` (sequences that each computes side by side), ``front`` (its ``pid``
        and ``deaths``), ``certificate`` (see ``Certificate.plain``; None without TLS), ``ended`` (why it stopped by itself) and the
        front's own figures.
    """
    deployment = serving.deployment
    if deployment is None or not deployment.open:
        ended = None if deployment is None else deployment.ended
        return {
            "running": False,
            "address": None,
            "models": [],
            "left_out": {},
            "engines": [],
            "ended": ended,
        }
    figures: dict[str, int] = {}
    if deployment.front is not None:
        with contextlib.suppress(HoldfastError):
            told = await deployment.front.ask({"op": "status"})
            figures = resident.counts(told, "active", "queued", "served", "connections")
    front: dict[str, Json] = {
        "pid": None if deployment.front is None else deployment.front.pid,
        "deaths": len(deployment.deaths),
    }
    return {
        **figures,
        "running": True,
        "address": serving.address,
        "models": [
            {**one, "revoked": deployment.withdrawn.get(str(one["id"]))} for one in deployment.plan.listed()
        ],
        "left_out": dict(deployment.plan.left_out),
        "engines": [*await deployment.pool.status()],
        "budget": deployment.pool.budget,
        "parallel": None if serving.asked is None else serving.asked.terms.limits["parallel"],
        "front": front,
        "certificate": None if deployment.certificate is None else deployment.certificate.plain(),
        "started_by": serving.started_by,
        "ended": None,
    }
