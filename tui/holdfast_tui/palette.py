"""The command palette over the registry of actions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Provider

from holdfast_tui import actions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from holdfast_tui.actions import Action
    from holdfast_tui.app import HoldfastApp


class ActionProvider(Provider):
    """Finds actions of the section that a person is in."""

    def _offered(self) -> Iterator[tuple[Action, str]]:
        app = cast("HoldfastApp", self.app)
        for action in actions.of(app.section.SECTION):
            refusal = actions.refusal(action, app.link.roles)
            yield (
                action,
                f"[{action.key}] {action.help}{f' ({refusal})' if refusal else ''}".replace("[", r"\[", 1),
            )

    async def discover(self) -> AsyncIterator[DiscoveryHit | Hit]:
        """Offer everything.

        Yields:
            All actions.
        """
        app = cast("HoldfastApp", self.app)
        for action, told in self._offered():
            yield DiscoveryHit(action.label, partial(app.action_perform, action.name), help=told)

    async def search(self, query: str) -> AsyncIterator[DiscoveryHit | Hit]:
        """Offer what fits.

        Args:
            query: What was typed.

        Yields:
            Fitting actions.
        """
        app = cast("HoldfastApp", self.app)
        matcher = self.matcher(query)
        for action, told in self._offered():
            score = matcher.match(f"{action.label} {action.help}")
            if score > 0:
                yield Hit(score, action.label, partial(app.action_perform, action.name), help=told)
