"""``holdfast audit witness``: the group. The site's commands need its daemon; those of the auditor's device need nothing."""

from __future__ import annotations

import click

from holdfast.cli import Lazy

_COMMANDS = {
    # name: (module, one line); the order is the order of --help
    "add": ("witnessing", "At the site: add a witness by the keys received from it."),
    "remove": ("witnessing", "At the site: remove a witness."),
    "list": ("witnessing", "At the site: show each witness and what it cosigned last."),
    "new": ("cosign", "On the auditor's device: make a witness's keys and its folder."),
    "seen": ("cosign", "On the auditor's device: show what was cosigned."),
    "succeed": ("cosign", "On the auditor's device: take a restored log on as what continues another."),
}


@click.group(cls=Lazy, commands_of=_COMMANDS)
def witness() -> None:
    """Witness the log over the air gap: on the site's side and on the auditor's device."""
