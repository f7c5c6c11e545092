"""What the front tells an application that it can't serve now, and what it passes on of an engine's errors. Pure.

Each says when to come again (``retry_after``, in whole seconds) where that is known. Invariant: of an error that an engine reports
nothing reaches the record that is not written here, for an engine that was taken over would write prompts there.
"""

from __future__ import annotations

from holdfast.errors import (
    HoldfastError,
    NotAuthenticated,
    NotPermitted,
    NotRecorded,
    OperationFailed,
    UntrustedRequest,
    WorkerFailed,
)

# Keys of errors that end a request in an engine; whatever else it says is not believed.
SAID_BY_ENGINES = frozenset(
    {
        "serve.answer-length",
        "serve.busy",
        "serve.cancelled",
        "serve.compute",
        "serve.context",
        "serve.deadline",
        "serve.fault",
        "serve.grammar",
        "serve.input",
        "serve.lane",
        "serve.link",
        "serve.memory",
        "serve.messages",
        "serve.model",
        "serve.no-answers",
        "serve.no-embeddings",
        "serve.no-template",
        "serve.prompt-length",
        "serve.scores",
        "serve.state",
        "serve.stopped",
        "serve.template",
        "serve.text",
        "serve.threads",
        "serve.token",
        "serve.tokenize",
    }
)
_NOT_ITS_OWN = (NotAuthenticated, NotPermitted, NotRecorded)  # an engine knows neither keys nor the log


class Busy(OperationFailed):
    """Too many requests wait already, or a quota is used up; the field ``retry_after`` says when to come again."""

    http_status = 429


class Unavailable(OperationFailed):
    """What computes is not there now; the field ``retry_after`` says when to come again."""

    http_status = 503


class Late(OperationFailed):
    """The time for an answer is over."""

    http_status = 504


class Withdrawn(UntrustedRequest):
    """The model was revoked by its publisher while it was served."""

    http_status = 410


class TooLarge(UntrustedRequest):
    """The body is longer than allowed."""

    http_status = 413


class TooSlow(UntrustedRequest):
    """The body did not arrive in time."""

    http_status = 408


class HeaderTooLarge(UntrustedRequest):
    """The request's head is longer than allowed."""

    http_status = 431


def paused() -> NotRecorded:
    """Make what is told while the log takes no acts.

    Returns:
        The error, not raised.
    """
    return NotRecorded("serve.paused", "The audit log takes no new acts.", remedy="Try again when it does.")


def of_engine(error: HoldfastError) -> HoldfastError:
    """Judge what an engine reports.

    Args:
        error: As it crossed the link.

    Returns:
        The error, if an engine may report it; else one that says so, and nothing that the engine wrote.
    """
    if error.key in SAID_BY_ENGINES and not isinstance(error, _NOT_ITS_OWN):
        return error
    return WorkerFailed(
        "serve.engine-fault",
        "An engine reported an error that it can't have met.",
        remedy="Stop serving the model, and have it examined.",
    )
