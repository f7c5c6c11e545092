"""What clients do with the daemon, one function per thing a person asks for.

The command line, the console and the demo share these, so that they can't differ. Each takes an open ``Client`` with a
session; long work returns its job's number at once. Files are opened here, in the person's own process.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.errors import NotPermitted, UntrustedRecipe
from holdfast.governance import approvals
from holdfast.keys import person as keys

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.keys.person import KeyPair

APPROVAL_HOURS = 1  # a signature made at the keyboard is used at once


async def start_import(client: Client, medium: Path) -> int:
    """Ask for a medium to be imported.

    Args:
        client: A session of an administrator or operator.
        medium: The medium's folder, beneath a media root of the site.

    Returns:
        The job, whose number is also the request's.
    """
    path = str(medium.absolute())  # noqa: ASYNC240 - asks for the working folder, no disk
    return _job(await client.call("POST", "/v1/bundles/import", {"path": path}))


async def admit(client: Client, pair: KeyPair, request: int) -> dict[str, Json]:
    """Admit a waiting import as the second administrator.

    Args:
        client: The second administrator's session.
        pair: Their key pair; it signs what the daemon says the request is.
        request: The request's number.

    Returns:
        The outcome, with the new generation.

    Raises:
        NotPermitted: If there is nothing to be signed.
    """
    shown = await client.call("GET", f"/v1/bundles/{request}")
    wanted = shown.get("approval")
    if not isinstance(wanted, dict):
        raise NotPermitted(
            "bundle.not-waiting",
            f"Request {request} is {shown.get('state')}, not waiting to be admitted.",
            remedy="See `holdfast bundle list`.",
        )
    expires = (datetime.now(UTC) + timedelta(hours=APPROVAL_HOURS)).isoformat(timespec="seconds")
    statement = approvals.parse({**wanted, "expires": expires})
    return await client.call(
        "POST",
        f"/v1/bundles/{request}/admit",
        {
            "statement": statement.to_json(),
            "signatures": list(keys.sign(pair, approvals.DOMAIN, statement.payload())),
        },
    )


async def start_training(client: Client, recipe: Path, model: str) -> int:
    """Send a recipe with everything it names, and start it.

    Args:
        client: An operator's session.
        recipe: The recipe's file.
        model: The base, by name or digest.

    Returns:
        The job.

    Raises:
        UntrustedRecipe: If the recipe is wrong, before anything is sent.
    """
    folder = recipe.parent
    data: dict[str, Json] = {}
    for path in data_files(recipe):
        data[path] = await client.upload(folder / path)
    return _job(
        await client.call(
            "POST",
            "/v1/runs",
            {"recipe": await client.upload(recipe), "file": recipe.name, "data": data, "model": model},
        )
    )


def data_files(path: Path) -> list[str]:
    """Check a recipe on the client's side, and name the data files that go with it.

    Args:
        path: The recipe's file.

    Returns:
        Their paths, relative to the recipe.

    Raises:
        UntrustedRecipe: With every mistake, also data files that do not exist.
    """
    from holdfast.formats import written
    from holdfast.training import spec

    try:
        with path.open("rb") as file:
            data = file.read(written.MAX_DOCUMENT + 1)
    except OSError as error:
        raise UntrustedRecipe(
            "recipe.unreadable",
            f"{path} can't be read: {error.strerror}.",
            remedy="Check the path and its rights.",
        ) from error
    recipe = spec.read_recipe(data, file=str(path), exists=lambda name: (path.parent / name).is_file())
    return [entry.path for entry in recipe.data]


async def save_report(client: Client, job: int, folder: Path) -> list[str]:
    """Fetch an exported residency report.

    Args:
        client: An auditor's session.
        job: The report's job, done.
        folder: Where to write it; must be empty or not exist.

    Returns:
        The names of the files written.
    """
    from holdfast.report.folder import write

    listed = (await client.call("GET", f"/v1/reports/{job}")).get("files")
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    write(folder, {name: await client.download(f"/v1/reports/{job}/{name}") for name in names})
    return names


def _job(answer: dict[str, Json]) -> int:
    number = answer["job"]
    return number if isinstance(number, int) else 0
