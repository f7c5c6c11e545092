"""The command line: it parses, calls, prints, and nothing else. One module per command group, loaded when it is named.

Invariants: stdout is data, stderr is for people; ``--json`` prints exactly one document; an error prints what, where and
the remedy, and exits with the number of its class (see ``errors``).
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import click

from holdfast import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMANDS: Mapping[str, tuple[str, str]] = {
    # name: (module, one line); the order is the order of --help
    "demo": (
        "demo",
        "See the whole of it: from a signed medium to a report that verifies, in a scratch home.",
    ),
    "up": ("service", "Found a home if needed, and run its daemon in the background."),
    "daemon": ("service", "Run the daemon in the foreground."),
    "down": ("service", "Stop the daemon of a home."),
    "status": ("service", "Show what the daemon says of itself."),
    "doctor": ("service", "Try what this host can enforce and hold, and say what is missing."),
    "console": ("service", "Open the terminal console."),
    "keys": ("keys", "Make and show people's keys."),
    "trust": ("trust", "Pin the root of trust; make roots, delegate, revoke, sign media in turn."),
    "media": ("media", "Build, split, compare, inspect and verify media."),
    "bundle": ("bundle", "Import, admit, reject, list and roll back bundles."),
    "store": ("store", "Hash the store again, and remove what nothing needs."),
    "exception": ("exception", "Lift a rule for a time: two administrators, on the record."),
    "model": ("model", "List models, show where they come from, merge and quantize them."),
    "dataset": ("dataset", "Prepare data for training, list data sets, show their profiles."),
    "train": ("train", "Customise a model: check, estimate, run, follow, resume, replay."),
    "eval": ("evaluate", "Evaluate models, compare evaluations, and decide the gate of a run."),
    "job": ("job", "Follow or stop a job of any kind."),
    "release": ("release", "Release runs under names that applications use: one proposes, another approves."),
    "serve": ("serve", "Serve models behind an OpenAI-compatible API."),
    "ask": ("ask", "Ask a served model, as an application would."),
    "audit": ("audit", "Read, query, prove and verify the audit log."),
    "sealed": ("sealed", "Open, erase or shred sealed prompts and answers: two persons, on the record."),
    "report": ("report", "Export residency reports; verify reports and receipts of imports elsewhere."),
}


class Lazy(click.Group):
    """A group that loads a command's module when the command is named.

    Args:
        name: The group's own name.
        commands_of: Each command's module in this package and its one line of help, by its name, in the order of the help.
        **attributes: What else ``click.Group`` takes.
    """

    def __init__(
        self, name: str | None = None, *, commands_of: Mapping[str, tuple[str, str]], **attributes: Any
    ) -> None:
        super().__init__(name, **attributes)
        self._commands_of = commands_of

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the commands' names in the order of the help."""
        return list(self._commands_of)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Load a command; None if there is none of that name."""
        if cmd_name not in self._commands_of:
            return None
        module = importlib.import_module(f"holdfast.cli.{self._commands_of[cmd_name][0]}")
        found: click.Command = getattr(module, cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the commands' lines without loading their modules."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._commands_of.items()])


@click.group(cls=Lazy, commands_of=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", metavar="DIR", help="The home to use [HOLDFAST_HOME].")
@click.option(
    "--as", "person", metavar="PERSON", envvar="HOLDFAST_PERSON", help="Who you are [HOLDFAST_PERSON]."
)
@click.option(
    "--passphrase-file",
    metavar="FILE",
    envvar="HOLDFAST_PASSPHRASE_FILE",
    help="Read your key's passphrase from here instead of asking [HOLDFAST_PASSPHRASE_FILE].",
)
@click.version_option(__version__, prog_name="holdfast")
@click.pass_context
def root(ctx: click.Context, home: str | None, person: str | None, passphrase_file: str | None) -> None:
    """Holdfast: sovereign AI on hardware that is connected to nothing.

    Exit codes: 0 ok, 1 refused or failed, 2 wrong usage, 3 verification failed, 4 not permitted, 5 daemon not
    reachable, 6 conflict or locked, 7 no space or quota.
    """
    ctx.obj = {"home": home, "person": person, "passphrase_file": passphrase_file}


def main() -> None:
    """Run the command line and exit with its number."""
    from holdfast.errors import HoldfastError

    try:
        # Without its standalone mode click gives the number of an Exit back instead of raising it.
        code = root.main(prog_name="holdfast", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except HoldfastError as error:
        from holdfast.cli.output import show_error

        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has closed it, as `head` does: not our fault, and nothing more to say.
        sys.stderr.close()
        sys.exit(1)
