"""A real site in a short folder: keys, a signed medium of the starter content, a founded home with its root pinned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.daemon import conftest as daemons

from holdfast.cli import service
from holdfast.keys import envelope, person
from holdfast.media import build, trusthome
from holdfast.paths import Home
from holdfast_tui.app import HoldfastApp

from .seeing import HEARD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.keys.person import KeyPair

# Tiny media, and a home in which the first is admitted: those of the daemon's own tests.
pairs, press, media, volumes = daemons.pairs, daemons.press, daemons.media, daemons.volumes
key_folder, template, place, stocked = daemons.key_folder, daemons.template, daemons.place, daemons.stocked
walls = daemons.walls

STARTER = Path(__file__).resolve().parents[2] / "bundles" / "starter"
PEOPLE = {"alice": "administrator", "bob": "administrator", "olga": "operator", "aude": "auditor"}
PASSPHRASE = "a passphrase for tests"
STEPS = 3


@dataclass
class Place:
    """A site on disk."""

    folder: Path
    home: Home
    pairs: dict[str, KeyPair]

    @property
    def medium(self) -> Path:
        return self.folder / "media" / "starter"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def recipe(self) -> Path:
        return self.folder / "adapt.toml"


def found(folder: Path, *, medium: bool) -> Place:
    """Found a home with four people; with ``medium``, build the starter's and pin its root."""
    place = Place(folder, Home(folder / "home"), {name: person.generate(name) for name in PEOPLE})
    place.keys.mkdir(parents=True)
    for name, pair in place.pairs.items():
        (place.keys / f"{name}.key").write_bytes(envelope.seal(pair, PASSPHRASE, n=envelope.MIN_N))
        (place.keys / f"{name}.pub").write_text(json.dumps(pair.public.to_json()), encoding="utf-8")
    (folder / "media").mkdir()
    lines = [
        'schema = "holdfast.site/1"',
        'name = "Test site"',
        'zones = ["site"]',
        f"media_roots = [{json.dumps(str(folder / 'media'))}]",
        "gaps = []",
        "threads = 2",
        "[serving]",
        "port = 0",
    ]
    for name, role in PEOPLE.items():
        lines += [
            "[[person]]",
            f'name = "{name}"',
            f'roles = ["{role}"]',
            f'key = "keys/{name}.pub"',
            f"uids = [{os.getuid()}]",
        ]
    site = folder / "site.toml"
    site.write_text("\n".join(lines) + "\n", encoding="utf-8")
    service.found_home(place.home, site)
    if medium:
        publishers = [person.generate(name) for name in ("petra", "paul")]
        now = datetime.now(UTC)
        made = build.build(
            STARTER / "recipe.toml",
            place.medium,
            publishers,
            build.origin(None, None),
            now=now,
            progress=_silent,
        )
        trusthome.pin(
            place.home.trust, (place.medium / "metadata" / "1.root.json").read_bytes(), made.fingerprint, now
        )
        short_recipe(place)
    return place


def short_recipe(place: Place) -> None:
    """Write the starter's recipe with a few steps, beside its data."""
    text = (STARTER / "adapt.toml").read_text(encoding="utf-8")
    lines = [
        f"steps = {STEPS}" if line.startswith(("steps = ", "epochs = ")) else line
        for line in text.splitlines()
    ]
    lines = ["warmup_steps = 1" if line.startswith("warmup_steps = ") else line for line in lines]
    place.recipe.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copytree(STARTER / "data", place.folder / "data")


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what consoles tell: a notification goes by itself after seconds, and a busy test may look only later."""
    notify = HoldfastApp.notify

    def keep(app: HoldfastApp, message: str, *, title: str = "", **how: object) -> None:
        HEARD.setdefault(app, []).append(f"{title}: {message}")
        notify(app, message, title=title, **how)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(HoldfastApp, "notify", keep)


def _silent(step: str, done: int, total: int) -> None:
    del step, done, total


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Give a folder with a short path: control sockets have 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="hf") as name:
        yield Path(name)


@pytest.fixture
def site(short_folder: Path) -> Place:
    """Give a founded home with nothing in it, and no daemon."""
    return found(short_folder, medium=False)


@contextmanager
def daemon(home: Home) -> Iterator[subprocess.Popen[str]]:
    """Run a home's daemon as a process of its own, from its word that it is ready until the end of the block."""
    with (home.root / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli", "--home", str(home.root), "daemon", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready" in line, (home.root / "daemon.log").read_text(encoding="utf-8")
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def live(short_folder: Path) -> Iterator[Place]:
    """Give a site whose daemon runs, with a medium waiting in its media root."""
    place = found(short_folder, medium=True)
    with daemon(place.home):
        yield place
