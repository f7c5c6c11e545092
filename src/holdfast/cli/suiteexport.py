"""``holdfast eval export``: a suite as task files of lm-evaluation-harness, written without a daemon."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast.cli.output import emit, json_option
from holdfast.errors import Conflict


@click.command()
@click.argument("suite", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Write here; the folder is made, or empty."
)
@click.option("--section", "sections", multiple=True, help="Only this section; may be given several times.")
@json_option
def export(suite: Path, out: Path, sections: tuple[str, ...], *, as_json: bool) -> None:
    """Write SUITE (its folder) as task files of lm-evaluation-harness, so that others can measure the same."""
    from holdfast.evaluation import harness, suitefolder
    from holdfast.store import disk

    files = harness.export(suitefolder.read(suite), sections)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Conflict(
            "eval.out-taken", f"{out} is there and not empty.", remedy="Name a new folder with --out."
        )
    with disk.faults(f"Writing to {out}"):
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            disk.create_file(out / name, data, mode=0o644)
    names = sorted(files)
    emit({"out": str(out), "files": [*names]}, as_json, lambda: [str(out / name) for name in names])
