"""The hashes of applications' keys: one file in the home, outside of the log.

The log says which keys there are and what they may do, for ever; the hash by which a key is known again is needed only for as long as
the key counts, and whoever reads the log, its index or a copy of it has no use for it. Order of operations when a key is made: the
hash is written and synced, then the event is recorded; when it is revoked: the event is recorded, then the hash is removed. At start the
file is brought to what the log says: a hash without a key that counts is dropped. Invariants: the file is for its owner alone and is
replaced whole, so that a crash leaves the old or the new; no backup holds it; a key whose hash is not here is dead and is listed so.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdfast import canonical
from holdfast.errors import VerificationFailed
from holdfast.serving import keys
from holdfast.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from holdfast.daemon.services import Services
    from holdfast.store.disk import Disk

SCHEMA = "holdfast.key-hashes/1"
MAX_FILE = 2 * 2**20  # bytes; MAX_KEYS hashes take 0.8 MiB


class KeyStore:
    """The file; what a crash left of a replacement is removed.

    Args:
        path: Where it lies; its folder must exist.
        on: The disk.

    Raises:
        VerificationFailed: If it is there and is not of our form.
    """

    def __init__(self, path: Path, on: Disk = disk.HOST) -> None:
        self._path = path
        self._on = on
        self._writing = threading.Lock()
        disk.remove_drafts(path.parent, on)
        self._hashes = _read(path)

    def get(self, key: str) -> str | None:
        """Find the hash of a key.

        Args:
            key: The key's id.

        Returns:
            It; None if the key is dead.
        """
        return self._hashes.get(key)

    def put(self, key: str, digest: str) -> None:
        """Keep the hash of a key; it is on disk when this returns. Blocks.

        Args:
            key: The key's id.
            digest: The hash.

        Raises:
            NoSpace: If the disk is full.
            OperationFailed: If it failed otherwise.
        """
        with self._writing:
            self._replace({**self._hashes, key: digest})

    def drop(self, gone: Iterable[str]) -> None:
        """Remove hashes; they are off the disk when this returns. Blocks.

        Args:
            gone: Ids of keys; those that are not here change nothing.

        Raises:
            NoSpace: If the disk is full.
            OperationFailed: If it failed otherwise.
        """
        with self._writing:
            left = {key: one for key, one in self._hashes.items() if key not in set(gone)}
            if len(left) != len(self._hashes):
                self._replace(left)

    def keep(self, counting: Iterable[str]) -> None:
        """Remove all hashes but those of some keys. Blocks.

        Args:
            counting: Ids of the keys that count.
        """
        self.drop(set(self._hashes) - set(counting))

    def _replace(self, hashes: dict[str, str]) -> None:
        """Put new contents in the place of the old ones; what is answered follows the disk."""
        data = canonical.encode({"schema": SCHEMA, "hashes": {**hashes}})
        with disk.faults("the hashes of applications' keys"):
            disk.write_file(self._path, data, mode=0o600, on=self._on)
        self._hashes = hashes


def settle(services: Services) -> None:
    """Bring the file to what the log says; called at start.

    Args:
        services: The daemon's parts.
    """
    services.key_hashes.keep(key.key_id for key in services.state.keys.values() if not key.revoked)


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    told = canonical.decode(data, limit=MAX_FILE, what=path.name, error=VerificationFailed)
    hashes = told.get("hashes") if isinstance(told, dict) and told.get("schema") == SCHEMA else None
    if (
        not isinstance(hashes, dict)
        or len(hashes) > keys.MAX_KEYS
        or not all(keys.is_id(key) and keys.is_hash(one) for key, one in hashes.items())
    ):
        raise VerificationFailed(
            "serve.key-hashes",
            f"{path} does not hold the hashes of applications' keys.",
            remedy="Move it away: every key is dead then, and applications need new ones.",
        )
    return {key: str(one) for key, one in hashes.items()}
