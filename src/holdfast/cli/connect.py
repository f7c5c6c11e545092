"""From a command to the daemon: which home, whose key, one session."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from holdfast import paths
from holdfast.cli import keyfiles
from holdfast.cli.output import Progress
from holdfast.errors import NotFound, UsageRefused
from holdfast.paths import Home, default_home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.keys.person import KeyPair

T = TypeVar("T")
LEFT = 130  # the exit code of a command that was left by Ctrl-C, as shells have it


def home(ctx: click.Context) -> Home:
    """Find the home a command works on.

    Args:
        ctx: The command's context.

    Returns:
        ``--home`` if given, else the default home.
    """
    named = ctx.obj["home"]
    return Home(Path(named).absolute()) if named else default_home()


def open_key(ctx: click.Context) -> KeyPair:
    """Open the key of the person who gives the command, in this process.

    Args:
        ctx: The command's context.

    Returns:
        The opened pair.

    Raises:
        UsageRefused: If nobody was named.
        NotFound: If there is no such key file.
    """
    person = ctx.obj["person"]
    if not person:
        raise UsageRefused(
            "session.person",
            "This command needs to know who you are.",
            remedy="Add --as PERSON, or set HOLDFAST_PERSON.",
        )
    path = keyfiles.secret(paths.people_keys(), person)
    if not path.exists():
        raise NotFound(
            "keys.missing",
            f"There is no key {path}.",
            remedy=f"Make one with `holdfast keys new {person}`, or set HOLDFAST_KEYS to its folder.",
        )
    named = ctx.obj["passphrase_file"]
    return keyfiles.open_pair(path, Path(named) if named else None)


@asynccontextmanager
async def session(ctx: click.Context) -> AsyncIterator[Client]:
    """Open a session of the person who gives the command.

    Args:
        ctx: The command's context.

    Yields:
        The client.
    """
    async with session_and_key(ctx) as (client, _):
        yield client


@asynccontextmanager
async def session_and_key(ctx: click.Context) -> AsyncIterator[tuple[Client, KeyPair]]:
    """Open a session, and keep the key for signing.

    Args:
        ctx: The command's context.

    Yields:
        The client and the person's key pair.
    """
    from holdfast.client.connection import Client

    async with Client(home(ctx)) as client:
        await client.call("GET", "/v1/status")  # nobody is asked for a passphrase when no daemon runs
        pair = open_key(ctx)
        await client.login(pair)
        yield client, pair


def run(work: Coroutine[object, object, T]) -> T:
    """Run a command's coroutine.

    Args:
        work: The coroutine.

    Returns:
        Its result.
    """
    return asyncio.run(work)


def call(
    ctx: click.Context,
    method: str,
    route: str,
    body: dict[str, Json] | None = None,
    **query: str | int | None,
) -> dict[str, Json]:
    """Make one call to the daemon, in a session of its own.

    Args:
        ctx: The command's context.
        method: The HTTP method.
        route: The route's path.
        body: The message.
        **query: The query's parameters.

    Returns:
        The answer.
    """

    async def work() -> dict[str, Json]:
        async with session(ctx) as client:
            return await client.call(method, route, body, **query)

    return run(work())


def job(
    ctx: click.Context, route: str, body: dict[str, Json] | None = None, *, again: str | None = None
) -> dict[str, Json]:
    """Start a job by one call, in a session of its own, and follow it to its end.

    Args:
        ctx: The command's context.
        route: The route's path.
        body: The message.
        again: As for ``finish``.

    Returns:
        The job's result.
    """

    async def work() -> dict[str, Json]:
        async with session(ctx) as client:
            answer = await client.call("POST", route, body)
            return await finish(client, int(str(answer["job"])), again)

    return run(work())


async def finish(client: Client, job: int, again: str | None = None) -> dict[str, Json]:
    """Follow a job on stderr to its end. Ctrl-C leaves it running.

    Args:
        client: An open session.
        job: The job.
        again: The command that shows the job again, for who leaves it now.

    Returns:
        Its result.

    Raises:
        HoldfastError: As the job raised it.
    """
    progress = Progress()
    try:
        return await client.finish(job, progress.entry)
    except asyncio.CancelledError:
        progress.end()
        click.echo(f"Job {job} goes on; {again or f'`holdfast job follow {job}`'} shows it again.", err=True)
        raise click.exceptions.Exit(LEFT) from None  # nothing was stopped, and nothing says so
    finally:
        progress.end()
