"""Running generated programs: one forked process per test, closed in, and the process that forks and watches them.

    judge     the worker; it alone knows what is expected, and compares
      └ nursery   forked before the judge has read any item; it reads nothing, and forks
          └ keeper    forked for one test; it reads its program, call and input, watches it and reports
              └ test      closed in by ``confine.cell``; it learns its own program, call and input

Invariants: what is expected, and what another program gave, is in no memory, file or descriptor that a program could reach: the
nursery is a copy of a worker that had read nothing yet, and never reads itself; a test's process is fresh (no module of ours, no environment, the interpreter's standard library
alone, ``random`` seeded, hashes of text fixed by the worker's environment) and starts no other, so that when it has ended
nothing of it is left; a program is ended by the processor time that it used; the clock is a net for one that hangs, and an
ending by the clock is told apart. What a program gives is read as bytes up to a bound and decoded elsewhere.

Nothing is executed: workers may not. Imported by ``workers.execute`` alone.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import sys
import sysconfig
import time
import types
from typing import TYPE_CHECKING, NoReturn

from holdfast import frames
from holdfast.confine import cell
from holdfast.errors import WorkerFailed
from holdfast.evaluation import code

if TYPE_CHECKING:
    from holdfast.canonical import Json

CLOCK_FACTOR = 20  # seconds by the clock for each second of processor time, on a busy machine …
CLOCK_BASE = 60  # … and these on top
_READ_SIZE = 64 * 2**10  # bytes taken from a pipe at once
_WHY_BYTES = 256  # of what a program says of its end
# Descriptors of a test's process; a called function's value goes to _OUTPUT.
_INPUT, _OUTPUT, _ERRORS, _WHY = range(4)
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_RAISED = 1  # exit code of a test's process that could not give what was asked


class Nursery:
    """The process that forks tests, as the judge sees it. Made before anything secret is read.

    Raises:
        WorkerFailed: If a process can't be closed in on this host.
    """

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._pid = os.fork()
        if self._pid == 0:
            _serve(theirs.detach())
        theirs.close()
        tried = self.run("", code.Test(None, (), ""), cpu_seconds=5, memory_bytes=256 * 2**20)
        if tried.how != code.GAVE:
            self.close()
            raise WorkerFailed(
                "execute.walls",
                f"Generated programs can't be closed in on this host: {tried.told or tried.how}.",
                remedy="Run a kernel of 5.13 or newer with Landlock, or leave metric 'code' out of the suite.",
            )

    def run(self, program: str, test: code.Test, *, cpu_seconds: int, memory_bytes: int) -> code.Ended:
        """Run one test of a program.

        Args:
            program: Python source.
            test: The test; what is expected stays here.
            cpu_seconds: Processor time it may use.
            memory_bytes: Memory it may take.

        Returns:
            How it ended.

        Raises:
            WorkerFailed: If the process that forks tests is gone.
        """
        frames.send(
            self._ours,
            {
                "program": program.encode("utf-8", "replace").decode(),
                "call": test.call,
                "arguments": json.dumps(test.arguments),  # numbers of any size
                "stdin": test.stdin,
                "cpu": cpu_seconds,
                "memory": memory_bytes,
            },
        )
        said = frames.receive(self._ours)
        if said is None:
            raise WorkerFailed(
                "execute.gone", "The process that runs tests is gone.", remedy="See the job's log."
            )
        output = str(said["output"]).encode("utf-8", "replace")
        return code.Ended(str(said["how"]), output, str(said["told"]))

    def close(self) -> None:
        """End it."""
        self._ours.close()
        os.waitpid(self._pid, 0)


def _serve(descriptor: int) -> NoReturn:
    """Fork tests until the judge is done. Never returns."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    judge = socket.socket(fileno=descriptor)
    gc.freeze()
    with contextlib.suppress(OSError):
        while judge.recv(1, socket.MSG_PEEK):
            keeper = os.fork()
            if keeper == 0:
                _keep(judge)
            if os.waitpid(keeper, 0)[1] != 0:
                break  # the judge gets no answer, and finds this process gone
    os._exit(0)


def _keep(judge: socket.socket) -> NoReturn:
    """Read one test, run it and report; what was read and given ends with this process. Never returns."""
    exit_code = 1
    with contextlib.suppress(OSError, WorkerFailed):
        asked = frames.receive(judge)
        if asked is not None:
            ended = _test(asked, judge)
            told = "".join(one for one in ended.told if one.isascii() and one.isprintable())
            output = ended.output.decode("utf-8", "replace")
            frames.send(judge, {"how": ended.how, "output": output, "told": told})
            exit_code = 0
    os._exit(exit_code)


def _test(asked: dict[str, Json], judge: socket.socket) -> code.Ended:
    """Run one test in a process of its own, and watch it to its end."""
    output, output_end = os.pipe()
    why, why_end = os.pipe()
    given = os.memfd_create("input")
    os.write(given, str(asked["stdin"]).encode("utf-8", "replace"))
    os.lseek(given, 0, os.SEEK_SET)
    child = os.fork()
    if child == 0:
        judge.detach()
        _become(asked, given, output_end, why_end)
    for descriptor in (output_end, why_end, given):
        os.close(descriptor)
    seconds = int(str(asked["cpu"]))
    told, ended = _watch(child, {output: bytearray(), why: bytearray()}, seconds)
    output_bytes, why_bytes = told
    os.close(output)
    os.close(why)
    return _read(ended, bytes(output_bytes), bytes(why_bytes), called=asked["call"] is not None)


def _watch(child: int, pipes: dict[int, bytearray], cpu_seconds: int) -> tuple[list[bytearray], str]:
    """Read what a test's process writes until it has ended, and say how it ended.

    Args:
        child: The process.
        pipes: The reading ends of the pipes for what it gives and for why it ended, each with what came through it.
        cpu_seconds: Processor time it may use.

    Returns:
        What came through each pipe; and ``code.CPU``, ``CLOCK``, ``TOO_MUCH``, ``DIED``, or its exit code as a text.
    """
    until = time.monotonic() + CLOCK_BASE + CLOCK_FACTOR * cpu_seconds
    bounds = dict(zip(pipes, (code.MAX_OUTPUT, _WHY_BYTES), strict=True))
    handle = os.pidfd_open(child)
    open_, killed = set(pipes), ""
    while not killed:
        ready, _, _ = select.select([*open_, handle], [], [], max(0.0, until - time.monotonic()))
        for pipe in open_.intersection(ready):
            part = os.read(pipe, _READ_SIZE)
            pipes[pipe] += part
            if not part:
                open_.discard(pipe)
            if len(pipes[pipe]) > bounds[pipe]:
                killed = code.TOO_MUCH
        if not ready or (not killed and time.monotonic() > until):
            killed = code.CLOCK
        elif ready == [handle]:  # it has ended, and the pipes are empty
            break
    os.close(handle)
    if killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    if not killed and ended < 0:
        # Killed by nobody here: the limit on processor time did it, unless it had hardly run, as when memory ran out.
        spent = used.ru_utime + used.ru_stime >= cpu_seconds / 2
        killed = code.CPU if ended == -signal.SIGKILL and spent else code.DIED
    return [*pipes.values()], killed or str(ended)


def _read(ended: str, output: bytes, why: bytes, *, called: bool) -> code.Ended:
    told = why.decode("ascii", "replace")
    if ended in {code.CPU, code.CLOCK, code.TOO_MUCH, code.DIED}:
        return code.Ended(ended, b"", "")
    if ended != "0" or (called and not output):
        return code.Ended(code.RAISED, b"", told)
    return code.Ended(code.GAVE, output)


def _become(asked: dict[str, Json], given: int, output: int, why: int) -> NoReturn:
    """In the child: close it in, then run the program. Never returns."""
    exit_code = _RAISED
    report = why
    try:
        report = _arrange(given, output, why, called=asked["call"] is not None)
        cell.enter(_folders(), cpu_seconds=int(str(asked["cpu"])), memory_bytes=int(str(asked["memory"])))
        _forget()
        _run(str(asked["program"]), asked["call"], json.loads(str(asked["arguments"])))
        exit_code = 0
    except SystemExit as error:
        exit_code = 0 if error.code in {None, 0} and asked["call"] is None else _RAISED
        _say(report, "SystemExit")
    except BaseException as error:  # noqa: BLE001 - whatever a program raises ends its process
        _say(report, type(error).__name__)
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    os._exit(exit_code)


def _arrange(given: int, output: int, why: int, *, called: bool) -> int:
    """Put the descriptors in their places; nothing else stays open."""
    nothing = os.open("/dev/null", os.O_RDWR)
    high = [os.dup2(one, 100 + at) for at, one in enumerate((given, output, nothing, why))]
    os.dup2(high[0], _INPUT)
    os.dup2(high[2] if called else high[1], _OUTPUT)
    os.dup2(high[2], _ERRORS)
    os.dup2(high[3], _WHY)
    if called:
        os.dup2(high[1], _WHY + 1)
    os.closerange(_WHY + (2 if called else 1), os.sysconf("SC_OPEN_MAX"))
    return _WHY


def _folders() -> list[str]:
    paths = sysconfig.get_paths()
    return [
        one
        for one in dict.fromkeys((paths["stdlib"], paths["platstdlib"], *_LIBRARIES))
        if os.path.isdir(one)  # noqa: PTH112 - as little as possible happens in a forked process
    ]


def _forget() -> None:
    """Leave the interpreter as a fresh one would be: the standard library, no environment, seeded random numbers."""
    os.environ.clear()
    stdlib = sysconfig.get_paths()["stdlib"]
    sys.path[:] = [stdlib, f"{stdlib}/lib-dynload"]
    sys.path_importer_cache.clear()
    sys.argv[:] = ["program"]
    for name in [*sys.modules]:
        if name.partition(".")[0] not in sys.stdlib_module_names:
            del sys.modules[name]
    sys.stdin = open(_INPUT, encoding="utf-8", closefd=False)  # noqa: SIM115 - the program's own, to its end
    sys.stdout = open(_OUTPUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
    sys.stderr = open(_ERRORS, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
    random.seed(0)


def _run(program: str, call: Json, arguments: list[Json]) -> None:
    encode = json.dumps
    module = types.ModuleType("__main__" if call is None else "program")
    sys.modules[module.__name__] = module  # where dataclasses and others look a program's names up
    exec(compile(program, "<program>", "exec"), module.__dict__)  # noqa: S102 - this is what the walls are for
    if call is not None:
        value = encode(getattr(module, str(call))(*arguments), allow_nan=False, default=_plain)
        with open(_WHY + 1, "wb", closefd=False) as file:
            file.write(value.encode())


def _plain(value: object) -> object:
    """Give a set as a sorted list; JSON has no other way to write it."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError


def _say(descriptor: int, what: str) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, what.encode("ascii", "replace")[:_WHY_BYTES])
