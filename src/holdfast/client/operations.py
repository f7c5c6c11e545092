"""What clients do with the daemon, one function per thing a person asks for.

The command line, the console and the demo share these, so that they can't differ. Each takes an open ``Client`` with a
session; long work returns its job's number at once. Files are opened here, in the person's own process.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from holdfast.errors import Conflict, VerificationFailed
from holdfast.governance import approvals, exceptions, inventories, releases, sealings
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


async def admit(client: Client, pair: KeyPair, request: int, reason: str | None = None) -> dict[str, Json]:
    """Admit a waiting import as the second administrator.

    Args:
        client: The second administrator's session.
        pair: Their key pair; it signs what the daemon says the request is.
        request: The request's number.
        reason: Why, for the record, if there is something to say.

    Returns:
        The outcome, with the new generation.

    Raises:
        Conflict: If there is nothing to be signed.
    """
    signed = await _seconded(client, pair, f"/v1/bundles/{request}", "bundle.admit", request)
    return await client.call("POST", f"/v1/bundles/{request}/admit", {**signed, "reason": reason})


async def reject(client: Client, pair: KeyPair, request: int, reason: str) -> dict[str, Json]:
    """Reject a waiting import as the second administrator.

    Args:
        client: The second administrator's session.
        pair: Their key pair; it signs what the daemon says the request is.
        request: The request's number.
        reason: Why, for the record.

    Returns:
        The outcome.

    Raises:
        Conflict: If there is nothing to be signed.
    """
    signed = await _seconded(
        client, pair, f"/v1/bundles/{request}", "bundle.reject", request, offered="rejection"
    )
    return await client.call("POST", f"/v1/bundles/{request}/reject", {**signed, "reason": reason})


async def grant_exception(client: Client, pair: KeyPair, request: int) -> dict[str, Json]:
    """Grant an exception as the second administrator.

    Args:
        client: The second administrator's session.
        pair: Their key pair; it signs what the daemon says the request is.
        request: The exception's number.

    Returns:
        The exception, granted.
    """
    route = f"/v1/exceptions/{request}"
    return await client.call(
        "POST", f"{route}/grant", await _seconded(client, pair, route, exceptions.GRANT, request)
    )


async def let_out(client: Client, pair: KeyPair, request: int) -> dict[str, Json]:
    """Let an inventory out as the second administrator.

    Args:
        client: The second administrator's session.
        pair: Their key pair; it signs what the daemon says the request is.
        request: The inventory's number.

    Returns:
        The inventory, granted.
    """
    route = f"/v1/requests/{request}"
    return await client.call(
        "POST", f"{route}/grant", await _seconded(client, pair, route, inventories.GRANT, request)
    )


async def grant_sealed(client: Client, pair: KeyPair, request: int) -> dict[str, Json]:
    """Grant a request for sealed payloads as the second person.

    Args:
        client: The second person's session.
        pair: Their key pair; it signs the digest of the document that is shown, computed here.
        request: The request's number.

    Returns:
        The request, granted; an erasure or a change of retention has acted then.

    Raises:
        VerificationFailed: If what the daemon wants signed is not the document that it shows.
    """
    route = f"/v1/sealed/{request}"
    shown = await client.call("GET", route)
    known = {"schema", "kind", "reason", "subject", "answer", "commitments", "tenant", "class", "days"}
    document = sealings.parse(
        {"schema": sealings.SCHEMA} | {name: shown[name] for name in known & shown.keys()}
    )
    wanted = shown.get("approval")
    if isinstance(wanted, dict) and wanted.get("digest") != document.digest:
        raise VerificationFailed(
            "approval.other",
            f"Request {request} is shown as one document, and the daemon wants another one signed.",
            remedy="Sign nothing at this home before its daemon was examined.",
        )
    standing = f"Request {request} is {shown.get('standing')}"
    signed = sign_statement(pair, wanted, standing, sealings.GRANTS[document.kind], request)
    return await client.call("POST", f"{route}/grant", signed)


async def approve_release(client: Client, pair: KeyPair, request: int) -> int:
    """Approve a release as the second person.

    Args:
        client: The second person's session.
        pair: Their key pair; it signs the digest of the document that is shown, computed here.
        request: The release's number.

    Returns:
        The job that lets it take over.

    Raises:
        VerificationFailed: If what the daemon wants signed is not the document that it shows.
    """
    route = f"/v1/releases/{request}"
    shown = await client.call("GET", route)
    fields = {name: shown[name] for name in releases.FIELDS if name in shown}
    document = releases.parse({"schema": releases.SCHEMA} | fields)
    wanted = shown.get("approval")
    if isinstance(wanted, dict) and wanted.get("digest") != document.digest:
        raise VerificationFailed(
            "approval.other",
            f"Release {request} is shown as one document, and the daemon wants another one signed.",
            remedy="Sign nothing at this home before its daemon was examined.",
        )
    standing = f"Release {request} is {shown.get('standing')}"
    signed = sign_statement(pair, wanted, standing, releases.APPROVE, request)
    return _job(await client.call("POST", f"{route}/approve", signed))


async def _seconded(
    client: Client, pair: KeyPair, route: str, action: str, request: int, *, offered: str = "approval"
) -> dict[str, Json]:
    """Fetch what a second person has to sign, and sign it."""
    shown = await client.call("GET", route)
    standing = f"Request {request} is {shown.get('standing', shown.get('state'))}"
    return sign_statement(pair, shown.get(offered), standing, action, request)


def sign_statement(pair: KeyPair, wanted: Json, standing: str, action: str, request: int) -> dict[str, Json]:
    """Sign what the daemon says a second person has to sign, if it is what they meant to decide.

    Args:
        pair: The second person's key pair.
        wanted: The statement, its expiry empty; anything else if there is none.
        standing: How the request stands, for the refusal: ``Request 7 is admitted``.
        action: The act that the person means.
        request: The request that they named.

    Returns:
        ``statement`` and ``signatures``, as the daemon takes them.

    Raises:
        Conflict: If there is nothing to be signed.
        VerificationFailed: If the daemon gave another act or another request to be signed.
    """
    if not isinstance(wanted, dict):
        raise Conflict(
            "bundle.not-waiting",
            f"{standing}, not waiting to be decided.",
            remedy="List what waits, and look at it again.",
        )
    expires = (datetime.now(UTC) + timedelta(hours=APPROVAL_HOURS)).isoformat(timespec="seconds")
    statement = approvals.parse({**wanted, "expires": expires})
    if (statement.action, statement.request) != (action, request):
        raise VerificationFailed(
            "approval.other",
            f"To {action} {request}, the daemon wants {statement.action} {statement.request} signed.",
            remedy="Sign nothing at this home before its daemon was examined.",
        )
    return {
        "statement": statement.to_json(),
        "signatures": list(keys.sign(pair, approvals.DOMAIN, statement.payload())),
    }


async def save_report(client: Client, job: int, folder: Path) -> list[str]:
    """Fetch a residency report or an import's receipt.

    Args:
        client: A session of somebody who may make such a report.
        job: The report's job, done.
        folder: Where to write it; must be empty or not exist.

    Returns:
        The names of the files written.
    """
    listed = (await client.call("GET", f"/v1/reports/{job}")).get("files")
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    files = {name: await client.download(f"/v1/reports/{job}/{name}") for name in names}
    await asyncio.to_thread(_write, folder, files)
    return names


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Write a report's folder; in a thread, as a console must not wait for a disk."""
    from holdfast.report.folder import write

    write(folder, files)


def _job(answer: dict[str, Json]) -> int:
    number = answer["job"]
    return number if isinstance(number, int) else 0
