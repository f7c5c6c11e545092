"""Applications' keys: made, revoked, and handed to whatever worker serves.

Invariants: a key's secret is shown once and kept nowhere; a revocation that a worker did not confirm is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import NotFound, WorkerFailed
from holdfast.governance import labels
from holdfast.serving import keys as service_keys

if TYPE_CHECKING:
    from holdfast.api.messages import KeyRequest
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session


def counting(services: Services) -> list[Json]:
    """Give the keys that count.

    Args:
        services: The daemon's parts.

    Returns:
        Their records, without secrets.
    """
    return [key.record for key in services.state.keys.values() if not key.revoked]


async def create(services: Services, session: Session, request: KeyRequest) -> dict[str, Json]:
    """Create an application's key.

    Args:
        services: The daemon's parts.
        session: An administrator's or operator's.
        request: Whose, and for which models.

    Returns:
        ``key`` (public part), ``secret`` and ``tenant``.
    """
    actor = session.actor("serve.key.created")
    clearance = labels.Label(request.level, frozenset(request.compartments), frozenset(services.state.zones))
    secret, kept = service_keys.mint(request.tenant, request.models or [service_keys.ANY], clearance)
    await services.recorder.fact(
        actor, "serve.key.created", {"key": kept.id, "tenant": request.tenant, "record": kept.to_json()}
    )
    await services.serving.send_keys(services)  # a worker that does not answer gets it when it starts anew
    return {"key": kept.id, "secret": secret, "tenant": request.tenant}


async def revoke(services: Services, session: Session, key_id: str) -> dict[str, Json]:
    """Revoke an application's key at once.

    Args:
        services: The daemon's parts.
        session: An administrator's or operator's.
        key_id: The key's public part.

    Returns:
        ``revoked``: the key.

    Raises:
        NotFound: If there is none.
        WorkerFailed: If a worker did not say that it no longer takes the key.
    """
    actor = session.actor("serve.key.revoked")
    if key_id not in services.state.keys:
        raise NotFound(
            "serve.key-unknown",
            f"There is no key {key_id[:40]!r}.",
            remedy="See `holdfast serve keys list`.",
        )
    await services.recorder.fact(actor, "serve.key.revoked", {"key": key_id})
    if not await services.serving.send_keys(services):
        raise WorkerFailed(
            "serve.key-held",
            f"{key_id} is revoked on the record, but the serve worker did not confirm it.",
            remedy="Stop serving with `holdfast serve stop`; the key counts nowhere afterwards.",
        )
    return {"revoked": key_id}
