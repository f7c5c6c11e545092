"""The rooms of the daemon that an import passes through, over a real store, quarantine and trust folder.

The audit log is a list here: it has power cuts of its own elsewhere, and an event counts as recorded once ``record`` returned.
Everything else is the daemon's: the functions that its jobs run in threads, and those that it runs when it starts, in its order.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tests.integration.faults.platter import QUICK, Recorder
from tests.integration.media import crafted

from holdfast.audit import reconcile
from holdfast.audit.event import Actor, Event, Source, timestamp
from holdfast.audit.sealed import SealedStore
from holdfast.daemon import admission, housekeeping, imports, process, quarantine
from holdfast.daemon.recorder import DAEMON
from holdfast.errors import HoldfastError
from holdfast.governance import listing
from holdfast.governance.exceptions import write_time
from holdfast.governance.state import State
from holdfast.media import trusthome
from holdfast.media.verify import verify_medium
from holdfast.paths import Home
from holdfast.store.files import Store
from holdfast.store.generations import Generations
from holdfast.trust.workflow import TrustState

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.media.crafted import Crafted

    from holdfast.media.verify import VerifiedMedium
    from holdfast.store.disk import Disk

PIECE = 64  # bytes of a chunk: a few hundred bytes are many of them
ALICE = Actor("alice", 0, "administrator", "s")
BOB = Actor("bob", 0, "administrator", "s")


@dataclass
class House:
    """A home, as the daemon that has just replayed the log sees it.

    Args:
        root: Its folder.
        disk: What the store and quarantine write through.
        events: What the log holds.
        verdicts: Where verdicts on media are kept, by medium and trust; with None each medium is judged anew, and closed.
    """

    root: Path
    disk: Disk = QUICK
    events: list[Event] = field(default_factory=list)
    verdicts: dict[tuple[Path, str], VerifiedMedium] | None = None

    def __post_init__(self) -> None:
        self.home = Home(self.root)
        self.state = State()
        for event in self.events:
            self.state.apply(event)
        sealed = SealedStore(self.home.keys / "subjects", self.home.sealed, lambda: crafted.NOW)
        self.services = SimpleNamespace(home=self.home, state=self.state, importing={}, sealed=sealed)

    @property
    def store(self) -> Store:
        return self.services.store

    @classmethod
    def found(cls, root: Path, made: Crafted, disk: Disk = QUICK) -> House:
        """Make a home that trusts a medium's root, with nothing in it."""
        (root / "quarantine").mkdir(parents=True)
        (root / "trust").mkdir()
        (root / "trust" / trusthome.FILE).write_bytes(trusthome._encode(TrustState(made.root)))
        return cls(root, disk)

    def record(self, action: str, params: dict, cause: int | None = None, actor: Actor = ALICE) -> int:
        event = Event(
            action=action,
            actor=actor,
            params=params,
            cause=cause,
            seq=len(self.events),
            time=timestamp(crafted.NOW),
            clock="host",
            source=Source("daemon", "0" * 16, len(self.events)),
        )
        self.events = [*self.events, event]
        self.state.apply(event)
        if isinstance(self.disk, Recorder):
            self.disk.note("event", event)
        return event.seq

    def start(self) -> House:
        """Do what the daemon does when it starts."""
        self.services.store = Store(self.home.store, self.disk)
        self.store.sweep()
        for draft in reconcile.interrupted(reconcile.unfinished(self.events), DAEMON):
            self.record(draft.action, draft.params, draft.cause, draft.actor)
        for settle in process.SETTLING:
            settle(self.services)
        return self

    def take_in(self, made: Crafted, at: int = 0, progress=crafted.quiet):
        """Import a medium, or a volume of one; gives the request and what was taken."""
        request = self.record("bundle.import", {"path": "/media"})
        try:
            quarantine.settle_newest(self.services)
            before = imports.state_digest(self.home.trust)
            verdict = self.judge(made.folders[at], before)
            with nullcontext() if self.verdicts is not None else verdict.medium:
                facts = {
                    "name": verdict.manifest.name,
                    "version": verdict.manifest.version,
                    "manifest": verdict.digest,
                    "root_version": verdict.root_version,
                    "root_fingerprint": verdict.fingerprint,
                    "floor": write_time(verdict.state.floor),
                    "trusted_before": before,
                }
                self.record("bundle.verified", facts, request)
                with quarantine.working(self.services, verdict.digest, request):
                    taken = imports._copy(self.services, verdict, progress, lambda: False)
                    outcome = {"missing": list(taken.missing)}
                    if not taken.missing:
                        for told in (told for one in verdict.artefacts for told in listing.divide(one, {})):
                            self.record(listing.LISTED, told, request)
                        quarantine.keep_trust(self.services, verdict)
                        outcome["artefacts"] = len(verdict.artefacts)
                        outcome["listing"] = listing.digest_of(one.digest for one in verdict.artefacts)
        except HoldfastError as error:
            self.record("bundle.import.failed", {"error": error.key, "message": error.message}, request)
            raise
        self.record("bundle.import.done", outcome, request)
        return request, taken

    def judge(self, folder: Path, before: str) -> VerifiedMedium:
        if self.verdicts is not None and (folder, before) in self.verdicts:
            return self.verdicts[folder, before]
        trusted = trusthome.load(self.home.trust)
        verdict = verify_medium(folder, trusted, crafted.NOW, crafted.quiet, contents=False)
        if self.verdicts is not None:
            self.verdicts[folder, before] = verdict
        return verdict

    def admit(self, request: int) -> int:
        """Admit a request; gives the generation."""
        found = self.state.imports[request]
        intent = self.record("bundle.admit", {"request": request}, actor=BOB)
        try:
            generation = admission._activate(self.services, found, found.artefacts)
        except HoldfastError as error:
            self.record("bundle.admit.failed", {"error": error.key, "message": error.message}, intent, BOB)
            raise
        outcome = {
            "request": request,
            "generation": generation,
            "artefacts": len(found.artefacts),
            "floor": found.facts["floor"],
            "root": {
                "version": found.facts["root_version"],
                "fingerprint": found.facts["root_fingerprint"],
            },
        }
        self.record("bundle.admit.done", outcome, intent, BOB)
        quarantine.settle_admitted(self.services, found)
        return generation

    def reject(self, request: int) -> None:
        """Reject a request."""
        intent = self.record("bundle.reject", {"request": request}, actor=BOB)
        quarantine.remove(self.services, self.state.imports[request].manifest)
        self.record("bundle.reject.done", {"request": request, "reason": "no"}, intent, BOB)

    def collect(self, numbers: list[int], digests: list[str]) -> None:
        """Remove old generations, and artefacts that are in no other."""
        params = {"keep": 1, "generations": numbers, "artefacts": digests}
        intent = self.record("store.gc", params, actor=BOB)
        housekeeping._remove(self.services, numbers, digests)
        self.record("store.gc.done", {"spared": []}, intent, BOB)

    def waiting(self) -> list[int]:
        """Give the requests that wait to be decided."""
        return [one.request for one in self.state.imports.values() if one.state == "waiting"]

    def whole(self, damaged: frozenset[str] = frozenset()) -> None:
        """Assert that the active generation is the log's, and that every file of it is what was recorded."""
        active = Generations(self.store).active()
        assert (active.number if active else 0) == self.state.active, "another generation is active"
        generation = self.state.generation()
        digests = generation.artefacts if generation else ()
        assert (active.artefacts if active else ()) == digests, "the generation names other artefacts"
        for digest in digests:
            if digest not in damaged:
                self.check(digest)

    def check(self, digest: str) -> None:
        """Assert that a stored artefact is whole, read-only, and shares its files."""
        record = self.state.artefacts[digest]
        self.store.verify(record)
        for file in record.files:
            path = self.store.folder(digest) / file.path
            assert path.stat().st_mode & 0o777 == 0o444, f"{file.path} can be written"
            assert path.samefile(self.store.file(file.digest)), f"{file.path} is kept twice"

    def at_rest(self) -> None:
        """Assert that nothing half done is left."""
        assert not [*(self.home.store / "stage").iterdir()], "a stage is left"
        known = {quarantine.place(self.services, one).name for one in self.state.staged}
        assert {one.name for one in self.home.quarantine.iterdir()} <= known, "quarantine holds the unknown"
        assert not [*self.home.store.rglob("*.draft")], "a draft is left"
