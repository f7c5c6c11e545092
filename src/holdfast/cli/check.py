"""``holdfast media check``: loose files, judged as a medium's would be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.output import WRAPPED, emit, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

REFUSED = 3  # the exit code of failed verification


@click.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE...")
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Judge loose FILEs as if a medium brought them; files of one folder are also compared with each other.

    Exits with 3 if any is refused.
    """
    from holdfast.media import check as checking

    found = checking.check(files)
    accepted = not any(one.findings for one in found)
    listed: list[Json] = [one.to_json() for one in found]

    def lines() -> Iterator[str]:
        for one in found:
            verdict = "refused " if one.findings else "accepted"
            yield f"{verdict}  {one.path}{f'  ({one.form})' if one.form else ''}"
            for finding in one.findings:
                yield f"{WRAPPED}[{finding['key']}] {finding['message']}"
                yield f"{WRAPPED}{WRAPPED}{finding['remedy']}"

    emit({"files": listed, "accepted": accepted}, as_json, lines)
    if not accepted:
        ctx.exit(REFUSED)
