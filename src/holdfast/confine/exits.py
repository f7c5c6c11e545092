"""How a worker ended, for people. No I/O."""

from __future__ import annotations

import signal

from holdfast.errors import HoldfastError, NoSpace, WorkerFailed

ANEW = 75  # exit code of a worker that ended itself to be started anew (EX_TEMPFAIL of sysexits.h)
_AGAIN = "Start the job again; if it ends so again, read its log."


def describe_exit(code: int) -> HoldfastError:
    """Explain an exit without a result.

    Args:
        code: What ``Worker.wait`` gave: an exit code, or minus the number of a signal.

    Returns:
        The error, not raised.
    """
    if code >= 0:
        return WorkerFailed(
            "worker.no-result",
            f"The worker ended with code {code} and without a result.",
            remedy=_AGAIN,
            code=code,
        )
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGXCPU:
        return NoSpace(
            "worker.cpu-limit",
            "The worker used all the processor time that it was given.",
            remedy="Give the job more processor time, or less to do.",
            signal=name,
        )
    if -code == signal.SIGKILL:
        return WorkerFailed(
            "worker.killed",
            "The worker was killed: by an operator, with its daemon, or by the kernel for lack of memory.",
            remedy="If nobody stopped it, make memory free or give the job a smaller model, then start it again.",
            signal=name,
        )
    if -code == signal.SIGSYS:
        return WorkerFailed(
            "worker.foreign-call",
            "The worker was ended for a system call of another architecture.",
            remedy="Treat what it was given as hostile and keep it for examination.",
            signal=name,
        )
    return WorkerFailed("worker.killed", f"The worker was ended by {name}.", remedy=_AGAIN, signal=name)
