"""``holdfast eval``: suites answered, gates decided, evaluations shown and compared, suites exported."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from holdfast import parts
from holdfast.cli import connect
from holdfast.cli.comparison import compare
from holdfast.cli.group import Group
from holdfast.cli.output import emit, json_option, table, wrapped
from holdfast.cli.suitecheck import check
from holdfast.cli.suiteexport import export
from holdfast.gguf import quantizations

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group("eval", cls=Group)
def eval() -> None:  # noqa: A001 - the command's name is a contract
    """Evaluate models, compare evaluations, and decide the gate of a run."""


_quantization = click.option(
    "--type",
    "quantization",
    type=click.Choice(quantizations.NAMES),
    metavar="TYPE",
    help="Which GGUF; the smallest that keeps the stated floor by default.",
)


@eval.command()
@click.argument("suite")
@click.option("--model", required=True, help="The base, by name or digest.")
@click.option("--adapter", help="With this adapter: a run's number, or an adapter's name or digest.")
@click.option(
    "--engine", type=click.Choice(["transformers", "gguf"]), default="transformers", show_default=True
)
@_quantization
@json_option
@click.pass_context
def run(  # noqa: PLR0917 - click passes arguments by name
    ctx: click.Context,
    suite: str,
    model: str,
    adapter: str | None,
    engine: str,
    quantization: str | None,
    *,
    as_json: bool,
) -> None:
    """Answer SUITE with a model, and score it."""
    body: dict[str, Json] = {
        "suite": suite,
        "model": model,
        "adapter": adapter,
        "engine": engine,
        "quantization": quantization,
    }
    result = connect.job(ctx, "/v1/evaluations", body)
    emit(result, as_json, lambda: [*_scores(result["scores"]), f"evaluation {result['evaluation']}"])


@eval.command()
@click.argument("run_name", metavar="RUN")
@_quantization
@json_option
@click.pass_context
def gate(ctx: click.Context, run_name: str, quantization: str | None, *, as_json: bool) -> None:
    """Evaluate RUN before and after, on both engines, and decide go or no-go. Exit 1 for no-go."""
    result = connect.job(ctx, f"/v1/runs/{quote(run_name, safe='')}/gate", {"quantization": quantization})
    emit(
        result,
        as_json,
        lambda: [
            *_scores(result["scores"]),
            "GO" if result["go"] else "NO-GO",
            *(line for reason in parts.listed(result["reasons"]) for line in wrapped("  ", str(reason))),
        ],
    )
    if not result["go"]:
        raise click.exceptions.Exit(1)


@eval.command("list")
@json_option
@click.pass_context
def listed(ctx: click.Context, *, as_json: bool) -> None:
    """List the evaluations that were made, the newest first."""
    found = connect.call(ctx, "GET", "/v1/evaluations")
    rows = parts.records(found["evaluations"])

    def lines() -> list[str]:
        if not rows:
            return ["No evaluations yet. Make one with `holdfast eval run SUITE`."]
        return table(
            ("number", "time", "person", "of", "suites"),
            [
                (
                    one["number"],
                    str(one["time"])[:19],
                    one["person"],
                    "gate" if one["run"] else "model",
                    ", ".join(parts.record(one["suites"])),
                )
                for one in rows
            ],
        )

    emit(found, as_json, lines)


@eval.command()
@click.argument("evaluation")
@json_option
@click.pass_context
def show(ctx: click.Context, evaluation: str, *, as_json: bool) -> None:
    """Show EVALUATION (its number, its digest, or a run): models, suites, scores, and why its gate decided so."""
    found = connect.call(ctx, "GET", f"/v1/evaluations/{quote(evaluation, safe='')}")

    def lines() -> list[str]:
        out = [f"{found['name']}, evaluation {found['evaluation']}"]
        for name, suite in parts.named(found["suites"]).items():
            out.append(f"suite {name} {suite['version']}, {suite['digest']}")
        out += _scores(found["scores"])
        for column, verdict in parts.named(found["verdicts"]).items():
            out.append(f"{column}: {'GO' if verdict['go'] else 'NO-GO'}")
            out += [
                line for reason in parts.listed(verdict["reasons"]) for line in wrapped("  ", str(reason))
            ]
        return out

    emit(found, as_json, lines)


eval.add_command(compare)
eval.add_command(check)
eval.add_command(export)


def _scores(value: Json) -> list[str]:
    rows = [
        (name, suite, section, f"{score:.4f}")
        for name, suites in parts.named(value).items()
        for suite, sections in parts.named(suites).items()
        for section, score in sections.items()
        if isinstance(score, int | float)
    ]
    return table(("model", "suite", "section", "score"), rows)
