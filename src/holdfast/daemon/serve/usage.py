"""What applications used: requests, tokens and time from the index, the energy and the cost estimated from processor time.

Invariants: every figure is the sum of what answers' outcomes say on the record; energy is labelled an estimate and says the
watts that it was made with; there is a cost only where the site has a price.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.daemon.energy import PER_KWH
from holdfast.errors import UsageRefused

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from holdfast.canonical import Json
    from holdfast.config import EnergyEntry
    from holdfast.daemon.services import Services

PARTS = ("day", "tenant", "key", "model")
QUERY = "usage"  # the saved query that counts
MAX_ROWS = 5_000  # of one answer: a year of days for a dozen tenants
_SUMS = (
    "requests",
    "answered",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "milliseconds",
    "processor_ms",
)


@dataclass(frozen=True)
class UsageQuery:
    """What somebody wants to know of what was used.

    Args:
        by: What is summed up by, of ``PARTS``; nothing for one sum.
        given: Values of the query's parameters: ``tenant``, ``since`` and ``until`` as far as they are limited.
    """

    by: tuple[str, ...]
    given: dict[str, str]


def read(query: QueryParams) -> UsageQuery:
    """Read a query from a route's parameters.

    Args:
        query: With ``tenant``, ``since``, ``until``, and ``by``: some of ``PARTS`` with commas between them.

    Returns:
        It.

    Raises:
        UsageRefused: If it is to be summed up by something else than ``PARTS``, or a time is none.
    """
    by = [part for part in query.get("by", "").split(",") if part]
    odd = sorted(set(by) - set(PARTS))
    if odd:
        raise UsageRefused(
            "usage.by",
            f"Usage can't be summed up by {odd[0][:40]!r}.",
            remedy=f"Use some of {', '.join(PARTS)}.",
        )
    given = {name: query[name] for name in ("tenant", "since", "until") if query.get(name)}
    moments = [_moment(name, given[name]) for name in ("since", "until") if name in given]
    if moments != sorted(set(moments)):
        raise UsageRefused(
            "usage.time",
            f"No time lies between {given['since'][:40]} and {given['until'][:40]}.",
            remedy="Let --since be earlier than --until.",
        )
    return UsageQuery(tuple(part for part in PARTS if part in by), given)


def _moment(name: str, value: str) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise UsageRefused(
            "usage.time",
            f"{name} is to be a day or a moment, and {value[:40]!r} is none.",
            remedy="Write it as 2026-03-01 or 2026-03-01T12:00:00Z, in UTC.",
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def summed(services: Services, what: UsageQuery) -> dict[str, Json]:
    """Sum up what was used.

    Args:
        services: The daemon's parts.
        what: What is wanted.

    Returns:
        ``by``, ``rows`` (each with those parts, the sums, ``joules`` and ``cost``), the same sums as ``total``, ``how`` the energy is
        known, ``watts_per_core``, ``currency`` (None where there is no price), ``truncated`` (the rows are not all; nor is the total)
        and ``size``, the events that were counted from.

    Raises:
        UsageRefused: If a time is none.
    """
    request: dict[str, Json] = {
        "op": "sql",
        "saved": QUERY,
        "given": {**what.given, "by": " ".join(what.by)},
        "limit": MAX_ROWS,
    }
    found = await services.index.ask(services, request)
    columns, rows = found["columns"], found["rows"]
    names = [
        str(one["name"]) for one in (columns if isinstance(columns, list) else []) if isinstance(one, dict)
    ]
    told = [
        dict(zip(names, row, strict=True))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, list)
    ]
    site = services.site.energy
    priced: list[Json] = [{**{part: one[part] for part in what.by}, **_priced(site, one)} for one in told]
    total = {name: sum(_number(one[name]) for one in told) for name in _SUMS}
    return {
        "by": list(what.by),
        "rows": priced,
        "total": _priced(site, {**total}),
        "how": f"estimated: processor time at {site.watts_per_core:g} W a core",
        "watts_per_core": site.watts_per_core,
        "currency": site.currency if site.price_per_kwh is not None else None,
        "truncated": found["truncated"],
        "size": found["size"],
    }


def _priced(site: EnergyEntry, sums: dict[str, Json]) -> dict[str, Json]:
    """Give the sums with the energy of their processor time and what that costs here."""
    joules = _number(sums["processor_ms"]) / 1000 * site.watts_per_core
    cost = None if site.price_per_kwh is None else round(joules / PER_KWH * site.price_per_kwh, 6)
    plain: dict[str, Json] = {name: sums[name] for name in _SUMS}
    return {**plain, "joules": round(joules, 1), "cost": cost}


def _number(value: Json) -> int | float:
    return value if isinstance(value, int | float) else 0
