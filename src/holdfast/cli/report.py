"""``holdfast report``: residency reports, made by the daemon and checked without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option
from holdfast.errors import UsageRefused, VerificationFailed
from holdfast.keys import person
from holdfast.report import folder
from holdfast.report.sign import RESIDENCY
from holdfast.report.verify import verify as verify_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json
    from holdfast.report.verify import Verdict


def export(ctx: click.Context, route: str, out: Path, *, as_json: bool) -> None:
    """Have the daemon make a signed document, and write its folder.

    Args:
        ctx: The command's context.
        route: What makes it.
        out: The folder to write; must not exist yet.
        as_json: Whether the result is printed as JSON.
    """

    async def work() -> dict[str, Json]:
        from holdfast.client import operations

        async with connect.session(ctx) as client:
            job = int(str((await client.call("POST", route))["job"]))
            result = await connect.finish(client, job)
            await operations.save_report(client, job, out)
            return {"out": str(out), **result}

    result = connect.run(work())
    files = result["files"]
    emit(
        result,
        as_json,
        lambda: [
            f"{', '.join(map(str, files)) if isinstance(files, list) else ''} in {out}",
            f"Verify it anywhere with `holdfast report verify {out}`.",
        ],
    )


@click.group(cls=Group)
def report() -> None:
    """Make residency reports; verify reports and receipts of imports, offline."""


@report.command()
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The folder to write; must not exist yet."
)
@json_option
@click.pass_context
def residency(ctx: click.Context, out: Path, *, as_json: bool) -> None:
    """Export the residency report: PDF, JSON, signature, and what is needed to verify them elsewhere."""
    export(ctx, "/v1/reports/residency", out, as_json=as_json)


@report.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--fingerprint", help="The appliance's fingerprint, as the site told it to you by another way.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The appliance's public key, received by another way.",
)
@json_option
def verify(path: Path, fingerprint: str | None, key: Path | None, *, as_json: bool) -> None:
    """Verify the report or receipt in the folder PATH, offline."""
    if fingerprint is not None and key is not None:
        raise UsageRefused("report.key", "A fingerprint and a key were given.", remedy="Give one of the two.")
    if key is not None:
        with key.open("rb") as file:
            fingerprint = person.parse_public(file.read(person.MAX_PUBLIC_DOCUMENT + 1)).fingerprint
    verdict = verify_report(folder.read(path), fingerprint=fingerprint)
    emit(verdict.to_json(), as_json, lambda: _explain(verdict))
    if not verdict.ok:
        raise VerificationFailed(
            "report.verify",
            f"The report in {path} does not verify: "
            + "; ".join(f"{problem.file}: {problem.text.rstrip('.')}" for problem in verdict.problems)
            + ".",
            remedy="Do not rely on it; ask the site for the report again.",
            files=sorted({problem.file for problem in verdict.problems}),
        )


def _explain(verdict: Verdict) -> Iterator[str]:
    for problem in verdict.problems:
        yield f"PROBLEM: {problem.file}: {problem.text}"
    if verdict.ok:
        yield f"verified: {verdict.form} of {verdict.site}, made {verdict.made}, {verdict.banner}"
        yield f"log: {verdict.origin} size {verdict.size} root {verdict.root}"
        if verdict.form == RESIDENCY.title:
            yield f"known gaps: {len(verdict.gaps)}"
    else:
        yield "NOT VERIFIED"
    yield verdict.standing
