"""What an engine tells of a request that it can't answer, and that is nobody's mistake. Pure."""

from __future__ import annotations

from holdfast.errors import OperationFailed, WorkerFailed


class Late(OperationFailed):
    """An answer took longer than it was given."""

    http_status = 503


class Crowded(OperationFailed):
    """More requests are known than the front should have sent."""

    http_status = 429


def late(seconds: float) -> Late:
    """Say that the time for an answer is over.

    Args:
        seconds: What it was given.

    Returns:
        The error, not raised.
    """
    return Late(
        "serve.deadline",
        f"The answer was not whole after {seconds:g} seconds.",
        remedy="Ask for a shorter answer, or allow more time.",
        code="deadline_exceeded",
    )


def crowded() -> Crowded:
    """Say that too many requests are known.

    Returns:
        The error, not raised.
    """
    return Crowded(
        "serve.busy",
        "Too many requests wait for the model already.",
        remedy="Try again in a second.",
        retry_after=1,
    )


def stopped() -> WorkerFailed:
    """Say that the engine ends.

    Returns:
        The error, not raised.
    """
    return WorkerFailed(
        "serve.stopped", "Serving was stopped.", remedy="Ask again once it has been started again."
    )


def cancelled() -> WorkerFailed:
    """Say that nobody waits for the request any more.

    Returns:
        The error, not raised.
    """
    return WorkerFailed("serve.cancelled", "The request was cancelled.", remedy="Ask again.")


def failed() -> WorkerFailed:
    """Say that the engine failed at a request in a way that nobody foresaw.

    Returns:
        The error, not raised.
    """
    return WorkerFailed(
        "serve.fault", "The engine failed at this request.", remedy="See the job's log of the engine."
    )
