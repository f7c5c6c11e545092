"""What may be used now: the one question that every start of a model, a training or an evaluation asks.

An artefact is usable if it belongs to the active generation (or was made from what does), its files are here, and neither it
nor anything that it was made from is revoked, unless an exception is in force. Invariants: nothing is opened here; the same
judgement stops what runs (``revocations.enforce``) and refuses what is about to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.errors import Conflict, UntrustedRecipe, VerificationFailed
from holdfast.governance import revocations
from holdfast.governance.exceptions import Kind

if TYPE_CHECKING:
    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.governance.labels import Label
    from holdfast.governance.revocations import Revocation


def usable(services: Services, found: Artefact) -> None:
    """Refuse what may not be used now.

    Args:
        services: The daemon's parts.
        found: What is to be used.

    Raises:
        NotFound: If its files were removed from the store.
        VerificationFailed: If its files were found damaged, and its medium was not imported again since.
        Conflict: If it, or something that it was made from, was rolled back or revoked.
    """
    here(services, found)
    if found.digest in services.state.damaged:
        bundle = services.state.brought_by(found.digest)
        raise VerificationFailed(
            "artefact.damaged",
            f"{found.kind} {found.name} ({hashing.short(found.digest)}) was found damaged by event"
            f" {services.state.damaged[found.digest]}.",
            remedy=f"Import the medium {bundle} again." if bundle else "Make it again.",
            digest=found.digest,
            medium=bundle,
        )
    if not services.state.is_active(found.digest):
        raise Conflict(
            "artefact.inactive",
            f"{found.kind} {found.name} ({hashing.short(found.digest)}) is not part of the active generation.",
            remedy="See `holdfast bundle list`; roll forward, or name another one.",
        )
    revocation = revoked(services, found.digest)
    if revocation is not None:
        raise Conflict(
            "artefact.revoked",
            revocations.sentence(revocation, f"{found.kind} {found.name}", found.digest),
            remedy=instead(services, revocation),
            digest=found.digest,
            revoked=revocation.digest,
            reason=revocation.reason,
            since=revocation.since,
            instead=revocation.instead,
            medium=revocation.bundle,
        )


def here(services: Services, found: Artefact) -> None:
    """Refuse what is on the record only.

    Args:
        services: The daemon's parts.
        found: What is to be read.

    Raises:
        NotFound: If its files were removed from the store.
    """
    if found.digest in services.state.collected:
        raise services.state.gone(found)


def at_home(services: Services, label: Label) -> None:
    """Refuse what people bring, or what would be made of it, if its label keeps it from living here.

    Args:
        services: The daemon's parts.
        label: Its label.

    Raises:
        UntrustedRecipe: If none of the zones that it may live in is this site's.
    """
    if not label.zones & set(services.state.zones):
        raise UntrustedRecipe(
            "recipe.zone",
            f"What the recipe brings or derives may live in {sorted(label.zones)}, this site is"
            f" {list(services.state.zones)}.",
            remedy="Use data that may live at this site.",
        )


def revoked(services: Services, digest: str) -> Revocation | None:
    """Find the revocation that forbids to use an artefact now.

    Args:
        services: The daemon's parts.
        digest: The artefact.

    Returns:
        The revocation; None if there is none, or an exception to it is in force.
    """
    excepted = services.state.excepted(Kind.REVOKED, services.now())
    return services.state.revocation_of(digest, excepted)


def instead(services: Services, found: Revocation) -> str:
    """Say what to use in place of what was revoked.

    Args:
        services: The daemon's parts.
        found: The revocation.

    Returns:
        One sentence.
    """
    if found.instead is None:
        return "Its publisher names nothing to use instead; ask them."
    here = services.state.artefacts.get(found.instead)
    if here is None or found.instead in services.state.collected:
        bundle = services.state.brought_by(found.instead)
        named = f"the medium {bundle}, which brings" if bundle else "the medium that brings"
        return f"Import {named} {found.instead}, and use that instead."
    return f"Use {here.kind} {here.name}@{here.version} ({hashing.short(here.digest)}) instead."


def stopped(services: Services, what: str, found: Revocation) -> dict[str, Json]:
    """Say why something is served no more.

    Args:
        services: The daemon's parts.
        what: What it was.
        found: The revocation of something that it is made of.

    Returns:
        The revocation, with the ``message`` and the ``remedy`` that applications are told.
    """
    return {
        **found.to_json(),
        "bundle": found.bundle,
        "message": f"{what} was stopped: {found.kind} {found.name}, which it uses, is revoked"
        f" since {found.since} by {found.bundle}: {found.reason}",
        "remedy": instead(services, found),
    }
