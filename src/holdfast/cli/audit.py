"""``holdfast audit``: the log, read, queried, proved and verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from holdfast.canonical import Json

KEY_FILE = "log.pub"


@click.group()
def audit() -> None:
    """Read, query, prove and verify the audit log."""


def _call(
    ctx: click.Context,
    method: str,
    route: str,
    body: dict[str, Json] | None = None,
    **query: str | int | None,
) -> dict[str, Json]:
    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            return await client.call(method, route, body, **query)

    return connect.run(work())


@audit.command()
@click.option("--limit", type=int, default=40, show_default=True, help="Events at most.")
@click.option("--before", type=int, help="Only events before this sequence number.")
@click.option("--action", help="Only this action.")
@click.option("--who", help="Only this person.")
@json_option
@click.pass_context
def log(
    ctx: click.Context, limit: int, before: int | None, action: str | None, who: str | None, *, as_json: bool
) -> None:
    """Show events, the newest first."""
    found = _call(ctx, "GET", "/v1/audit/events", limit=limit, before=before, action=action, person=who)

    def lines() -> list[str]:
        listed = found["events"]
        rows = [
            (one["seq"], str(one["time"])[:19], one["person"], one["role"], one["action"], one["cause"])
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        ]
        return table(("seq", "time", "who", "role", "action", "cause"), rows)

    emit(found, as_json, lines)


@audit.command()
@click.argument("query")
@click.option("--limit", type=int, default=1000, show_default=True, help="Rows at most.")
@json_option
@click.pass_context
def sql(ctx: click.Context, query: str, limit: int, *, as_json: bool) -> None:
    """Answer one SELECT over the index (tables and views: `SELECT * FROM duckdb_tables()`)."""
    found = _call(ctx, "POST", "/v1/audit/sql", {"sql": query, "limit": limit})

    def lines() -> list[str]:
        columns, rows = found["columns"], found["rows"]
        if not isinstance(columns, list) or not isinstance(rows, list):
            return []
        names = [str(column["name"]) for column in columns if isinstance(column, dict)]
        return table(names, [row for row in rows if isinstance(row, list)])

    emit(found, as_json, lines)


@audit.command()
@click.argument("seq", type=int)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the proof here instead of to the terminal."
)
@json_option
@click.pass_context
def prove(ctx: click.Context, seq: int, out: Path | None, *, as_json: bool) -> None:
    """Prove that event SEQ is in the log: a C2SP tlog-proof with the event inside."""
    found = _call(ctx, "GET", f"/v1/audit/proofs/{seq}")
    if out is not None:
        from holdfast.store import disk

        with disk.faults("the proof"):
            disk.write_file(out, str(found["proof"]).encode(), mode=0o644)
    emit(found, as_json, lambda: [f"Proof written to {out}."] if out else [str(found["proof"]).rstrip()])


@audit.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--keys", type=click.Path(path_type=Path), help="The log's verifier keys, received by another way."
)
@json_option
@click.pass_context
def verify(ctx: click.Context, path: Path | None, keys: Path | None, *, as_json: bool) -> None:
    """Verify the live log through its daemon, or the log folder or proof in PATH without one."""
    found = _verify_path(path, keys) if path is not None else _call(ctx, "POST", "/v1/audit/verify")
    problems = found["problems"]

    def lines() -> list[str]:
        named = [
            f"  {'event ' + str(one['seq']) + ': ' if one['seq'] is not None else ''}{one['what']}"
            for one in (problems if isinstance(problems, list) else [])
            if isinstance(one, dict)
        ]
        head = "verified" if found["verified"] else "NOT VERIFIED"
        return [
            f"{head}: {found['size']} events, root {found['root']}",
            *named,
            *([str(found["keys"])] if "keys" in found else []),
        ]

    emit(found, as_json, lines)
    if not found["verified"]:
        raise click.exceptions.Exit(3)


def _verify_path(path: Path, keys: Path | None) -> dict[str, Json]:
    from holdfast.audit import verify as verifier
    from holdfast.errors import NotFound, VerificationFailed

    key_file = keys or (path / KEY_FILE if path.is_dir() else path.parent / KEY_FILE)
    try:
        known = verifier.parse_keys(key_file.read_bytes())
        if path.is_dir():
            verdict = verifier.verify_log(path, known)
        else:
            verdict = verifier.verify_proof(path.read_bytes(), known)
    except OSError as error:
        raise NotFound(
            "audit.path",
            f"{error.filename} can't be read: {error.strerror}.",
            remedy="Name a log folder or a proof, and --keys.",
        ) from error
    except verifier.Refused as error:
        raise VerificationFailed(
            "audit.verify", f"{path}: {error}.", remedy="Do not rely on it; ask the site again."
        ) from error
    return {
        "verified": verdict.ok,
        "size": verdict.size,
        "root": verdict.root,
        "problems": [{"seq": found.seq, "what": found.text} for found in verdict.problems],
        "keys": f"with the keys in {key_file}"
        + ("" if keys else ", which came with it: compare them with ones you trust"),
    }


@audit.command()
@json_option
@click.pass_context
def rebuild(ctx: click.Context, *, as_json: bool) -> None:
    """Build the DuckDB index anew from the segments."""
    found = _call(ctx, "POST", "/v1/audit/rebuild")
    emit(found, as_json, lambda: [f"Rebuilt from the segments: {found['size']} events."])


@audit.command()
@json_option
@click.pass_context
def checkpoint(ctx: click.Context, *, as_json: bool) -> None:
    """Hand out a signed checkpoint of the log."""
    found = _call(ctx, "POST", "/v1/audit/checkpoint")
    emit(found, as_json, lambda: [str(found["checkpoint"]).rstrip()])
