"""The supervisor's loop: refuses and records what a worker tries, and ends when it ends.

Runs beside the worker, outside its process and mount namespaces, without capabilities. Invariants: an attempt is sent to
the daemon before the worker learns that it was refused; the worker's whole process tree is gone before the supervisor
ends, because it waits for the first process of that namespace; if the daemon goes away, so does the tree. A worker that
repeats itself is reported ``SINGLY`` times and then each tenfold, of at most ``MAX_KINDS`` different attempts.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

from holdfast import frames
from holdfast.confine import seccomp

if TYPE_CHECKING:
    import socket

    from holdfast.confine.seccomp import Attempt

SINGLY = 8  # reports of the same attempt before only powers of ten are reported
MAX_KINDS = 64  # different attempts told apart; a worker that invents addresses must not fill the log


class Record:
    """Decides which attempts are reported.

    Args:
        daemon: The stream to the daemon.
    """

    def __init__(self, daemon: socket.socket) -> None:
        self._daemon = daemon
        self._counts: dict[tuple[str, str, str], int] = {}

    def __call__(self, attempt: Attempt) -> None:
        """Count an attempt, and report it if it is one of the first or a round number.

        Args:
            attempt: What was tried.
        """
        kind = (attempt.syscall, attempt.family, attempt.destination)
        if kind not in self._counts and len(self._counts) >= MAX_KINDS:
            kind = (attempt.syscall, attempt.family, "one of many destinations")
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count <= SINGLY or str(count).rstrip("0") == "1":
            report = asdict(attempt) | {"destination": kind[2], "count": count}
            frames.send(self._daemon, {"denied": report})


def end_on_request(init: int) -> None:
    """From now on, end the worker's process tree when asked to terminate.

    Args:
        init: The first process of the worker's namespace, a child that is waited for nowhere else.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.kill(init, signal.SIGKILL))


def until_end(init: int, daemon: socket.socket, listener: int | None) -> None:
    """Refuse and record until the worker's process tree has ended.

    Args:
        init: The first process of the worker's namespace.
        daemon: The stream to the daemon; its end ends the worker.
        listener: Where attempts are reported, or None.
    """
    record = Record(daemon)
    ended = os.pidfd_open(init)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(daemon, 0)  # hang-ups are always reported; the daemon says nothing more
    if listener is not None:
        poll.register(listener, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if listener is not None and ready.get(listener, 0) & select.POLLIN:
            try:
                seccomp.refuse_next(listener, record)
            except BrokenPipeError:
                os.kill(init, signal.SIGKILL)
        elif ready.get(ended):
            return
        elif listener is not None and ready.get(listener):
            poll.unregister(listener)  # no process is left under the filter
            listener = None
        elif ready.get(daemon.fileno()):
            os.kill(init, signal.SIGKILL)
            poll.unregister(daemon)


def reap_until(worker: int, signalled: int) -> int:
    """As the first process of a namespace, collect orphans until the worker has ended.

    Args:
        worker: The worker's process.
        signalled: Exit codes from here on stand for signals.

    Returns:
        The exit code that says how the worker ended.
    """
    while True:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            return signalled - code if code < 0 else min(code, signalled - 1)


def leave_as(init: int, signalled: int) -> NoReturn:
    """End as the worker ended, by the same signal if it was one.

    Args:
        init: The first process of the worker's namespace, ended.
        signalled: Exit codes from here on stand for signals.
    """
    code = os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])
    number = -code if code < 0 else code - signalled
    if number > 0:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
    os._exit(code)
