"""Asking a model: from a suite's items to what an engine says of each.

Order of operations: items whose answer is generated, then choices, then texts to predict; each engine works through its own
batches. Invariants: responses come back in the suite's order; an item is asked in one way only, its metric's; a response
does not depend on the other items of the suite. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.evaluation.items import Choices, Passage
from holdfast.evaluation.metrics import BitsSection

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.evaluation.generate import Engine
    from holdfast.evaluation.spec import Suite


@dataclass(frozen=True)
class Answer:
    """What was generated.

    Args:
        text: The answer, without special tokens.
    """

    text: str


@dataclass(frozen=True)
class Logs:
    """How likely the model finds an item's choices.

    Args:
        nats: The log-likelihood of each choice (natural logarithm).
    """

    nats: tuple[float, ...]


@dataclass(frozen=True)
class Cost:
    """How likely the model finds an item's text.

    Args:
        nats: The log-likelihood of all its tokens (natural logarithm).
    """

    nats: float


Response = Answer | Logs | Cost


def respond(engine: Engine, suite: Suite, progress: Callable[[int], None]) -> list[Response]:
    """Put every item of a suite to a model.

    Args:
        engine: The model.
        suite: The suite.
        progress: Called with the number of items done; may raise to stop.

    Returns:
        One response per item, in the suite's order.

    Raises:
        UntrustedRecipe: If an item does not fit into the model's context.
    """
    found: dict[int, Response] = {}

    def so_far(more: int) -> None:
        progress(len(found) + more)

    asked = [at for at, item in enumerate(suite.items) if not isinstance(item.wanted, Choices | Passage)]
    texts = engine.answers([suite.items[at] for at in asked], suite.most, so_far) if asked else []
    found |= {at: Answer(text) for at, text in zip(asked, texts, strict=True)}
    _choose(engine, suite, found, so_far)
    _predict(engine, suite, found, so_far)
    return [found[at] for at in range(len(suite.items))]


def _choose(engine: Engine, suite: Suite, found: dict[int, Response], so_far: Callable[[int], None]) -> None:
    logs: dict[int, Response] = {}
    for at, item in enumerate(suite.items):
        if isinstance(item.wanted, Choices):
            question = engine.render(item.messages)
            pairs = [(question, choice) for choice in item.wanted.texts]
            logs[at] = Logs(tuple(engine.loglikelihoods(pairs)))
            so_far(len(logs))
    found |= logs


def _predict(engine: Engine, suite: Suite, found: dict[int, Response], so_far: Callable[[int], None]) -> None:
    for section in suite.spec.section:
        if isinstance(section, BitsSection):
            members = [
                (at, item.wanted.text)
                for at, item in enumerate(suite.items)
                if item.section == section.name and isinstance(item.wanted, Passage)
            ]
            nats = engine.costs([text for _, text in members], section.window, so_far) if members else []
            found |= {at: Cost(one) for (at, _), one in zip(members, nats, strict=True)}
