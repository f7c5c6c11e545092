"""``holdfast audit prove|verify|export``: evidence made and verified; verifying a path needs no daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import Progress, emit, json_option
from holdfast.errors import UsageRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

KEY_FILE = "log.pub"


@click.command()
@click.argument("seq", type=click.IntRange(min=0))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the proof here instead of to the terminal."
)
@json_option
@click.pass_context
def prove(ctx: click.Context, seq: int, out: Path | None, *, as_json: bool) -> None:
    """Prove that event SEQ is in the log: a C2SP tlog-proof with the event inside."""
    found = connect.call(ctx, "GET", f"/v1/audit/proofs/{seq}")
    if out is not None:
        from holdfast.store import disk

        with disk.faults("the proof"):
            disk.write_file(out, str(found["proof"]).encode(), mode=0o644)
    emit(found, as_json, lambda: [f"Proof written to {out}."] if out else [str(found["proof"]).rstrip()])


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--keys", type=click.Path(path_type=Path), help="The log's verifier keys, received by another way."
)
@click.option(
    "--witness",
    type=click.Path(path_type=Path),
    help="Verifier keys of a witness that must have cosigned it.",
)
@click.option("--strict", is_flag=True, help="Gaps, and events that nobody signed, count as problems.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    path: Path | None,
    keys: Path | None,
    witness: Path | None,
    *,
    strict: bool,
    as_json: bool,
) -> None:
    """Verify the live log through its daemon, or the log folder, evidence or proof in PATH without one."""
    if path is None and (keys or witness):
        raise UsageRefused(
            "audit.keys",
            "Keys were given, but no PATH: the live log is verified by its own daemon.",
            remedy="Name a copy of the log's folder, or evidence that was exported from it.",
        )
    if path is None:
        found = connect.call(ctx, "POST", "/v1/audit/verify")
        found = {**found, "verified": bool(found["verified"]) and not (strict and found.get("gaps"))}
    else:
        found = _verify_path(path, keys, witness, strict=strict)
    emit(found, as_json, lambda: _verdict(found, strict=strict))
    if not found["verified"]:
        raise click.exceptions.Exit(3)


def _verdict(found: dict[str, Json], *, strict: bool) -> Iterator[str]:
    failed = not found["verified"]
    yield f"{'NOT VERIFIED' if failed else 'verified'}: {found['size']} events"
    yield f"root {found['root']}"
    if failed and strict and not found.get("problems"):
        yield "Nothing contradicts what was signed; --strict asks for no gap, and for a signature over every event."
    for name, word in (("problems", "PROBLEM"), ("gaps", "gap"), ("notes", "note")):
        listed = found.get(name)
        for one in listed if isinstance(listed, list) else []:
            if isinstance(one, dict):
                where = "" if one["seq"] is None else f" event {one['seq']}:"
                yield f"  {word}:{where} {one['what']}"
    if "keys" in found:
        yield str(found["keys"])
    index = found.get("index")
    if isinstance(index, dict):
        differed = index["differed"]
        told = (
            f"was not what the log says and was built anew: {differed}"
            if differed
            else "is what the log says"
        )
        yield f"The index {told} ({index['size']} events, compared in {index['seconds']} s)."


def _verify_path(path: Path, keys: Path | None, witness: Path | None, *, strict: bool) -> dict[str, Json]:
    from holdfast.audit import complete
    from holdfast.audit import verify as verifier
    from holdfast.errors import NotFound, VerificationFailed

    if not path.exists():
        raise NotFound("audit.path", f"There is no {path}.", remedy="Name a log folder, evidence or a proof.")
    key_file = keys or (path / KEY_FILE if path.is_dir() else path.parent / KEY_FILE)
    for wanted in (key_file, *((witness,) if witness else ())):
        if not wanted.is_file():
            raise NotFound(
                "audit.keys",
                f"There is no key file {wanted}.",
                remedy="Name the log's verifier keys (log.pub) with --keys, those of a witness (witness.pub) with --witness; "
                "a log folder and evidence bring a log.pub with them, a proof does not.",
            )
    try:
        known = verifier.parse_keys(verifier.read(key_file, verifier.MAX_NOTE))
        watching = verifier.parse_keys(verifier.read(witness, verifier.MAX_NOTE)) if witness else []
        if path.is_dir():
            verdict = complete.verify_log(path, known, watching)
        else:
            verdict = verifier.verify_proof(verifier.read(path, verifier.MAX_PROOF), known)
    except verifier.Refused as error:
        raise VerificationFailed(
            "audit.verify", f"{path}: {error}.", remedy="Do not rely on it; ask the site again."
        ) from error
    verdict.strict = strict
    listed: dict[str, Json] = {
        name: [{"seq": one.seq, "what": one.text} for one in all_]
        for name, all_ in (("problems", verdict.problems), ("gaps", verdict.gaps), ("notes", verdict.notes))
    }
    return {
        "verified": verdict.ok,
        "origin": verdict.origin,
        "size": verdict.size,
        "signed": verdict.signed,
        "root": verdict.root,
        **listed,
        "keys": f"with the keys in {key_file}"
        + ("" if keys else ", which came with it: compare them with ones you trust"),
    }


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write; must not exist yet."
)
@click.option(
    "--from", "first", type=click.IntRange(min=0), help="The first event; that of the log unless given."
)
@click.option(
    "--until", type=click.IntRange(min=1), help="End before this event; with the last one unless given."
)
@click.option("--action", help="Rows: only this action, or this act with its outcomes.")
@click.option("--person", help="Rows: only this person.")
@click.option("--role", help="Rows: only this role.")
@click.option("--kind", help="Rows: only subjects of this kind.")
@click.option("--digest", help="Rows: only the subject of this digest.")
@click.option("--since", help="Rows: only from this time on (RFC 3339, UTC unless it says otherwise).")
@click.option("--before-time", help="Rows: only before this time.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["jsonl", "csv", "parquet"]),
    multiple=True,
    help="How rows are written; may be given more than once.",
)
@click.option("--tiles", is_flag=True, help="The whole log in the layout of C2SP tlog-tiles, too.")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    out: Path,
    first: int | None,
    until: int | None,
    formats: tuple[str, ...],
    *,
    tiles: bool,
    as_json: bool,
    **fields: str | None,
) -> None:
    """Export events as evidence, with what verifies them on another machine; and the rows of them that fit a filter."""
    wanted: dict[str, Json] = {
        {"before_time": "until"}.get(name, name): moment(text) if name in ("since", "before_time") else text
        for name, text in fields.items()
        if text is not None
    }
    if until is not None and until <= (first or 0):
        raise UsageRefused(
            "export.range",
            f"No event lies from {first or 0} to before {until}.",
            remedy="Give --until a number above --from.",
        )
    if tiles and first:
        raise UsageRefused("tiles.range", "Tiles hold the whole log.", remedy="Leave --from out.")
    body: dict[str, Json] = {
        "first": 0 if tiles else first,
        "until": until,
        "filter": wanted or None,
        "formats": list(formats),
    }

    async def work() -> dict[str, Json]:
        from holdfast.client import copies

        async with connect.session(ctx) as client:
            copies.require_new(out)
            job = int(str((await client.call("POST", "/v1/audit/exports", body))["job"]))
            result = await connect.finish(client, job, f"`holdfast audit log --cause {job}`")
            shown = Progress()
            await copies.save(client, job, out, shown)
            shown.end()
            return {"out": str(out), "job": job, **result}

    found = connect.run(work())
    if tiles:
        from holdfast.audit import tiles as layout
        from holdfast.store import disk

        with disk.faults("the tiles"):
            found["tiles"] = layout.write(out, out)
    emit(found, as_json, lambda: _exported(found, out))


def _exported(found: dict[str, Json], out: Path) -> Iterator[str]:
    yield f"Events {found['first']} to {int(str(found['size'])) - 1} are in {out}; root {found['root']}."
    if found["rows"] is not None:
        yield f"{found['rows']} of them fit the filter."
    yield f"Verify it anywhere: python -I {out / 'complete.py'} {out} --key LOG.PUB (see {out / 'README.txt'})."


def moment(text: str) -> str:
    """Write a time as events carry it.

    Args:
        text: A date, or a time; of UTC unless it says otherwise.

    Returns:
        For example ``2026-01-31T12:00:00.000000Z``.

    Raises:
        UsageRefused: If it is no time.
    """
    from datetime import UTC, datetime

    from holdfast.audit.event import timestamp

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageRefused(
            "export.time",
            f"{text[:40]!r} is no time.",
            remedy="Write it as 2026-01-31 or 2026-01-31T12:00:00Z.",
        ) from error
    return timestamp(found if found.tzinfo else found.replace(tzinfo=UTC))
