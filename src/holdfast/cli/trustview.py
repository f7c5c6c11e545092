"""How roots, media and their signatures are shown: as plain data and as lines. Used by ``holdfast trust``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.cli.output import size, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuf.api.metadata import Root

    from holdfast.canonical import Json
    from holdfast.media.papers import Paper, Papers
    from holdfast.trust.delegation import Delegator
    from holdfast.trust.ladder import Rung
    from holdfast.trust.publisher import Delegation
    from holdfast.trust.revocation import RevocationList
    from holdfast.trust.standing import Standing

MAX_SHOWN = 20  # revocations told as lines: those that a signer has not seen are the newest


def of_roles(root: Root) -> dict[str, Json]:
    """Give a root's roles as plain data.

    Args:
        root: The root, judged.

    Returns:
        Threshold, number of keys and holders of each role, by its name.
    """
    from holdfast.trust import holders
    from holdfast.trust.delegation import Delegator

    delegator = Delegator.of_root(root)
    return {
        name: {
            "threshold": role.threshold,
            "keys": len(role.keyids),
            "holders": list(holders.listed(delegator, name)),
        }
        for name, role in root.roles.items()
    }


def role_lines(root: Root) -> Iterator[str]:
    """Give a root's roles as lines.

    Args:
        root: The root, judged.

    Yields:
        One line for each role.
    """
    from holdfast.trust import holders
    from holdfast.trust.delegation import Delegator

    delegator = Delegator.of_root(root)
    for name, role in root.roles.items():
        people = ", ".join(holders.listed(delegator, name))
        yield f"role         {name}: {role.threshold} of {len(role.keyids)} keys, of {people}"


def of_standing(one: Standing) -> dict[str, Json]:
    """Give the standing of one file as plain data.

    Args:
        one: The standing.

    Returns:
        Role, version, end, who signed and who is needed.
    """
    return {
        "role": one.role,
        "version": one.version,
        "expires": one.expires.isoformat(),
        "complete": one.complete,
        "signed": [*one.signed],
        "needed": one.needed,
        "waiting": [*one.waiting],
    }


def of_rung(one: Rung) -> dict[str, Json]:
    """Give one root as plain data.

    Args:
        one: The root.

    Returns:
        Its standing, fingerprint, roles and what it changes.
    """
    from tuf.api.metadata import Root

    from holdfast.trust import metadata, policy

    root = metadata.parse(Root, one.data).signed
    rule = policy.of_root(root)
    return {
        **of_standing(one.standing),
        "fingerprint": one.fingerprint,
        "changes": [*one.changes],
        "holders": [*sorted(rule.holders)],
        "keys": {**_key_fingerprints(root)},
        "min_holders": rule.min_holders,
        "roles": of_roles(root),
    }


def of_papers(papers: Papers) -> dict[str, Json]:
    """Give what lies before a signer as plain data.

    Args:
        papers: The papers.

    Returns:
        For a root what ``of_rung`` gives; for a medium its roots, what it holds, its delegations and the standing of each file.
    """
    found = papers.manifest
    if found is None:
        return of_rung(papers.rungs[-1])
    artefacts: list[Json] = [
        {
            "kind": entry.artefact.kind.value,
            "name": entry.artefact.name,
            "version": entry.artefact.version,
            "digest": entry.artefact.digest,
            "bytes": entry.artefact.size,
        }
        for entry in found.entries
    ]
    return {
        "name": found.name,
        "version": found.version,
        "digest": papers.digest,
        "publisher": papers.publisher,
        "artefacts": artefacts,
        "revocations": papers.revocations.counter if papers.revocations else None,
        "fingerprint": papers.fingerprint,
        "roots": [of_rung(one) for one in papers.rungs],
        "delegations": [of_delegated(name, by) for name, by in delegated(papers)],
        **outcome(papers),
    }


def outcome(papers: Papers) -> dict[str, Json]:
    """Tell how far the signatures are.

    Args:
        papers: The papers.

    Returns:
        ``complete``, ``signed``, ``needed`` and ``waiting`` over all files, and ``files`` with the same for each.
    """
    states = [sheet.standing for sheet in papers.sheets]
    signed: list[Json] = [*sorted({name for one in states for name in one.signed})]
    waiting: list[Json] = [*sorted({name for one in states for name in one.waiting})]
    return {
        "complete": papers.complete,
        "signed": signed,
        "needed": max(one.needed for one in states),
        "waiting": waiting,
        "files": [of_standing(one) for one in states],
    }


def lines(papers: Papers) -> Iterator[str]:
    """Give what lies before a signer as lines.

    Args:
        papers: The papers.

    Yields:
        The lines.
    """
    if papers.manifest is None:
        yield from rung_lines(papers.rungs[-1])
        return
    found = papers.manifest
    yield f"medium       {found.name} {found.version}, made {found.created:%Y-%m-%d %H:%M} UTC, vouched for by {papers.publisher}"
    yield f"digest       {papers.digest}"
    if papers.revocations is not None:
        yield from revocation_lines(papers.revocations)
    rows = (
        (
            entry.artefact.kind,
            entry.artefact.name,
            entry.artefact.version,
            size(entry.artefact.size),
            entry.artefact.digest[:23],
        )
        for entry in found.entries
    )
    if found.entries:
        yield from table(["kind", "name", "version", "size", "digest"], rows)
    else:
        yield "artefacts    none"
    for name, by in delegated(papers):
        yield from delegated_lines(name, by)
    for sheet in papers.sheets:
        if papers.carried(sheet):
            yield from _carried_lines(sheet)
    newest = papers.rungs[-1]
    yield f"root         version {newest.standing.version}, {newest.fingerprint}"
    yield f"fingerprint  {papers.fingerprint}"
    for sheet in papers.sheets:
        yield standing_line(sheet.standing)


def rung_lines(one: Rung) -> Iterator[str]:
    """Give one root as lines.

    Args:
        one: The root.

    Yields:
        The lines.
    """
    from tuf.api.metadata import Root

    from holdfast.trust import metadata

    root = metadata.parse(Root, one.data).signed
    yield f"root         version {root.version}, ends {root.expires:%Y-%m-%d}"
    yield f"fingerprint  {one.fingerprint}"
    yield from role_lines(root)
    for name, print_ in _key_fingerprints(root).items():
        yield f"key          {name}: {print_}"
    if root.version > 1 and one.changes:
        yield f"changes      {'; '.join(one.changes)}"
    yield standing_line(one.standing)


def standing_line(one: Standing) -> str:
    """Tell in a line how far the signatures of a file are.

    Args:
        one: The standing.

    Returns:
        The line.
    """
    said = (
        f"signed       {one.role} version {one.version}, ends {one.expires:%Y-%m-%d}:"
        f" {', '.join(one.signed) or 'nobody yet'}"
    )
    if one.complete:
        return f"{said}; complete"
    lists = "; ".join(
        f"{quorum.needed} more of {', '.join(quorum.waiting)}"
        + (f" (for {quorum.by})" if len(one.quorums) > 1 else "")
        for quorum in one.quorums
        if quorum.needed
    )
    return f"{said}; needed: {lists}"


def delegated(papers: Papers) -> list[tuple[str, Delegator]]:
    """Give what the publishers of a medium were given.

    Args:
        papers: The medium's papers.

    Returns:
        Each delegated role with who delegates to it.
    """
    from tuf.api.metadata import Targets

    from holdfast.trust import metadata
    from holdfast.trust.delegation import Delegator

    found = []
    for sheet in papers.sheets:
        if _is_targets(sheet):
            by = Delegator.of_targets(sheet.role, metadata.parse(Targets, sheet.data, sheet.role).signed)
            found += [(name, by) for name in by.roles] if by else []
    return found


def of_delegated(name: str, by: Delegator) -> dict[str, Json]:
    """Give one delegation of a medium as plain data.

    Args:
        name: The role.
        by: Who delegates to it.

    Returns:
        Its paths, numbers and holders.
    """
    from tuf.api.metadata import DelegatedRole

    from holdfast.trust import holders, policy

    role = by.roles[name]
    paths = role.paths if isinstance(role, DelegatedRole) else None
    people = holders.listed(by, name)
    return {
        "role": name,
        "by": by.name,
        "paths": [*(paths or ())],
        "threshold": role.threshold,
        "min_holders": policy.of(by).min_holders,
        "terminating": isinstance(role, DelegatedRole) and role.terminating,
        "holders": [*people],
        "keys": {
            holder: holders.public_of(holder, (by.keys[keyid] for keyid in keyids)).fingerprint
            for holder, keyids in people.items()
        },
    }


def delegated_lines(name: str, by: Delegator) -> Iterator[str]:
    """Give one delegation of a medium as lines.

    Args:
        name: The role.
        by: Who delegates to it.

    Yields:
        What is given, and the fingerprints of those who may sign for it.
    """
    given = of_delegated(name, by)
    paths, people, keys = given["paths"], given["holders"], given["keys"]
    listed = ", ".join(map(str, paths)) if isinstance(paths, list) else ""
    named = ", ".join(map(str, people)) if isinstance(people, list) else ""
    numbers = f"{given['min_holders']} different holders of {named}, {given['threshold']} keys"
    ends = ", and no further search" if given["terminating"] else ""
    yield f"delegated    {name}: {listed}{ends}; {numbers}"
    for holder, print_ in keys.items() if isinstance(keys, dict) else ():
        yield f"key          {holder}: {print_}"


def delegation_lines(one: Delegation) -> Iterator[str]:
    """Give a delegation document as lines.

    Args:
        one: The delegation.

    Yields:
        The lines.
    """
    people = ", ".join(holder.holder for holder in one.holders)
    yield f"role         {one.role}: {one.min_holders} different holders of {people}, {one.threshold} keys"
    yield f"paths        {', '.join(one.paths)}{', and no further search' if one.terminating else ''}"
    for holder in one.holders:
        yield f"key          {holder.holder}: {holder.fingerprint}"


def revocation_lines(found: RevocationList) -> Iterator[str]:
    """Give a revocation list as lines, the newest entries first.

    Args:
        found: The list.

    Yields:
        The lines.
    """
    yield f"revocations  list {found.counter}, made {found.issued:%Y-%m-%d %H:%M} UTC"
    newest = sorted(found.entries.values(), key=lambda one: one.since, reverse=True)
    rows = (
        (one.kind, one.name, one.digest[:23], f"{one.since:%Y-%m-%d}", one.reason, (one.instead or "")[:23])
        for one in newest[:MAX_SHOWN]
    )
    yield from table(["revoked", "name", "digest", "since", "reason", "instead"], rows)
    if len(newest) > MAX_SHOWN:
        yield f"... and {len(newest) - MAX_SHOWN} older ones; --json tells all of a list"


def _key_fingerprints(root: Root) -> dict[str, str]:
    """Give the fingerprint of each holder's public document, which the holder knows by heart or has on paper."""
    from holdfast.trust import holders, policy

    held = policy.of_root(root).holders
    return {
        name: holders.public_of(name, (root.keys[keyid] for keyid in held[name])).fingerprint
        for name in sorted(held)
    }


def _carried_lines(sheet: Paper) -> Iterator[str]:
    """Tell what a file of an earlier medium vouches for."""
    from tuf.api.metadata import Targets

    from holdfast.trust import metadata

    found = metadata.parse(Targets, sheet.data, sheet.role).signed
    for path, info in found.targets.items():
        yield f"carried over {sheet.role} version {found.version}: {path}, sha512:{info.hashes['sha512'][:16]}"


def _is_targets(sheet: Paper) -> bool:
    from tuf.api.metadata import Root, Snapshot, Timestamp

    return sheet.role not in (Root.type, Snapshot.type, Timestamp.type)
