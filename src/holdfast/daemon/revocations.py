"""Revocations at work: what an admitted list names is recorded, and what runs with it is stopped.

Order of operations: once a medium is admitted, and at every start, the list in the trust folder is compared with the log, and
entries that the log lacks are recorded; then what is served is withdrawn and what runs is stopped, unless an exception is in
force; then every artefact here that is concerned is recorded once. ``watch`` asks again every few seconds, because an
exception ends by the clock and by nothing else. Invariants: nothing is stopped for a reason that is not on the record; entries
are never forgotten, whatever becomes of the trust folder; a look at an unchanged state records nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from holdfast.audit.event import Subject
from holdfast.daemon import admissible, bounded
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import HoldfastError, NoSpace, NotFound, NotRecorded
from holdfast.governance import revocations as rules
from holdfast.governance.exceptions import write_time
from holdfast.media import trusthome
from holdfast.trust import revocation

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.revocations import Revocation
    from holdfast.trust.revocation import RevocationList

_LOG = logging.getLogger(__name__)
WATCH_SECONDS = 5.0  # between two looks at the clock: how long what an exception allowed may outlive it
BATCH = 16  # entries of one event; their texts are bounded, and so is an event
SHOWN = 16  # new entries that an import tells of; the whole list lies on the medium
SHOWN_BYTES = (
    8_000  # of them, and of the names of what they concern: one event tells of them beside the medium
)


def told(services: Services, found: RevocationList | None) -> dict[str, Json] | None:
    """Describe a medium's revocation list for whoever is to admit it.

    Args:
        services: The daemon's parts.
        found: The list, or None if the medium has none.

    Returns:
        ``counter``, ``entries`` (their number), ``new`` (those that this site does not know of, at most ``SHOWN`` of ``SHOWN_BYTES``),
        ``concerned`` (names of what is here and would be revoked); None if there is no list.
    """
    if found is None:
        return None
    new = {digest: _recorded(one) for digest, one in found.entries.items()}
    for known in services.state.revocations:
        new.pop(known, None)
    concerned: list[Json] = [
        f"{one.kind} {one.name}@{one.version}"
        for one in services.state.artefacts.values()
        if rules.blocking(one.digest, new, lambda digest: _parents(services, digest)) is not None
    ]
    return {
        "counter": found.counter,
        "entries": len(found.entries),
        "new": bounded.fitting((one.to_json() for one in list(new.values())[:SHOWN]), SHOWN_BYTES),
        "concerned": bounded.fitting(concerned[:SHOWN], SHOWN_BYTES),
    }


def _parents(services: Services, digest: str) -> tuple[str, ...]:
    found = services.state.artefacts.get(digest)
    return () if found is None else found.parents


def _recorded(one: revocation.Revocation, bundle: str = "") -> Revocation:
    return rules.Revocation(
        digest=one.digest,
        kind=one.kind,
        name=one.name,
        reason=one.reason,
        since=write_time(one.since),
        instead=one.instead,
        bundle=bundle,
    )


async def settle(services: Services) -> None:
    """Bring record and service in line with the list that was admitted last.

    Args:
        services: The daemon's parts.
    """
    async with services.revoking:
        await _record_listed(services)
        await _enforce(services)


async def enforce(services: Services) -> None:
    """Stop what may not be used now.

    Args:
        services: The daemon's parts.
    """
    if services.state.revocations:
        async with services.revoking:
            await _enforce(services)


async def watch(services: Services, every: float = WATCH_SECONDS) -> None:
    """Ask again and again, until cancelled.

    Args:
        services: The daemon's parts.
        every: Seconds between two looks.
    """
    while True:
        await asyncio.sleep(every)
        try:
            await enforce(services)
        except (NotRecorded, NoSpace):
            continue  # the log has stopped: nothing is answered any more either
        except Exception:  # noqa: BLE001 - a watcher that died would let go on what it is to stop
            _LOG.exception("What was revoked could not be stopped; it is tried again.")


async def _record_listed(services: Services) -> None:
    try:
        data = trusthome.load(services.home.trust).revocations
    except NotFound:
        return
    if data is None:
        return
    listed = revocation.parse(data)
    if listed.counter < services.state.custody.revocations:
        return  # the trust folder is that of a backup, and the log was saved with what a later list says
    bundle = _bundle(services)
    known = {digest: one.to_json() for digest, one in services.state.revocations.items()}
    new = [
        entry
        for digest, entry in ((digest, _recorded(one).to_json()) for digest, one in listed.entries.items())
        if known.get(digest) != entry
    ]
    for at in range(0, len(new), BATCH):
        entries: list[Json] = [*new[at : at + BATCH]]
        await services.recorder.fact(
            DAEMON,
            "revocation.listed",
            {"counter": listed.counter, "bundle": bundle, "entries": entries},
        )


def _bundle(services: Services) -> str:
    """Name the medium that was admitted last: the list in the trust folder is its own."""
    admitted = [
        one for one in services.state.acts.values() if (one.action, one.state) == ("bundle.admit", "done")
    ]
    request = admitted[-1].result.get("request") if admitted else None
    found = services.state.imports.get(request) if isinstance(request, int) else None
    return f"{found.facts.get('name')} {found.facts.get('version')}" if found else "the trusted medium"


async def _enforce(services: Services) -> None:
    await services.serving.withdraw(services)
    for job in services.jobs.running:
        if not job.cancelling.is_set() and any(admissible.revoked(services, one) for one in job.uses):
            with contextlib.suppress(HoldfastError):  # it ended meanwhile
                services.jobs.cancel(job.number, DAEMON.person)
    state = services.state
    for found in list(state.artefacts.values()):
        known = None if found.digest in state.revoked else state.revocation_of(found.digest)
        if known is not None:
            await services.recorder.fact(
                DAEMON,
                "artefact.revoked",
                {
                    "name": f"{found.name}@{found.version}",
                    "revoked": known.digest,
                    "reason": known.reason,
                    "since": known.since,
                    "instead": known.instead,
                    "bundle": known.bundle,
                },
                subject=Subject(found.kind.value, found.digest),
                label=found.label,
            )


def summary(services: Services) -> dict[str, Json]:
    """Tell in short what was revoked.

    Args:
        services: The daemon's parts.

    Returns:
        ``listed`` (entries of the list), ``artefacts`` (how many here are concerned), ``withdrawn`` (model ids that were
        stopped because of it) and ``excepted`` (revoked model ids that are served under an exception).
    """
    serving = services.serving
    revoked = [
        name
        for name, digests in serving.uses.items()
        if serving.running and any(services.state.revocation_of(digest) for digest in digests)
    ]
    return {
        "listed": len(services.state.revocations),
        "artefacts": len(services.state.revoked),
        "withdrawn": list(serving.withdrawn) if serving.running else [],
        "excepted": [name for name in revoked if name not in serving.withdrawn],
    }


def shown(services: Services, digest: str) -> dict[str, Json] | None:
    """Describe why an artefact may not be used, for a list.

    Args:
        services: The daemon's parts.
        digest: The artefact.

    Returns:
        The revocation that concerns it, with ``advice`` (what to do) and ``excepted`` (whether an exception lets it be used
        now); None if it is not revoked.
    """
    found = services.state.revocation_of(digest)
    if found is None:
        return None
    return {
        **found.to_json(),
        "bundle": found.bundle,
        "advice": admissible.instead(services, found),
        "excepted": admissible.revoked(services, digest) is None,
    }
