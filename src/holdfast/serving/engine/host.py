"""The engine's side of the link: requests in, answers out, and the thread that computes them.

Three kinds of thread: one reads the link; a few tokenize, render templates and compile grammars; one alone computes, by
``lanes``, and sends what its steps gave by ``outbox``. Invariants: a request is answered by exactly one last message, unless the
link is gone; whatever a request holds can fail that request alone; at most ``parallel + queue + SPARE`` requests are known at
once; what the front says that is no message ends the engine.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, WorkerFailed
from holdfast.formats import gguf
from holdfast.serving import link
from holdfast.serving.engine import faults, memory
from holdfast.serving.engine.embedqueue import EmbedQueue
from holdfast.serving.engine.lanes import Lanes
from holdfast.serving.engine.llama import Adapter, Weights
from holdfast.serving.engine.outbox import Outbox
from holdfast.serving.engine.reception import Reception
from holdfast.serving.engine.threads import Threads
from holdfast.serving.linkreader import Splitter, parse_request
from holdfast.serving.linkwriter import pack

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.serving.engine.asked import Asked
    from holdfast.serving.engine.embedqueue import Embedding
    from holdfast.serving.engine.speech import Speech
    from holdfast.serving.measured import Measured
    from holdfast.serving.spec import Limits, ModelSpec

READ = 256 * 2**10  # bytes read from the link at once
SPARE = 64  # requests beyond those that the front lets wait: what is on its way while it counts
POOL = 2  # threads that tokenize; they compete with those that compute
TIDY = 5.0  # seconds between looks for what lay unused too long

LOGGER = logging.getLogger("holdfast.engine")

Prepared = link.Generate | link.Embed | link.Tokenize | link.Detokenize


class Host:
    """One model, ready to answer.

    Args:
        model: The model.
        limits: How much one request, and all of them together, may take.
        threads: Threads to compute with.
        budget: Bytes of memory that it may take.
        kept: What was measured of it before.

    Raises:
        UntrustedBundle: If the file is no model, or llama.cpp refuses it.
        NoSpace: If it does not fit into the budget; with the numbers.
    """

    def __init__(
        self, model: ModelSpec, limits: Limits, threads: int, budget: int, kept: Measured | None = None
    ) -> None:
        self._limits = limits
        self._need = memory.check(_shape(model), model, limits, budget)
        self._wake = threading.Condition()
        self._inbox: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._since: float | None = None  # when the step under way began; None while there is nothing to do
        self._known: dict[int, Asked | None] = {}
        self._sock: socket.socket | None = None
        self._sending = threading.Lock()
        self._outbox = Outbox(self._send)
        self.served = 0
        self.weights = Weights(model)
        with contextlib.ExitStack() as opened:
            opened.callback(self.weights.close)
            pool = Threads(self.weights.llama, threads)
            opened.callback(pool.close)
            self._reception = Reception(self.weights, limits)
            opened.callback(self._reception.close)
            self._embeddings = EmbedQueue(self.weights, limits, threads)
            opened.callback(self._embeddings.close)
            self._lanes = Lanes(
                self.weights,
                limits,
                pool,
                need=self._need,
                budget=budget,
                flush=self._flush,
                stepped=self._stepped,
                due=self._due,
                kept=kept,
            )
            opened.callback(lambda: self._lanes.close(faults.stopped()))
            self._opened = opened.pop_all()

    @property
    def need(self) -> memory.Need:
        """What the model takes."""
        return self._need

    @property
    def measured(self) -> Measured | None:
        """What was measured of the model, now or before; None if nothing was that could be kept."""
        return self._lanes.measured

    @property
    def stepping(self) -> float:
        """Seconds for which the computing thread has been at what it does; 0 while it waits. Any thread may ask."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Free everything, after ``run`` has returned."""
        self._opened.close()

    def attach(self, lane: str, scale: float, path: Path) -> None:
        """Serve an adapter; blocks until it is there.

        Args:
            lane: What requests call it.
            scale: How strongly it is applied.
            path: Its file, which is not needed afterwards.

        Raises:
            UntrustedBundle: If llama.cpp refuses it.
            NoSpace: If it does not fit into the budget.
        """
        size = path.stat().st_size
        self._do(lambda: self._lanes.attach(lane, Adapter(self.weights, str(path), lane, scale), size))

    def detach(self, lane: str) -> None:
        """Serve an adapter no more, once its last request has ended.

        Args:
            lane: What requests call it.
        """
        self._do(lambda: self._lanes.detach(lane))

    def forget(self, tenant: str | None) -> None:
        """Overwrite what is kept of a tenant's prompts.

        Args:
            tenant: Whose; None for everybody's.
        """
        self._do(lambda: self._forget(tenant))

    def limit(self, budget: int) -> None:
        """Change how much memory may be taken.

        Args:
            budget: Bytes.
        """
        self._do(lambda: self._lanes.limit(budget))

    def status(self) -> dict[str, Json]:
        """Count.

        Returns:
            ``memory`` by parts, ``lanes``, ``active``, ``queued``, ``served`` and ``tokens``.
        """
        found: dict[str, Json] = {}

        def count() -> None:
            lanes = self._lanes
            found.update(
                memory=self._need.plain(lanes.contexts, lanes.adapters),
                lanes=[*lanes.names],
                active=lanes.active,
                queued=lanes.queued,
                served=self.served,
                tokens=lanes.tokens,
            )

        self._do(count)
        return found

    def run(self, sock: socket.socket) -> None:
        """Answer requests until the front closes the link, or ``stop``.

        Args:
            sock: The link, a connected stream socket; closed in the end.

        Raises:
            WorkerFailed: If the front said something that is no message.
        """
        self._sock = sock
        broken: list[HoldfastError] = []
        with ThreadPoolExecutor(POOL, "tokenize") as pool:
            reading = threading.Thread(target=self._read, args=(sock, pool, broken), name="link", daemon=True)
            self._send(self._up())
            reading.start()
            try:
                self._compute()
            finally:
                self.stop()
                with contextlib.suppress(OSError):
                    sock.shutdown(2)
                reading.join()
        sock.close()
        if broken:
            raise broken[0]

    def stop(self) -> None:
        """End ``run`` after the step that is being computed."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def _up(self) -> link.Up:
        spec = self.weights.spec
        return link.Up(
            spec.digest,
            self.weights.vocabulary.size,
            spec.context,
            self._reception.chat,
            self._embeddings.dimensions,
        )

    # What the computing thread does.

    def _compute(self) -> None:
        tidied = time.monotonic()
        busy = False
        try:
            while self._collect(wait=not busy):
                busy = self._lanes.step()
                if self._embeddings.busy or not busy:
                    self._flush()
                busy = self._embeddings.step() or busy
                self._stepped()
                now = time.monotonic()
                if now - tidied >= TIDY:
                    tidied = now
                    self._lanes.tidy(now)
        finally:
            self._collect(wait=False)  # nobody is left waiting for an answer to a call

    def _collect(self, *, wait: bool) -> bool:
        """Do what other threads asked for; False when it is time to stop."""
        if not wait and not self._inbox and not self._stopping:  # mostly: no lock is needed to see that
            return True
        with self._wake:
            if wait and not self._inbox and not self._stopping:
                self._since = None
                self._wake.wait(TIDY)
            self._since = time.monotonic()
            work, self._inbox = self._inbox, deque()
            going = not self._stopping
        for one in work:
            one()
        return going

    def _due(self) -> bool:
        """Whether somebody waits for something else than answers: a call from another thread, texts, embeddings."""
        return bool(self._inbox) or self._stopping or self._embeddings.busy or self._outbox.due

    def _stepped(self) -> None:
        """Note that a step has ended, and send what is due."""
        self._outbox.pace()
        self._since = time.monotonic()

    def _flush(self) -> None:
        """Send what there is, before something that takes longer than a step."""
        self._outbox.flush()
        self._since = time.monotonic()

    def _emit(self, event: link.Event | link.Failed | Speech) -> None:
        """Take what a request's computation gave; only in the computing thread."""
        if isinstance(event, link.Failed):
            self._outbox.flush()  # in the order in which it happened
            self._send(event)
            self._known.pop(event.id, None)
            return
        self._outbox.put(event)
        if isinstance(event, link.Done):
            self._known.pop(event.id, None)
            self.served += not event.cancelled

    def _do(self, work: Callable[[], None]) -> None:
        """Let the computing thread do something between two steps, and wait for it."""
        if self._sock is None:
            work()
            return
        done = threading.Event()
        failed: list[HoldfastError] = []

        def guarded() -> None:
            try:
                work()
            except HoldfastError as error:
                failed.append(error)
            finally:
                done.set()

        with self._wake:
            if self._stopping:
                raise faults.stopped()
            self._inbox.append(guarded)
            self._wake.notify()
        done.wait()
        if failed:
            raise failed[0]

    def _post(self, work: Callable[[], None]) -> None:
        with self._wake:
            self._inbox.append(work)
            self._wake.notify()

    # What the link's thread and those that tokenize do.

    def _read(self, sock: socket.socket, pool: ThreadPoolExecutor, broken: list[HoldfastError]) -> None:
        splitter = Splitter()
        try:
            while data := sock.recv(READ):
                for body in splitter.push(data):
                    self._take(parse_request(body), pool)
        except HoldfastError as error:
            broken.append(error)
        except OSError:
            pass  # the front is gone
        self.stop()

    def _take(self, request: link.Request, pool: ThreadPoolExecutor) -> None:
        match request:
            case link.Cancel(number):
                self._post(lambda: self._cancel(number))
            case link.Forget(tenant):
                self._post(lambda: self._forget(tenant))
            case _:
                if len(self._known) >= self._limits.parallel + self._limits.queue + SPARE:
                    self._send(link.Failed(request.id, faults.crowded()))
                    return
                self._known[request.id] = None
                self._submit(pool, request)

    def _submit(self, pool: ThreadPoolExecutor, request: Prepared) -> None:
        """Prepare a request in the pool; what nobody foresaw fails it too, so that nobody waits for ever."""

        def ended(future: Future[None]) -> None:
            if not future.cancelled() and (fault := future.exception()) is not None:
                LOGGER.error("preparing a request failed", exc_info=fault)
                self._last(link.Failed(request.id, faults.failed()))

        pool.submit(self._prepare, request, time.monotonic()).add_done_callback(ended)

    def _prepare(self, request: Prepared, received: float) -> None:
        try:
            match request:
                case link.Generate():
                    asked = self._reception.ask(request, received, self._emit)
                    self._send(link.Accepted(request.id, len(asked.prompt)))
                    self._post(lambda: self._push(asked))
                case link.Embed():
                    embedding = self._embeddings.ask(request, self._embedded)
                    self._send(link.Accepted(request.id, embedding.tokens))
                    self._post(lambda: self._embed(embedding))
                case link.Tokenize():
                    self._last(link.Tokenized(request.id, self._reception.tokenize(request)))
                case link.Detokenize():
                    self._last(link.Detokenized(request.id, self._reception.detokenize(request)))
        except HoldfastError as error:
            self._last(link.Failed(request.id, error))

    def _last(self, reply: link.Tokenized | link.Detokenized | link.Embedded | link.Failed) -> None:
        """Send the end of a request that did not get to the lanes."""
        self._known.pop(reply.id, None)
        self._send(reply)

    def _push(self, asked: Asked) -> None:
        number = asked.request.id
        if number not in self._known:  # cancelled while it was tokenized
            asked.cancelled = True
            asked.done()
            return
        self._known[number] = asked
        self._lanes.push(asked)

    def _embed(self, embedding: Embedding) -> None:
        if embedding.request.id in self._known:
            self._embeddings.push(embedding)
        else:  # cancelled while it was tokenized
            embedding.cancel()

    def _forget(self, tenant: str | None) -> None:
        self._reception.forget(tenant)
        self._lanes.forget(tenant)

    def _cancel(self, number: int) -> None:
        asked = self._known.get(number)
        if asked is not None:
            asked.cancelled = True
        elif not self._embeddings.cancel(number):
            self._known.pop(number, None)

    def _embedded(self, reply: link.Embedded | link.Failed) -> None:
        self.served += isinstance(reply, link.Embedded)
        self._last(reply)

    def _send(self, reply: link.Reply) -> None:
        try:
            frame = pack(reply)
        except HoldfastError as error:
            if isinstance(reply, link.Events | link.Up):
                raise
            frame = pack(link.Failed(reply.id, error))
        if self._sock is None:
            return
        with self._sending:
            try:
                self._sock.sendall(frame)
            except OSError:  # the front is gone; reading tells so too
                self.stop()


def _shape(model: ModelSpec) -> memory.Shape:
    try:
        with Path(model.path).open("rb") as file:
            size = file.seek(0, 2)

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            return memory.shape(gguf.parse(read, size, model.id), model.id)
    except OSError as error:
        raise WorkerFailed(
            "serve.model",
            f"The model {model.id} can't be read: {error.strerror}.",
            remedy="Run holdfast doctor; import the model again if its file is gone.",
        ) from error
