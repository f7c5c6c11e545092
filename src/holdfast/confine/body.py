"""What runs inside the walls: imports the worker's module, runs it, and reports how it ended.

Invariants: exactly one ``result`` or ``error`` frame is sent, unless the process is killed; an error says what a person
can do, whatever the library said. Nothing of the worker's own clean-up is relied upon: after the last frame the process
ends at once.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import os
import socket
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from holdfast.errors import HoldfastError, NoSpace, WorkerFailed
from holdfast.workers.channel import Channel

if TYPE_CHECKING:
    from holdfast.canonical import Json

_OUT_OF_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# How the allocators of torch and llama.cpp say that memory ran out: they raise no MemoryError.
_ALLOCATORS_SAY = ("can't allocate memory", "not enough memory", "std::bad_alloc")
_MAX_DETAIL = 2000  # characters of a foreign message that are passed on


def run(kind: str, descriptor: int) -> NoReturn:
    """Run one worker and end the process.

    Args:
        kind: The module under ``holdfast.workers``.
        descriptor: The stream to the daemon.
    """
    faulthandler.enable()
    socket.has_ipv6 = (
        False  # true here, and libraries that probe for it would be recorded as trying to get out
    )
    channel = Channel(socket.socket(fileno=descriptor))
    ended: dict[str, Json]
    try:
        order = channel.order()
        result: Json = importlib.import_module(f"holdfast.workers.{kind}").main(channel, order)
        ended = {"result": result}
        channel.send(ended)
    except HoldfastError as error:
        ended = {"error": _plain(error)}
    except MemoryError as error:
        error.__traceback__ = None  # its frames hold what filled the memory
        ended = {"error": _plain(_no_memory(error))}
    except Exception as error:  # noqa: BLE001 - the one place where a library's fault becomes ours; none may pass silently
        ended = {"error": _plain(_translate(error))}
    code = 0
    if "error" in ended:
        code = 1
        channel.send(ended)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _plain(error: HoldfastError) -> Json:
    plain: dict[str, Json] = error.to_dict()  # type: ignore[assignment]  # declared as objects, made of plain data
    return plain


def _translate(error: Exception) -> HoldfastError:
    if isinstance(error, OSError) and error.errno in _OUT_OF_ROOM:
        return NoSpace(
            "worker.file-limit" if error.errno == errno.EFBIG else "worker.disk",
            f"The worker could not write {error.filename or 'a file'}: {error.strerror}.",
            remedy="Free disk space, or raise the job's limit on file size, and start it again.",
        )
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _ALLOCATORS_SAY):
        return _no_memory(error)
    traceback.print_exception(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return WorkerFailed(
        "worker.crashed",
        f"The worker failed with {type(error).__name__} in {last.name} ({last.filename}:{last.lineno}).",
        remedy="Read the job's log; if the input is sound, report this.",
        exception=type(error).__name__,
        detail=str(error)[:_MAX_DETAIL],
    )


def _no_memory(error: BaseException) -> NoSpace:
    return NoSpace(
        "worker.memory",
        "The worker ran out of the memory that it was given.",
        remedy="Use a smaller batch, a shorter context or a smaller model, or give the job more memory.",
        detail=str(error)[:_MAX_DETAIL],
    )
