"""The daemon's end of a producer's socketpair: the only way into the log from another process.

Order of operations for each request: its number is the next one → the action belongs to this producer and the actor has its
role → there is space → the payloads are sealed → their commitments are written into the parameters → the draft is handed to
the log → the request is answered when the event is on disk. All of it happens in the appender's thread, which waits for the disk
anyway: requests that came together have their payloads synced together, then enter the log as one group. Invariants: payloads never enter
the log; a request is answered exactly once; at most ``MAX_IN_FLIGHT`` are open, then no more are read; a worker that submits
what is not its own is answered, recorded and cut off.
"""

from __future__ import annotations

import base64
import re
import secrets
import select
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from holdfast import frames
from holdfast.audit import actions
from holdfast.audit.actions import Phase
from holdfast.audit.appender import Receipt, Run
from holdfast.audit.event import Draft, parse_draft
from holdfast.audit.numbering import SYSTEM
from holdfast.audit.producer import MAX_IN_FLIGHT
from holdfast.errors import HoldfastError, NotPermitted, NotRecorded, UntrustedRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.audit.log import Log
    from holdfast.audit.sealed import SealedStore
    from holdfast.audit.syncing import Written
    from holdfast.canonical import Json

MAX_PAYLOADS = 4  # of one event; a prompt or an answer is one
MAX_REFUSED = 4_096  # events of a worker that the log did not take one after another; then it is cut off
MAX_FAULTS = 1_024  # malformed requests of a worker, each an event; one that is in order makes none, and 1,024 tell enough
MAX_REQUEST = (
    4 * 2**20
)  # bytes of a request: the largest payload in base64 and an event; the appender's thread parses it
MAX_OWNER = 256  # characters of a tenant's or subject's name
_NAME = re.compile(r"[a-z][a-z_]{0,31}")
_NOT_PLAIN = re.compile(r"[^ -~]")
_READ = 2**15  # bytes read from a socket at once; more would be mapped and unmapped for each event
_MAX_UNREAD = 2**16  # bytes of answers that the worker does not read; beyond it, it is not read from either


@dataclass(frozen=True, slots=True)
class _Taken:
    """A request that is in order, and what was sealed of it."""

    number: int
    draft: Draft
    written: Sequence[Written]


class ProducerServer:
    """One producer's way into the log.

    Args:
        sock: The daemon's end of the socketpair.
        log: Where events go.
        producer: The name that actions are registered under, for example ``serve``.
        store: Where payloads are sealed.
        role: The role that this producer's actors must have.
    """

    def __init__(
        self, sock: socket.socket, log: Log, producer: str, store: SealedStore, role: str = "application"
    ) -> None:
        self._sock, self._log, self._store, self._role = sock, log, store, role
        self._run = Run(producer, secrets.token_hex(8))
        self._expected = 0  # the next request's number
        self._inbox, self._outbox = bytearray(), bytearray()
        self._open = 0  # requests that are not answered yet
        self._faults = 0  # malformed requests so far
        self._reading = True  # until the worker closes, or is cut off
        self._cut = False  # by ``stop``
        self._over = threading.Event()
        self._group: list[_Taken] = []  # what was taken and is not handed to the log yet
        self._acts = threading.Lock()
        self._live: set[int] = set()
        self._lost: set[int] = set()

    def start(self) -> None:
        """Begin to serve; ends by itself when the worker closes its end."""
        self._sock.setblocking(False)
        self._log.attend(self)

    def stop(self) -> None:
        """Cut the worker off, and wait for what it handed in: afterwards the log knows all of it."""
        self._cut = True
        self._log.attend(self)
        self._over.wait()
        self._sock.close()

    @property
    def live(self) -> set[int]:
        """Acts of this worker that are under way: it still may hand in their outcome."""
        with self._acts:
            return set(self._live)

    def take_lost(self) -> set[int]:
        """Give the acts whose outcome was handed in and could not be recorded.

        Returns:
            Their intents; each is given once.
        """
        with self._acts:
            lost, self._lost = self._lost, set()
        return lost

    # --- what the appender calls

    def fileno(self) -> int:  # noqa: D102 - as in Channel
        return self._sock.fileno()

    def receive(self) -> None:  # noqa: D102 - as in Channel
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._inbox += data
        if not data:
            self._reading = False
        self._take_all()

    def advance(self) -> int | None:  # noqa: D102 - as in Channel
        self._take_all()
        self._send()
        if not self._reading and not self._open and not self._outbox:
            return None
        wanted = select.EPOLLIN if self._reading and not self._held else 0
        return wanted | (select.EPOLLOUT if self._outbox else 0)

    def abandon(self) -> None:  # noqa: D102 - as in Channel
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._over.set()

    # --- requests

    @property
    def _held(self) -> bool:
        """Whether requests wait: for answers, or for the worker to read them."""
        return self._open >= MAX_IN_FLIGHT or len(self._outbox) >= _MAX_UNREAD

    def _take_all(self) -> None:
        """Take the requests that came whole."""
        if self._cut:
            self._reading = False
            self._inbox.clear()
            self._outbox.clear()
        place = 0
        try:
            while not self._held and (found := frames.split(self._inbox, place)) is not None:
                body, place = found
                self._take(frames.parse(body))
            self._require_small(place)
        except HoldfastError:  # the worker breaks the framing, or was told why it is cut off
            self._reading, place = False, len(self._inbox)
        self._hand_on()
        del self._inbox[:place]

    def _require_small(self, place: int) -> None:
        """Refuse a request that announces to be too large, before it is here."""
        head = bytes(self._inbox[place : place + frames.HEAD])
        if len(head) == frames.HEAD and frames.unpack_length(head) > MAX_REQUEST:
            raise _refused(f"it announces more than {MAX_REQUEST} bytes")

    def _take(self, message: dict[str, Json]) -> None:
        """Take one request; raises if the worker is to be cut off."""
        number, draft = message.pop("id", None), message.get("draft")
        told = number if type(number) is int else None
        self._open += 1
        try:
            if told != self._expected:
                due, self._expected = self._expected, self._expected + 1
                raise NotPermitted(
                    "audit.count",
                    f"The {self._run.name} worker handed in number {told} where {due} follows.",
                    remedy="Restart the worker.",
                )
            self._expected += 1
            self._hand_in(told, message)
        except HoldfastError as error:
            self._hand_on()  # what came before is before it in the log
            action = draft.get("action") if isinstance(draft, dict) else None
            self._refuse(told, action, error, self._expected - 1)
            if isinstance(error, NotPermitted):
                raise

    def _refuse(self, number: int | None, action: object, error: HoldfastError, place: int) -> None:
        """Answer a request with an error, and put on the record at its place that it was made if it is at fault."""
        self._answer(number, error)
        asked = _NOT_PLAIN.sub("?", action[:64]) if isinstance(action, str) else ""
        if isinstance(error, UntrustedRequest):
            self._record("audit.refused", {"action": asked, "reason": error.key}, self._run, place)
            self._faults += 1
            if self._faults >= MAX_FAULTS:  # it can't be let fill the log with its faults
                self._reading = False
        elif number is not None:
            self._lose(number, asked, error)

    def _lose(self, number: int, action: str, error: HoldfastError) -> None:
        """Keep in mind that the log did not take an event; a worker that goes on and on is cut off."""
        self._run.refused[number] = action, error.key
        if len(self._run.refused) >= MAX_REFUSED:
            self._reading = False

    def _record(
        self, action: str, params: dict[str, Json], run: Run | None = None, number: int | None = None
    ) -> None:
        self._log.push(Draft(action, SYSTEM, params=params), lambda _: None, run, number)

    def _hand_in(self, number: int, message: dict[str, Json]) -> None:
        if set(message) != {"draft", "payloads", "owner"}:
            raise _refused("it has not exactly id, draft, payloads and owner")
        draft = parse_draft(message["draft"])
        action = actions.get(draft.action)
        if action.producer != self._run.name or draft.actor.role != self._role:
            self._deny(draft)
        payloads = message["payloads"]
        if not isinstance(payloads, dict) or len(payloads) > MAX_PAYLOADS:
            raise _refused(f"its payloads are not an object of at most {MAX_PAYLOADS}")
        if not payloads:
            self._group.append(_Taken(number, draft, ()))
            return
        self._log.require_space(action)
        try:
            sealed, written = self._seal(payloads, message["owner"])
        except HoldfastError as error:
            self._note(draft, error)
            raise
        self._group.append(_Taken(number, replace(draft, params=draft.params | sealed), written))

    def _hand_on(self) -> None:
        """Have on disk what was sealed, and hand everything to the log in the order in which it came."""
        group, self._group = self._group, []
        written = [one for taken in group for one in taken.written]
        found = iter(self._store.sync(written) if written else ())
        for taken in group:
            failed = [error for error in islice(found, len(taken.written)) if error is not None]
            try:
                if failed:
                    raise _unsealed(failed[0])
                self._log.push(
                    taken.draft, partial(self._settle, taken.number, taken.draft), self._run, taken.number
                )
            except HoldfastError as error:
                self._note(taken.draft, error)
                self._refuse(taken.number, taken.draft.action, error, taken.number)

    def _settle(self, number: int, draft: Draft, found: Receipt | HoldfastError) -> None:
        self._note(draft, found)
        self._answer(number, found)
        if not isinstance(found, Receipt):
            self._lose(number, draft.action, found)

    def _note(self, draft: Draft, found: Receipt | HoldfastError) -> None:
        """Keep in mind which acts are under way, and which lost their outcome."""
        phase = actions.get(draft.action).phase
        with self._acts:
            if phase is Phase.INTENT and isinstance(found, Receipt):
                self._live.add(found.seq)
            elif phase is Phase.OUTCOME and draft.cause in self._live:
                self._live.remove(draft.cause)
                if not isinstance(found, Receipt):
                    self._lost.add(draft.cause)

    def _answer(self, number: int | None, found: Receipt | HoldfastError) -> None:
        if isinstance(found, Receipt):
            receipt: Json = {"seq": found.seq, "time": found.time, "leaf": found.leaf}
            self._outbox += frames.pack({"id": number, "receipt": receipt})
        else:
            self._outbox += frames.pack({"id": number, "error": _plain(found)})
        self._open -= 1

    def _send(self) -> None:
        while self._outbox:
            try:
                sent = self._sock.send(self._outbox)
            except BlockingIOError:
                return
            except OSError:  # the worker is gone; its events are recorded all the same
                self._reading, sent = False, len(self._outbox)
            del self._outbox[:sent]

    # --- refusing and sealing

    def _deny(self, draft: Draft) -> NoReturn:
        self._hand_on()  # what came before is before it in the log
        name, role = self._run.name, draft.actor.role
        self._record("worker.denied", {"worker": name, "action": draft.action, "role": role})
        raise NotPermitted(
            "audit.producer",
            f"The {name} worker may not record {draft.action} as {role}.",
            remedy="See the event worker.denied in the audit log.",
        )

    def _seal(self, payloads: dict[str, Json], owner: Json) -> tuple[dict[str, Json], list[Written]]:
        """Seal what came with a draft; gives the parameters that stand for it, and what is to be synced."""
        if not isinstance(owner, dict) or set(owner) != {"tenant", "subject"}:
            raise _refused("payloads came without an owner")
        if not all(isinstance(text, str) and len(text) <= MAX_OWNER for text in owner.values()):
            raise _refused(f"its owner is not two texts of at most {MAX_OWNER} characters")
        data = {name: _decoded(name, encoded) for name, encoded in payloads.items()}
        written: list[Written] = []
        try:
            subject = self._store.subject_id(str(owner["tenant"]), str(owner["subject"]))
            for name, each in data.items():
                written.append(self._store.write(subject, name, each))
        except UnicodeEncodeError as error:
            raise _refused("its owner is not UTF-8 text") from error
        except OSError as error:
            self._store.sync(written)
            raise _unsealed(error) from error
        except HoldfastError:
            self._store.sync(written)
            raise
        commitments: dict[str, Json] = {name: one.committed for name, one in zip(data, written, strict=True)}
        return {"commitments": commitments, "sealed_for": subject}, written


def _decoded(name: str, encoded: Json) -> bytes:
    if not _NAME.fullmatch(name) or not isinstance(encoded, str):
        raise _refused(f"payload {name[:40]!r} is not a named base64 text")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise _refused(f"payload {name} is not base64") from error


def _unsealed(error: OSError) -> NotRecorded:
    return NotRecorded(
        "sealed.write-failed", f"A payload could not be sealed ({error}).", remedy="See to the disk."
    )


def _plain(error: HoldfastError) -> dict[str, Json]:
    return error.to_dict()  # type: ignore[return-value]  # fields are JSON by their own type


def _refused(why: str) -> UntrustedRequest:
    return UntrustedRequest(
        "audit.request", f"A request to record is refused: {why}.", remedy="Restart the worker."
    )
