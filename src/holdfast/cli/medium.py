"""``holdfast media inspect`` and ``verify``: what a medium says, and whether it is true."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import keyfiles
from holdfast.cli.output import Progress, emit, json_option, size, table
from holdfast.cli.trust import find_home, home_option
from holdfast.errors import UsageRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.media.manifest import Manifest
    from holdfast.media.volume import Volume
    from holdfast.trust.revocation import RevocationList
    from holdfast.trust.workflow import TrustState

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("path", type=_FOLDER)
@json_option
def inspect(path: Path, *, as_json: bool) -> None:
    """Show what the medium at PATH claims to hold. No signature is judged; `verify` does that."""
    from holdfast.media import claims

    found = claims.of_medium(path)
    data: dict[str, Json] = {
        **_claims(found.manifest, found.volume, found.role, found.revoked),
        "digest": found.digest,
        "root_version": max(found.roots),
        "fingerprint": found.fingerprint,
        "medium_version": found.version,
        "expires": found.expires.isoformat(),
        "signatures": "not judged",
    }

    def lines() -> Iterator[str]:
        yield from _lines(found.manifest, found.volume, found.role, found.revoked)
        yield f"digest       {found.digest}"
        yield f"expires      {found.expires:%Y-%m-%d}"
        yield f"root         version {max(found.roots)}, {found.fingerprint}"
        yield "signatures   not judged: `holdfast media verify` judges them"

    emit(data, as_json, lines)


@click.command()
@click.argument("path", type=_FOLDER)
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The root to judge by; the home's pinned root if not given.",
)
@click.option("--fingerprint", help="The fingerprint of --root, received by another way.")
@home_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    path: Path,
    root: Path | None,
    fingerprint: str | None,
    home: Path | None,
    *,
    as_json: bool,
) -> None:
    """Verify the medium or volume at PATH: signatures, policy, freshness, and every byte of it."""
    from holdfast.media.verify import verify_medium

    progress = Progress()
    state = _state(ctx, root, fingerprint, home)
    try:
        verdict = verify_medium(path, state, datetime.now(UTC), progress)
    finally:
        progress.end()
    verdict.medium.close()
    holders: list[Json] = [*verdict.holders]
    data: dict[str, Json] = {
        **_claims(verdict.manifest, verdict.volume, verdict.role, verdict.revocations),
        "verified": True,
        "digest": verdict.digest,
        "root_version": verdict.root_version,
        "fingerprint": verdict.fingerprint,
        "holders": holders,
        "expires": verdict.expires.isoformat(),
        "bytes": verdict.size,
    }

    def lines() -> Iterator[str]:
        yield from _lines(verdict.manifest, verdict.volume, verdict.role, verdict.revocations)
        yield f"digest       {verdict.digest}"
        yield f"expires      {verdict.expires:%Y-%m-%d}"
        yield f"signed by    {', '.join(verdict.holders)}, under root version {verdict.root_version}"
        part = f" of volume {verdict.volume.number}" if verdict.volume else ""
        yield f"verified     signatures, policy, freshness and every byte{part}"

    emit(data, as_json, lines)


def _state(ctx: click.Context, root: Path | None, typed: str | None, home: Path | None) -> TrustState:
    """Find what to judge by."""
    from tuf.api.metadata import Root

    from holdfast.media import trusthome
    from holdfast.trust import fingerprint, metadata

    if (root is None) != (typed is None):
        raise UsageRefused(
            "media.root-pair",
            "--root and --fingerprint belong together.",
            remedy="Give both, or neither to judge by the home's pinned root.",
        )
    if root is None or typed is None:
        return trusthome.load(find_home(ctx, home).trust)
    given = fingerprint.parse(typed)
    data = keyfiles.read(root, metadata.MAX_BYTES[Root.type], "The root")
    return trusthome.checked_root(data, given, datetime.now(UTC))


def artefact_json(one: Artefact) -> dict[str, Json]:
    """Give an artefact as commands print it.

    Args:
        one: The artefact.

    Returns:
        Kind, name, version, digest, label, parents, bytes and number of files.
    """
    return {
        "kind": one.kind.value,
        "name": one.name,
        "version": one.version,
        "digest": one.digest,
        "label": one.label.to_json(),
        "parents": list(one.parents),
        "bytes": one.size,
        "files": len(one.files),
    }


def delta_json(found: Manifest) -> Json:
    """Tell what a medium leaves out, as commands print it.

    Args:
        found: The manifest.

    Returns:
        Site, request, bases and bytes carried and left out; None if it leaves nothing out.
    """
    if found.delta is None:
        return None
    carried, left_out = _shares(found)
    return {
        "site": found.delta.site,
        "request": found.delta.request,
        "bases": [*sorted(found.delta.bases)],
        "carried_bytes": carried,
        "left_out_bytes": left_out,
    }


def delta_line(found: Manifest, site: str) -> str:
    """Tell in a line what a medium leaves out.

    Args:
        found: The manifest.
        site: Whom it was made for, in words.

    Returns:
        The line.
    """
    carried, left_out = _shares(found)
    return f"made for     {site}: {size(left_out)} that it holds are left out, {size(carried)} carried"


def _shares(found: Manifest) -> tuple[int, int]:
    """Count the bytes of chunks that a medium carries, and those that it leaves out."""
    carried = sum(found.carried.values())
    return carried, sum(found.chunks.values()) - carried


def _one_line(text: str) -> str:
    """Join the lines of a text that nobody may have vouched for, so that none of them looks like one of ours."""
    return " ".join(text.split())


def _claims(
    found: Manifest, part: Volume | None, role: str, revoked: RevocationList | None
) -> dict[str, Json]:
    origins: dict[str, Json] = {**found.origins}
    return {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "publisher": found.publisher,
        "created": found.created.isoformat(),
        "role": role,
        "collection": found.collection,
        "volume": {"number": part.number, "count": part.count} if part else None,
        "artefacts": [{**artefact_json(e.artefact), "licence": e.licence} for e in found.entries],
        "origins": origins,
        "delta": delta_json(found),
        "revocations": None
        if revoked is None
        else {
            "counter": revoked.counter,
            "issued": revoked.issued.isoformat(),
            "entries": [
                {
                    "digest": one.digest,
                    "kind": one.kind,
                    "name": one.name,
                    "reason": one.reason,
                    "instead": one.instead,
                    "since": one.since.isoformat(),
                }
                for one in revoked.entries.values()
            ],
        },
    }


def _lines(found: Manifest, part: Volume | None, role: str, revoked: RevocationList | None) -> Iterator[str]:
    yield f"medium       {found.name} {found.version}, made {found.created:%Y-%m-%d %H:%M} UTC"
    yield f"publisher    {_one_line(found.publisher)}"
    yield f"description  {_one_line(found.description)}"
    if found.collection:
        yield f"published    by the delegated role {role}, in the collection {found.collection}"
    if part:
        yield f"volume       {part.number} of {part.count}"
    if found.delta:
        yield delta_line(found, f"{_one_line(found.delta.site)} alone")
    rows = (
        (
            e.artefact.kind,
            e.artefact.name,
            e.artefact.version,
            size(e.artefact.size),
            e.artefact.label,
            _one_line(e.licence),
        )
        for e in found.entries
    )
    if found.entries:
        yield from table(["kind", "name", "version", "size", "label", "licence"], rows)
    for digest in sorted(found.foreign_parents):
        brought = found.origins.get(digest)
        where = f"brought by {brought}" if brought else "brought by a medium that this one does not name"
        yield f"parent       {digest[:19]} is not on this medium; {where}"
    if revoked:
        yield f"revocations  list {revoked.counter} of {revoked.issued:%Y-%m-%d}, {len(revoked.entries)} in all"
        for one in revoked.entries.values():
            yield f"revoked      {one.kind} {one.name} {one.digest[:19]}: {one.reason}"
