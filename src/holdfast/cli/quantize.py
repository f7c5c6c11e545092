"""``holdfast model quantize``: what each type costs, and the files that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast import parts
from holdfast.cli import connect
from holdfast.cli.figures import Bytes, Fraction
from holdfast.cli.output import emit, json_option, size, table
from holdfast.errors import HoldfastError
from holdfast.gguf import quantizations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.canonical import Json

ALL = "all"
_HEAD = (
    "type",
    "size",
    "bits/weight",
    "KL (nats)",
    "same top token",
    "cosine",
    "score",
    "read t/s",
    "write t/s",
    "floor",
)


@click.command()
@click.argument("model")
@click.option("--adapter", help="Convert this adapter too: a run's number, or an adapter's name or digest.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice([*quantizations.NAMES, ALL], case_sensitive=False),
    metavar="TYPE",
    help="Make this type, and keep it; may be given more than once. Without any, candidates are measured and the smallest that"
    f" keeps the floor is kept. One of: {', '.join(quantizations.NAMES)}; or {ALL}.",
)
@click.option(
    "--calibration",
    metavar="DATASET",
    help="Weigh errors by what the model reads here: a prepared data set, or an installed suite.",
)
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="PATTERN=TYPE",
    help="A type of its own for the tensors that match, as in blk.*.ffn_down.weight=q6_k; may be given more than once.",
)
@click.option("--floor-kl", type=Fraction(0, 100), help="Largest KL divergence from f16, in nats.  [0.05]")
@click.option(
    "--floor-top1", type=Fraction(0, 1), help="Smallest share of places with f16's top token.  [0.85]"
)
@click.option(
    "--floor-cosine",
    type=Fraction(-1, 1),
    help="Of a model that embeds: smallest mean cosine.  [0.99]",
)
@click.option("--memory", type=Bytes(), metavar="SIZE", help="Largest file, as in 4GB.")
@click.option("--table", "only_table", is_flag=True, help="Measure and show; keep nothing but the table.")
@click.option("--suite", help="Put this suite to each type, too.")
@json_option
@click.pass_context
def quantize(  # noqa: PLR0917 - click hands each option over by itself
    ctx: click.Context,
    model: str,
    adapter: str | None,
    types: tuple[str, ...],
    calibration: str | None,
    overrides: tuple[str, ...],
    floor_kl: float | None,
    floor_top1: float | None,
    floor_cosine: float | None,
    memory: int | None,
    suite: str | None,
    *,
    only_table: bool,
    as_json: bool,
) -> None:
    """Make GGUF files of MODEL (a base, a merged model, or the run that made a whole one), and measure them.

    Token ids and logits of the f16 file are compared with the original's, and each type with f16 on texts that nothing was
    calibrated on. Given a floor or a ceiling, of the types named the smallest that keeps them is kept.
    """
    named = quantizations.NAMES if ALL in types else types
    if calibration is None and ALL in types:
        named = tuple(name for name in named if not quantizations.find(name).calibrated)
    body: dict[str, Json] = {
        "model": model,
        "adapter": adapter,
        "types": list(named),
        "calibration": calibration,
        "overrides": list(overrides),
        "floor_kl": floor_kl,
        "floor_top1": floor_top1,
        "floor_cosine": floor_cosine,
        "memory": memory,
        "table": only_table,
        "suite": suite,
    }
    try:
        result = connect.job(ctx, "/v1/models/quantize", body)
    except HoldfastError as error:
        # What was measured, though none of it will do.
        if isinstance(rows := error.fields.get("table"), list):
            click.echo("\n".join(map(str, rows)), err=True)
        raise

    def lines() -> list[str]:
        fidelity = result["fidelity"]
        if not isinstance(fidelity, dict):
            return []
        kept = [one["meta"] for one in parts.records(result["artefacts"]) if one["kind"] == "gguf"]
        names = [str(one.get("quantization", "adapter")) for one in kept if isinstance(one, dict)]
        chosen = result.get("chosen")
        return [
            _agreement(fidelity),
            *_table(fidelity),
            f"kept: {', '.join(names) or 'nothing'}"
            + (f"; the smallest that keeps the floor is {chosen}" if chosen else ""),
        ]

    emit(result, as_json, lines)


def _agreement(fidelity: Mapping[str, Json]) -> str:
    if "f16_min_cosine" in fidelity:
        return f"token ids equal; smallest cosine of an f16 embedding with the original's {_figure(fidelity['f16_min_cosine'], 5)}"
    return f"token ids equal; largest f16 logit difference {_figure(fidelity.get('f16_max_logit_diff'), 4)}"


def _table(rows: dict[str, Json]) -> list[str]:
    """Lay the quality table out, without the columns that nothing fills."""
    found = [
        (
            name,
            size(int(parts.number(row.get("size")))),
            _figure(row.get("bits_per_weight"), 2),
            _figure(row.get("kl"), 5),
            _figure(row.get("top1"), 4),
            _figure(row.get("cosine"), 5),
            _figure(row.get("score"), 4),
            _figure(row.get("prefill"), 0),
            _figure(row.get("decode"), 0),
            {True: "keeps", False: "below"}.get(bool(row["within_floor"]), "")
            if "within_floor" in row
            else "",
        )
        for name, row in sorted(
            ((name, row) for name, row in parts.named(rows).items() if "size" in row),
            key=lambda one: -parts.number(one[1]["size"]),
        )
    ]
    if not found:
        return []
    filled = [at for at in range(len(_HEAD)) if any(row[at] for row in found)]
    return [
        *table(tuple(_HEAD[at] for at in filled), [tuple(row[at] for at in filled) for row in found]),
        "speed as measured here, beside whatever else this machine did",
    ]


def _figure(value: Json, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) and not isinstance(value, bool) else ""
