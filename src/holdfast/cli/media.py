"""``holdfast media``: media built, inspected and verified without a daemon."""

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
    from collections.abc import Iterable, Iterator

    from holdfast.artefact import Artefact
    from holdfast.canonical import Json
    from holdfast.media.manifest import Manifest
    from holdfast.trust.workflow import TrustState

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def media() -> None:
    """Build, inspect and verify media."""


@media.command()
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--out", type=_FOLDER, required=True, help="The medium's folder: new or empty.")
@click.option(
    "--key", "keys", type=_FILE, multiple=True, required=True, help="A holder's .key file; give two or more."
)
@click.option(
    "--passphrase-file", "passphrases", type=_FILE, multiple=True, help="One for all keys, or one for each."
)
@click.option(
    "--root", type=_FILE, help="The root to build under; without it and --previous, a new root is founded."
)
@click.option(
    "--previous",
    type=_FOLDER,
    help="The medium that this one follows: its roots are kept, its version raised.",
)
@json_option
def build(
    recipe: Path,
    *,
    out: Path,
    keys: tuple[Path, ...],
    passphrases: tuple[Path, ...],
    root: Path | None,
    previous: Path | None,
    as_json: bool,
) -> None:
    """Build and sign the medium that RECIPE describes."""
    from holdfast.media import build as builder

    start = builder.origin(root, previous)
    pairs = keyfiles.open_pairs(keys, passphrases)
    progress = Progress()
    try:
        made = builder.build(recipe, out, pairs, start, now=datetime.now(UTC), progress=progress)
    finally:
        progress.end()
    holders: list[Json] = [pair.holder for pair in pairs]
    data: dict[str, Json] = {
        "path": str(made.folder),
        "digest": made.digest,
        "fingerprint": made.fingerprint,
        "root": str(made.folder / "metadata" / f"{made.root_version}.root.json"),
        "root_version": made.root_version,
        "version": made.version,
        "founded": made.founded,
        "holders": holders,
        "bytes": made.size,
        "artefacts": [_artefact(one) for one in made.artefacts],
    }

    def lines() -> Iterator[str]:
        yield f"medium       {made.folder} ({size(made.size)} of artefacts)"
        yield f"digest       {made.digest}"
        yield f"root         version {made.root_version}{', founded now' if made.founded else ''}: {data['root']}"
        yield f"fingerprint  {made.fingerprint}"
        yield "Give the fingerprint to the sites by another way than the medium."

    emit(data, as_json, lines)


@media.command()
@click.argument("path", type=_FOLDER)
@json_option
def inspect(path: Path, *, as_json: bool) -> None:
    """Show what the medium at PATH claims to hold. No signature is judged; `verify` does that."""
    from holdfast.media import layout, manifest
    from holdfast.media.read import Medium

    with Medium(path) as medium:
        found = manifest.parse(medium.read(layout.MANIFEST, manifest.MAX_MANIFEST))
    data = {**_claims(found), "signatures": "not judged"}
    emit(
        data,
        as_json,
        lambda: [*_lines(found), "signatures   not judged: `holdfast media verify` judges them"],
    )


@media.command()
@click.argument("path", type=_FOLDER)
@click.option("--root", type=_FILE, help="The root to judge by; the home's pinned root if not given.")
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
    """Verify the medium at PATH: signatures, policy, freshness, and every byte of it."""
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
        **_claims(verdict.manifest),
        "verified": True,
        "digest": verdict.digest,
        "root_version": verdict.root_version,
        "fingerprint": verdict.fingerprint,
        "holders": holders,
        "bytes": verdict.size,
    }

    def lines() -> Iterator[str]:
        yield from _lines(verdict.manifest)
        yield f"digest       {verdict.digest}"
        yield f"signed by    {', '.join(verdict.holders)}, under root version {verdict.root_version}"
        yield "verified     signatures, policy, freshness and every byte"

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


def _claims(found: Manifest) -> dict[str, Json]:
    return {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "publisher": found.publisher,
        "created": found.created.isoformat(),
        "artefacts": [{**_artefact(e.artefact), "licence": e.licence} for e in found.entries],
    }


def _artefact(one: Artefact) -> dict[str, Json]:
    return {
        "kind": one.kind.value,
        "name": one.name,
        "version": one.version,
        "digest": one.digest,
        "label": one.label.to_json(),
        "bytes": one.size,
        "files": len(one.files),
    }


def _lines(found: Manifest) -> Iterable[str]:
    yield f"medium       {found.name} {found.version}, made {found.created:%Y-%m-%d %H:%M} UTC"
    yield f"publisher    {found.publisher}"
    yield f"description  {found.description}"
    rows = (
        (
            e.artefact.kind,
            e.artefact.name,
            e.artefact.version,
            size(e.artefact.size),
            e.artefact.label,
            e.licence,
        )
        for e in found.entries
    )
    yield from table(["kind", "name", "version", "size", "label", "licence"], rows)
