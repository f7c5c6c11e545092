"""Releases in words: what an alias would stand for, on what it rests, and what may be done about it. Pure.

Invariant: nothing here raises on an answer of another shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.parts import record, records
from holdfast_tui.reading import banner, brief, line, minute, row, since, texts, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from holdfast.canonical import Json

    Found = Mapping[str, Json]

OPEN, IN_FORCE = "open", "in force"
_INPUTS = ("recipe", "dataset", "suite")


def standing(one: Found) -> str:
    """Say in a word or two how a release stands.

    Args:
        one: The release.

    Returns:
        Its standing; in capitals where it is in force and can't be used.
    """
    return (
        "UNUSABLE" if one.get("hindrance") and one.get("standing") == IN_FORCE else told(one.get("standing"))
    )


def next_step(one: Found, person: str, now: datetime) -> str:
    """Say what a release is, and what can be done about it.

    Args:
        one: The release.
        person: Who is at the terminal.
        now: The time, aware.

    Returns:
        A few lines.
    """
    what = line(
        f"{told(one.get('alias'))} as {told(one.get('kind'))} {brief(one.get('product'))} of run #{told(one.get('run_number'))}"
        f" ({told(one.get('recipe_name'))}), by {told(one.get('requester'))}, {since(one.get('time'), now)} ago"
    )
    if one.get("hindrance"):
        return f"{what}\n{line(told(one['hindrance']))}"
    match one.get("standing"):
        case "open":
            own = one.get("requester") == person
            return f"{what}\n{'It waits for an administrator; x takes it back.' if own else 'a shows and approves it.'}"
        case "in force":
            return f"{what}\nb rolls {line(told(one.get('alias')))} back to an earlier release."
        case "superseded":
            return f"{what}\nAnother release took its place; b goes back to it."
        case _:
            return f"{what}\n{line(told(one.get('reason')))}"


def described(found: Found, now: datetime) -> Iterator[str]:
    """Show one release: what a second person reads before they sign.

    Args:
        found: The release as the daemon shows it.
        now: The time, aware.

    Yields:
        Lines.
    """
    yield row("alias", line(f"{told(found.get('alias'))}: the model id that applications use"))
    yield row("standing", told(found.get("standing")))
    if found.get("hindrance"):
        yield row("unusable", line(told(found["hindrance"])))
    yield row(
        "proposed",
        line(
            f"{told(found.get('requester'))}, {minute(found.get('time'))}, {since(found.get('time'), now)} ago"
        ),
    )
    if found.get("decided_by"):
        yield row("decided by", line(f"{told(found['decided_by'])} (event {told(found.get('decided_seq'))})"))
    if found.get("reason"):
        yield row("reason", line(told(found["reason"])))
    yield row("label", banner([found.get("label")])[1])
    yield ""
    yield row(
        "run",
        line(f"#{told(found.get('run_number'))} {told(found.get('recipe_name'))}  {brief(found.get('run'))}"),
    )
    yield row(told(found.get("kind")), brief(found.get("product")))
    yield row("base", line(f"{told(found.get('base_name'))}  {brief(found.get('base'))}"))
    files = [f"{name} {brief(digest)}" for name, digest in record(found.get("gguf")).items()]
    files += [f"adapter {brief(found['lora'])}"] if found.get("lora") else []
    yield row("GGUF", line(", ".join(files)))
    for one in records(found.get("lineage")):
        if one.get("kind") in _INPUTS:
            yield row(
                told(one.get("kind")),
                line(f"{told(one.get('name'))}@{told(one.get('version'))}  {brief(one.get('digest'))}"),
            )
    yield ""
    yield row("evaluation", brief(found.get("evaluation")))
    verdict = record(found.get("verdict"))
    gate = ("go" if verdict.get("go") is True else "no go") if verdict else "decided anew since"
    yield row("gate", f"{gate} (event {told(found.get('decided'))})")
    for reason in texts(verdict.get("reasons")):
        yield row("", line(reason))
    yield row("signs over", told(found.get("digest")))


def earlier(found: Found, releases: Mapping[int, Found]) -> list[int]:
    """List the releases that an alias can go back to.

    Args:
        found: A release of that alias.
        releases: All releases, by number.

    Returns:
        Their numbers, the latest first.
    """
    same = [
        number
        for number, one in releases.items()
        if one.get("alias") == found.get("alias") and one.get("standing") == "superseded"
    ]
    return sorted(same, reverse=True)
