"""Runs in words: what one needs and what it needed, how it went, what it rests on, what its replays and its gate said. Pure.

Invariants: nothing here raises on an answer of another shape; a figure that is not known is a dash, never nought; energy always
stands with how it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.parts import record, records
from holdfast_tui.reading import (
    LABELS,
    NOTHING,
    brief,
    bytes_told,
    figure,
    laid,
    line,
    minute,
    numbers,
    ranges,
    row,
    seconds_told,
    texts,
    told,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError

    Found = Mapping[str, Json]

STOPPED = ("cancelled", "interrupted", "failed", "paused")  # states from which a run can go on
KILO = 1000  # joules; below it they are told one by one
PATH = 40  # columns of a data path
TOLD_APART = "What differs"  # how the remedy of a replay begins that repeats its differences
SECTION = 24  # columns of what a rule is on


def energy(value: Json) -> str:
    """Write an energy.

    Args:
        value: An object with ``joules``.

    Returns:
        For example ``12.3 kJ``, or a dash.
    """
    joules = record(value).get("joules")
    if not isinstance(joules, int | float):
        return NOTHING
    return f"{joules:.0f} J" if joules < KILO else f"{joules / KILO:.1f} kJ"


def cost(value: Json) -> str:
    """Write what an energy costs.

    Args:
        value: An object with ``cost`` and ``currency``.

    Returns:
        For example ``0.0123 EUR``, or a dash.
    """
    found = record(value)
    return (
        f"{figure(found['cost'], 4)} {told(found.get('currency'))}"
        if found.get("cost") is not None
        else NOTHING
    )


def share(value: Json) -> str:
    """Write a share.

    Args:
        value: From 0 to 1.

    Returns:
        For example ``12.5 %``, or a dash.
    """
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else NOTHING


def estimate(found: Found) -> Iterator[str]:
    """Tell what a run will need.

    Args:
        found: The estimate.

    Yields:
        Lines.
    """
    joules = found.get("energy")
    yield row("steps", f"{told(found.get('steps'))}, {told(found.get('tokens'))} tokens")
    yield row("speed", f"{figure(found.get('tokens_per_second'), 0)} tokens/s")
    yield row("time", seconds_told(found.get("seconds")))
    yield row("memory", bytes_told(found.get("memory_bytes")))
    yield row("disk", f"{bytes_told(found.get('disk_bytes'))} of {bytes_told(found.get('free_bytes'))} free")
    yield row("energy", f"{energy(joules)} ({line(told(record(joules).get('how')))})")
    unknown = "not known: the site's [energy] names no price_per_kwh"
    yield row("cost", cost(joules) if record(joules).get("cost") is not None else unknown)
    if found.get("how"):
        yield row("how known", line(told(found["how"])))


def needs(found: Found) -> str:
    """Tell what a run will need, in one sentence.

    Args:
        found: The estimate.

    Returns:
        Time, memory, disk, energy and cost.
    """
    parts = (
        seconds_told(found.get("seconds")),
        f"memory {bytes_told(found.get('memory_bytes'))}",
        f"disk {bytes_told(found.get('disk_bytes'))}",
        f"energy {energy(found.get('energy'))}",
        f"cost {cost(found.get('energy'))}",
    )
    return f"It needs {', '.join(parts)}."


def noticed(prepared: Found) -> str:
    """Say what a person should know of a data set that was just prepared.

    Args:
        prepared: The result of the preparation.

    Returns:
        What was set aside, and what of a suite stands in its rows; empty if neither.
    """
    parts = [f"{told(prepared['quarantined'])} rows were set aside"] if prepared.get("quarantined") else []
    shared = {name: count for name, count in record(prepared.get("overlap")).items() if count}
    parts += [
        f"{told(count)} items of the suite {line(name)} stand in its rows" for name, count in shared.items()
    ]
    return (
        f"Data set {brief(prepared.get('dataset'))}: {'; '.join(parts)}. l shows its profile."
        if parts
        else ""
    )


def page(found: Found) -> Iterator[str]:
    """Tell everything of one run.

    Args:
        found: What ``GET /v1/runs/{run}`` gives.

    Yields:
        Lines.
    """
    yield from _origin(found)
    yield from _gate(record(found.get("gate")), str(found.get("state")))
    yield ""
    yield from _needed(record(found.get("estimate")), record(found.get("total")))
    yield from _course(record(found.get("figures")))
    yield from _held_out(record(found.get("held_out")))
    yield ""
    yield from _sources(found)
    yield from _environment(record(record(found.get("manifest")).get("environment")))
    yield from _replays(found)


def so_far(found: Found, metric: Found) -> dict[str, Json]:
    """Put what a running run tells of itself in the place of the figures that it will have in the end.

    Args:
        found: What ``GET /v1/runs/{run}`` gives.
        metric: The last metric of its stream.

    Returns:
        The page, with figures.
    """
    names = {"steps": "step", "final_loss": "loss"}
    alike = ("tokens", "tokens_per_second", "gemm_fraction")
    figures = {name: metric.get(names.get(name, name)) for name in (*names, *alike)}
    came = {**record(found.get("total")), "peak_memory_bytes": metric.get("memory_bytes")}
    return {**found, "figures": figures, "total": came}


def _origin(found: Found) -> Iterator[str]:
    yield row(
        "state",
        f"{told(found.get('state'))}; started {minute(found.get('time'))} by {line(told(found.get('person')))}",
    )
    way = f"{told(found.get('method'))} with {told(found.get('tuning'))}"
    yield row("recipe", line(f"{told(found.get('recipe'))} on {told(found.get('base'))}, {way}"))
    for kind in ("run", "adapter", "model"):
        if found.get(kind):
            yield row(kind, brief(found[kind]))
    total = record(found.get("total"))
    parts, unknown = numbers(total.get("parts")), numbers(total.get("unknown"))
    if len(parts) > 1:
        yield row("parts", f"it went on from {ranges(parts[:-1])}")
    if unknown and found.get("state") != "running":
        yield row("unknown", f"what {ranges(unknown)} needed: killed without a word")
    if found.get("resumed_by") is not None:
        yield row("went on", f"as run {told(found['resumed_by'])}")
    elif found.get("resumable"):
        yield row("next", "s goes on from its last checkpoint, d gives its checkpoints up")
    elif found.get("discarded"):
        yield row("discarded", "its checkpoints were given up")
    message = record(found.get("result")).get("message")
    if message:
        yield row("why", line(str(message)))


def _needed(guess: Found, came: Found) -> Iterator[str]:
    """Compare the estimate with what came."""
    rows = (
        ("", "estimated", "came"),
        ("time", seconds_told(guess.get("seconds")), seconds_told(came.get("seconds"))),
        ("memory", bytes_told(guess.get("memory_bytes")), bytes_told(came.get("peak_memory_bytes"))),
        ("disk", bytes_told(guess.get("disk_bytes")), bytes_told(came.get("disk_bytes"))),
        ("cost", cost(guess.get("energy")), cost(came.get("energy"))),
        ("energy", energy(guess.get("energy")), energy(came.get("energy"))),
    )
    yield from laid([(f"{name:{LABELS - 2}}", *cells) for name, *cells in rows])
    for column, value in (("estimate", guess.get("energy")), ("came", came.get("energy"))):
        how = record(value).get("how")
        if how:
            yield row(f"  {column}", line(str(how)))


def _course(found: Found) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield row(
        "course",
        f"{told(found.get('steps'))} steps, {told(found.get('tokens'))} tokens, loss {figure(found.get('final_loss'), 4)}",
    )
    yield row("speed", f"{figure(found.get('tokens_per_second'), 0)} tokens/s, {_of_peak(found)}")
    if found.get("stopped_early") is not None:
        yield row("ended early", f"at step {told(found['stopped_early'])}: its suite no longer rose")
    if found.get("padding") is not None:
        yield row("padding", f"{share(found['padding'])} of the tokens computed")
    if found.get("quarantined"):
        yield row("set aside", f"{told(found['quarantined'])} rows that can't be trained on")
    if found.get("gpu"):
        yield row("device", line(f"{found['gpu']}; bits are compared on equal devices only"))


def _of_peak(found: Found) -> str:
    peak = found.get("gemm_peak_flops")
    rate = f", {peak / 1e12:.2f} TFLOP/s" if isinstance(peak, int | float) else ""
    return f"{share(found.get('gemm_fraction'))} of the measured matrix-product peak{rate}"


def _held_out(found: Found) -> Iterator[str]:
    rows = [
        (
            _short(path, PATH),
            figure(record(one).get("before"), 4),
            figure(record(one).get("after"), 4),
        )
        for path, one in found.items()
    ]
    if rows:
        yield ""
        yield from laid([("held out, bits per byte", "before", "after"), *rows])


def _sources(found: Found) -> Iterator[str]:
    params = record(found.get("params"))
    for name in ("base", "recipe"):
        yield row(name, brief(params.get(name)))
    for path, digest in record(params.get("data")).items():
        yield row("data", line(f"{path}  {brief(digest)}"))
    states = record(found.get("result")).get("states")
    if states:
        yield row("states", f"{brief(states)}  rolling hash of the weights, which a replay must repeat")


def _environment(found: Found) -> Iterator[str]:
    if not found:
        return
    software, device = record(found.get("software")), record(found.get("device"))
    parts = [
        f"Holdfast {told(software.get('version'))} {brief(software.get('digest'))}",
        f"Python {told(found.get('python'))}",
        *(f"{name} {version}" for name, version in record(found.get("packages")).items()),
        f"{told(found.get('threads'))} threads",
        f"{told(found.get('machine'))} {told(found.get('cpu_capability'))}",
        *([told(device.get("name") or device.get("type"))] if device else []),
    ]
    yield row("environment", line(", ".join(parts)))


def _replays(found: Found) -> Iterator[str]:
    for one in records(found.get("replays")):
        if one.get("equal"):
            said = "the same, bit for bit"
        elif one.get("diverged") is not None:
            said = f"another way: step {told(one['diverged'])} is the first that differs"
        else:
            said = told(one.get("state"))
        yield row("replay", f"{told(one.get('number'))}: {said}")
        for each in texts(one.get("differences")):
            yield row("", line(each))


def _gate(gate: Found, state: str) -> Iterator[str]:
    if not gate:
        yield row(
            "gate", "not decided yet: g decides it" if state == "done" else "decided once the run is done"
        )
        return
    yield row("gate", verdict({**gate}).upper())
    judged = [
        (
            _short(f"{told(one.get('suite'))}/{told(one.get('section'))}", SECTION),
            told(one.get("on")),
            told(one.get("verdict")),
            "holds" if one.get("holds") else "FAILS",
        )
        for one in records(gate.get("judged"))
    ]
    if judged:
        yield from laid(
            [("  rule on", "engine", "verdict", ""), *((f"  {name}", *rest) for name, *rest in judged)]
        )
    for reason in texts(gate.get("reasons")):
        yield row("", line(reason), 2)


def _short(name: str, columns: int) -> str:
    """Keep the end of a name that is too long for its column."""
    return name if len(name) <= columns else f"...{name[3 - columns :]}"


def refused(error: HoldfastError) -> list[str]:
    """Tell a refusal that lists more than a sentence holds: every mistake of a recipe, every difference of a machine.

    Args:
        error: The refusal.

    Returns:
        Its lines; none if a sentence says it all.
    """
    fields = error.fields
    mistakes, differences = _listed(fields.get("mistakes")), _listed(fields.get("differences"))
    if len(mistakes) < 2 and not differences:  # noqa: PLR2004 - one mistake is its sentence
        return []
    file = f"{fields.get('file') or ''}:"
    items = [
        *(f"line {one.removeprefix(file)}" if one.startswith(file) else one for one in mistakes),
        *differences,
    ]
    head = file if fields.get("file") else error.message.partition(items[0])[0]
    remedy = "" if error.remedy.startswith(TOLD_APART) else error.remedy
    return [
        *([row("", line(head), 0), ""] if head else []),
        *(row("-", line(one), 2) for one in items),
        *(["", row("", line(remedy), 0)] if remedy else []),
    ]


def _listed(value: object) -> list[str]:
    return [str(one) for one in value if one] if isinstance(value, list) else []
