"""The daemon's life.

Order of operations: lock the home; read the founding document and the service keys (made at the founding); open the log and
replay it into the state fold; record ``site.founded`` if the log is empty and ``trust.pinned`` for a root that was pinned
meanwhile; record ``daemon.started`` and how the last life ended; reconcile every intent without outcome; set the store and the
time floor to what the log says; record and act on what was revoked; open the control socket; say that it is ready. While it
runs it records heartbeats, and watches the clock and the space for the log. On SIGTERM or SIGINT: interrupt jobs (their
outcomes are recorded, their followers told), stop taking requests, end the workers, record what was refused and not told yet,
then ``daemon.stopped``, sign a last checkpoint, close. Invariants: one daemon per home; no process is forked; nothing that is
heavy is imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import uvicorn

from holdfast import __version__, config, hashing
from holdfast.audit import reconcile
from holdfast.audit.log import Log
from holdfast.audit.sealed import SealedStore
from holdfast.audit.signer import LogSigner
from holdfast.audit.space import Thresholds
from holdfast.confine import cores
from holdfast.confine.embedded import EmbeddedLauncher
from holdfast.custody import folding
from holdfast.daemon import (
    bounded,
    custody,
    exceptions,
    generations,
    housekeeping,
    imports,
    quarantine,
    results,
    revocations,
    sealings,
    witnessing,
)
from holdfast.daemon.app import create_app
from holdfast.daemon.evidence import Index
from holdfast.daemon.heartbeat import Pulse, read_clocks
from holdfast.daemon.jobs import Jobs
from holdfast.daemon.peers import PeerProtocol
from holdfast.daemon.recorder import DAEMON, Recorder, SyncRelay
from holdfast.daemon.refusals import Refusals
from holdfast.daemon.runs import folders
from holdfast.daemon.serve import keystore
from holdfast.daemon.serve.serving import Serving
from holdfast.daemon.services import Services
from holdfast.daemon.sessions import Sessions
from holdfast.daemon.space import Space
from holdfast.daemon.uploads import Uploads
from holdfast.daemon.workforce import Workforce
from holdfast.errors import Locked, NoSpace, NotFound, UntrustedInput, VerificationFailed
from holdfast.governance.people import Person, Role
from holdfast.keys import person as keys
from holdfast.keys import service
from holdfast.store import disk
from holdfast.store.files import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from holdfast.audit.clock import Reading
    from holdfast.canonical import Json
    from holdfast.config import Site
    from holdfast.paths import Home

K = TypeVar("K")
_LOG = logging.getLogger(__name__)

MAX_KEY_FILE = 64 * 1024  # bytes of one key file
MAX_PEOPLE = 30_000  # bytes of people's records in one event: five of them, with their keys
LOCK_ATTEMPTS = 200  # who only asks whether a daemon runs shares the lock for an instant, longer if held up …
LOCK_PAUSE = 0.05  # … seconds between them
BACKLOG = 128  # connections that wait on the control socket
KEEP_ALIVE_SECONDS = (
    300  # longer than clients keep an idle connection, so that none is closed under a request
)
STOP_SECONDS = 5  # for requests under way to end


# What brings the disk to what the log says, in this order; each step does nothing where nothing is to be done.
SETTLING: tuple[Callable[[Services], None], ...] = (
    quarantine.settle,
    exceptions.settle_floor,
    generations.restore_pointer,
    housekeeping.settle,
    witnessing.settle,
    sealings.settle,
    custody.settle,
    results.settle,
    folders.settle,
)


async def run(home: Home, ready: Callable[[], None]) -> None:
    """Run the daemon until it is told to stop.

    Args:
        home: The home to own.
        ready: Called once when requests are answered.

    Raises:
        Locked: If another daemon owns the home.
        NotFound: If the home was not founded.
    """
    for missing in cores.forbid():
        _LOG.warning("%s", missing)
    async with opened(home) as services:
        sock = _listen(home)
        server = _Server(
            uvicorn.Config(
                create_app(services),
                http=PeerProtocol,
                ws="none",
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        server.on_started = ready
        stopping = asyncio.create_task(_stop_when(told, services, server))
        try:
            await server.serve(sockets=[sock])
        finally:
            stopping.cancel()
            home.socket.unlink(missing_ok=True)


async def _stop_when(told: asyncio.Event, services: Services, server: _Server) -> None:
    """Interrupt the jobs first, so that whoever follows one hears of it; then stop answering."""
    await told.wait()
    await services.jobs.stop()
    server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn with its signal handling left to us, telling when it listens."""

    on_started: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_started()

    def capture_signals(self) -> _NoSignals:  # type: ignore[override]  # a context manager, as there
        return _NoSignals()


class _NoSignals:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


@asynccontextmanager
async def opened(home: Home, clocks: Callable[[], Reading] = read_clocks) -> AsyncIterator[Services]:
    """Own a home: everything of the daemon but the control socket.

    Args:
        home: The home.
        clocks: Reads the host's clocks.

    Yields:
        The daemon's parts, replayed and reconciled.

    Raises:
        Locked: If another daemon owns the home.
        NotFound: If the home was not founded.
    """
    lock = _lock(home)
    try:
        site = _site(home)
        services, relay = _assemble(home, site, clocks)
        pulse = Pulse(clocks, site.audit.heartbeat_seconds)
        try:
            relay.attach(asyncio.get_running_loop(), services.recorder)
            await _begin(services, pulse)
            watching = {
                asyncio.create_task(revocations.watch(services), name="revocations"),
                asyncio.create_task(sealings.watch(services), name="retention"),
                asyncio.create_task(pulse.run(services), name="heartbeat"),
                asyncio.create_task(services.space.run(services), name="space"),
            }
            try:
                yield services
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.wait(watching)
                await services.jobs.stop()
                await services.serving.shut_down()
                await services.index.shut_down()
                await services.launcher.close()
            await services.refusals.close()
            await services.space.reconcile(services)
            await services.recorder.fact(DAEMON, "daemon.stopped", {})
        finally:
            relay.detach()
            await asyncio.to_thread(services.log.close)
            shutil.rmtree(home.uploads, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(home: Home) -> int:
    if not home.root.is_dir():
        raise _not_founded(home)
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(LOCK_ATTEMPTS):
        if _flock(descriptor, fcntl.LOCK_EX):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        if not _flock(descriptor, fcntl.LOCK_SH):
            break  # somebody has it alone
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(LOCK_PAUSE)
    os.close(descriptor)
    raise Locked(
        "daemon.locked",
        f"Another daemon owns {home.root}.",
        remedy="Use that one (`holdfast status`), or stop it first.",
        home=str(home.root),
    )


def _flock(descriptor: int, how: int) -> bool:
    """Take a lock if nobody has one that does not go with it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _site(home: Home) -> Site:
    try:
        data = home.site.read_bytes()
    except FileNotFoundError as error:
        raise _not_founded(home) from error
    return config.parse(data, file=str(home.site))


def _not_founded(home: Home) -> NotFound:
    return NotFound(
        "home.not-founded",
        f"{home.root} is not a founded home.",
        remedy="Found it with `holdfast up --site site.toml` (see docs/site.md), or try `holdfast demo`.",
    )


def _assemble(home: Home, site: Site, clocks: Callable[[], Reading]) -> tuple[Services, SyncRelay]:
    founded = home.founded.exists()
    if not founded:
        _people(home, site)  # refuses a wrong document while it can still be corrected
    launcher = Workforce(EmbeddedLauncher(home.root))
    for folder in (home.keys, home.quarantine, home.jobs, home.sealed, home.trust):
        folder.mkdir(mode=0o700, exist_ok=True)
    signer = _service_key(home.keys / "log.key", LogSigner.generate, LogSigner.to_bytes, LogSigner.from_bytes)
    appliance = _service_key(
        home.keys / "appliance.key",
        lambda: keys.generate(f"{site.name} appliance"),
        service.encode,
        service.decode,
    )
    hashes = keystore.KeyStore(home.key_hashes)
    relay = SyncRelay()
    log = Log.open(
        home.log,
        origin=_origin(home, site),
        signer=signer,
        clock=lambda: (clocks().moment, "host"),
        on_synced=relay.synced,
        space=Thresholds(low=site.audit.low_space_bytes, reserve=site.audit.reserve_bytes),
    )
    if founded and log.size == 0:
        log.close()
        raise VerificationFailed(
            "log.lost",
            f"The audit log of {home.root} is empty, though the home was founded.",
            remedy="Restore the folder log/ from a backup. If the home was never used, remove it and found it again.",
        )
    try:
        state = folding.fold(log, home.log)
    except VerificationFailed:
        log.close()
        raise
    if state.document is not None and state.document != hashing.sha512(home.site.read_bytes()):
        log.close()
        raise VerificationFailed(
            "site.changed",
            f"{home.site} is not the document that this home was founded with.",
            remedy="Put the founding document back; its digest is in the event site.founded.",
        )
    recorder = Recorder(log, state)
    services = Services(
        home=home,
        site=site,
        log=log,
        state=state,
        recorder=recorder,
        refusals=Refusals(recorder, time.monotonic),
        space=Space(site.audit, SETTLING),
        store=Store(home.store),
        launcher=launcher,
        jobs=Jobs(home.jobs),
        sessions=Sessions(state, time.monotonic),
        uploads=Uploads(home.uploads),
        index=Index(),
        serving=Serving(),
        sealed=SealedStore(home.keys / "subjects", home.sealed, lambda: clocks().moment),
        key_hashes=hashes,
        appliance=appliance,
        now=lambda: clocks().moment,
    )
    return services, relay


def _service_key(
    path: Path, make: Callable[[], K], write: Callable[[K], bytes], read: Callable[[bytes], K]
) -> K:
    """Read a service key, making it at the founding."""
    if not path.exists():
        disk.create_file(path, write(make()), mode=0o600)
    with path.open("rb") as file:
        return read(file.read(MAX_KEY_FILE))


def _origin(home: Home, site: Site) -> str:
    """Name the log: the site, and a random part so that no two logs ever share a name."""
    stored = home.keys / "log.origin"
    if not stored.exists():
        slug = re.sub(r"[^a-z0-9]+", "-", site.name.lower()).strip("-")
        disk.create_file(stored, f"holdfast.local/{slug}/{secrets.token_hex(4)}".encode(), mode=0o400)
    return stored.read_text(encoding="ascii")


async def _begin(services: Services, pulse: Pulse) -> None:
    """Bring record and disk together before anybody is answered."""
    recorder, state = services.recorder, services.state
    services.store.sweep()
    if state.site is None:
        await recorder.fact(DAEMON, "site.founded", _founding(services))
    await _enrol(services)
    if not services.home.founded.exists():
        disk.create_file(services.home.founded, b"", mode=0o400)
    await imports.record_root(services)
    walls = await asyncio.to_thread(services.launcher.walls)
    unfinished, torn = services.log.unfinished(), services.log.torn
    told = await pulse.begin(services)
    await recorder.fact(
        DAEMON,
        "daemon.started",
        {
            **told,
            "version": __version__,
            "walls": dict(walls),
            "reconciled": [event.seq for event in unfinished],
            "torn": torn.kept if torn else None,
        },
    )
    for draft in reconcile.interrupted(unfinished, DAEMON):
        await recorder.record(draft)
    for settle in (*SETTLING, keystore.settle):
        await asyncio.to_thread(settle, services)
    with contextlib.suppress(NoSpace):  # it is done when there is space to record it
        await revocations.settle(services)
        await sealings.retain(services)


def _people(home: Home, site: Site) -> list[Json]:
    """Read the people's keys that the founding document names, before anything is founded on them."""
    people: list[Json] = []
    for entry in site.person:
        path = home.root / entry.key
        if not path.resolve().is_relative_to(home.root.resolve()):
            raise UntrustedInput(
                "site.key",
                f"The key {entry.key} lies outside of the home.",
                remedy="Put it beside site.toml.",
            )
        try:
            with path.open("rb") as file:
                data = file.read(MAX_KEY_FILE + 1)
        except OSError as error:
            raise UntrustedInput(
                "site.key",
                f"The key {entry.key} can't be read: {error.strerror}.",
                remedy="Put it beside site.toml.",
            ) from error
        public = keys.parse_public(data)
        if public.holder != entry.name:
            raise UntrustedInput(
                "site.holder",
                f"{entry.key} is {public.holder}'s key, not {entry.name}'s.",
                remedy="Correct site.toml.",
            )
        people.append(
            Person(
                name=entry.name,
                roles=tuple(Role(role) for role in entry.roles),
                uids=tuple(entry.uids),
                key=public.to_json(),
                fingerprint=public.fingerprint,
            ).to_json()
        )
    return people


async def _enrol(services: Services) -> None:
    """Name the people for whom the founding had no room, also those whom an earlier start did not come to."""
    if not services.state.awaited:
        return
    listed = _people(services.home, services.site)
    left = [one for one in listed if isinstance(one, dict) and str(one["name"]) not in services.state.people]
    while left:
        group: list[Json] = bounded.fitting(left, MAX_PEOPLE) or [left[0]]
        await services.recorder.fact(DAEMON, "people.listed", {"people": group}, cause=0)
        left = left[len(group) :]


def _founding(services: Services) -> dict[str, Json]:
    people = _people(services.home, services.site)
    first = bounded.fitting(people, MAX_PEOPLE)
    return {
        "site": services.site.name,
        "zones": list(services.site.zones),
        "document": hashing.sha512(services.home.site.read_bytes()),
        "media_roots": list(services.site.media_roots),
        "threads": services.site.threads,
        "people": first,
        "further": len(people) - len(first),
        "gaps": list(services.site.gaps),
        "appliance": services.appliance.public.fingerprint,
        "origin": services.log.origin,
        "log_keys": list((services.home.log / "log.pub").read_text(encoding="utf-8").splitlines()),
    }


def _listen(home: Home) -> socket.socket:
    """Open the control socket under the home's own folder, whatever the length of its path."""
    folder = os.open(home.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        home.socket.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o077)
        try:
            sock.bind(f"/proc/self/fd/{folder}/{home.socket.name}")
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
    finally:
        os.close(folder)
    return sock
