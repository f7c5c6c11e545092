"""What model ids mean: which engine computes them, in which lane, and for whom they are there.

The table is replaced as a whole. Invariants: a request keeps what its id meant when it came; requests in flight are counted by
engine and lane, so that the daemon detaches nothing that is in use; whoever may use a withdrawn model is told why it is gone; a
model that a key does not open looks like one that is not there.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import NotFound
from holdfast.serving.front.faults import Unavailable
from holdfast.serving.spec import choices, offered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from holdfast.errors import HoldfastError
    from holdfast.serving.front.faults import Withdrawn
    from holdfast.serving.keys import ApiKey
    from holdfast.serving.spec import Choice, Limits, Settings

MAX_SHOWN = 260  # characters of an unknown id that a refusal repeats
Lane = tuple[str, str]  # the names of an engine and of a lane in it


class Routing:
    """The table.

    Args:
        settings: What is served at first.
        withdrawn: Model ids that were withdrawn, and what applications are told.
    """

    def __init__(self, settings: Settings, withdrawn: Mapping[str, Withdrawn]) -> None:
        self._choices: dict[str, Choice] = {}
        self._gone: dict[str, Choice] = {}  # withdrawn ids that are served no longer
        self._flights: Counter[Lane] = Counter()
        self._lanes: set[Lane] = set()
        self._leaving: set[Lane] = set()  # out of the table, and not yet told to be idle
        self._lacking: dict[str, Mapping[str, HoldfastError]] = {}  # lanes that engines could not be given
        self.replace(settings, withdrawn)

    def replace(self, settings: Settings, withdrawn: Mapping[str, Withdrawn]) -> None:
        """Take another table; requests in flight keep what they have.

        Args:
            settings: What is served from here on.
            withdrawn: What of it, or of what was served before, is refused and why.
        """
        self.limits: Limits = settings.limits
        before = self._gone | self._choices
        self._choices = {choice.id: choice for choice in offered(settings)}
        lanes = {lane_of(choice) for choice in choices(settings)}
        self._leaving = (self._leaving | self._lanes) - lanes
        self._lanes = lanes
        self._lacking = {name: lanes for name, lanes in self._lacking.items() if name in self.engines}
        self._withdrawn = dict(withdrawn)
        self._gone = {
            name: before[name] for name in withdrawn if name in before and name not in self._choices
        }

    @property
    def engines(self) -> dict[str, str]:
        """The engines of the table, and the id of the model that each computes with."""
        return {choice.model.engine: choice.model.id for choice in self._choices.values()}

    @property
    def ids(self) -> frozenset[str]:
        """Every model id of the table."""
        return frozenset(self._choices)

    def withdraw(self, name: str, why: Withdrawn) -> bool:
        """Refuse a model id from here on.

        Args:
            name: The id.
            why: What applications are told.

        Returns:
            Whether it is in the table.
        """
        self._withdrawn[name] = why
        return name in self._choices

    def lack(self, engine: str, lanes: Mapping[str, HoldfastError]) -> None:
        """Refuse what an engine can't compute with for the time being, and nothing else of it.

        Args:
            engine: Its name.
            lanes: Its lanes of that kind, all of them, and what applications are told.
        """
        self._lacking[engine] = lanes

    def find(self, key: ApiKey, name: str) -> Choice:
        """Tell what a model id means.

        Args:
            key: Who asks.
            name: The id.

        Returns:
            What computes it.

        Raises:
            NotFound: If it does not exist, or the key does not open it.
            Withdrawn: If it was withdrawn.
        """
        choice = self._choices.get(name) or self._gone.get(name)
        if choice is None or not key.opens(choice):
            raise NotFound(
                "serve.model-unknown",
                f"The model {name[:MAX_SHOWN]!r} does not exist, or your key does not open it.",
                remedy="GET /v1/models lists those that it opens.",
                param="model",
                code="model_not_found",
            )
        if name in self._withdrawn:
            raise self._withdrawn[name]
        return choice

    def listed(self, key: ApiKey) -> list[Choice]:
        """List what a key opens.

        Args:
            key: Who asks.

        Returns:
            The ids' meanings, those that were withdrawn left out.
        """
        return [
            choice
            for choice in self._choices.values()
            if choice.id not in self._withdrawn and key.opens(choice)
        ]

    @contextmanager
    def flight(self, choice: Choice) -> Iterator[None]:
        """Count a request while it uses an engine and a lane.

        Args:
            choice: What ``find`` gave.

        Yields:
            Nothing; the count ends with the block.

        Raises:
            Unavailable: If the lane has left the table since, and was told to be idle; or if its engine lacks it.
        """
        lane = lane_of(choice)
        why = self._lacking.get(choice.model.engine, {}).get(choice.lane)
        if why is not None:
            raise why
        if lane not in self._lanes | self._leaving:
            raise Unavailable(
                "serve.replaced",
                f"The model {choice.id} was replaced at this moment.",
                remedy="Ask again.",
                retry_after=1,
            )
        self._flights[lane] += 1
        try:
            yield
        finally:
            self._flights[lane] -= 1
            if not self._flights[lane]:
                del self._flights[lane]

    def busy(self, lanes: Iterable[Lane]) -> list[Lane]:
        """Tell which lanes requests use now; the others are used no more, unless they come back into the table.

        Args:
            lanes: Those in question.

        Returns:
            Those with requests in flight, and those of the table, which may have some at any moment.
        """
        asked = list(lanes)
        found = [lane for lane in asked if lane in self._flights or lane in self._lanes]
        self._leaving -= {*asked} - {*found}
        return found


def lane_of(choice: Choice) -> Lane:
    """Name where a choice is computed.

    Args:
        choice: What a model id means.

    Returns:
        Its engine and its lane there.
    """
    return choice.model.engine, choice.lane
