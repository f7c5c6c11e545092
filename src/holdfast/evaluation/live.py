"""One number for an open model: what a run that stops early looks at. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import responses, score

if TYPE_CHECKING:
    from holdfast.evaluation.generate import Engine
    from holdfast.evaluation.spec import Suite


def check(suite: Suite, section: str) -> None:
    """Check that a section of a suite can be looked at while a model is open.

    Args:
        suite: The suite.
        section: ``all``, ``primary`` or a section's name.

    Raises:
        UntrustedRecipe: If there is no such section, or programs would have to be run.
    """
    members = suite.members(section)
    if not members:
        raise UntrustedRecipe(
            "recipe.stop",
            f"Suite {suite.spec.name!r} has no section {section!r}.",
            remedy=f"Name 'all', 'primary' or one of: {', '.join(one.name for one in suite.spec.section)}.",
        )
    if any(suite.section(one).metric == "code" for one in members):
        raise UntrustedRecipe(
            "recipe.stop",
            f"Section {section!r} of suite {suite.spec.name!r} is judged by running programs, which training does not do.",
            remedy="Name a section with another metric in [stop].",
        )


def value(engine: Engine, suite: Suite, section: str) -> float:
    """Measure a section.

    Args:
        engine: The model.
        suite: The suite.
        section: ``all``, ``primary`` or a section's name.

    Returns:
        The share of right answers, or the bits per byte with a minus sign: more is better.

    Raises:
        UntrustedRecipe: If the section can't be looked at, or an item does not fit into the model's context.
    """
    check(suite, section)
    part = suite.only(suite.members(section))
    judged = score.outcomes(part, responses.respond(engine, part, lambda _: None))
    summed = score.total([one.counted for one in judged])
    found = float(str(summed["score"]))
    return -found if summed["metric"] == score.BITS else found
