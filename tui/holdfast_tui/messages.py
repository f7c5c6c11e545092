"""What workers tell the console; only the handlers of these messages touch widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.errors import HoldfastError
    from holdfast_tui.feed import Feed


class StatusArrived(Message):
    """The daemon answered, or did not.

    Args:
        status: Its status; None while it is gone.
        artefacts: All artefacts, if they were read anew.
        why: Why there is no status.
    """

    def __init__(
        self,
        status: dict[str, Json] | None,
        artefacts: list[dict[str, Json]] | None = None,
        why: HoldfastError | None = None,
    ) -> None:
        super().__init__()
        self.status = status
        self.artefacts = artefacts
        self.why = why


class JobMoved(Message):
    """A job's stream went on.

    Args:
        feed: What is known of it.
    """

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed

    def can_replace(self, message: Message) -> bool:
        """Let a later message about the same job stand for this one, so that a burst is drawn once.

        Args:
            message: The one before in the queue.

        Returns:
            True if it is about the same job.
        """
        return isinstance(message, JobMoved) and message.feed is self.feed and not self.feed.ended


class Busy(Message):
    """Work began or ended that may take longer than a tenth of a second.

    Args:
        sign: What is being done.
        begun: Whether it began.
    """

    def __init__(self, sign: str, *, begun: bool) -> None:
        super().__init__()
        self.sign = sign
        self.begun = begun


class Failed(Message):
    """Something was refused or went wrong.

    Args:
        error: With its remedy.
    """

    def __init__(self, error: HoldfastError) -> None:
        super().__init__()
        self.error = error


class Told(Message):
    """Something ended well.

    Args:
        text: One sentence.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class PersonChanged(Message):
    """Somebody else sits at the terminal.

    Args:
        person: Their name.
        roles: Their roles.
    """

    def __init__(self, person: str, roles: tuple[str, ...]) -> None:
        super().__init__()
        self.person = person
        self.roles = roles


class Loaded(Message):
    """A section's data arrived.

    Args:
        data: By name, as the daemon sent it.
    """

    def __init__(self, data: dict[str, Json]) -> None:
        super().__init__()
        self.data = data


class ChatText(Message):
    """A piece of an answer.

    Args:
        turn: The turn of the conversation that it belongs to.
        text: The piece.
    """

    def __init__(self, turn: int, text: str) -> None:
        super().__init__()
        self.turn = turn
        self.text = text


class ChatEnded(Message):
    """An answer is complete, or was refused.

    Args:
        turn: The turn of the conversation that it belongs to.
        answer: With its receipts; None if it was refused.
    """

    def __init__(self, turn: int, answer: dict[str, Json] | None) -> None:
        super().__init__()
        self.turn = turn
        self.answer = answer
