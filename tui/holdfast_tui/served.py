"""What applications get, in words: models, engines, keys and what was used. Pure.

Invariants: nothing here raises on an answer of another shape; a figure that is not known is a dash, never nought; energy always
stands with how it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.parts import record, records
from holdfast_tui.reading import (
    NOTHING,
    banner,
    brief,
    bytes_told,
    figure,
    line,
    minute,
    number,
    row,
    texts,
    told,
)
from holdfast_tui.trained import cost, energy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.canonical import Json

    Found = Mapping[str, Json]

UP, OUT = "up", "out"  # states of an engine
KEY_HEADS = (("key", 8), ("tenant", 13), ("state", 7), ("limits", 23), ("today", 17))
USAGE_HEADS = ("tenant", "model", "requests", "tokens read", "cached", "written", "energy", "cost")
_LIMITS = {"requests_per_minute": "{}/min", "tokens_per_day": "{}/day", "parallel": "{} par"}
_DEAD = (
    "It is on the record, but its hash is not in this home, so it opens nothing: revoke it and make another."
)


def engine_of(serving: Found, model: str) -> dict[str, Json]:
    """Find the engine that answers for a model.

    Args:
        serving: What the daemon says of serving.
        model: The model's id.

    Returns:
        The engine; empty if none is told.
    """
    return next(
        (one for one in records(serving.get("engines")) if model in texts(one.get("models"))),
        {},
    )


def state(serving: Found, model: str) -> str:
    """Say in a word whether a model answers.

    Args:
        serving: What the daemon says of serving.
        model: The model's id.

    Returns:
        ``served``, or in capitals what is amiss.
    """
    found = engine_of(serving, model).get("state")
    return "served" if found in (None, UP) else "TAKEN OUT" if found == OUT else told(found).upper()


def hindrance(serving: Found, model: str) -> str:
    """Say why a model does not answer.

    Args:
        serving: What the daemon says of serving.
        model: The model's id.

    Returns:
        One line; empty if its engine is up.
    """
    one = engine_of(serving, model)
    if one.get("state") == OUT:
        return line(f"TAKEN OUT: {told(one.get('why'))} {told(one.get('remedy'))}")
    if one.get("state") in (None, UP):
        return ""
    return f"Its engine is {told(one.get('state'))}, after {number(one.get('deaths'))} deaths; requests wait for it a little."


def summary(serving: Found, keys: Iterable[Found]) -> list[str]:
    """Say how serving is, in two lines.

    Args:
        serving: What the daemon says of serving.
        keys: The keys that it lists.

    Returns:
        Where and how much; what was used today, and how the engines are.
    """
    figures = [f"{name} {serving[name]}" for name in ("active", "queued", "served") if name in serving]
    used = [record(one.get("used")) for one in keys]
    requests, tokens = (sum(number(one.get(name)) for one in used) for name in ("requests", "tokens"))
    states = [told(one.get("state")) for one in records(serving.get("engines"))]
    counted = [
        f"{states.count(one)} {one if one == UP else one.upper()}"
        for one in sorted(set(states), reverse=True)
    ]
    engines = [f"engines: {', '.join(counted)}"] if counted else []
    return [
        " · ".join((f"Serving at {told(serving.get('address'))}/v1", *figures)),
        " · ".join((f"Today: {requests} requests, {tokens} tokens", *engines)),
    ]


def engines(serving: Found) -> str:
    """Describe the engines.

    Args:
        serving: What the daemon says of serving.

    Returns:
        Lines for each, a blank one between.
    """
    return "\n\n".join(_engine(one) for one in records(serving.get("engines"))) or "No engine runs."


def _engine(one: Found) -> str:
    memory = record(one.get("memory"))
    parts = ", ".join(
        f"{name} {bytes_told(memory[name])}" for name in ("weights", "cache", "compute") if name in memory
    )
    lines = [
        row("engine", f"{line(told(one.get('engine')))}, {told(one.get('state')).upper()}"),
        row(
            "weights",
            f"{brief(one.get('digest'))} {told(one.get('quantization'))}, context {told(one.get('context'))}, caches {told(one.get('kv'))}",
        ),
        row("models", ", ".join(map(line, texts(one.get("models")))) or NOTHING),
        row("process", told(one.get("pid"))),
        row("memory", f"{bytes_told(memory.get('total'))}{f' ({parts})' if parts else ''}"),
        row("adapters", ", ".join(map(brief, texts(one.get("adapters")))) or "none"),
        row("deaths", f"{number(one.get('deaths'))} of late"),
    ]
    if one.get("why"):
        lines += [row("why out", line(told(one["why"]))), row("remedy", line(told(one.get("remedy"))))]
    for lacking in records(one.get("lacking")):
        lines += [
            row("lacks", line(told(lacking.get("why")))),
            row("remedy", line(told(lacking.get("remedy")))),
        ]
    return "\n".join(lines)


def limits(quota: Json) -> str:
    """Write how much a key may take.

    Args:
        quota: Its three limits, each null where there is none.

    Returns:
        Requests in a minute, tokens in a day, requests in parallel, for example ``60/min, 200k/day, 4 par``; or a dash.
    """
    found = {name: number(record(quota).get(name)) for name in _LIMITS}
    return (
        ", ".join(said.format(_brief(found[name])) for name, said in _LIMITS.items() if found[name])
        or NOTHING
    )


def _brief(count: int) -> str:
    """Write a number with few digits where none is lost."""
    for factor, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= factor and not count % factor:
            return f"{count // factor}{unit}"
    return str(count)


def key_rows(keys: Iterable[Found]) -> list[tuple[str, tuple[str, ...]]]:
    """Write keys as rows under ``KEY_HEADS``.

    Args:
        keys: The keys that the daemon lists.

    Returns:
        Each key's id and its cells; those that count come first.
    """
    ordered = sorted(keys, key=lambda one: one.get("state") == "revoked")
    return [(told(one.get("key")), _key_cells(one)) for one in ordered]


def _key_cells(one: Found) -> tuple[str, ...]:
    used, state_ = record(one.get("used")), told(one.get("state"))
    return (
        told(one.get("key")),
        told(one.get("tenant")),
        state_.upper() if state_ == "dead" else state_,
        limits(one.get("quota")),
        f"{number(used.get('requests'))} req, {number(used.get('tokens'))} tok",
    )


def key_note(one: Found) -> str:
    """Say in two lines what a key is for.

    Args:
        one: The key.

    Returns:
        Its models, clearance and scopes; what is amiss with it.
    """
    what = (
        f"opens {', '.join(texts(one.get('models'))) or 'nothing'} up to {banner([one.get('clearance')])[1]},"
        f" for {', '.join(texts(one.get('scopes'))) or 'nothing'} · made {minute(one.get('created'))}"
    )
    return f"{line(what)}\n{_DEAD}" if one.get("state") == "dead" else line(what)


def key_page(one: Found) -> str:
    """Describe a key.

    Args:
        one: The key.

    Returns:
        A line for each of its facts.
    """
    quota, used = record(one.get("quota")), record(one.get("used"))
    lines = [
        row("tenant", line(told(one.get("tenant")))),
        row("state", f"dead. {_DEAD}" if one.get("state") == "dead" else told(one.get("state"))),
        row("created", minute(one.get("created"))),
        row("opens", ", ".join(map(line, texts(one.get("models")))) or "nothing"),
        row("clearance", banner([one.get("clearance")])[1]),
        row("scopes", ", ".join(texts(one.get("scopes")))),
        row("requests", f"{_most(quota.get('requests_per_minute'))} in a minute"),
        row("tokens", f"{_most(quota.get('tokens_per_day'))} in a day (UTC)"),
        row("parallel", f"{_most(quota.get('parallel'))} requests"),
        row(
            "used today",
            f"{number(used.get('requests'))} requests, {number(used.get('tokens'))} tokens (UTC)",
        ),
    ]
    return "\n".join(lines)


def _most(limit: Json) -> str:
    return "any number" if limit is None else f"at most {limit}"


def usage_rows(found: Found) -> list[list[str]]:
    """Write what was used as rows under ``USAGE_HEADS``.

    Args:
        found: What the daemon summed up by tenant and model.

    Returns:
        The cells of each.
    """
    return [
        [
            told(one.get("tenant")),
            told(one.get("model")),
            *(figure(one.get(name), 0) for name in ("requests", "prompt_tokens")),
            *(figure(one.get(name), 0) for name in ("cached_tokens", "completion_tokens")),
            energy({"joules": one.get("joules")}),
            cost({"cost": one.get("cost"), "currency": found.get("currency")}),
        ]
        for one in records(found.get("rows"))
    ]


def usage_note(found: Found) -> str:
    """Say what the sums of usage are worth.

    Args:
        found: What the daemon summed up.

    Returns:
        The total, and how the energy is known.
    """
    total = record(found.get("total"))
    used = energy({"joules": total.get("joules")})
    cut = " Not all rows are here." if found.get("truncated") else ""
    return f"{figure(total.get('requests'), 0)} requests, {used}. Energy is {told(found.get('how'))}.{cut}"
