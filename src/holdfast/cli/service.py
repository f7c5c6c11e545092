"""The daemon's own commands: ``up``, ``daemon``, ``down``, ``status``, ``doctor``, ``console``."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect, keyfiles
from holdfast.cli.output import emit, json_option, size

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.paths import Home

START_SECONDS = 60.0  # for a daemon to answer; replaying a million events takes some of it
STOP_SECONDS = 60.0  # for a daemon to end its workers
LOG_FILE = "daemon.log"
LOG_TAIL = 2000  # characters of the daemon's log that are shown when it does not start
READY = "ready"
STOPPED = "stopped"  # the log's level of space at which no act begins

_STARTED: list[
    subprocess.Popen[bytes]
] = []  # daemons of this process's life, kept so that they are reaped, not forgotten


@click.command()
@click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Found the home with this site document first.",
)
@json_option
@click.pass_context
def up(ctx: click.Context, site: Path | None, *, as_json: bool) -> None:
    """Run the home's daemon in the background; found the home first if --site is given."""
    home = connect.home(ctx)
    if site is not None:
        found_home(home, site)
    pid = start(home)
    emit(
        {"home": str(home.root), "pid": pid},
        as_json,
        lambda: [f"The daemon of {home.root} runs (process {pid}).", "Look at it with `holdfast status`."],
    )


def found_home(home: Home, site: Path) -> None:
    """Put a site document and the keys that it names into a new home.

    Args:
        home: The home.
        site: The document.

    Raises:
        Conflict: If the home was founded with another one.
        UntrustedInput: If the document is wrong.
    """
    from holdfast import config
    from holdfast.errors import Conflict, UntrustedInput
    from holdfast.keys import person
    from holdfast.store import disk

    data = keyfiles.read(site, config.MAX_SITE, "The site document")
    parsed = config.parse(data, file=str(site))
    if home.founded.exists():
        if home.site.read_bytes() == data:
            return
        raise Conflict(
            "home.founded",
            f"{home.root} was founded with another site document.",
            remedy="Leave --site out, or use another home.",
        )
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def copy(named: str, limit: int, what: str, mode: int) -> None:
        target = (home.root / named).resolve()
        if not target.is_relative_to(home.root.resolve()):
            raise UntrustedInput(
                "site.key",
                f"The key {named} would lie outside of the home.",
                remedy="Put it beside the document.",
            )
        found = keyfiles.read(site.parent / named, limit, what)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        disk.write_file(target, found, mode=mode)

    for entry in parsed.person:
        copy(entry.key, person.MAX_PUBLIC_DOCUMENT, f"The key of {entry.name}", 0o644)
    tls = parsed.serving.tls
    if tls is not None:
        copy(tls.certificate, config.MAX_PEM, "The server's certificate", 0o600)
        copy(tls.key, config.MAX_PEM, "The server's key", 0o600)
        if tls.clients is not None:
            copy(tls.clients, config.MAX_PEM, "The file of clients' authorities", 0o600)
    disk.write_file(home.site, data, mode=0o644)


def start(home: Home) -> int:
    """Start the daemon of a home and wait until it answers.

    Args:
        home: The home.

    Returns:
        Its process number.

    Raises:
        HoldfastError: What it refused to start with.
        OperationFailed: If it does not answer in time.
    """
    from holdfast import errors
    from holdfast.errors import NotFound, OperationFailed

    if not home.root.is_dir():
        raise NotFound(
            "home.not-founded",
            f"{home.root} is not a founded home.",
            remedy="Found it with `holdfast up --site site.toml` (see docs/site.md), or try `holdfast demo`.",
        )
    log = home.root / LOG_FILE
    said, telling = os.pipe()
    with log.open("ab") as output, os.fdopen(said, "rb") as listening:
        begin = output.tell()
        try:
            process = subprocess.Popen(
                # -P: what lies in the folder where the command was given is nobody's module.
                [sys.executable, "-P", "-m", "holdfast.cli", "--home", str(home.root), "daemon", "--json"],
                stdin=subprocess.DEVNULL,
                stdout=telling,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(telling)
        try:
            if (
                select.select([listening], [], [], START_SECONDS)[0]
                and READY.encode() in listening.readline()
            ):
                _STARTED.append(process)
                return process.pid
        except BaseException:  # Ctrl-C: nobody would know of this daemon
            process.terminate()
            raise
    if process.poll() is None:
        process.terminate()
    code = process.wait()
    with log.open("rb") as written:
        written.seek(begin)
        told = written.read().decode("utf-8", "replace")
    for line in told.splitlines():
        if line.startswith('{"error"'):
            import json

            raise errors.from_dict(json.loads(line)["error"])
    raise OperationFailed(
        "daemon.start",
        f"The daemon did not start (exit {code}): {told[-LOG_TAIL:]}",
        remedy=f"See {log}.",
    )


@click.command()
@json_option
@click.pass_context
def daemon(ctx: click.Context, *, as_json: bool) -> None:
    """Run the home's daemon in the foreground, until SIGTERM or Ctrl-C."""
    import asyncio
    import json

    from holdfast.daemon import process

    home = connect.home(ctx)

    def ready() -> None:
        if as_json:
            click.echo(json.dumps({READY: True, "home": str(home.root), "pid": os.getpid()}))
        else:
            click.echo(f"Holdfast is {READY} in {home.root}. Ctrl-C stops it.")
        sys.stdout.flush()

    asyncio.run(process.run(home, ready))


@click.command()
@json_option
@click.pass_context
def down(ctx: click.Context, *, as_json: bool) -> None:
    """Stop the home's daemon; jobs are interrupted and can be resumed."""
    home = connect.home(ctx)
    pid = stop(home)
    emit({"stopped": pid}, as_json, lambda: [f"The daemon of {home.root} has stopped."])


def stop(home: Home) -> int:
    """Stop the daemon of a home and wait for its end.

    Args:
        home: The home.

    Returns:
        The process number that it had.

    Raises:
        DaemonUnreachable: If none runs.
        OperationFailed: If it does not end.
    """
    from holdfast.errors import DaemonUnreachable, OperationFailed

    pid = _owner(home)
    if pid is None:
        raise DaemonUnreachable(
            "daemon.unreachable",
            f"No daemon owns {home.root}.",
            remedy="Nothing is left to stop.",
            home=str(home.root),
        )
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _owner(home) is not None:
        if time.monotonic() > deadline:
            raise OperationFailed(
                "daemon.stop", f"The daemon ({pid}) does not end.", remedy="Look at its log."
            )
        time.sleep(0.05)
    for process in [one for one in _STARTED if one.pid == pid]:
        process.wait()
        _STARTED.remove(process)
    return pid


def running(home: Home) -> bool:
    """Tell whether a daemon owns a home.

    Args:
        home: The home.

    Returns:
        True if one does.
    """
    return _owner(home) is not None


def _owner(home: Home) -> int | None:
    """Give the process that holds the home's lock, or None."""
    import fcntl

    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two who ask at once do not take each other for a daemon.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Show what the daemon says of itself; needs no session."""
    from holdfast.client.connection import Client

    async def work() -> dict[str, Json]:
        async with Client(connect.home(ctx)) as client:
            return await client.call("GET", "/v1/status")

    found = connect.run(work())

    def lines() -> list[str]:
        root, log, serving = found["root"], found["log"], found["serving"]
        jobs, waiting = found["jobs"], found["waiting"]
        told = [
            f"site        {found['site']}  ({found['home']}, version {found['version']})",
            f"trust       {'root version ' + str(root['version']) if isinstance(root, dict) else 'no root is pinned'}",
            f"generation  {found['generation'] or 'none'}",
        ]
        if isinstance(log, dict):
            told.append(f"log         {log['size']} events, root {str(log['root'])[:16]}…")
        space = found["space"]
        if isinstance(space, dict) and (space["failure"] or space["level"] != "ample"):
            told.append(f"SPACE       {space_told(space)}")
        if isinstance(serving, dict):
            told.append(f"serving     {serving['address'] or 'nothing'}")
        if isinstance(jobs, list):
            told.append(
                "jobs        "
                + (
                    ", ".join(f"{one['job']} {one['action']}" for one in jobs if isinstance(one, dict))
                    or "none"
                )
            )
        lifted, revoked = found["exceptions"], found["revoked"]
        if isinstance(lifted, dict) and (lifted["open"] or lifted["in_force"]):
            told.append(f"exceptions  {lifted['open']} open, {lifted['in_force']} in force")
        if isinstance(revoked, dict) and revoked["artefacts"]:
            stopped = revoked["withdrawn"]
            names = (
                f"; stopped: {', '.join(map(str, stopped))}" if isinstance(stopped, list) and stopped else ""
            )
            told.append(f"revoked     {revoked['artefacts']} artefacts{names}")
        if isinstance(waiting, list) and waiting:
            told.append(f"waiting     {', '.join(map(str, waiting))} for a second administrator")
        told.append(f"appliance   {found['appliance']}")
        gaps = found["gaps"]
        told += [f"gap         {gap}" for gap in (gaps if isinstance(gaps, list) else [])]
        return told

    emit(found, as_json, lines)


def space_told(space: dict[str, Json]) -> str:
    """Say what the audit log lacks.

    Args:
        space: What the daemon says of its space, which is not ample.

    Returns:
        A clause: whether acts begin, how much is free, and what to do.
    """
    free, low, reserve = (int(str(space[name])) for name in ("free", "low", "reserve"))
    if space["failure"]:
        return f"{space['failure']} {size(free)} free; it is opened again by itself when it can be written."
    if space["level"] == STOPPED:
        return f"no acts begin: {size(free)} free beside the audit log, less than its reserve of {size(reserve)}; free some space"
    return f"low: {size(free)} free beside the audit log, less than {size(low)}; acts stop at {size(reserve)}"


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Try what this host can enforce, hold and measure, and say what is missing."""
    from holdfast.confine.embedded import EmbeddedLauncher
    from holdfast.daemon.energy import Rapl

    home = connect.home(ctx)
    walls = EmbeddedLauncher(home.root).walls()
    place = next(folder for folder in (home.root, *home.root.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    counters = Rapl()
    found: dict[str, Json] = {
        "home": str(home.root),
        "founded": home.site.exists(),
        "daemon": _owner(home),
        "free_bytes": free,
        "energy": {"measured": counters.why is None, "why": counters.why},
        "walls": dict(walls),
        "python": sys.version.split()[0],
    }

    def lines() -> list[str]:
        marks = [
            f"  {'yes' if state is True else 'NO ' if state is False else state}  {name}"
            for name, state in walls.items()
        ]
        return [
            f"home     {home.root} ({'founded' if home.site.exists() else 'not founded: `holdfast up --site site.toml`'})",
            f"daemon   {found['daemon'] or 'does not run: `holdfast up`'}",
            f"disk     {size(free)} free",
            f"energy   {_energy(counters.why)}",
            "walls around workers:",
            *marks,
        ]

    emit(found, as_json, lines)


def _energy(why: str | None) -> str:
    """Say how the energy of a training run will be known."""
    if why is None:
        return "measured by the processor's counters (RAPL)"
    return f"estimated from processor time ([energy] in site.toml): {why}"


@click.command()
@click.pass_context
def console(ctx: click.Context) -> None:
    """Open the terminal console."""
    from holdfast_tui import app

    pair = connect.open_key(ctx)
    app.run(connect.home(ctx), pair)
