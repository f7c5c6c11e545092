"""``holdfast eval``: suites, comparisons and gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import connect
from holdfast.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from holdfast.canonical import Json


@click.group("eval")
def eval() -> None:  # noqa: A001 - the command's name is a contract
    """Evaluate models, and decide the gate of a run."""


_quantization = click.option(
    "--type",
    "quantization",
    type=click.Choice(["f16", "q8_0", "q4_k_m"]),
    default="q8_0",
    show_default=True,
    help="Which GGUF.",
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
    quantization: str,
    *,
    as_json: bool,
) -> None:
    """Answer SUITE with a model, and score it."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            answer = await client.call(
                "POST",
                "/v1/evaluations",
                {
                    "suite": suite,
                    "model": model,
                    "adapter": adapter,
                    "engine": engine,
                    "quantization": quantization,
                },
            )
            return await connect.finish(client, int(str(answer["job"])))

    result = connect.run(work())
    emit(result, as_json, lambda: [*_scores(result["scores"]), f"evaluation {result['evaluation']}"])


@eval.command()
@click.argument("run_name", metavar="RUN")
@_quantization
@json_option
@click.pass_context
def gate(ctx: click.Context, run_name: str, quantization: str, *, as_json: bool) -> None:
    """Evaluate RUN before and after, on both engines, and decide go or no-go. Exit 1 for no-go."""

    async def work() -> dict[str, Json]:
        async with connect.session(ctx) as client:
            answer = await client.call("POST", f"/v1/runs/{run_name}/gate", {"quantization": quantization})
            return await connect.finish(client, int(str(answer["job"])))

    result = connect.run(work())
    reasons = result["reasons"]
    emit(
        result,
        as_json,
        lambda: [
            *_scores(result["scores"]),
            "GO" if result["go"] else "NO-GO",
            *(f"  {reason}" for reason in (reasons if isinstance(reasons, list) else [])),
        ],
    )
    if not result["go"]:
        raise click.exceptions.Exit(1)


def _scores(value: Json) -> list[str]:
    rows = [
        (name, suite, section, f"{score:.4f}")
        for name, suites in (value.items() if isinstance(value, dict) else [])
        for suite, sections in (suites.items() if isinstance(suites, dict) else [])
        for section, score in (sections.items() if isinstance(sections, dict) else [])
        if isinstance(score, int | float)
    ]
    return table(("model", "suite", "section", "score"), rows)
