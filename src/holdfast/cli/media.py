"""``holdfast media``: the group. All but ``request`` work without a daemon; each command's module is loaded when it is named."""

from __future__ import annotations

import click

from holdfast.cli import Lazy

_COMMANDS = {
    # name: (module, one line); the order is the order of --help
    "build": ("publish", "Build and sign the medium that a recipe describes."),
    "split": ("publish", "Split a medium into volumes that fit discs or sticks."),
    "diff": ("publish", "Compare two media, or a site's request and a medium."),
    "inspect": ("medium", "Show what a medium claims to hold; nothing is judged."),
    "verify": ("medium", "Verify a medium or a volume: signatures, policy, freshness, and every byte."),
    "check": ("check", "Inspect loose files as an import would."),
    "request": (
        "request",
        "Write a signed inventory of the site, for media that carry only what is missing.",
    ),
}


@click.group(cls=Lazy, commands_of=_COMMANDS)
def media() -> None:
    """Build, split, compare, inspect and verify media."""
