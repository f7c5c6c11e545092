"""A worker that tries what no worker may do, and says what happened: the walls, tested from inside.

``doctor`` runs it as a self-check, the tests run it as a proof. The order's ``attempts`` names what to try, all of
``ATTEMPTS`` if absent; the result says for each ``refused`` with the error's name, or ``reached`` with what was reached.
Invariant: an attempt that succeeds does no harm: it reads no content, writes only its own name, sends no byte.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.confine import kernel
from holdfast.errors import UntrustedRequest
from holdfast.paths import INSTALLED_HOME

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.canonical import Json
    from holdfast.workers.channel import Channel

_NOWHERE = "192.0.2.1"  # RFC 5737: an address for documentation
_MANY = 4096  # more processes and descriptors than a worker of the self-check is given
_IO_URING_ENTRIES = 4
_PTRACE_TRACEME = 0


def main(channel: Channel, order: dict[str, Json]) -> dict[str, Json]:
    """Try what the order names.

    Args:
        channel: Messages to and from the daemon.
        order: ``attempts``: names. ``home``, ``socket`` and ``input`` say what the attempts of those names aim at;
            the descriptor ``listen`` is what ``fast-open`` abuses.

    Returns:
        For each attempt ``{"outcome": "refused" | "reached", "detail": text}``.

    Raises:
        UntrustedRequest: If an attempt is not known.
    """
    names = order.get("attempts", [*ATTEMPTS])
    if not isinstance(names, list):
        raise _unknown(names)
    results: dict[str, Json] = {}
    for done, name in enumerate(names):
        if name not in ATTEMPTS:
            raise _unknown(name)
        channel.progress("probing", done, len(names), attempt=name)
        results[str(name)] = _try(ATTEMPTS[str(name)], order)
    return results


def _unknown(name: Json) -> UntrustedRequest:
    return UntrustedRequest(
        "probe.unknown", f"There is no attempt {name!r}.", remedy="Name attempts that exist."
    )


def _try(attempt: Callable[[dict[str, Json]], str], order: dict[str, Json]) -> Json:
    try:
        return {"outcome": "reached", "detail": attempt(order)}
    except OSError as error:
        return {"outcome": "refused", "detail": errno.errorcode.get(error.errno or 0, str(error))}
    except (MemoryError, RuntimeError) as error:  # threading says RuntimeError when no thread can be started
        return {"outcome": "refused", "detail": type(error).__name__}


def _home(order: dict[str, Json]) -> str:
    return ", ".join(sorted(os.listdir(str(order.get("home", INSTALLED_HOME)))))  # noqa: PTH208 - names are enough


def _accounts(_: dict[str, Json]) -> str:
    Path("/etc/shadow").open("rb").close()
    return "/etc/shadow"


def _write_system(_: dict[str, Json]) -> str:
    return _touch("/usr/holdfast-probe")


def _write_root(_: dict[str, Json]) -> str:
    return _touch("/holdfast-probe")


def _write_input(order: dict[str, Json]) -> str:
    return _touch(f"/in/{order.get('input', 'probe')}/holdfast-probe")


def _write_kernel(_: dict[str, Json]) -> str:
    Path("/proc/sys/kernel/core_pattern").open("r+b").close()
    return "/proc/sys/kernel/core_pattern"


def _touch(path: str) -> str:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def _gpu(_: dict[str, Json]) -> str:
    os.close(os.open("/dev/nvidiactl", os.O_RDWR))
    return "/dev/nvidiactl"


def _thread_name(_: dict[str, Json]) -> str:
    """Name a thread through the file system, as a library does that names another than the calling one."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        Path(f"/proc/self/task/{thread.native_id}/comm").write_text("probe", encoding="ascii")
    finally:
        stop.set()
        thread.join()
    return "a thread's name"


def _execute(_: dict[str, Json]) -> str:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    return "/bin/true"


def _tcp(_: dict[str, Json]) -> str:
    with socket.create_connection((_NOWHERE, 80), timeout=1):
        return _NOWHERE


def _udp(_: dict[str, Json]) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((_NOWHERE, 53))
        return _NOWHERE


def _tcp6(_: dict[str, Json]) -> str:
    with socket.socket(socket.AF_INET6) as sock:
        sock.connect(("::1", 80))
        return "::1"


def _netlink(_: dict[str, Json]) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW):
        return "AF_NETLINK"


def _unix(order: dict[str, Json]) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(order.get("socket", "/run/dbus/system_bus_socket")))
        return "a path-based socket"


def _listen(_: dict[str, Json]) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind("\0holdfast-probe")
        sock.listen()
        return "an abstract packet socket"


def _abstract(_: dict[str, Json]) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0holdfast-probe")
        return "an abstract socket"


def _connect_pair(order: dict[str, Json]) -> str:
    """Use a socket that is at hand: connecting needs no new one."""
    first, second = socket.socketpair()
    with first, second:
        first.connect(str(order.get("socket", "/run/dbus/system_bus_socket")))
        return "a path-based socket"


def _datagram_pair(_: dict[str, Json]) -> str:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        return "datagram sockets"


def _send_to(order: dict[str, Json]) -> str:
    first, second = socket.socketpair()
    with first, second:
        first.sendto(b"", str(order.get("socket", "/run/dbus/system_bus_socket")))
        return "a path-based socket"


def _fast_open(order: dict[str, Json]) -> str:
    """Turn a listening socket that was passed in into a connection out."""
    fds = order.get("fds")
    number = fds.get("listen") if isinstance(fds, dict) else None
    with socket.socket(fileno=int(str(number))) if number is not None else socket.socket() as sock:
        sock.shutdown(socket.SHUT_RDWR)
        sock.sendmsg([b"x"], [], socket.MSG_FASTOPEN, (_NOWHERE, 80))
        return _NOWHERE


def _io_uring(_: dict[str, Json]) -> str:
    kernel.syscall("io_uring_setup", _IO_URING_ENTRIES, bytes(120))
    return "io_uring"


def _trace(_: dict[str, Json]) -> str:
    kernel.libc("ptrace", _PTRACE_TRACEME, 0, 0, 0)
    return "ptrace"


def _read_process(_: dict[str, Json]) -> str:
    target = ctypes.create_string_buffer(1)
    kernel.read_memory(os.getpid(), ctypes.addressof(target), 1)
    return "process_vm_readv"


def _first_process(_: dict[str, Json]) -> str:
    Path("/proc/1/mem").open("rb").close()
    return "/proc/1/mem"


def _mount(_: dict[str, Json]) -> str:
    kernel.mount("none", "/tmp", "tmpfs", 0)  # noqa: S108 - the worker's own
    return "mount"


def _namespace(_: dict[str, Json]) -> str:
    kernel.unshare(kernel.CLONE_NEWUSER)
    return "a user namespace"


def _namespace_by_clone(_: dict[str, Json]) -> str:
    child = kernel.syscall("clone", kernel.CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a user namespace"


def _keyring(_: dict[str, Json]) -> str:
    kernel.syscall("keyctl", 0, 0, 0, 0, 0)
    return "a keyring"


def _large_file(_: dict[str, Json]) -> str:
    with Path("/out/holdfast-probe").open("wb") as file:
        try:
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            file.truncate(most + 1)
        finally:
            Path("/out/holdfast-probe").unlink()
    return f"{most + 1} bytes"


def _much_memory(_: dict[str, Json]) -> str:
    most = resource.getrlimit(resource.RLIMIT_DATA)[0]
    with mmap.mmap(-1, most + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        return f"{most} bytes"


def _pipe_in_output(_: dict[str, Json]) -> str:
    """Leave something that blocks the daemon when it opens it."""
    os.mkfifo("/out/holdfast-probe")
    return "a pipe in the output"


def _link_in_output(_: dict[str, Json]) -> str:
    """Leave something that leads the daemon astray."""
    Path("/out/holdfast-probe").symlink_to("/")
    return "a link in the output"


def _many_threads(_: dict[str, Json]) -> str:
    stop = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _number in range(_MANY):
            thread = threading.Thread(target=stop.wait)
            thread.start()
            threads.append(thread)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return f"{_MANY} threads"


def _many_processes(_: dict[str, Json]) -> str:
    children: list[int] = []
    try:
        for _number in range(_MANY):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"{_MANY} processes"


ATTEMPTS: dict[str, Callable[[dict[str, Json]], str]] = {
    "home": _home,
    "accounts": _accounts,
    "write-system": _write_system,
    "write-root": _write_root,
    "write-input": _write_input,
    "write-kernel": _write_kernel,
    "gpu": _gpu,
    "thread-name": _thread_name,
    "execute": _execute,
    "tcp": _tcp,
    "tcp6": _tcp6,
    "udp": _udp,
    "netlink": _netlink,
    "unix": _unix,
    "listen": _listen,
    "abstract": _abstract,
    "connect-pair": _connect_pair,
    "datagram-pair": _datagram_pair,
    "send-to": _send_to,
    "fast-open": _fast_open,
    "io-uring": _io_uring,
    "trace": _trace,
    "read-process": _read_process,
    "first-process": _first_process,
    "mount": _mount,
    "namespace": _namespace,
    "namespace-by-clone": _namespace_by_clone,
    "keyring": _keyring,
    "large-file": _large_file,
    "much-memory": _much_memory,
    "pipe-in-output": _pipe_in_output,
    "link-in-output": _link_in_output,
    "many-threads": _many_threads,
    "many-processes": _many_processes,
}
