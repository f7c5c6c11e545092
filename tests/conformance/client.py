"""A TUF client over HTTP: the importer's own workflow under an ordinary profile, with a fetcher before it.

It obeys the command line of the public TUF conformance suite: ``--metadata-dir D init ROOT``, ``... --metadata-url U refresh``,
``... --target-name P --target-base-url U --target-dir T download``; exit status 0 or 1. Invariants: every answer is bounded before
it is read; a file is kept, byte for byte, as soon as the workflow accepts it and never otherwise; what is kept is read again
through the same workflow; names from outside never become path components.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tests.conformance.ordinary import MAX_BYTES, ORDINARY
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast.errors import HoldfastError, OperationFailed, UntrustedBundle
from holdfast.trust.workflow import TrustState, Workflow

MAX_ROOTS = 256  # rotations followed in one refresh
MAX_TARGET = 256 * 2**20  # bytes; a target is held in memory
_TIMEOUT = 30.0  # seconds without a byte
_KIND = {"root": Root, "timestamp": Timestamp, "snapshot": Snapshot, "targets": Targets}


class Absent(OperationFailed):
    """The server has no such file."""


def get(url, limit):
    """Fetch a file of at most ``limit`` bytes; no redirect, no proxy."""
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname, parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            kind = Absent if answer.status in {403, 404} else OperationFailed
            raise kind("client.status", f"{url} answered {answer.status}.", remedy="Look at the server.")
        data = answer.read(limit + 1)
    except (OSError, http.client.HTTPException) as problem:
        raise OperationFailed(
            "client.fetch", f"{url}: {problem!r}.", remedy="Look at the server."
        ) from problem
    finally:
        connection.close()
    if len(data) > limit:
        raise UntrustedBundle(
            "client.too-large", f"{url} has more than {limit} bytes.", remedy="Ask the publisher."
        )
    return data


class Client:
    """One run: what is kept in a folder, one repository, one pass of the workflow."""

    def __init__(self, folder, url, now):
        self.folder = Path(folder)
        self.url = url.rstrip("/")
        self.workflow = Workflow(self._state(), now, profile=ORDINARY)

    def refresh(self):
        """Bring the top-level metadata up to date."""
        flow = self.workflow
        for _ in range(MAX_ROOTS):
            name = f"{flow.root.version + 1}.{Root.type}"
            try:
                flow.update_root(self._metadata(name, MAX_BYTES[Root.type]))
            except Absent:
                break
            self._keep(Root.type)
        flow.update_timestamp(self._metadata(Timestamp.type, MAX_BYTES[Timestamp.type]))
        self._keep(Timestamp.type)
        for role, step in ((Snapshot.type, flow.update_snapshot), (Targets.type, flow.update_targets)):
            if not flow.reuse(role):
                step(self._versioned(role))
            self._keep(role)

    def download(self, path, base, folder):
        """Find who vouches for a target, and fetch it unless it is there already."""
        try:
            found = self.workflow.find(path, self._versioned)
        finally:  # what was accepted on the way of a vain search is as good as any
            for role in set(self.workflow.accepted) - set(_KIND):
                self._keep(role)
        place = Path(folder) / _local(path)
        with contextlib.suppress(OSError, LengthOrHashMismatchError):
            found.info.verify_length_and_hashes(place.read_bytes())
            return
        if found.info.length > MAX_TARGET:
            raise UntrustedBundle("client.too-large", f"{path!r} is too large.", remedy="Use another client.")
        above, slash, name = path.rpartition("/")
        if self.workflow.root.consistent_snapshot:
            name = f"{min(found.info.hashes.values())}.{name}"
        data = get(f"{base.rstrip('/')}/{quote(above + slash + name)}", found.info.length)
        try:
            found.info.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as problem:
            raise UntrustedBundle(
                "client.target", f"{path!r}: {problem}.", remedy="Ask the publisher."
            ) from problem
        _write(place, data)

    def _state(self):
        """Read what is kept; a file that is not metadata is as good as none."""
        kept = {}
        for file in self.folder.glob("*.json"):
            role = unquote(file.name.removesuffix(".json"))
            kind = _KIND.get(role, Targets)
            data = file.read_bytes()
            with contextlib.suppress(HoldfastError):
                ORDINARY.parse(kind, data, role)
                kept[role] = data
        if Root.type not in kept:
            raise OperationFailed("client.root", "There is no trusted root.", remedy="Begin with `init`.")
        top = {role: kept.pop(role, None) for role in _KIND}
        return TrustState(**top, delegated=kept)

    def _versioned(self, role):
        info = self.workflow.named(role)
        limit = MAX_BYTES.get(role, MAX_BYTES[Targets.type])
        prefix = f"{info.version}." if self.workflow.root.consistent_snapshot else ""
        return self._metadata(prefix + quote(role, safe=""), min(limit, info.length or limit))

    def _metadata(self, name, limit):
        return get(f"{self.url}/{name}.json", limit)

    def _keep(self, role):
        _write(self.folder / f"{_local(role)}.json", self.workflow.accepted[role])


def main(arguments, now=None):
    """Run one command; give the exit status."""
    parser = argparse.ArgumentParser(prog="tuf-client")
    for name in ("metadata-dir", "metadata-url", "target-base-url", "target-dir"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("command", choices=("init", "refresh", "download"))
    parser.add_argument("root", nargs="?")
    given = parser.parse_args(arguments)
    moment = now or datetime.now(UTC)
    try:
        if given.command == "init":
            _init(Path(given.metadata_dir), Path(given.root), moment)
            return 0
        client = Client(given.metadata_dir, given.metadata_url, moment)
        client.refresh()
        if given.command == "download":
            for name in given.target_name:
                client.download(name, given.target_base_url, given.target_dir)
    except (HoldfastError, OSError) as problem:
        sys.stderr.write(f"tuf-client: {problem}\n")
        return 1
    return 0


def _init(folder, root, now):
    data = root.read_bytes()
    Workflow(TrustState(data), now, profile=ORDINARY)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "root.json", data)


def _local(name):
    """Give a file name that stands for any name; quoting leaves dots alone, and `..` is a folder."""
    plain = quote(name, safe="")
    return "%2E" + plain[1:] if plain.startswith(".") else plain


def _write(place, data):
    """Replace a file as a whole, unless it says the same already."""
    with contextlib.suppress(OSError):
        if place.read_bytes() == data:
            return
    part = place.with_name(f".{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(place)
