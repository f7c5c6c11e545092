"""Bundles as people see them: what came in, where it stands, what can be signed about it.

Invariants: a view of the state fold, nothing is changed; every request of a split medium is listed, with the volumes that its
manifest still lacks.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from holdfast.daemon import admission
from holdfast.governance import listing as listings

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.records import Import


def listing(services: Services) -> dict[str, Json]:
    """List imports and generations.

    Args:
        services: The daemon's parts.

    Returns:
        ``imports`` (newest first), ``generations`` that are kept, ``active``, and ``free`` (bytes of the store's disk).
    """
    state = services.state
    return {
        "imports": [
            _shown(services, found) for found in sorted(state.imports.values(), key=lambda one: -one.request)
        ],
        "generations": [
            {"number": found.number, "artefacts": list(found.artefacts), "request": found.request}
            for found in state.generations
            if found.kept
        ],
        "active": state.active or None,
        "free": shutil.disk_usage(services.home.store).free,
    }


def show(services: Services, request: int) -> dict[str, Json]:
    """Describe one import, with what a second person would sign.

    Args:
        services: The daemon's parts.
        request: The request.

    Returns:
        Its facts, with what it brings (of files the number and size); ``approval`` and ``rejection`` if it waits; ``parts``
        with what each volume was read from.
    """
    found = admission.find(services, request)
    waits = found.state == "waiting"
    return _shown(services, found) | {
        "facts": found.facts | {"artefacts": [listings.summary(one) for one in found.artefacts]},
        "approval": admission.expected(services, found, admission.ADMIT).to_json() if waits else None,
        "rejection": admission.expected(services, found, admission.REJECT).to_json() if waits else None,
        "parts": parts(services, found),
    }


def parts(services: Services, found: Import) -> list[Json]:
    """List the volumes that a request is made of.

    Args:
        services: The daemon's parts.
        found: The request.

    Returns:
        One object per volume that was read for it, in the order of the requests: ``request``, ``requester``, and what
        ``bundle.verified`` recorded of the volume.
    """
    listed: list[Json] = []
    for one in sorted(services.state.imports.values(), key=lambda one: one.request):
        volume = one.facts.get("volume")
        if isinstance(volume, dict) and found.request in (one.request, one.facts.get("completed_by")):
            listed.append({"request": one.request, "requester": one.requester, **volume})
    return listed


def _shown(services: Services, found: Import) -> dict[str, Json]:
    facts = found.facts
    findings = facts.get("findings")
    return {
        "request": found.request,
        "state": found.state,
        "requester": found.requester,
        "decided_by": found.decided_by,
        "reason": found.reason,
        "name": facts.get("name"),
        "version": facts.get("version"),
        "publisher": facts.get("publisher"),
        "manifest": facts.get("manifest"),
        "holders": facts.get("holders"),
        "role": facts.get("role"),
        "bytes": facts.get("bytes"),
        "message": facts.get("message"),
        "volume": facts.get("volume"),
        "present": facts.get("present"),
        "missing": facts.get("missing"),
        "findings": findings if isinstance(findings, list) else [],
        "resumable": found.state in {"failed", "cancelled", "interrupted"}
        and services.state.staged.get(found.manifest or "") == found.request,
    }
