"""Homes for trials, and one life of the daemon of ``scripts/kills/serving_daemon.py`` in them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.cli import keyfiles, service
from holdfast.paths import Home

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

    from holdfast.keys.person import KeyPair

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = {"ada": "administrator", "otto": "operator", "aude": "auditor"}
START_SECONDS = 120.0  # for a daemon or worker to answer, on a loaded machine


def found_home(place: Path, pairs: Mapping[str, KeyPair], lines: Sequence[str]) -> Home:
    """Found a home.

    Args:
        place: Folder of its own; the home is made in it.
        pairs: The keys of ``PEOPLE``.
        lines: What its ``site.toml`` says beside who they are.

    Returns:
        The home.
    """
    site = ['schema = "holdfast.site/1"', 'name = "Trial"', 'zones = ["site"]', 'media_roots = ["/media"]']
    site += lines
    for name, role in PEOPLE.items():
        file = keyfiles.public(place, name)
        file.write_bytes(canonical.encode(pairs[name].public.to_json()))
        site += ["[[person]]", f'name = "{name}"', f'roles = ["{role}"]', f'key = "{file.name}"']
        site += [f"uids = [{os.getuid()}]"]
    (place / "site.toml").write_text("\n".join(site) + "\n")
    home = Home(place / "home")
    service.found_home(home, place / "site.toml")
    return home


class Daemon:
    """One life of the daemon.

    Args:
        process: Its process.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def spawn(cls, home: Home, models: Path) -> Daemon:
        """Start one, without waiting."""
        command = [sys.executable, "-m", "scripts.kills.serving_daemon", str(home.root), str(models)]
        pipe = asyncio.subprocess.PIPE
        with (home.root.parent / "daemon.log").open("ab") as log:
            return cls(
                await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=log, cwd=ROOT)
            )

    async def told(self) -> dict[str, object]:
        """Read a line of its words; empty when it is gone."""
        if self.process.stdout is None:
            return {}
        async with asyncio.timeout(START_SECONDS):
            line = await self.process.stdout.readline()
        found: dict[str, object] = json.loads(line) if line else {}
        return found

    async def ask(self, command: str) -> dict[str, object]:
        """Give a command, and read the answer."""
        if self.process.stdin is not None:
            self.process.stdin.write(f"{command}\n".encode())
        return await self.told()

    async def end(self, number: signal.Signals) -> None:
        """End it, and wait."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(START_SECONDS):
            await self.process.wait()
