"""``holdfast trust``: the root that a home follows, pinned by its fingerprint."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import keyfiles
from holdfast.cli.output import emit, json_option
from holdfast.errors import Locked
from holdfast.paths import Home, default_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.canonical import Json


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


@click.group()
def trust() -> None:
    """Pin and show the root of trust."""


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
@home_option
@json_option
@click.pass_context
def show(ctx: click.Context, home: Path | None, *, as_json: bool) -> None:
    """Show the pinned root: version, fingerprint, holders, roles, expiry."""
    _show(find_home(ctx, home), as_json=as_json)


def _show(place: Home, *, as_json: bool) -> None:
    from tuf.api.metadata import Root, Timestamp

    from holdfast.media import trusthome
    from holdfast.trust import fingerprint, metadata, policy

    state = trusthome.load(place.trust)
    root = metadata.parse(Root, state.root).signed
    rule = policy.of_root(root)
    stamp = metadata.parse(Timestamp, state.timestamp).signed if state.timestamp else None
    print_ = fingerprint.of_root(state.root)
    roles: dict[str, Json] = {
        name: {"threshold": role.threshold, "keys": len(role.keyids)} for name, role in root.roles.items()
    }
    holders: list[Json] = [*sorted(rule.holders)]
    data: dict[str, Json] = {
        "home": str(place.root),
        "root_version": root.version,
        "fingerprint": print_,
        "holders": holders,
        "min_holders": rule.min_holders,
        "roles": roles,
        "expires": root.expires.isoformat(),
        "time_floor": state.floor.isoformat() if state.floor else None,
        "medium_version": stamp.version if stamp else None,
        "medium_expires": stamp.expires.isoformat() if stamp else None,
    }

    def lines() -> Iterator[str]:
        yield f"home         {place.root}"
        yield f"root         version {root.version}, ends {root.expires:%Y-%m-%d}"
        yield f"fingerprint  {print_}"
        yield f"holders      {', '.join(sorted(rule.holders))}; {rule.min_holders} different ones must sign"
        for name, role in root.roles.items():
            yield f"role         {name}: {role.threshold} of {len(role.keyids)} keys"
        if stamp:
            yield f"last medium  version {stamp.version}, ends {stamp.expires:%Y-%m-%d}"
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
