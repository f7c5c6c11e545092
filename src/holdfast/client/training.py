"""Training, as clients ask for it: a run and what is done with it, one function each.

The command line, the console and the demo share these. Order of operations of a run and of an estimate: the recipe is checked
here, its data are sent and prepared one by one, then the recipe goes after them. Long work returns its job's number at once;
preparing is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from holdfast import parts
from holdfast.client import datasets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.client.connection import Client

    Tell = Callable[[dict[str, Json]], None]


def unheard(entry: dict[str, Json]) -> None:
    """Take an entry of a job's stream and show nothing.

    Args:
        entry: The entry.
    """


async def start(
    client: Client, recipe: Path, model: str, *, quarantine: bool = False, tell: Tell = unheard
) -> int:
    """Prepare the data that a recipe names, and start a run of it.

    Args:
        client: An operator's session.
        recipe: The recipe's file.
        model: The base, by name or digest.
        quarantine: Whether malformed rows are set aside instead of stopping the run.
        tell: Told of every entry of the jobs that prepare the data.

    Returns:
        The job, whose number is the run's.

    Raises:
        UntrustedRecipe: If the recipe is wrong, before anything is sent.
    """
    return await _submit(client, "/v1/runs", recipe, model, quarantine=quarantine, tell=tell)


async def estimate(
    client: Client, recipe: Path, model: str, *, quarantine: bool = False, tell: Tell = unheard
) -> int:
    """Prepare the data that a recipe names, and estimate what a run of it needs.

    Args:
        client: An operator's session.
        recipe: The recipe's file.
        model: The base, by name or digest.
        quarantine: Whether malformed rows are set aside.
        tell: Told of every entry of the jobs that prepare the data.

    Returns:
        The job; its result holds ``estimate``.

    Raises:
        UntrustedRecipe: If the recipe is wrong, before anything is sent.
    """
    return await _submit(client, "/v1/runs/estimate", recipe, model, quarantine=quarantine, tell=tell)


async def _submit(
    client: Client, route: str, recipe: Path, model: str, *, quarantine: bool, tell: Tell
) -> int:
    if not model.isdigit():  # the daemon alone knows runs' numbers; a wrong name is told before data are sent
        await client.call("GET", f"/v1/artefacts/{quote(model, safe='')}")
    prepared = await datasets.prepare_data(client, recipe, quarantine=quarantine, tell=tell)
    absent = {str(told) for one in prepared.values() for told in parts.listed(one.get("not_compared"))}
    for told in sorted(absent):
        text = f"Suite {told.rstrip('.')}. The data were not compared with it, and without it the run can't be judged."
        tell({"kind": "note", "text": text})
    body: dict[str, Json] = {
        "recipe": await client.upload(recipe),
        "file": recipe.name,
        "data": {path: one["dataset"] for path, one in prepared.items()},
        "model": model,
        "quarantine": quarantine,
    }
    return job(await client.call("POST", route, body))


async def show(client: Client, run: str) -> dict[str, Json]:
    """Fetch the page of a run.

    Args:
        client: A session.
        run: Its number, digest, digits of it, or its recipe's name.

    Returns:
        The page; see ``GET /v1/runs/{run}``.
    """
    return await client.call("GET", _route(run))


async def listed(client: Client) -> dict[str, Json]:
    """Fetch the list of runs.

    Args:
        client: A session.

    Returns:
        ``runs``, the newest first.
    """
    return await client.call("GET", "/v1/runs")


def telemetry(client: Client, run: str) -> AsyncIterator[bytes]:
    """Fetch the telemetry of a run: JSON Lines, one for each step.

    Args:
        client: A session.
        run: The run, as for ``show``.

    Returns:
        Its bytes, piece by piece.
    """
    return client.stream(_route(run, "/telemetry"))


async def replay(client: Client, run: str, *, anyway: bool = False) -> int:
    """Run a recorded run again; it must make the same bytes.

    Args:
        client: An operator's session.
        run: The run, as for ``show``.
        anyway: Whether to try it in another environment than it was made in.

    Returns:
        The job.
    """
    return job(await client.call("POST", _route(run, "/replay"), {"anyway": anyway}))


async def resume(client: Client, run: int) -> int:
    """Take a stopped or paused run up again from its last checkpoint.

    Args:
        client: An operator's session.
        run: Its number.

    Returns:
        The job of the run that goes on.
    """
    return job(await client.call("POST", _route(str(run), "/resume")))


async def discard(client: Client, run: int) -> dict[str, Json]:
    """Give up the checkpoints of a stopped run.

    Args:
        client: An operator's session.
        run: Its number.

    Returns:
        ``run`` and ``bytes``.
    """
    return await client.call("POST", _route(str(run), "/discard"))


async def cancel(client: Client, run: int) -> dict[str, Json]:
    """Stop a run, a replay or an estimate at its next step.

    Args:
        client: An operator's session.
        run: Its number.

    Returns:
        ``cancelling``.
    """
    return await client.call("POST", _route(str(run), "/cancel"))


def job(answer: dict[str, Json]) -> int:
    """Take a job's number from the answer that started it.

    Args:
        answer: The daemon's answer.

    Returns:
        The number.
    """
    number = answer["job"]
    return number if isinstance(number, int) else 0


def _route(run: str, rest: str = "") -> str:
    return f"/v1/runs/{quote(run, safe='')}{rest}"
