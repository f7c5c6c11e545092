"""The front: the confined worker that speaks to applications, from its launch to the last answer that it passes on.

Order of operations: launched with the listening socket, its own way to the audit log, a packet socket for links, and, over TLS, the
site's certificate and key; it is given its links and the keys; it is opened. A renewed certificate takes over for new connections.
Invariants: it opens no socket and no file outside of what it was given, and holds no model; its events are of its own kinds only;
whatever it began and did not end when it is gone is recorded as interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.audit import reconcile
from holdfast.audit.channel import ProducerServer
from holdfast.confine.spec import Limits, WorkerSpec
from holdfast.daemon import resident, workbench
from holdfast.daemon.descriptors import Handover
from holdfast.daemon.recorder import DAEMON
from holdfast.daemon.resident import Resident
from holdfast.daemon.serve import keys
from holdfast.errors import Conflict, HoldfastError, NotRecorded

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.confine.worker import Worker
    from holdfast.daemon.jobs import Job
    from holdfast.daemon.serve.certificate import Certificate
    from holdfast.daemon.serve.engine import Engine
    from holdfast.daemon.services import Services

READY_SECONDS = 60.0  # it loads no model
FRONT = Limits(
    memory_bytes=2 * 2**30,  # a thousand connections with their bodies and answers, and the interpreter
    file_bytes=2**20,  # it writes none
    open_files=4096,  # connections, and a link per engine
    scratch_bytes=2**20,  # it needs none
)


@dataclass(frozen=True)
class Room:
    """What a front begins with.

    Args:
        settings: ``serving.spec.Settings`` as plain data.
        withdrawn: Model ids that were withdrawn, with ``message`` and ``remedy``.
        listener: Where it listens.
        certificate: What it speaks TLS with; None without TLS.
    """

    settings: dict[str, Json]
    withdrawn: dict[str, dict[str, Json]]
    listener: socket.socket
    certificate: Certificate | None


class Front(Resident):
    """A front that runs; made by ``launch_front``.

    Args:
        services: The daemon's parts.
        worker: Its process.
        producer: Its way to the audit log.
        links: The way for links.
        certificate: What it speaks TLS with.
    """

    def __init__(
        self,
        services: Services,
        worker: Worker,
        producer: ProducerServer,
        links: Handover,
        certificate: Certificate | None,
    ) -> None:
        super().__init__(worker)
        self.paused = False
        self._certificate = certificate
        self._services = services
        self._producer: ProducerServer | None = producer
        self._links = links

    @property
    def live(self) -> set[int]:
        """Answers under way: intents whose outcome it can still hand in."""
        return self._producer.live if self._producer is not None else set()

    def take_lost(self) -> set[int]:
        """Give the answers whose outcome it handed in and the log could not take.

        Returns:
            Their intents; each is given once.
        """
        return self._producer.take_lost() if self._producer is not None else set()

    def link(self, name: str, engine: Engine) -> None:
        """Hand it the way to an engine, in the place of any that it had under that name.

        Args:
            name: The engine's, as the settings say.
            engine: The engine; nothing is done if its link was given away.

        Raises:
            WorkerFailed: If the front is gone.
        """
        link = engine.take_link()
        if link is not None:
            with link:
                self._links.give({"engine": name}, link.fileno())

    async def renew(self, certificate: Certificate | None) -> None:
        """Have it show another certificate to who connects from now on; a front that does not say that it will is ended.

        Args:
            certificate: Which, and its key; nothing is done if it has them.

        Raises:
            HoldfastError: If it refuses them; it goes on with those that it has.
        """
        if certificate is None or certificate == self._certificate:
            return
        told = await self.ask({"op": "renew", "tls": certificate.pem.plain()})
        if told.get("renewed") is True:
            self._certificate = certificate
        else:
            self.kill()  # the next one begins with what is meant

    async def does(self, request: dict[str, Json], expected: str, value: Json) -> bool:
        """Ask it to do something.

        Args:
            request: With ``op``.
            expected: The field of its reply that says that it did.
            value: What that field must be.

        Returns:
            Whether it said so.
        """
        with contextlib.suppress(HoldfastError):
            return (await self.ask(request)).get(expected) == value
        return False

    async def _ended(self) -> None:
        """Record the end of answers that died with it."""
        self._links.close()
        producer = self._producer
        if producer is None:
            return
        await asyncio.to_thread(producer.stop)
        own = producer.live | producer.take_lost()
        self._producer = None
        begun = [event for event in self._services.log.unfinished() if event.seq in own]
        with contextlib.suppress(NotRecorded):
            for draft in reconcile.interrupted(begun, DAEMON):
                with contextlib.suppress(Conflict):  # it was found to have lost its outcome, and ended
                    await self._services.recorder.record(draft)


async def launch_front(services: Services, job: Job | None, room: Room) -> Front:
    """Start a front and wait until it could answer; it takes connections once it is asked to ``open``.

    Args:
        services: The daemon's parts.
        job: Gets its progress, if somebody waits for it.
        room: What it begins with.

    Returns:
        The front.

    Raises:
        HoldfastError: If it refuses its certificate, ended or did not become ready.
    """
    ours, theirs = socket.socketpair()
    producer = ProducerServer(ours, services.log, "serve", services.sealed)
    producer.start()
    links = Handover()
    try:
        spec = WorkerSpec(
            kind="serve",
            inputs={},
            output=None,
            fds={
                "listen": room.listener.fileno(),
                "audit": theirs.fileno(),
                "links": links.theirs.fileno(),
            },
            limits=FRONT,
        )
        order: dict[str, Json] = {
            "settings": room.settings,
            "withdrawn": dict(room.withdrawn),
            "keys": keys.counting(services),
            "used": keys.used(services),
            "tls": None if room.certificate is None else room.certificate.pem.plain(),
        }
        act = None if job is None else job.number
        sink = workbench.denial_sink(services, "serve", act)
        worker = await services.launcher.launch(spec, order, sink)
        await resident.ready(job, worker, READY_SECONDS)
    except BaseException:
        await asyncio.to_thread(producer.stop)
        links.close()
        raise
    finally:
        theirs.close()
        links.started()
    front = Front(services, worker, producer, links, room.certificate)
    front.attend()
    return front
