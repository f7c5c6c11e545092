"""``holdfast trust``: the root that a home follows, and the ceremony by which publishers make roots and sign media.

Nothing here needs a daemon; no secret key is opened but by ``sign``, and that only after what is signed was shown.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import ceremony, keyfiles, trustfiles
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option
from holdfast.errors import Locked
from holdfast.paths import Home, default_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.canonical import Json


_FILE = click.Path(path_type=Path, dir_okay=False)


def home_option(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--home``.

    Args:
        function: The command's function; it receives ``home``.

    Returns:
        The decorated function.
    """
    return click.option(
        "--home", type=click.Path(path_type=Path), help="The home; the usual one if not given."
    )(function)


def find_home(ctx: click.Context, named: Path | None) -> Home:
    """Find the home that an offline command works on.

    Args:
        ctx: The command's context, whose object may hold the program's own ``--home``.
        named: The command's ``--home``, or None.

    Returns:
        The home.
    """
    outer = ctx.obj.get("home") if isinstance(ctx.obj, dict) else None
    chosen = named or (Path(outer) if outer else None)
    return Home(chosen.absolute()) if chosen else default_home()


@click.group(cls=Group)
def trust() -> None:
    """Pin and show the root of trust; make roots, delegate, revoke, and sign media in turn."""


@trust.command()
@click.argument("root", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--fingerprint", required=True, help="The root's fingerprint, received by another way than the root."
)
@home_option
@json_option
@click.pass_context
def init(ctx: click.Context, root: Path, fingerprint: str, home: Path | None, *, as_json: bool) -> None:
    """Pin the root metadata file ROOT in a home, if it has the fingerprint given."""
    from tuf.api.metadata import Root

    from holdfast.media import trusthome
    from holdfast.trust import metadata

    place = find_home(ctx, home)
    data = keyfiles.read(root, metadata.MAX_BYTES[Root.type], "The root")
    place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _held(place):
        trusthome.pin(place.trust, data, fingerprint, datetime.now(UTC))
    _show(place, as_json=as_json)


@trust.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--previous", type=_FILE, help="The root before PATH, if it is not beside it.")
@home_option
@json_option
@click.pass_context
def show(
    ctx: click.Context, path: Path | None, previous: Path | None, home: Path | None, *, as_json: bool
) -> None:
    """Show the home's pinned root; or what PATH is, who signed it, and who is still needed.

    PATH is a root, a folder of roots (every step of the ladder is judged), a medium or a metadata file of one, a
    delegation, or a revocation list.
    """
    if path is None:
        _show(find_home(ctx, home), as_json=as_json)
        return
    from holdfast.cli import trustview
    from holdfast.media import layout

    document = None if path.is_dir() else trustfiles.document(path)
    if document is not None:
        emit({"file": str(path), **document.data}, as_json, lambda: document.lines)
        return
    if path.is_dir() and not (path / layout.METADATA).is_dir():
        rungs = trustfiles.ladder_in(path)
        data: dict[str, Json] = {
            "folder": str(path),
            "complete": all(one.standing.complete for one in rungs),
            "roots": [trustview.of_rung(one) for one in rungs],
        }
        emit(data, as_json, lambda: (line for one in rungs for line in trustview.rung_lines(one)))
        return
    papers = trustfiles.lay_out(path, previous, alone=True)
    emit({"path": str(path), **trustview.of_papers(papers)}, as_json, lambda: trustview.lines(papers))


@trust.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--key", type=_FILE, required=True, help="Your .key file.")
@click.option("--passphrase-file", type=_FILE, help="Read the passphrase from this file instead of asking.")
@click.option("--previous", type=_FILE, help="The root before PATH, if it is not beside it.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts that have compared the fingerprint.")
@json_option
def sign(
    path: Path,
    *,
    key: Path,
    passphrase_file: Path | None,
    previous: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Add your signatures to PATH: a root's draft, a medium, or one metadata file of a medium.

    It shows what is signed and its fingerprint, and who is still needed afterwards. Signing twice changes nothing.
    """
    from holdfast.cli import trustview
    from holdfast.media import sign as signing

    papers = trustfiles.lay_out(path, previous)
    holder = keyfiles.open_public(key)
    sheets = signing.awaiting(papers, holder)
    added: list[Json] = [sheet.role for sheet in sheets]
    if sheets:
        for line in trustview.lines(papers):
            click.echo(line, err=True)
        click.echo(
            f"{holder.holder} signs: {', '.join(str(role) for role in added)}."
            " Compare the fingerprint with the one that the other holders read aloud.",
            err=True,
        )
        if not yes:
            click.confirm("Is it the same, and do you sign?", abort=True, err=True)
        signing.sign(sheets, keyfiles.open_pair(key, passphrase_file))
        papers = trustfiles.lay_out(path, previous)
    data: dict[str, Json] = {
        "path": str(path),
        "holder": holder.holder,
        "added": added,
        "fingerprint": papers.fingerprint,
        **trustview.outcome(papers),
    }

    def lines() -> Iterator[str]:
        if not sheets:
            yield f"{holder.holder} has signed all of it before."
        for sheet in papers.sheets:
            yield trustview.standing_line(sheet.standing)
        yield f"fingerprint  {papers.fingerprint}"

    emit(data, as_json, lines)


for _command in (ceremony.create, ceremony.add, ceremony.rotate, ceremony.revoke, ceremony.delegate):
    trust.add_command(_command)


def _show(place: Home, *, as_json: bool) -> None:
    from tuf.api.metadata import Root, Timestamp

    from holdfast.cli import trustview
    from holdfast.media import trusthome
    from holdfast.trust import fingerprint, metadata, policy, revocation

    state = trusthome.load(place.trust)
    root = metadata.parse(Root, state.root).signed
    rule = policy.of_root(root)
    stamp = metadata.parse(Timestamp, state.timestamp).signed if state.timestamp else None
    revoked = revocation.parse(state.revocations) if state.revocations else None
    print_ = fingerprint.of_root(state.root)
    holders: list[Json] = [*sorted(rule.holders)]
    data: dict[str, Json] = {
        "home": str(place.root),
        "root_version": root.version,
        "fingerprint": print_,
        "holders": holders,
        "min_holders": rule.min_holders,
        "roles": trustview.of_roles(root),
        "expires": root.expires.isoformat(),
        "time_floor": state.floor.isoformat() if state.floor else None,
        "medium_version": stamp.version if stamp else None,
        "medium_expires": stamp.expires.isoformat() if stamp else None,
        "revocations": revoked.counter if revoked else None,
    }

    def lines() -> Iterator[str]:
        yield f"home         {place.root}"
        yield f"root         version {root.version}, ends {root.expires:%Y-%m-%d}"
        yield f"fingerprint  {print_}"
        yield f"holders      {', '.join(sorted(rule.holders))}; {rule.min_holders} different ones must sign"
        yield from trustview.role_lines(root)
        if stamp:
            yield f"last medium  version {stamp.version}, ends {stamp.expires:%Y-%m-%d}"
        if revoked:
            yield from trustview.revocation_lines(revoked)
        if state.floor:
            yield f"time floor   {state.floor:%Y-%m-%d %H:%M} UTC"

    emit(data, as_json, lines)


@contextmanager
def _held(home: Home) -> Iterator[None]:
    """Hold a home's lock, which its daemon holds while it runs."""
    with home.lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise Locked(
                "trust.daemon-runs",
                f"A daemon runs on {home.root}.",
                remedy="Stop the daemon first; it reads the root when it starts.",
                home=str(home.root),
            ) from problem
        yield
