"""``holdfast media build``, ``split`` and ``diff``: the publisher's commands."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import keyfiles
from holdfast.cli.medium import artefact_json, delta_json, delta_line
from holdfast.cli.output import Progress, emit, json_option, size
from holdfast.cli.trustview import of_standing
from holdfast.errors import UntrustedBundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json
    from holdfast.media.build import Built
    from holdfast.media.diff import Difference, Item, Side
    from holdfast.media.request import SignedRequest

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--out", type=_FOLDER, required=True, help="The medium's folder: new or empty.")
@click.option(
    "--key",
    "keys",
    type=_FILE,
    multiple=True,
    help="A holder's .key file; once for each holder at hand. Others sign later with `trust sign`.",
)
@click.option(
    "--passphrase-file", "passphrases", type=_FILE, multiple=True, help="One for all keys, or one for each."
)
@click.option(
    "--root",
    "roots",
    type=_FILE,
    multiple=True,
    help="A root to build under: the first, or one that follows the previous medium's."
    " Without it and --previous, a root is founded.",
)
@click.option(
    "--previous",
    type=_FOLDER,
    help="The medium that this one follows: its roots, versions, delegations and revocations are carried over.",
)
@click.option("--role", help="Publish as this delegated role instead of the top-level targets.")
@click.option("--collection", default="", help="The collection that the delegated role publishes in.")
@click.option(
    "--delegate",
    "delegations",
    type=_FILE,
    multiple=True,
    help="A delegation made by `trust delegate`; once for each publisher.",
)
@click.option("--undelegate", multiple=True, help="End the delegation to this role.")
@click.option("--revocations", type=_FILE, help="A revocation list made by `trust revoke`.")
@click.option("--for", "request_file", type=_FILE, help="A site's request: what the site holds is left out.")
@click.option(
    "--appliance-fingerprint", help="The fingerprint of the appliance that signed it, received another way."
)
@json_option
def build(
    recipe: Path,
    *,
    out: Path,
    keys: tuple[Path, ...],
    passphrases: tuple[Path, ...],
    roots: tuple[Path, ...],
    previous: Path | None,
    role: str | None,
    collection: str,
    delegations: tuple[Path, ...],
    undelegate: tuple[str, ...],
    revocations: Path | None,
    request_file: Path | None,
    appliance_fingerprint: str | None,
    as_json: bool,
) -> None:
    """Build and sign the medium that RECIPE describes."""
    from tuf.api.metadata import Targets

    from holdfast.media import build as builder
    from holdfast.trust import publisher, revocation

    asked = None if request_file is None else _request(request_file, appliance_fingerprint)
    order = builder.Order(
        role=role or Targets.type,
        collection=collection,
        delegate=[
            publisher.parse(keyfiles.read(path, publisher.MAX_DOCUMENT, "The delegation"))
            for path in delegations
        ],
        undelegate=undelegate,
        revocations=None
        if revocations is None
        else keyfiles.read(revocations, revocation.MAX_DOCUMENT, "The revocation list"),
        request=asked,
    )
    start = builder.origin(roots, previous)
    pairs = keyfiles.open_pairs(keys, passphrases)
    progress = Progress()
    try:
        made = builder.build(recipe, out, pairs, start, now=datetime.now(UTC), progress=progress, order=order)
    finally:
        progress.end()
    data = _built(made, [pair.holder for pair in pairs], asked)
    emit(data, as_json, lambda: _built_lines(made, asked, compared=appliance_fingerprint is not None))


@click.command()
@click.argument("medium", type=_FOLDER)
@click.option(
    "--volume-size",
    required=True,
    help="How large a volume may be: 4GiB, 700MB, or cd, dvd, dvd-dl, bd25, bd50, bd100.",
)
@click.option("--out", type=_FOLDER, required=True, help="Where the folders volume-1, volume-2 ... shall be.")
@click.option("--only", type=int, multiple=True, help="Make only this volume, for one that was damaged.")
@json_option
def split(medium: Path, *, volume_size: str, out: Path, only: tuple[int, ...], as_json: bool) -> None:
    """Split MEDIUM into volumes that fit discs or sticks."""
    from holdfast.media import split as splitter

    room = splitter.capacity(volume_size)
    progress = Progress()
    try:
        made = splitter.split(medium, out, room, now=datetime.now(UTC), progress=progress, only=only)
    finally:
        progress.end()
    data: dict[str, Json] = {
        "digest": made.digest,
        "volume_size": made.capacity,
        "count": len(made.parts),
        "volumes": [
            {
                "number": part.number,
                "path": str(part.folder) if part.folder else None,
                "chunks": part.chunks,
                "bytes": part.size,
            }
            for part in made.parts
        ],
    }

    def lines() -> Iterator[str]:
        yield f"digest       {made.digest}"
        for part in made.parts:
            place = part.folder or "not made again"
            yield f"volume       {part.number} of {len(made.parts)}: {size(part.size)} in {part.chunks} chunks, {place}"
        yield "Copy each folder's contents to its own disc or stick; sites import them in any order."

    emit(data, as_json, lines)


@click.command()
@click.argument("first", type=click.Path(path_type=Path, exists=True))
@click.argument("second", type=click.Path(path_type=Path, exists=True))
@json_option
def diff(first: Path, second: Path, *, as_json: bool) -> None:
    """Show how the medium SECOND differs from FIRST; each may also be a site's request. No signature is judged."""
    from holdfast.media import diff as differ

    found = differ.compare(_side(first), _side(second))
    emit(found.to_json(), as_json, lambda: _diff_lines(found))


def _side(path: Path) -> Side:
    from holdfast.media import claims, request
    from holdfast.media import diff as differ

    if path.is_dir():
        return differ.of_medium(claims.of_medium(path))
    return differ.of_request(request.verify(keyfiles.read(path, request.MAX_REQUEST, "The request")))


def _request(path: Path, typed: str | None) -> SignedRequest:
    """Read a request, and compare its signer with the one that was received another way."""
    from holdfast.media import request

    found = request.verify(keyfiles.read(path, request.MAX_REQUEST, "The request"))
    there = found.public.fingerprint
    if typed is not None and re.sub(r"[\s:-]", "", typed).lower() != there.replace(" ", ""):
        raise UntrustedBundle(
            "media.request-signer",
            f"The request {path} is signed by the appliance {there}, not by the one whose fingerprint was given.",
            remedy="Compare the fingerprint with the site again; if it is right, ask the site for a new request.",
            fingerprint=there,
        )
    return found


def _built(made: Built, holders: list[str], asked: SignedRequest | None) -> dict[str, Json]:
    revoked = made.revocations
    return {
        "path": str(made.folder),
        "digest": made.digest,
        "fingerprint": made.fingerprint,
        "root": str(made.folder / "metadata" / f"{made.root_version}.root.json"),
        "root_version": made.root_version,
        "version": made.version,
        "founded": made.founded,
        "role": made.role,
        "collection": made.manifest.collection,
        "holders": [*holders],
        "finished": made.finished,
        "signatures": [of_standing(one) for one in made.standings],
        "bytes": made.size,
        "artefacts": [artefact_json(one) for one in made.artefacts],
        "delta": delta_json(made.manifest),
        "request": None
        if asked is None
        else {"digest": asked.digest, "site": asked.request.site, "fingerprint": asked.public.fingerprint},
        "revocations": None
        if revoked is None
        else {"counter": revoked.counter, "count": len(revoked.entries)},
        "unknown_parents": [*made.unknown],
    }


def _built_lines(made: Built, asked: SignedRequest | None, *, compared: bool) -> Iterator[str]:
    yield f"medium       {made.folder} ({size(made.size)} of artefacts)"
    yield f"digest       {made.digest}"
    if made.manifest.collection:
        yield f"published    by the delegated role {made.role}, in the collection {made.manifest.collection}"
    if asked is not None:
        yield delta_line(made.manifest, asked.request.site)
        how = "as given" if compared else "not compared; give --appliance-fingerprint"
        yield f"request      signed by the appliance {asked.public.fingerprint} ({how})"
    if made.revocations is not None:
        yield f"revocations  list {made.revocations.counter}, {len(made.revocations.entries)} in all"
    for digest in made.unknown:
        yield f"parent       {digest[:19]} is on no medium that this one knows of; sites must hold it already"
    root = made.folder / "metadata" / f"{made.root_version}.root.json"
    yield f"root         version {made.root_version}{', founded now' if made.founded else ''}: {root}"
    yield f"fingerprint  {made.fingerprint}"
    for one in made.standings:
        if not one.complete:
            who = ", ".join(one.signed) or "nobody"
            yield f"unfinished   {one.role}: signed by {who}; {one.needed} more of {', '.join(one.waiting)} must sign"
    if made.finished:
        yield "Give the fingerprint to the sites by another way than the medium."
    else:
        yield f"No site takes it before it is finished: `holdfast trust sign {made.folder} --key FILE`."


def _diff_lines(found: Difference) -> Iterator[str]:
    for side in (found.first, found.second):
        yield f"{side.what:<12} {side.title}{f', root {side.root}' if side.root else ''}"
    for what, items in (("added", found.added), ("removed", found.removed), ("same", found.same)):
        for item in items:
            yield f"{what:<12} {_item(item)}"
    for change in found.changed:
        how = "the same bytes" if change.before.digest == change.after.digest else f"{size(change.new)} new"
        yield f"changed      {_item(change.after)}: {how}"
        for field, old, new in change.said:
            yield f"             {field}: {old or 'none'} → {new or 'none'}"
    yield f"bytes        {size(found.shared)} shared, {size(found.new)} new"
    yield "signatures   not judged"


def _item(item: Item) -> str:
    return f"{item.kind} {item.name} {item.said['version']} ({size(sum(item.chunks.values()))})"
