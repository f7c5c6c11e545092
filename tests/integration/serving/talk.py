"""A front that speaks to an engine over the link and nothing else."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.integration.serving.stack import make_settings

from holdfast.errors import HoldfastError
from holdfast.serving import link
from holdfast.serving.engine.host import Host
from holdfast.serving.linkreader import Splitter, parse_reply
from holdfast.serving.linkwriter import pack

GREEDY = link.Sampling(temperature=0.0)
BUDGET = 2**34  # bytes; the tests' models take a hundredth
_numbers = itertools.count(1)


@dataclass
class Heard:
    """What an engine said to one request."""

    accepted: int | None = None
    texts: dict[int, str] = field(default_factory=dict)
    logprobs: dict[int, list[link.Logprob]] = field(default_factory=dict)
    endings: dict[int, link.Ending] = field(default_factory=dict)
    done: link.Done | None = None
    failed: Exception | None = None
    took: link.Done | None = None  # before it failed
    reply: object = None

    @property
    def ended(self):
        return self.done or self.failed or self.reply

    @property
    def answer(self):
        """What may not depend on company or history."""
        return self.texts, self.logprobs, self.endings


def ask(prompt, lane="", tenant="a", most=12, **given):
    """A request; the prompt as text, token ids or messages."""
    if isinstance(prompt, str):
        prompt = link.Words(prompt)
    elif isinstance(prompt, tuple):
        prompt = link.Tokens(prompt)
    fields = {"sampling": GREEDY, "seconds": 60.0} | given
    return link.Generate(id=next(_numbers), lane=lane, tenant=tenant, prompt=prompt, most=most, **fields)


class Talk:
    """An engine in a thread of its own, and the front's end of its link."""

    def __init__(
        self, models, *, lanes=("one", "two"), budget=BUDGET, threads=1, spec=None, kept=None, **limits
    ):
        settings = make_settings(models / "base.gguf", **limits)
        model = settings.models[0].model_copy(update=spec or {})
        self.host = Host(model, settings.limits, threads, budget, kept)
        for lane in lanes:
            self.host.attach(lane, 1.0, models / f"{lane}.gguf")
        self.sock, theirs = socket.socketpair()
        self.fault = None
        self._thread = threading.Thread(target=self._run, args=(theirs,))
        self._thread.start()
        self._splitter = Splitter()
        self._bodies = iter(())
        self.up = self.hear()

    def _run(self, theirs):
        try:
            self.host.run(theirs)
        except HoldfastError as fault:
            self.fault = fault

    def say(self, *requests):
        self.sock.sendall(b"".join(map(pack, requests)))

    def hear(self):
        """The next reply."""
        while (body := next(self._bodies, None)) is None:
            data = self.sock.recv(2**18)
            if not data:
                raise EOFError
            self._bodies = iter(list(self._splitter.push(data)))
        return parse_reply(body)

    def collect(self, *requests, until=lambda _: False):
        """Listen until every request has ended, or a condition on one holds."""
        heard = {request.id: Heard() for request in requests}
        while not all(one.ended for one in heard.values()) and not any(map(until, heard.values())):
            note(heard, self.hear())
        return [heard[request.id] for request in requests]

    def all(self, *requests):
        """Ask everything at once and wait for the ends."""
        self.say(*requests)
        return self.collect(*requests)

    def one(self, *args, **given):
        """Ask one question and wait for its end."""
        return self.all(ask(*args, **given))[0]

    @contextmanager
    def midway(self, request):
        """Ask, and have the computing thread stand still within the answer as long as the block lasts; gives what is asked."""
        there, gate, known = threading.Event(), threading.Event(), []

        def stand():
            asked = self.host._known.get(request.id)
            if asked is not None and asked.tokens:
                known.append(asked)
                there.set()
                gate.wait(60)
            elif not gate.is_set():
                self.host._post(stand)

        self.host._post(stand)
        self.say(request)
        try:
            assert there.wait(60)
            yield known[0]
        finally:
            gate.set()

    def posted(self, count):
        """Wait until the computing thread, which stands still, has so many things to do."""
        end = time.monotonic() + 60
        while len(self.host._inbox) < count:
            assert time.monotonic() < end
            threading.Event().wait(0.005)

    def close(self):
        self.sock.close()
        self._thread.join()
        self.host.close()


def note(heard, reply):
    match reply:
        case link.Accepted(number, count):
            heard[number].accepted = count
        case link.Failed(number, error, took):
            heard[number].failed, heard[number].took = error, took
        case link.Events(events):
            for event in events:
                one = heard[event.id]
                match event:
                    case link.Piece(_, choice, text, logprobs):
                        one.texts[choice] = one.texts.get(choice, "") + text
                        one.logprobs.setdefault(choice, []).extend(logprobs)
                    case link.End(_, choice, ending):
                        one.endings[choice] = ending
                    case link.Done():
                        one.done = event
        case _:
            heard[reply.id].reply = reply
