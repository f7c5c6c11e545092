"""What a verified medium must satisfy before anything of it is copied: zones, labels, and that its parts fit what is here.

Compatibility is judged by digest alone: an adapter was trained on one base with one tokenizer, and on no other of the same
name. Invariants: what is missing is named with the medium that brings it, as far as the publisher or this site's own record
knows; a delegated publisher never takes a name from another one; nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.artefact import Kind
from holdfast.errors import UntrustedBundle
from holdfast.governance import labels, listing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.daemon.services import Services
    from holdfast.media.verify import VerifiedMedium

MAX_NESTING = 8  # levels of an artefact's own facts, which are small
_MODELS = (Kind.BASE, Kind.MERGED)


def check(services: Services, verified: VerifiedMedium) -> None:
    """Refuse what may not live here, or would not work here.

    Args:
        services: The daemon's parts.
        verified: The verdict on the medium.

    Raises:
        UntrustedBundle: If the log can't take the medium's records, a zone or a label does not fit, or a parent is missing
            or another one.
    """
    _check_records(verified)
    for found in verified.artefacts:
        _check_zones(services, found)
        _check_label(services, found)
        check_parents(services, verified, found)
    if verified.artefacts:  # an admission is recorded under the label of all that it lets in
        joined = labels.join_all(found.label for found in verified.artefacts)
        labels.parse(joined.to_json())
    check_names(services, verified.manifest.collection, verified.artefacts)
    _check_delta(services, verified)


def _check_records(verified: VerifiedMedium) -> None:
    """Refuse before anything is copied what can't be put on the record: every artefact has an event, which is bounded."""
    total = 0
    for found in verified.artefacts:
        size = listing.head_size(found, verified.manifest.origins)
        total += size
        if size > listing.MAX_HEAD or not _is_shallow(found.meta, MAX_NESTING):
            raise UntrustedBundle(
                "bundle.record",
                f"What the medium says of {found.kind} {found.name}, beside its files, takes {size} bytes; {listing.MAX_HEAD}"
                f" are allowed, and facts nested in {MAX_NESTING} levels.",
                remedy="Ask the publisher for fewer parents, compartments or facts of it.",
                artefact=found.digest,
                size=size,
            )
    if total > listing.MAX_HEADS:
        raise UntrustedBundle(
            "bundle.records",
            f"What the medium says of its artefacts, beside their files, takes {total} bytes;"
            f" {listing.MAX_HEADS} are allowed.",
            remedy="Ask the publisher for several media.",
            size=total,
        )


def _is_shallow(value: Json, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_shallow(one, depth - 1) for one in inner)


def check_names(services: Services, collection: str, brought: Iterable[Artefact]) -> None:
    """Refuse a delegated publisher's artefact that would stand in the place of another publisher's.

    Delegation limits a publisher to paths, and people at a site know artefacts by kind and name alone. The top-level
    publisher, who delegates, may replace anything.

    Args:
        services: The daemon's parts.
        collection: The collection of the medium; empty for the top-level one.
        brought: Its artefacts.

    Raises:
        UntrustedBundle: If a name is taken.
    """
    for found in brought:
        held = services.state.called(found.kind, found.name)
        if held is None or held.digest == found.digest or collection in ("", held.collection):
            continue
        owner = f"the collection {held.collection}" if held.collection else "the top-level publisher"
        raise UntrustedBundle(
            "bundle.name-taken",
            f"{found.kind} {found.name} of the collection {collection} would replace the one of {owner}.",
            remedy="Ask its publisher for another name; only who brought an artefact, or the top-level publisher, replaces it.",
            artefact=held.digest,
            collection=collection,
        )


def _check_zones(services: Services, found: Artefact) -> None:
    if not found.label.zones & set(services.state.zones):
        raise UntrustedBundle(
            "bundle.zone",
            f"{found.kind} {found.name} may live in {sorted(found.label.zones)}, this site is {list(services.state.zones)}.",
            remedy="Ask the publisher for a bundle labelled for this site.",
        )


def _check_label(services: Services, found: Artefact) -> None:
    """Refuse a bundle that labels what is here already so that no zone may hold it any more."""
    known = services.state.artefacts.get(found.digest)
    if known is not None:
        known.label.join(found.label)


def check_parents(services: Services, verified: VerifiedMedium, found: Artefact) -> None:
    """Refuse an artefact that was made from what is neither here nor on the medium, or from another tokenizer.

    Args:
        services: The daemon's parts.
        verified: The verdict on the medium.
        found: One of its artefacts.

    Raises:
        UntrustedBundle: Naming what is missing and which medium brings it.
    """
    known = present(services) | {one.digest: one for one in verified.artefacts}
    for parent in found.parents:
        if parent not in known:
            raise _missing(services, verified, found, parent)
    if found.kind is not Kind.ADAPTER:
        return
    parents = [known[parent] for parent in found.parents]
    bases = [one for one in parents if one.kind in _MODELS]
    if not bases:
        raise UntrustedBundle(
            "bundle.no-base",
            f"adapter {found.name} does not say which base it was trained on.",
            remedy="Ask the publisher to name the base among the adapter's parents.",
        )
    for base in bases:
        called = services.state.called(Kind.TOKENIZER, base.name)
        fitting = [
            one
            for one in known.values()
            if (called is not None and one.digest == called.digest)
            or (one in verified.artefacts and (one.kind, one.name) == (Kind.TOKENIZER, base.name))
        ]
        for tokenizer in parents:
            if tokenizer.kind is Kind.TOKENIZER and fitting and tokenizer not in fitting:
                raise UntrustedBundle(
                    "bundle.tokenizer",
                    f"adapter {found.name} was trained with the tokenizer {hashing.short(tokenizer.digest)}, but its base"
                    f" {base.name} comes with {hashing.short(fitting[-1].digest)}: the same text would become other tokens.",
                    remedy="Ask the publisher for an adapter trained with this tokenizer, or for the base that goes with it.",
                    artefact=found.digest,
                    parent=tokenizer.digest,
                )


def present(services: Services) -> dict[str, Artefact]:
    """List what is in the store and whole, as far as the log knows.

    Args:
        services: The daemon's parts.

    Returns:
        The records by digest.
    """
    state = services.state
    return {
        digest: one
        for digest, one in state.artefacts.items()
        if digest not in state.collected and digest not in state.damaged
    }


def _missing(services: Services, verified: VerifiedMedium, found: Artefact, parent: str) -> UntrustedBundle:
    medium = verified.manifest.origins.get(parent) or services.state.brought_by(parent)
    record = services.state.artefacts.get(parent)
    what = f"{record.kind} {record.name}@{record.version}" if record else hashing.short(parent)
    return UntrustedBundle(
        "bundle.parents",
        f"{found.kind} {found.name} was made from {what}, which is neither here nor on the medium.",
        remedy=f"Import the medium {medium} first; it brings it."
        if medium
        else f"Ask the publisher which medium brings {parent}, and import that one first.",
        parent=parent,
        medium=medium,
    )


def _check_delta(services: Services, verified: VerifiedMedium) -> None:
    """Refuse a delta whose bases are not here: it was made for another site, or for an earlier day of this one."""
    delta = verified.manifest.delta
    here = present(services)
    for base in sorted(delta.bases if delta else ()):
        if base not in here:
            medium = verified.manifest.origins.get(base) or services.state.brought_by(base)
            raise UntrustedBundle(
                "bundle.delta-base",
                f"The medium leaves out what it shares with {hashing.short(base)}, which is not here.",
                remedy=f"Import the medium {medium} first, or ask the publisher for a whole one."
                if medium
                else "Ask the publisher for a whole medium, or for one made for this site's newest request.",
                parent=base,
                medium=medium,
            )
