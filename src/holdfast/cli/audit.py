"""``holdfast audit``: the group. Each command's module is loaded when it is named."""

from __future__ import annotations

import click

from holdfast.cli import Lazy

_COMMANDS = {
    # name: (module, one line); the order is the order of --help
    "log": ("auditread", "Show events, the newest first."),
    "events": ("events", "List the events that the log can hold, with their types and controls."),
    "sql": ("auditsql", "Answer one SELECT over the index."),
    "queries": ("queries", "Named queries: list, show, save, remove."),
    "prove": ("evidence", "Prove that an event is in the log."),
    "verify": ("evidence", "Verify the live log, a log folder or a proof."),
    "export": ("evidence", "Export events as evidence that verifies anywhere."),
    "checkpoint": ("witnessing", "Hand out a signed checkpoint of the log, or a request to a witness."),
    "cosign": ("cosign", "On the auditor's device: check a request and cosign it."),
    "cosigned": ("witnessing", "Take in what a witness cosigned."),
    "witness": ("witness", "Witness the log over the air gap."),
    "backup": ("custody", "Copy the home's record and artefacts; no private key leaves."),
    "restore": ("custody", "Make a new home of a backup, and say what was lost."),
    "archive": ("custody", "Copy the log's beginning, to be kept elsewhere."),
    "forget": ("custody", "Remove from this disk what an archive holds."),
    "rebuild": ("auditread", "Build the DuckDB index anew from the segments."),
}


@click.group(cls=Lazy, commands_of=_COMMANDS)
def audit() -> None:
    """Read, query, prove and verify the audit log."""
