"""How the home is, in words: one line for the strip while something needs attention, and the whole for who asks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.parts import record
from holdfast_tui.reading import bytes_told, number, plain, row, texts, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.canonical import Json

AMPLE, LOW, STOPPED, FAILED = "ample", "low", "stopped", "failed"
UNEXPLAINED = "unexplained"


def space(status: dict[str, Json]) -> str:
    """Tell whether the log takes events.

    Args:
        status: The daemon's status.

    Returns:
        ``ample``, ``low``, ``stopped`` or ``failed``; empty if it is not told.
    """
    found = record(status.get("space"))
    return FAILED if found.get("failure") else str(found.get("level") or "")


def attention(status: dict[str, Json]) -> list[str]:
    """Name what needs attention, the most pressing first.

    Args:
        status: The daemon's status.

    Returns:
        A few words each; none if nothing does.
    """
    revoked, exceptions = record(status.get("revoked")), record(status.get("exceptions"))
    stopped, served = len(texts(revoked.get("withdrawn"))), len(texts(revoked.get("excepted")))
    opened, lifted = number(exceptions.get("open")), number(exceptions.get("in_force"))
    sealed = number(record(status.get("sealed")).get("open"))
    found, level = record(status.get("space")), space(status)
    free = bytes_told(found.get("free"))
    parts = {
        "ACTS STOPPED: the log failed": level == FAILED,
        f"ACTS STOPPED: {free} left": level == STOPPED,
        f"space low: {free} left": level == LOW,
        f"REVOKED: {stopped} stopped, {served} excepted": stopped or served,
        "log UNWITNESSED": bool(status.get("unwitnessed")),
        "last run UNEXPLAINED": record(status.get("started")).get("previous") == UNEXPLAINED,
        f"exceptions: {opened} asked, {lifted} in force": opened or lifted,
        f"sealed texts: {sealed} asked": sealed,
    }
    return [words for words, there in parts.items() if there]


def change(before: str, after: str) -> tuple[str, bool]:
    """Say what it means that the space for the log changed.

    Args:
        before: What ``space`` told before.
        after: What it tells.

    Returns:
        A sentence, empty if there is nothing to say; and whether it is grave.
    """
    halted = (STOPPED, FAILED)
    if before and after in halted and before not in halted:
        return "The audit log takes no new acts. h says why and what to do.", True
    if before in halted and after and after not in halted:
        return "The audit log takes events again: acts go on.", False
    return "", False


def described(status: dict[str, Json]) -> Iterator[str]:
    """Describe how the home is.

    Args:
        status: The daemon's status.

    Yields:
        Lines that fit a dialog.
    """
    log, serving = record(status.get("log")), record(status.get("serving"))
    yield row("home", plain(f"{told(status.get('home'))} ({told(status.get('site'))})"))
    yield row("log", plain(f"{number(log.get('size'))} events of {told(log.get('origin'))}"))
    yield row("root", plain(told(log.get("root"))))
    yield row("space", plain(_space(status)))
    yield row("last start", plain(_started(record(status.get("started")))))
    yield row("witnesses", plain(told(status.get("unwitnessed") or "Nothing is overdue. 6 shows them.")))
    yield row("serving", plain(told(serving.get("address"))))
    asked = [words for words in attention(status) if words.startswith(("exceptions", "sealed", "REVOKED"))]
    if asked:
        yield row("decisions", f"{'; '.join(asked)}. 5 shows what was asked.")
    yield ""
    yield "Lacking here:"
    lacking = [plain(one) for one in texts(status.get("gaps"))]
    for one in lacking or ["nothing"]:
        yield row("  -", one, 4)


def _space(status: dict[str, Json]) -> str:
    found = record(status.get("space"))
    free, low, reserve = (bytes_told(found.get(name)) for name in ("free", "low", "reserve"))
    make = "Make space on the disk that holds the home's folder log"
    match space(status):
        case "failed":
            return (
                f"THE LOG FAILED: {told(found.get('failure'))} No act begins. {free} are free. See to the disk; the log is "
                "opened again by itself as soon as the disk takes it."
            )
        case "stopped":
            return (
                f"STOPPED: {free} are free, and the last {reserve} are the log's reserve. No act begins and no answer is given; "
                f"what is under way ends. {make}; it goes on by itself."
            )
        case "low":
            return (
                f"LOW: {free} are free, less than {low}; at the last {reserve} all acts stop. {make}, or archive old events: "
                "`holdfast audit archive`."
            )
        case "ample":
            return f"Ample: {free} are free. Below {low} it warns; at the last {reserve} all acts stop."
    return told(None)


def _started(started: dict[str, Json]) -> str:
    at = f"Event {told(started.get('event'))}. "
    match started.get("previous"):
        case "unexplained":
            return (
                f"{at}The run before it ended UNEXPLAINED: killed, crashed, or without power. Acts that it left open were ended "
                "as interrupted; v on Audit names how long it was silent."
            )
        case "stopped":
            return f"{at}The run before it was stopped on request."
        case "none":
            return f"{at}There was no run before it."
    return told(None)
