"""The errors of a log that could not record something."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import NotRecorded

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def opening() -> Iterator[None]:
    """Tell that a log can't be opened.

    Yields:
        Nothing.

    Raises:
        NotRecorded: If the disk failed meanwhile.
    """
    try:
        yield
    except OSError as error:
        raise NotRecorded(
            "audit.open",
            f"The audit log can't be opened: {error}.",
            remedy="See to the disk and its permissions.",
        ) from error


def failed(error: Exception, *, full: bool) -> NotRecorded:
    """Make the error about a log that takes nothing more.

    Args:
        error: What went wrong.
        full: Whether the disk was full; the log goes on by itself then.

    Returns:
        The error, not raised.
    """
    return NotRecorded(
        "audit.write-failed",
        f"The audit log could not be written ({error}); it takes no more events.",
        remedy="Free space on its disk; the log goes on by itself."
        if full
        else "See to the disk, then start the daemon again.",
    )


def closed() -> NotRecorded:
    """Make the error about a log that was closed.

    Returns:
        The error, not raised.
    """
    return NotRecorded("audit.closed", "The audit log is closed.", remedy="Start the daemon again.")


def not_kept(name: str, error: OSError) -> NotRecorded:
    """Make the error about a file beside the events that could not be stored.

    Args:
        name: The file.
        error: What went wrong.

    Returns:
        The error, not raised.
    """
    return NotRecorded(
        "audit.keep",
        f"{name} could not be stored in the audit log's folder ({error}).",
        remedy="See to the disk.",
    )
