"""Where things lie in a home. Names only; nothing is opened here.

HOME/
├── lock                  held by the daemon for as long as it runs
├── control.sock          the control socket
├── site.toml             who and where we are; read once, when the home is founded
├── founded               marks that the founding is on the record: a home with it and no log has lost its log
├── trust/                the pinned root and the newest trusted metadata
├── keys/                 service keys (log, appliance), the hashes of applications' keys, subjects' keys; mode 0600
├── log/                  audit segments and checkpoints: the system of record
├── index/                DuckDB; can be deleted and rebuilt
├── store/                artefacts' files, by digest; generations
├── quarantine/           imported bundles that wait for a second person, by manifest digest
├── jobs/                 scratch and telemetry of jobs
├── engines/              what engines measured of their models on this machine; can be deleted
└── sealed/               prompts and answers, encrypted
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

INSTALLED_HOME = Path("/var/lib/holdfast")


@dataclass(frozen=True)
class Home:
    """The folders of one home.

    Args:
        root: The home itself, absolute.
    """

    root: Path

    @property
    def lock(self) -> Path:
        """The daemon's lock file."""
        return self.root / "lock"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.root / "control.sock"

    @property
    def site(self) -> Path:
        """The founding document of the site."""
        return self.root / "site.toml"

    @property
    def founded(self) -> Path:
        """The mark that the founding is on the record."""
        return self.root / "founded"

    @property
    def trust(self) -> Path:
        """Pinned root and trusted metadata."""
        return self.root / "trust"

    @property
    def keys(self) -> Path:
        """Service keys."""
        return self.root / "keys"

    @property
    def key_hashes(self) -> Path:
        """The hashes of applications' keys."""
        return self.keys / "applications.json"

    @property
    def log(self) -> Path:
        """Audit segments and checkpoints."""
        return self.root / "log"

    @property
    def index(self) -> Path:
        """The DuckDB index."""
        return self.root / "index"

    @property
    def store(self) -> Path:
        """Artefacts and generations."""
        return self.root / "store"

    @property
    def quarantine(self) -> Path:
        """Imported bundles that wait for a second person."""
        return self.root / "quarantine"

    @property
    def uploads(self) -> Path:
        """Files that clients stream in, until an act takes them."""
        return self.root / "uploads"

    @property
    def jobs(self) -> Path:
        """Scratch and telemetry of jobs."""
        return self.root / "jobs"

    @property
    def measured(self) -> Path:
        """What engines measured."""
        return self.root / "engines" / "measured.json"

    @property
    def sealed(self) -> Path:
        """Encrypted prompts and answers."""
        return self.root / "sealed"


def default_home() -> Home:
    """Find the home that commands use.

    Returns:
        ``HOLDFAST_HOME`` if set, else the installed home if there is one, else the XDG data folder.
    """
    named = os.environ.get("HOLDFAST_HOME")
    if named:
        return Home(Path(named).absolute())
    if (INSTALLED_HOME / "site.toml").exists():
        return Home(INSTALLED_HOME)
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Home(Path(data).absolute() / "holdfast")


def people_keys() -> Path:
    """Find the folder of people's key files.

    Returns:
        ``HOLDFAST_KEYS`` if set, else the XDG configuration folder.
    """
    named = os.environ.get("HOLDFAST_KEYS")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "holdfast" / "keys"
