"""A renewed certificate takes over while models are served.

Order of operations: read the files that the site document names, and check that they fit each other and count today; record the
intent; hand them to the front, which shows them to who connects from then on; record the outcome. Invariants: whatever is refused
changes nothing; connections that are open, and what is answered on them, go on; a front that takes the place of one that died
shows the same certificate, whatever lies in the files meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.daemon.serve import door
from holdfast.errors import Conflict

if TYPE_CHECKING:
    from holdfast.audit.event import Actor
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services


async def renew(services: Services, actor: Actor) -> dict[str, Json]:
    """Show the certificate that lies in the home to who connects from now on.

    Args:
        services: The daemon's parts.
        actor: Who asks for it.

    Returns:
        ``certificate`` (its SHA-256), ``until`` (when it expires), ``address`` and ``seq``.

    Raises:
        Conflict: If nothing is served, or not over TLS.
        HoldfastError: If the files can't be used, or the front refuses them.
    """
    serving = services.serving
    async with serving.changing:
        serving.require_running()
        certificate = await asyncio.to_thread(door.certificate, services)
        deployment = serving.deployment
        if certificate is None or deployment is None:
            raise Conflict(
                "serve.no-tls",
                "Models are not served over TLS: the site names no certificate.",
                remedy="See [serving.tls] in site.toml.",
            )
        told = certificate.plain()
        intent: dict[str, Json] = {"started": serving.started_by, "change": "renew", **told}
        async with services.recorder.act(actor, "serve.change", intent) as act:
            await deployment.renew(certificate)
            act.outcome = {"models": list(deployment.plan.listed())}
    return {**told, "address": serving.address, "seq": act.seq}
