"""The only way into the log from another process: frames over an inherited socketpair.

The worker holds a ``Producer``, the daemon a ``ProducerServer`` beside its log. Order of operations for each request: the
server checks that the action belongs to this producer and that the actor has its role, seals the payloads, writes their
commitments into the parameters, submits the draft, and answers when the event is on disk. Invariants: payloads never enter
the log; a request is answered exactly once; at most ``MAX_IN_FLIGHT`` are open per producer, after which the worker waits;
a worker that submits what is not its own is answered, recorded and cut off.
"""

from __future__ import annotations

import base64
import queue
import re
import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from holdfast import errors, frames
from holdfast.audit import actions
from holdfast.audit.commitment import subject_id
from holdfast.audit.event import Actor, Draft, parse_draft
from holdfast.audit.log import Log, Receipt
from holdfast.errors import HoldfastError, NotPermitted, NotRecorded, UntrustedRequest, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.audit.sealed import SealedStore
    from holdfast.canonical import Json

MAX_IN_FLIGHT = 256  # requests of one producer that are not answered yet
MAX_PAYLOADS = 4  # of one event; a prompt or an answer is one
MAX_OWNER = 256  # characters of a tenant's or subject's name
_NAME = re.compile(r"[a-z][a-z_]{0,31}")


@dataclass(frozen=True)
class Owner:
    """Whose payloads are sealed.

    Args:
        tenant: The tenant, as the appliance knows it.
        subject: The tenant's own id of the person.
    """

    tenant: str
    subject: str


class Producer:
    """The worker's end. Any thread may submit.

    Args:
        sock: The inherited stream socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._waiting: dict[int, Future[Receipt]] = {}
        self._next = 0
        self._gone = False
        threading.Thread(target=self._listen, name="audit-producer", daemon=True).start()

    def submit(
        self, draft: Draft, payloads: Mapping[str, bytes] | None = None, owner: Owner | None = None
    ) -> Future[Receipt]:
        """Hand in an event; waits only while ``MAX_IN_FLIGHT`` others wait.

        Args:
            draft: The event.
            payloads: Data to seal, by name; the log gets commitments.
            owner: Whose data it is; required with payloads.

        Returns:
            The receipt to come, or the daemon's refusal.
        """
        message: dict[str, Json] = {
            "draft": draft.to_json(),
            "payloads": {name: base64.b64encode(data).decode() for name, data in (payloads or {}).items()},
            "owner": None if owner is None else {"tenant": owner.tenant, "subject": owner.subject},
        }
        future: Future[Receipt] = Future()
        future.set_running_or_notify_cancel()
        future.add_done_callback(lambda _: self._places.release())
        self._places.acquire()
        with self._lock:
            if self._gone:
                future.set_exception(_cut_off())
                return future
            number, self._next = self._next, self._next + 1
            self._waiting[number] = future
        with self._sending, suppress(OSError):  # the listener sees the end too, and tells all who wait
            frames.send(self._sock, {"id": number, **message})
        return future

    def append(
        self, draft: Draft, payloads: Mapping[str, bytes] | None = None, owner: Owner | None = None
    ) -> Receipt:
        """Record an event and wait until it is on disk.

        Args:
            draft: The event.
            payloads: Data to seal, by name.
            owner: Whose data it is.

        Returns:
            Its receipt.
        """
        return self.submit(draft, payloads, owner).result()

    def _listen(self) -> None:
        with suppress(
            OSError, WorkerFailed
        ):  # the daemon is gone or talks nonsense: the same to those who wait
            while (message := frames.receive(self._sock)) is not None:
                self._settle(message)
        with self._lock:
            self._gone = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for future in waiting:
            future.set_exception(_cut_off())

    def _settle(self, message: dict[str, Json]) -> None:
        number, receipt, error = message.get("id"), message.get("receipt"), message.get("error")
        with self._lock:
            future = self._waiting.pop(number, None) if isinstance(number, int) else None
        if future is None:
            return
        if isinstance(receipt, dict) and isinstance(seq := receipt.get("seq"), int):
            future.set_result(Receipt(seq, str(receipt.get("time")), str(receipt.get("leaf"))))
        else:
            future.set_exception(errors.from_dict(error if isinstance(error, dict) else {}))


class ProducerServer:
    """The daemon's end.

    Args:
        sock: Its end of the socketpair.
        log: Where events go.
        producer: The name that actions are registered under, for example ``serve``.
        store: Where payloads are sealed.
        role: The role that this producer's actors must have.
    """

    def __init__(
        self, sock: socket.socket, log: Log, producer: str, store: SealedStore, role: str = "application"
    ) -> None:
        self._sock, self._log, self._producer, self._store, self._role = sock, log, producer, store, role
        self._places = threading.BoundedSemaphore(MAX_IN_FLIGHT)
        self._answers: queue.SimpleQueue[dict[str, Json] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"audit-{producer}-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name=f"audit-{producer}-writer", daemon=True)

    def start(self) -> None:
        """Begin to serve; ends by itself when the worker closes its end."""
        self._reader.start()
        self._writer.start()

    def stop(self) -> None:
        """Cut the worker off and wait for the threads."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._writer.join()
        self._sock.close()

    def _read(self) -> None:
        try:
            # A worker that is gone or breaks the framing ends the connection.
            with suppress(OSError, WorkerFailed):
                while (message := frames.receive(self._sock)) is not None:
                    self._places.acquire()
                    number = message.pop("id", None)
                    try:
                        self._take(number, message)
                    except HoldfastError as error:
                        self._answers.put({"id": number, "error": _plain(error)})
                        if isinstance(error, NotPermitted):
                            break
        finally:
            self._answers.put(None)

    def _take(self, number: Json, message: dict[str, Json]) -> None:
        if set(message) != {"draft", "payloads", "owner"} or not isinstance(number, int):
            raise _refused("it has not exactly id, draft, payloads and owner")
        draft = parse_draft(message["draft"])
        if actions.get(draft.action).producer != self._producer or draft.actor.role != self._role:
            self._deny(draft)
        sealed = self._seal(message["payloads"], message["owner"])
        full = Draft(
            action=draft.action,
            actor=draft.actor,
            subject=draft.subject,
            label=draft.label,
            params={**draft.params, **sealed},
            cause=draft.cause,
        )
        self._log.submit(full).add_done_callback(lambda done: self._answer(number, done))

    def _deny(self, draft: Draft) -> None:
        params: dict[str, Json] = {
            "producer": self._producer,
            "action": draft.action,
            "role": draft.actor.role,
        }
        self._log.submit(Draft("worker.denied", Actor("holdfastd", None, "system"), params=params))
        raise NotPermitted(
            "audit.producer",
            f"The {self._producer} worker may not record {draft.action} as {draft.actor.role}.",
            remedy="See the event worker.denied in the audit log.",
        )

    def _seal(self, payloads: Json, owner: Json) -> dict[str, Json]:
        """Seal what came with a draft; gives the parameters that stand for it."""
        if not isinstance(payloads, dict) or len(payloads) > MAX_PAYLOADS:
            raise _refused(f"its payloads are not an object of at most {MAX_PAYLOADS}")
        if not payloads:
            return {}
        if not isinstance(owner, dict) or set(owner) != {"tenant", "subject"}:
            raise _refused("payloads came without an owner")
        if not all(isinstance(text, str) and len(text) <= MAX_OWNER for text in owner.values()):
            raise _refused(f"its owner is not two texts of at most {MAX_OWNER} characters")
        try:
            subject = subject_id(str(owner["tenant"]), str(owner["subject"]))
        except UnicodeEncodeError as error:
            raise _refused("its owner is not UTF-8 text") from error
        commitments: dict[str, Json] = {}
        for name, encoded in payloads.items():
            if not _NAME.fullmatch(name) or not isinstance(encoded, str):
                raise _refused(f"payload {name[:40]!r} is not a named base64 text")
            try:
                data = base64.b64decode(encoded, validate=True)
            except ValueError as error:
                raise _refused(f"payload {name} is not base64") from error
            try:
                commitments[name] = self._store.seal(subject, data)
            except OSError as error:
                raise NotRecorded(
                    "sealed.write-failed",
                    f"A payload could not be sealed ({error}).",
                    remedy="See to the disk.",
                ) from error
        return {"commitments": commitments, "sealed_for": subject}

    def _answer(self, number: int, done: Future[Receipt]) -> None:
        error = done.exception()
        if error is None:
            self._answers.put({"id": number, "receipt": asdict(done.result())})
        elif isinstance(error, HoldfastError):
            self._answers.put({"id": number, "error": _plain(error)})

    def _write(self) -> None:
        while (answer := self._answers.get()) is not None:
            with suppress(OSError):  # the worker is gone; its events are recorded all the same
                frames.send(self._sock, answer)
            self._places.release()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def _plain(error: HoldfastError) -> dict[str, Json]:
    return error.to_dict()  # type: ignore[return-value]  # fields are JSON by their own type


def _refused(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "audit.request", f"A request to record is refused: {why}.", remedy="Restart the worker."
    )


def _cut_off() -> NotRecorded:
    return NotRecorded(
        "audit.cut-off", "The daemon no longer takes events.", remedy="Start the daemon again."
    )
