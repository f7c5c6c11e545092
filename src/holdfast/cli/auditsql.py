"""``holdfast audit sql``: one SELECT over the log's index, through the daemon or over exported evidence without one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, records, table
from holdfast.errors import NotFound, UsageRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.canonical import Json

MAX_TEXT = 1_000_000  # bytes read of a file or of stdin; what is longer than a query may be is refused with its reason
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("query", required=False)
@click.option(
    "--file", "source", type=click.Path(), help="Read the query from a file, or from stdin with `-`."
)
@click.option("--saved", help="A saved query's name; see `holdfast audit queries list`.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="Set a parameter. Repeatable.")
@click.option("--limit", type=click.IntRange(1), help="Rows at most [default: 1000 shown, 1000000 written].")
@click.option("--out", type=PATH, help="Write the result into this new folder, with what ties it to the log.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    multiple=True,
    help="Of the files in --out; repeatable [default: csv].",
)
@click.option("--evidence", type=PATH, help="Ask exported evidence in this folder; no daemon is needed.")
@click.option("--keys", type=PATH, help="With --evidence: the log's verifier keys, received by another way.")
@click.option(
    "--compare", type=PATH, help="With --evidence: ask again what this result's folder answers, and compare."
)
@click.option(
    "--schema",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="List tables and views; or one's columns.",
)
@json_option
@click.pass_context
def sql(
    ctx: click.Context,
    /,
    *,
    query: str | None,
    source: str | None,
    saved: str | None,
    values: tuple[str, ...],
    limit: int | None,
    out: Path | None,
    formats: tuple[str, ...],
    evidence: Path | None,
    keys: Path | None,
    compare: Path | None,
    schema: str | None,
    as_json: bool,
) -> None:
    """Answer one SELECT over the index of the audit log.

    In the text, $name stands for a parameter; its value comes from --set and is bound, never pasted.
    """
    if evidence is None and (keys is not None or compare is not None):
        raise _usage("--keys and --compare go with --evidence")
    if schema is not None:
        found = (
            _evidence(evidence, keys, {"op": "schema"})
            if evidence
            else connect.call(ctx, "GET", "/v1/audit/schema")
        )
        emit(found, as_json, lambda: _schema(found, schema))
        return
    if compare is not None and evidence is not None:
        _compare(evidence, keys, compare, as_json=as_json)
        return
    asked = question(query, source, saved) | {"parameters": dict(_pair(one) for one in values)}
    if out is not None:
        written: dict[str, Json] = {**asked, "formats": [*(formats or ("csv",))]}
        if limit is not None:
            written["limit"] = limit
        told = _written_from(evidence, keys, written, out) if evidence else _written(ctx, written, out)
        emit(
            told,
            as_json,
            lambda: [f"{told['rows']} rows{' (cut short)' if told['truncated'] else ''} in {out}."],
        )
        return
    asked["limit"] = limit or 1000
    answer = (
        _evidence(evidence, keys, _operation(asked))
        if evidence
        else connect.call(ctx, "POST", "/v1/audit/sql", asked)
    )
    emit(answer, as_json, lambda: _rows(answer))
    if answer["truncated"]:
        click.echo("There are more rows; ask for fewer columns, or write them all with --out DIR.", err=True)
    if evidence is not None:
        click.echo(
            f"Events {answer['first']} to {_int(answer['size']) - 1} of {answer['origin']}, root {answer['root']}.",
            err=True,
        )


def question(query: str | None, source: str | None, saved: str | None) -> dict[str, Json]:
    """Take a query from the one place where it is given.

    Args:
        query: Its text.
        source: A file that holds it, or ``-`` for stdin.
        saved: The name of a saved one.

    Returns:
        ``sql`` or ``saved``.

    Raises:
        UsageRefused: If it is given in none or in several.
    """
    if sum(one is not None for one in (query, source, saved)) != 1:
        raise _usage("give the query, or --file, or --saved, and only one of them")
    if saved is not None:
        return {"saved": saved}
    return {"sql": query if source is None else _text(source)}


def _text(source: str) -> str:
    try:
        if source == "-":
            return sys.stdin.buffer.read(MAX_TEXT).decode()
        with Path(source).open("rb") as file:
            return file.read(MAX_TEXT).decode()
    except OSError as error:
        raise NotFound(
            "query.file", f"{source} can't be read: {error.strerror}.", remedy="Name a file."
        ) from error
    except UnicodeDecodeError as error:
        raise _usage(f"{source} is not UTF-8 text") from error


def _pair(text: str) -> tuple[str, Json]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise _usage(f"--set {text[:60]!r} is not NAME=VALUE")
    return name, value


def _operation(asked: dict[str, Json]) -> dict[str, Json]:
    """Put a question as the index worker takes it."""
    return {
        "op": "sql",
        "given": asked["parameters"],
        **{name: asked[name] for name in asked if name != "parameters"},
    }


def _written(ctx: click.Context, asked: dict[str, Json], out: Path) -> dict[str, Json]:
    from holdfast.client import results

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            results.require_new(out)
            job = _int((await client.call("POST", "/v1/audit/results", asked))["job"])
            told = await connect.finish(client, job, f"`holdfast audit log --cause {job}`")
            await results.save(client, job, out)
            return {"job": job, **told}

    return connect.run(work())


def _evidence(folder: Path | None, keys: Path | None, request: dict[str, Json]) -> dict[str, Json]:
    from holdfast.cli import offlineindex

    return connect.run(offlineindex.ask(_folder(folder), keys, request))


def _written_from(
    folder: Path | None, keys: Path | None, asked: dict[str, Json], out: Path
) -> dict[str, Json]:
    from holdfast.cli import offlineindex

    return connect.run(offlineindex.write(_folder(folder), keys, _operation(asked) | {"op": "write"}, out))


def _compare(folder: Path, keys: Path | None, result: Path, *, as_json: bool) -> None:
    from holdfast.cli import offlineindex

    found = connect.run(offlineindex.compare(folder, keys, result))
    problems = found["problems"]
    listed = [str(one) for one in problems] if isinstance(problems, list) else []

    def lines() -> Iterable[str]:
        notes = found["notes"]
        yield (
            "NOT VERIFIED"
            if listed
            else f"verified: {found['rows']} rows, all that the log's first {found['size']} events give"
        )
        yield from (f"  PROBLEM: {one}" for one in listed)
        yield from (f"  note: {one}" for one in (notes if isinstance(notes, list) else []))

    emit(found, as_json, lines)
    if listed:
        raise click.exceptions.Exit(3)


def _folder(folder: Path | None) -> Path:
    if folder is None:
        raise _usage("--evidence names no folder")
    return folder


def _rows(answer: dict[str, Json]) -> list[str]:
    columns, rows = answer["columns"], answer["rows"]
    if not isinstance(columns, list) or not isinstance(rows, list):
        return []
    names = [str(column["name"]) for column in columns if isinstance(column, dict)]
    return records(names, [row for row in rows if isinstance(row, list)])


def _schema(found: dict[str, Json], name: str) -> list[str]:
    listed = found["tables"]
    tables = [one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)]
    if not name:
        return table(("name", "kind", "holds"), [(one["name"], one["kind"], one["about"]) for one in tables])
    for one in tables:
        columns = one["columns"]
        if one["name"] == name and isinstance(columns, list):
            rows = [(each["name"], each["type"], each["about"]) for each in columns if isinstance(each, dict)]
            return [str(one["about"]), "", *table(("column", "type", "means"), rows)]
    raise NotFound(
        "schema.unknown",
        f"There is no table or view {name[:60]!r}.",
        remedy="See `holdfast audit sql --schema`.",
    )


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _usage(why: str) -> UsageRefused:
    return UsageRefused(
        "query.usage", f"The command is not understood: {why}.", remedy="See `holdfast audit sql --help`."
    )
