"""The page of a run and the figures of an estimate, as lines of at most 80 columns.

Invariants: a figure that is not known is shown as ``-``, never as nought; energy always stands with how it is known.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from holdfast import hashing
from holdfast.cli.output import size, table
from holdfast.parts import listed, record, records

if TYPE_CHECKING:
    from holdfast.canonical import Json

WIDTH = 80  # columns of the narrowest terminal that is served
MINUTE, HOUR = 60, 3600  # seconds
KILO = 1000  # joules; below it they are told one by one
CENT = 0.01  # of a currency; below it two digits that count are told
LONG = 32  # digits of the digests by which people go on
NAME = 12  # columns of the names before the values
PATH = 40  # columns of a data path


def figure(value: Json, digits: int = 0) -> str:
    """Write a number.

    Args:
        value: The number; anything else is not known.
        digits: After the point.

    Returns:
        For example ``1,234.5``.
    """
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else "-"


def duration(value: Json) -> str:
    """Write a time span.

    Args:
        value: Seconds.

    Returns:
        For example ``2 min 05 s``.
    """
    if not isinstance(value, int | float):
        return "-"
    if value < MINUTE:
        return f"{value:.1f} s"
    if value < HOUR:
        return f"{value // MINUTE:.0f} min {value % MINUTE:02.0f} s"
    return f"{value // HOUR:.0f} h {value % HOUR // MINUTE:02.0f} min"


def count(value: Json) -> str:
    """Write a number of bytes.

    Args:
        value: Bytes.

    Returns:
        For example ``13.4 MB``.
    """
    return size(int(value)) if isinstance(value, int | float) else "-"


def energy(value: Json) -> str:
    """Write an energy.

    Args:
        value: A record with ``joules``.

    Returns:
        For example ``12.3 kJ``.
    """
    joules = record(value).get("joules")
    if not isinstance(joules, int | float):
        return "-"
    return f"{joules:.0f} J" if joules < KILO else f"{joules / KILO:.1f} kJ"


def cost(value: Json) -> str:
    """Write what an energy costs.

    Args:
        value: A record with ``cost`` and ``currency``.

    Returns:
        For example ``0.0123 EUR``; small ones with two digits that count.
    """
    found = record(value)
    amount = found.get("cost")
    if not isinstance(amount, int | float):
        return "-"
    told = f"{amount:,.4f}" if amount >= CENT else f"{amount:.2g}"
    return f"{told} {found['currency']}"


def _digest(value: Json) -> str:
    return hashing.short(str(value)) if value else "-"


def _said(name: str, text: str) -> list[str]:
    """Write a named text, its further lines indented."""
    indent = " " * NAME
    return textwrap.wrap(f"{name:{NAME}}{text}", WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [
        name
    ]


def _how(*used: Json) -> list[str]:
    """Say how energies are known, each way once."""
    ways = [str(how) for one in used if (how := record(one).get("how"))]
    return [line for way in dict.fromkeys(ways) for line in _said("energy", way)]


def estimate(found: dict[str, Json]) -> list[str]:
    """Tell what a run will need.

    Args:
        found: The estimate.

    Returns:
        The lines.
    """
    rows = (
        ("steps", figure(found.get("steps"))),
        ("tokens", figure(found.get("tokens"))),
        ("tokens/s", figure(found.get("tokens_per_second"))),
        ("time", duration(found.get("seconds"))),
        ("memory", count(found.get("memory_bytes"))),
        ("disk", f"{count(found.get('disk_bytes'))} of {count(found.get('free_bytes'))} free"),
        ("energy", energy(found.get("energy"))),
        ("cost", cost(found.get("energy"))),
    )
    return [
        "Estimated, before anything is started:",
        *(f"  {name:{NAME}}{value}" for name, value in rows),
        *_how(found.get("energy")),
    ]


def lines(page: dict[str, Json]) -> list[str]:
    """Tell a run's page.

    Args:
        page: What ``GET /v1/runs/{run}`` gives.

    Returns:
        The lines.
    """
    return [
        f"Run {page['number']}: {page['state']}",
        *_origin(page),
        "",
        *_needs(page),
        *_course(page),
        *_held_out(record(page.get("held_out"))),
        *_sources(page),
        *_environment(record(page.get("manifest"))),
        *_replays(page),
        *_gate(page),
    ]


def _origin(page: dict[str, Json]) -> list[str]:
    out = _said(
        "recipe", f"{page['recipe']} on {page['base']}, {page['method']} with {page['tuning']}"
    ) + _said("started", f"{page['time']} by {page['person']}")
    if page.get("run"):
        out += _said("run", str(page["run"]).removeprefix("sha512:")[:LONG])
    for kind in ("adapter", "model"):
        if page.get(kind):
            out += _said(kind, str(page[kind]).removeprefix("sha512:")[:LONG])
    total = record(page.get("total"))
    parts, unknown = total.get("parts"), total.get("unknown")
    if isinstance(parts, list) and len(parts) > 1:
        out += _said("parts", f"it went on from {', '.join(map(str, parts[:-1]))}")
    if isinstance(unknown, list) and unknown and page["state"] != "running":
        out += _said("unknown", f"what {', '.join(map(str, unknown))} needed: killed without a word")
    if page.get("resumed_by") is not None:
        out += _said("went on", f"as run {page['resumed_by']}")
    elif page.get("resumable"):
        number = page["number"]
        out += _said("next", f"`holdfast train resume {number}` or `holdfast train discard {number}`")
    elif page.get("discarded"):
        out += _said("discarded", "its checkpoints were given up")
    if record(page.get("result")).get("message"):
        out += _said("why", str(record(page["result"])["message"]))
    return out


def _needs(page: dict[str, Json]) -> list[str]:
    """Compare the estimate with what came."""
    guess, came = record(page.get("estimate")), record(page.get("total"))
    rows = (
        ("time", duration(guess.get("seconds")), duration(came.get("seconds"))),
        ("memory", count(guess.get("memory_bytes")), count(came.get("peak_memory_bytes"))),
        ("disk", count(guess.get("disk_bytes")), count(came.get("disk_bytes"))),
        ("energy", energy(guess.get("energy")), energy(came.get("energy"))),
        ("cost", cost(guess.get("energy")), cost(came.get("energy"))),
    )
    if all(one == other == "-" for _, one, other in rows):
        return []
    return [
        *table(("", "estimated", "came"), rows),
        *_how(guess.get("energy"), came.get("energy")),
        "",
    ]


def _course(page: dict[str, Json]) -> list[str]:
    found = record(page.get("figures"))
    if latest := record(page.get("latest")):
        return _said(
            "course",
            f"step {figure(latest.get('step'))} of {figure(latest.get('steps'))}, loss {figure(latest.get('loss'), 4)}, "
            f"{figure(latest.get('tokens_per_second'))} tokens/s, {duration(latest.get('eta_s'))} left",
        )
    if not found:
        return []
    out = _said(
        "course",
        f"{figure(found.get('steps'))} steps, {figure(found.get('tokens'))} tokens, "
        f"{figure(found.get('tokens_per_second'))} tokens/s, final loss {figure(found.get('final_loss'), 4)}",
    )
    if found.get("stopped_early") is not None:
        out += _said("", f"ended early at step {found['stopped_early']}: its suite no longer rose")
    peak = found.get("gemm_peak_flops")
    if isinstance(peak, int | float):
        share = found.get("gemm_fraction")
        told = f"{share:.1%}" if isinstance(share, int | float) else "-"
        out += _said("speed", f"{told} of the measured matrix-product peak, {peak / 1e12:.2f} TFLOP/s")
    padding = found.get("padding")
    if isinstance(padding, int | float):
        out += _said("padding", f"{padding:.1%} of the tokens computed")
    if found.get("quarantined"):
        out += _said(
            "too long", f"{figure(found['quarantined'])} rows were set aside: they don't fit the sequence"
        )
    if found.get("gpu"):
        out += _said("device", f"{found['gpu']}; bits are compared on equal devices only")
    return out


def _held_out(found: dict[str, Json]) -> list[str]:
    rows = [
        (
            path if len(path) <= PATH else f"…{path[1 - PATH :]}",
            figure(one.get("before"), 4),
            figure(one.get("after"), 4),
        )
        for path, value in found.items()
        if (one := record(value))
    ]
    return table(("held out, bits per byte", "before", "after"), rows) if rows else []


def _sources(page: dict[str, Json]) -> list[str]:
    params = record(page.get("params"))
    out = _said("base", _digest(params.get("base"))) + _said("recipe", _digest(params.get("recipe")))
    for path, value in record(page.get("data")).items():
        one = record(value)
        counts = [
            f"{figure(one[name])} {told}"
            for name, told in (("rows", "rows"), ("held_out", "held out"), ("quarantined", "set aside"))
            if one.get(name)
        ]
        out += _said("data", ", ".join([f"{path} {_digest(one.get('dataset'))}", *counts]))
    if record(page.get("result")).get("states"):
        out += _said("states", f"{_digest(record(page['result'])['states'])} (rolling hash of the weights)")
    return out


def _environment(manifest: dict[str, Json]) -> list[str]:
    found = record(manifest.get("environment"))
    if not found:
        return []
    packages = record(found.get("packages"))
    software = record(found.get("software"))
    told = [
        f"Holdfast {software.get('version')} {_digest(software.get('digest'))}",
        f"Python {found.get('python')}",
        *(f"{name} {version}" for name, version in packages.items()),
        f"{found.get('threads')} threads",
        f"{found.get('machine')} {found.get('cpu_capability')}",
    ]
    return _said("environment", ", ".join(told))


def _replays(page: dict[str, Json]) -> list[str]:
    out = []
    for one in records(page.get("replays")):
        if one.get("equal"):
            told = "the same, bit for bit"
        elif one.get("diverged") is not None:
            told = f"another way by step {one['diverged']}"
        else:
            told = str(one["state"])
        out += _said("replay", f"{one['number']}: {told}")
    return out


def _gate(page: dict[str, Json]) -> list[str]:
    gate = record(page.get("gate"))
    if not gate:
        return []
    out = _said("gate", "GO" if gate.get("go") else "NO-GO")
    for reason in listed(gate.get("reasons")):
        out += _said("", str(reason))
    return out
