"""The drafts of the ceremony: roots, delegations and revocations, made from public documents; no secret key is opened here.

Every command writes one new file, in a folder made at need and never over another, and prints the fingerprint that is read aloud before anybody signs it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import keyfiles
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option
from holdfast.errors import Conflict, NotFound, UntrustedBundle, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.canonical import Json
    from holdfast.trust.revocation import RevocationList

ROOT_DAYS = 1825  # days a root lasts: it must outlive every medium under it, and rotation ends it earlier
MAX_DAYS = 7300  # twenty years: beyond it, the algorithms will have ended before the root
FILE = click.Path(path_type=Path, dir_okay=False)
_MODE = 0o644  # drafts hold nothing secret


def _out(function: Callable[..., None]) -> Callable[..., None]:
    return click.option("--out", type=FILE, required=True, help="The file to write; nothing is there yet.")(
        function
    )


def _days(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--days",
        type=click.IntRange(1, MAX_DAYS),
        default=ROOT_DAYS,
        show_default=True,
        help="How long the root lasts.",
    )(function)


@click.command()
@click.argument("people", metavar="PUB PUB...", type=FILE, nargs=-1, required=True)
@_out
@click.option(
    "--threshold", type=int, help="How many keys must sign, for every role; each holder has two. [2]"
)
@click.option("--min-holders", type=int, help="How many different holders must sign, for every role. [2]")
@click.option(
    "--role",
    "roles",
    metavar="ROLE=NAME,NAME",
    multiple=True,
    help="Who holds a role (root, targets, snapshot, timestamp), if not everybody.",
)
@_days
@json_option
def create(
    people: tuple[Path, ...],
    *,
    out: Path,
    threshold: int | None,
    min_holders: int | None,
    roles: tuple[str, ...],
    days: int,
    as_json: bool,
) -> None:
    """Draft the first root from the holders' PUB files. Nobody's secret key is needed; they sign it in turn."""
    from holdfast.trust import policy
    from holdfast.trust import roots as drafts

    made = drafts.draft_root(
        [keyfiles.open_handed(path) for path in people],
        expires=_in(days),
        threshold=policy.MIN_THRESHOLD if threshold is None else threshold,
        min_holders=policy.MIN_HOLDERS if min_holders is None else min_holders,
        roles=_held(roles),
    )
    _write_root(out, made, None, as_json=as_json)


@click.command()
@click.argument("root", type=FILE)
@click.argument("people", metavar="PUB...", type=FILE, nargs=-1)
@_out
@click.option(
    "--role", "roles", multiple=True, help="A role that they are to hold; all four if none is named."
)
@click.option("--threshold", type=int, help="How many keys must sign from now on, for every role.")
@click.option("--min-holders", type=int, help="How many different holders must sign from now on.")
@_days
@json_option
def add(
    root: Path,
    people: tuple[Path, ...],
    *,
    out: Path,
    roles: tuple[str, ...],
    threshold: int | None,
    min_holders: int | None,
    days: int,
    as_json: bool,
) -> None:
    """Draft the root after ROOT, with the holders of the PUB files joining, or only with other numbers."""
    from holdfast.trust import roots as drafts

    if not people and threshold is None and min_holders is None:
        raise UsageRefused(
            "trust.ceremony-nothing",
            "Nothing is to be added.",
            remedy="Give the .pub file of somebody who joins, or another --threshold or --min-holders.",
        )
    before = _root(root)
    made = drafts.next_root(
        before,
        expires=_in(days),
        add=[keyfiles.open_handed(path) for path in people],
        roles=roles,
        threshold=threshold,
        min_holders=min_holders,
    )
    _write_root(out, made, before, as_json=as_json)


@click.command()
@click.argument("root", type=FILE)
@click.option("--holder", required=True, help="Whose keys are replaced.")
@click.option(
    "--with",
    "new",
    type=FILE,
    required=True,
    help="The .pub file of the new keys, of the same person or a successor.",
)
@_out
@_days
@json_option
def rotate(root: Path, *, holder: str, new: Path, out: Path, days: int, as_json: bool) -> None:
    """Draft the root after ROOT, with a holder's keys replaced."""
    from holdfast.trust import roots as drafts

    before = _root(root)
    keys = keyfiles.open_handed(new)
    made = drafts.next_root(before, expires=_in(days), replace_keys={holder: keys})
    _write_root(out, made, before, as_json=as_json)


@click.group(cls=Group)
def revoke() -> None:
    """Let a holder leave, or revoke an artefact that was published."""


@revoke.command()
@click.argument("root", type=FILE)
@click.option("--holder", "names", multiple=True, required=True, help="Who leaves.")
@_out
@_days
@json_option
def holder(root: Path, *, names: tuple[str, ...], out: Path, days: int, as_json: bool) -> None:
    """Draft the root after ROOT, without a holder. Refused if too few would be left for a role."""
    from holdfast.trust import roots as drafts

    before = _root(root)
    _write_root(out, drafts.next_root(before, expires=_in(days), remove=names), before, as_json=as_json)


@revoke.command()
@click.argument("digest")
@click.option("--name", required=True, help="The artefact's name, for people.")
@click.option("--kind", required=True, help="Its kind: base, adapter, gguf ...")
@click.option("--reason", required=True, help="Why; operators read it where the artefact was in use.")
@click.option("--instead", help="Digest of the artefact to use in its place.")
@click.option("--list", "listed", type=FILE, required=True, help="The publisher's revocation list.")
@click.option("--new", is_flag=True, help="Begin the list; there is none yet.")
@click.option("--out", type=FILE, help="Write the longer list here instead of replacing --list.")
@json_option
def artefact(
    digest: str,
    *,
    name: str,
    kind: str,
    reason: str,
    instead: str | None,
    listed: Path,
    new: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Add the artefact with DIGEST to the revocation list, which the next medium carries to every site."""
    from holdfast.store import disk
    from holdfast.trust import fingerprint, revocation

    before = None if new else revocation.parse(keyfiles.read(listed, revocation.MAX_DOCUMENT, "The list"))
    now = datetime.now(UTC).replace(microsecond=0)
    entry = revocation.Revocation(digest, kind, name, reason, instead, now)
    try:
        made = revocation.extended(before, entry, now)
    except UntrustedBundle as problem:  # the list before is sound: it is the words of this call that are not
        raise UsageRefused(
            problem.key,
            problem.message,
            remedy="Give the artefact's digest and kind as `media inspect` tells them, and a plain reason.",
        ) from problem
    if new or out is not None:
        _create(out or listed, made.encode())
    else:
        with disk.faults(str(listed)):
            disk.write_file(listed, made.encode(), mode=_MODE)
    _show_list(out or listed, made, fingerprint.of_document(made.encode()), as_json=as_json)


@click.command()
@click.argument("role")
@click.argument("people", metavar="PUB PUB...", type=FILE, nargs=-1, required=True)
@click.option(
    "--path",
    "patterns",
    multiple=True,
    required=True,
    help="What they may publish, for example 'adapters/health/*'; * never crosses a slash.",
)
@click.option("--threshold", type=int, help="How many keys must sign; each holder has two. [2]")
@click.option("--min-holders", type=int, help="How many different holders must sign. [2]")
@click.option(
    "--terminating", is_flag=True, help="No publisher who is delegated to later is asked about these paths."
)
@_out
@json_option
def delegate(
    role: str,
    people: tuple[Path, ...],
    *,
    patterns: tuple[str, ...],
    threshold: int | None,
    min_holders: int | None,
    terminating: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Write the delegation to a publisher named ROLE, held by the PUB files, for `media build --delegate`."""
    from holdfast.cli import trustview
    from holdfast.trust import fingerprint, policy
    from holdfast.trust.publisher import Delegation

    made = Delegation(
        role,
        patterns,
        tuple(keyfiles.open_handed(path) for path in people),
        policy.MIN_THRESHOLD if threshold is None else threshold,
        policy.MIN_HOLDERS if min_holders is None else min_holders,
        terminating,
    )
    data = made.encode()
    _create(out, data)
    print_ = fingerprint.of_document(data)
    document: dict[str, Json] = {
        "file": str(out),
        "fingerprint": print_,
        "role": made.role,
        "paths": [*made.paths],
        "holders": [one.holder for one in made.holders],
        "threshold": made.threshold,
        "min_holders": made.min_holders,
        "terminating": made.terminating,
    }

    def lines() -> Iterator[str]:
        yield f"delegation   {out}"
        yield from trustview.delegation_lines(made)
        yield f"fingerprint  {print_}"
        yield "Read the fingerprint aloud to those who sign the targets; they build with `media build --delegate`."

    emit(document, as_json, lines)


def _write_root(out: Path, made: bytes, before: bytes | None, *, as_json: bool) -> None:
    from holdfast.cli import trustview
    from holdfast.trust import ladder

    one = ladder.rung(made, before)
    _require_name(out, one.standing.version)
    _create(out, made)

    def lines() -> Iterator[str]:
        yield f"draft        {out}"
        yield from trustview.rung_lines(one)
        yield "Read the fingerprint aloud to every holder; each compares it and signs with `holdfast trust sign`."

    emit({"file": str(out), **trustview.of_rung(one)}, as_json, lines)


def _show_list(place: Path, made: RevocationList, print_: str, *, as_json: bool) -> None:
    from holdfast.cli import trustview

    revoked: list[Json] = [*made.entries]
    data: dict[str, Json] = {
        "file": str(place),
        "counter": made.counter,
        "revoked": revoked,
        "fingerprint": print_,
    }

    def lines() -> Iterator[str]:
        yield from trustview.revocation_lines(made)
        yield f"fingerprint  {print_}"
        yield f"Sites learn of it from the next medium: `holdfast media build ... --revocations {place}`."

    emit(data, as_json, lines)


def _root(path: Path) -> bytes:
    from tuf.api.metadata import Root

    from holdfast.trust import metadata

    return keyfiles.read(path, metadata.MAX_BYTES[Root.type], "The root")


def _held(roles: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found = {}
    for text in roles:
        role, _, names = text.partition("=")
        if not names or role in found:
            raise UsageRefused(
                "trust.ceremony-role-form",
                f"--role {text[:80]} is not ROLE=NAME,NAME, or names a role again.",
                remedy="Write for example --role snapshot=Ada,Bo.",
            )
        found[role] = tuple(names.split(","))
    return found


def _require_name(out: Path, version: int) -> None:
    """Refuse a name that would tell a wrong version, for roots are found by their names."""
    named = re.fullmatch(r"([0-9]+)\.root\.json", out.name)
    if named and int(named[1]) != version:
        raise UsageRefused(
            "trust.root-name",
            f"This is root version {version}, and {out.name} is the name of another.",
            remedy=f"Name it {version}.root.json.",
            version=version,
        )


def _create(path: Path, data: bytes) -> None:
    from holdfast.store import disk

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise NotFound(
            "trust.out-folder",
            f"The folder {path.parent} is not there and can't be made: {problem.strerror}.",
            remedy="Make the folder, or choose one in which you may write.",
            file=str(path),
        ) from problem
    with disk.faults(str(path)):
        try:
            disk.create_file(path, data, mode=_MODE)
        except FileExistsError as problem:
            raise Conflict(
                "trust.out-taken",
                f"{path} exists already; a document of the ceremony is never overwritten.",
                remedy="Choose another name, or move the old file away.",
                file=str(path),
            ) from problem


def _in(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
