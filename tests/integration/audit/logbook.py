"""Log folders written event by event, so that a test says every time, source and parameter itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from holdfast.audit import checkpoint, event, segment
from holdfast.audit.event import Actor, Draft, Source, Subject
from holdfast.audit.merkle import Frontier, leaf_hash
from holdfast.audit.signer import LogSigner

ORIGIN = "holdfast.example/book/0"
SIGNER = LogSigner.generate()
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAEMON = Actor("holdfastd", None, "service")


class Book:
    """A log that is written down and then saved."""

    def __init__(self, origin=ORIGIN):
        self.origin = origin
        self.bodies = []
        self._counts = {}
        self._time = BEGIN

    def add(self, action, params=None, *, who=DAEMON, subject=None, label=None, cause=None, **at):
        """Write the next event; ``after`` (seconds), ``source`` (name, run) and ``count`` say where it stands."""
        self._time += timedelta(seconds=at.get("after", 1.0))
        source = at.get("source", ("daemon", "00" * 8))
        count = at.get("count", self._counts.get(source, -1) + 1)
        self._counts[source] = count
        prepared = event.prepare(Draft(action, who, subject, label, params or {}, cause))
        seq = len(self.bodies)
        self.bodies.append(prepared.stamp(seq, event.timestamp(self._time), "host", Source(*source, count)))
        return seq

    def act(self, action, asked=None, result=None, ending="done", **more):
        """Write an act's intent and outcome."""
        more = {name: value for name, value in more.items() if name != "cause"}
        begun = self.add(action, asked, **more)
        return begun, self.add(f"{action}.{ending}", result, cause=begun, **more)

    def save(self, folder, *, per_segment=7, first=0, size=None):
        """Write the folder: segments of so many events from ``first`` on, signed at ``size``."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        size = len(self.bodies) if size is None else size
        tree = Frontier()
        for body in self.bodies[:first]:
            tree.append(leaf_hash(body))
        if first:
            peaks = [peak.hex() for peak in tree._peaks]
            (folder / "archived").write_text(json.dumps({"size": first, "peaks": peaks}))
        for start in range(first, size, per_segment):
            data = bytearray(segment.header(self.origin, start))
            for body in self.bodies[start : min(start + per_segment, size)]:
                leaf = leaf_hash(body)
                tree.append(leaf)
                data += segment.record(body, leaf, start)
            (folder / segment.name(start)).write_bytes(data)
        (folder / "log.pub").write_bytes(SIGNER.public(self.origin))
        note = checkpoint.make(self.origin, size, tree.root(), SIGNER, time=int(BEGIN.timestamp()))
        (folder / "checkpoint").write_bytes(note)
        return tree.root().hex()


def subject(kind, digit):
    """Name a thing by one repeated hexadecimal digit."""
    return Subject(kind, digest(digit))


def digest(digit):
    return "sha512:" + digit * 128


def artefact(kind, name, digit, *parents, files=2):
    """Write an artefact's record as events carry it."""
    return {
        "kind": kind,
        "name": name,
        "version": "1",
        "digest": digest(digit),
        "files": [{"path": f"f{number}", "size": 10, "digest": digest(digit)} for number in range(files)],
        "label": {"level": "internal", "compartments": ["tax"], "zones": ["site"]},
        "parents": [digest(one) for one in parents],
        "made_by": None,
        "meta": {},
    }
