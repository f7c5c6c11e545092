"""Applications' keys: made, listed, revoked, and handed to the front.

Order of operations when one is made: the hash of the key is on disk, then the event that says what the key may do is recorded, then
the front learns of it, then its secret is shown. Invariants: a key's secret is shown once and kept nowhere; its hash is in the key store
alone; a revocation that the front did not confirm is said.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import Conflict, HoldfastError, NotFound, OperationFailed, WorkerFailed
from holdfast.governance import labels
from holdfast.serving import keys as service_keys
from holdfast.serving.quota import LIMITS, Quota

if TYPE_CHECKING:
    from holdfast.api.messages import KeyRequest
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.daemon.sessions import Session
    from holdfast.governance.records import ServiceKey

VALID, REVOKED, DEAD = "valid", "revoked", "dead"
MAX_RING = 8 * 2**20  # bytes of all keys that count; a front's message holds twice as many at most


def counting(services: Services) -> list[Json]:
    """Give the keys that count.

    Args:
        services: The daemon's parts.

    Returns:
        What each may do and its hash, for the front alone; neither revoked nor dead ones.
    """
    known = ((key, services.key_hashes.get(key.key_id)) for key in services.state.keys.values())
    return [{**key.record, "hash": found} for key, found in known if found is not None and not key.revoked]


def used(services: Services) -> dict[str, Json]:
    """Tell what keys used today, for a front that begins to count.

    Args:
        services: The daemon's parts.

    Returns:
        ``day`` (UTC) and ``tokens`` by key; what was recorded of keys that there are not is left out.
    """
    day = today(services)
    tokens = services.state.usage.tokens(day)
    return {"day": day, "tokens": {key: tokens[key] for key in services.state.keys if key in tokens}}


def today(services: Services) -> str:
    """Name the day.

    Args:
        services: The daemon's parts.

    Returns:
        ``YYYY-MM-DD``, UTC.
    """
    return services.now().astimezone(UTC).date().isoformat()


def listed(services: Services) -> list[Json]:
    """List all keys.

    Args:
        services: The daemon's parts.

    Returns:
        Of each ``key``, ``tenant``, ``state`` (valid, revoked, or dead: on the record, but its hash is not in this home),
        ``created``, what it may do (``models``, ``clearance``, ``scopes``, ``quota``) and what it ``used`` today.
    """
    day = today(services)
    found: list[Json] = []
    for key in services.state.keys.values():
        count = services.state.usage.of(day, key.key_id)
        told = {name: key.record.get(name) for name in ("models", "clearance", "scopes", "quota")}
        found.append(
            {
                "key": key.key_id,
                "tenant": key.tenant,
                "state": _state(services, key),
                "created": key.created,
                **told,
                "used": {"day": day, "requests": count.requests, "tokens": count.tokens},
            }
        )
    return found


def _state(services: Services, key: ServiceKey) -> str:
    if key.revoked:
        return REVOKED
    return VALID if services.key_hashes.get(key.key_id) is not None else DEAD


async def create(services: Services, session: Session, request: KeyRequest) -> dict[str, Json]:
    """Create an application's key.

    Args:
        services: The daemon's parts.
        session: An administrator's or operator's.
        request: Whose, for what, and how much of it.

    Returns:
        ``key`` (public part), ``secret`` and ``tenant``.

    Raises:
        Conflict: If there are as many as a front takes.
        UntrustedRequest: If the request names what no key can have.
        HoldfastError: If the hash can't be kept, or the event can't be recorded; there is no key then.
    """
    actor = session.actor("serve.key.created")
    clearance = labels.Label(request.level, frozenset(request.compartments), frozenset(services.state.zones))
    quota = Quota(**{name: getattr(request, name) for name in LIMITS})
    _require_room(services)
    while True:
        minted = service_keys.mint(
            request.tenant,
            request.models or [service_keys.ANY],
            clearance,
            request.scopes or [service_keys.INFERENCE],
            quota=quota,
        )
        key = minted.grant.id
        if key not in services.state.keys and services.key_hashes.get(key) is None:
            break  # with thousands of keys, one id in a million is taken
    await asyncio.to_thread(services.key_hashes.put, key, minted.hash)
    try:
        await services.recorder.fact(
            actor,
            "serve.key.created",
            {"key": key, "tenant": request.tenant, "record": minted.grant.to_json()},
        )
    except HoldfastError:
        with suppress(OperationFailed):  # else the next start drops it
            await asyncio.to_thread(services.key_hashes.drop, [key])
        raise
    await services.serving.send_keys()  # a front that does not answer gets it when it starts anew
    return {"key": key, "secret": minted.secret, "tenant": request.tenant}


def _require_room(services: Services) -> None:
    """Refuse to make a key that no front would take any more."""
    ring = counting(services)
    if len(ring) >= service_keys.MAX_KEYS or len(canonical.encode(ring)) > MAX_RING:
        raise Conflict(
            "serve.keys-many",
            f"There are {len(ring)} keys already; a front takes {service_keys.MAX_KEYS}, of {MAX_RING} bytes together.",
            remedy="Revoke keys that nobody uses; see `holdfast serve keys list`.",
        )


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
        WorkerFailed: If the front did not say that it takes the key no more.
    """
    actor = session.actor("serve.key.revoked")
    if key_id not in services.state.keys:
        raise NotFound(
            "serve.key-unknown",
            f"There is no key {key_id[:40]!r}.",
            remedy="See `holdfast serve keys list`.",
        )
    await services.recorder.fact(actor, "serve.key.revoked", {"key": key_id})
    told = await services.serving.send_keys()
    await asyncio.to_thread(services.key_hashes.drop, [key_id])
    if not told:
        raise WorkerFailed(
            "serve.key-held",
            f"{key_id} is revoked on the record, but the front did not confirm it.",
            remedy="Stop serving with `holdfast serve stop`; the key counts nowhere afterwards.",
        )
    return {"revoked": key_id}
