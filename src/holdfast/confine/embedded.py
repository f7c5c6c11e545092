"""The launcher that needs neither root nor a service: user namespaces, Landlock and seccomp, by the daemon itself.

Invariants: a worker is a freshly executed interpreter with an environment made here, never a fork of the daemon; its order
is sent only after its supervisor said that the walls are up; what can't be enforced on this host either ends the start
(namespaces, private root, seccomp) or is stated by ``walls`` (Landlock before Linux 5.13, recording before 5.0, the bound
on processes before 6.14 when the daemon is root). The home is never part of what is shown.

The worker dies with the thread that started it, so ``launch`` belongs into a thread that lives as long as the daemon.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import holdfast
from holdfast import frames
from holdfast.confine.spec import WorkerSpec
from holdfast.confine.worker import Stream, Worker
from holdfast.errors import OperationFailed, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.canonical import Json
    from holdfast.confine.spec import Denial

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_START_SECONDS = 60.0  # from start to walls: a tenth of a second when idle; a loaded machine may need long
_MAX_OUTPUT = 4000  # characters of what a failed start wrote that are kept
# The packages' folder is an argument, because the environment's own variables for it would reach the worker.
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from holdfast.confine.child import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]))"
)
_PACKAGE = Path(holdfast.__file__).resolve().parent
_PROBED = (
    "user_namespace",
    "network_namespace",
    "process_namespace",
    "private_root",
    "no_new_privileges",
    "seccomp",
)


class EmbeddedLauncher:
    """Starts workers beneath this process.

    Args:
        home: The daemon's home, which no worker may see except through its inputs and output.

    Raises:
        OperationFailed: If the home lies where the interpreter or its packages lie, which every worker sees.
    """

    def __init__(self, home: Path) -> None:
        self._system = _system_paths()
        hidden = home.resolve()
        for shown in ("/usr", *self._system):
            if hidden.is_relative_to(Path(shown).resolve()):
                raise OperationFailed(
                    "confine.home-visible",
                    f"The home {hidden} lies in {shown}, which every worker can read.",
                    remedy="Choose a home elsewhere with HOLDFAST_HOME.",
                )
        self._walls: dict[str, bool | str] | None = None

    async def launch(
        self, spec: WorkerSpec, order: dict[str, Json], on_denied: Callable[[Denial], None]
    ) -> Worker:
        """Start a worker and hand it its order, once its walls are up.

        Args:
            spec: What it is given.
            order: Plain data for its ``main``; ``fds`` is added.
            on_denied: Called in the event loop for every recorded refusal.

        Returns:
            The running worker.

        Raises:
            WorkerFailed: If the walls can't be built here.
        """
        setup = frames.pack({"setup": self._setup(spec)})
        first = frames.pack({"order": {**order, "fds": dict(spec.fds)} if spec.fds else order})
        with ExitStack() as closing:
            control, control_child = _pair(closing)
            channel, channel_child = _pair(closing)
            process = await asyncio.create_subprocess_exec(
                *_command(control_child, channel_child),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(spec.threads, huge_pages=spec.huge_pages),
                cwd="/",
                pass_fds=(control_child.fileno(), channel_child.fileno(), *spec.fds.values()),
            )
            closing.pop_all()
        control_child.close()
        channel_child.close()
        supervisor, worker = Stream(control), Stream(channel)
        walls: Json = None
        why = "it gave no answer"
        try:
            async with asyncio.timeout(_START_SECONDS):
                await supervisor.send(setup)
                said = await supervisor.receive() or {}
            walls, why = said.get("up"), str(said.get("failed", why))
        except (TimeoutError, WorkerFailed) as error:
            why = str(error) or f"its walls were not up after {_START_SECONDS:.0f} s"
        finally:
            if not isinstance(walls, dict):
                # A task of its own: whoever waits here may be cancelled, and again; the process has to go all the same.
                output = await asyncio.shield(_dismiss(process, supervisor, worker))
        if not isinstance(walls, dict):
            raise _not_confined(why, output.decode("utf-8", "replace")[-_MAX_OUTPUT:])
        running = Worker(process, worker, supervisor, walls, on_denied)
        try:
            await worker.send(first)  # if it ended already, its exit tells more than an error here
        except BaseException:
            running.kill()
            await asyncio.shield(running.wait())
            raise
        return running

    def walls(self) -> dict[str, bool | str]:
        """Say what this host can enforce, found by starting a worker that does nothing. Blocks; asked once.

        Returns:
            The name of each wall, and True, or False, or how far it goes.
        """
        if self._walls is None:
            self._walls = self._try_walls()
        return dict(self._walls)

    def _try_walls(self) -> dict[str, bool | str]:
        with ExitStack() as closing:
            control, control_child = _pair(closing)
            _, channel_child = _pair(closing)
            process = subprocess.Popen(
                _command(control_child, channel_child),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment(1),
                cwd="/",
                pass_fds=(control_child.fileno(), channel_child.fileno()),
            )
            control_child.close()
            control.settimeout(_START_SECONDS)
            try:
                frames.send(control, {"setup": self._setup(WorkerSpec(kind="probe"))})
                said = frames.receive(control)
            except (OSError, WorkerFailed):
                said = None
            finally:
                process.kill()
                process.wait()
        up = said.get("up") if said else None
        if not isinstance(up, dict):
            why = str(said.get("failed") if said else "it gave no answer")
            return {"workers": f"refused: {why}"} | dict.fromkeys(_PROBED, False)
        return dict.fromkeys(_PROBED, True) | {
            "landlock": f"ABI {up['landlock']}" if up["landlock"] else False,
            "attempts_recorded": bool(up["attempts_recorded"]),
            "processes_bounded": bool(up["processes_bounded"]) or os.geteuid() != 0,
            "egress_sink": False,
        }

    def _setup(self, spec: WorkerSpec) -> dict[str, Json]:
        names = [spec.kind.replace("_", "-"), *spec.inputs, *spec.devices]
        if unfit := [one for one in names if not _NAME.fullmatch(one)]:
            raise WorkerFailed(
                "confine.name",
                f"{unfit[0][:80]!r} can't be a name inside a worker.",
                remedy="Rename the input.",
            )
        return {
            "kind": spec.kind,
            "parent": os.getpid(),
            "system": list(self._system),
            "inputs": {name: str(path.absolute()) for name, path in spec.inputs.items()},
            "output": None if spec.output is None else str(spec.output.absolute()),
            "fds": list(spec.fds.values()),
            "devices": list(spec.devices),
            "limits": spec.limits.plain(),
        }


def environment(threads: int, *, huge_pages: bool = False) -> Mapping[str, str]:
    """Make a worker's environment, of which nothing comes from the daemon's.

    Args:
        threads: Threads of numerical libraries.
        huge_pages: Whether large memory comes in huge pages where the kernel gives them on request.

    Returns:
        All variables.
    """
    # The GNU C Library's manual, "Memory Allocation Tunables"; others, and those before 2.35, pass over it.
    tunables = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if huge_pages else {}
    numerical = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM", "RAYON", "POLARS_MAX", "BLIS")
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/tmp",  # noqa: S108 - the worker's own
        "TMPDIR": "/tmp",  # noqa: S108 - the worker's own
        "USER": "worker",
        "HF_HOME": "/tmp/hf",  # noqa: S108 - the worker's own
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",  # what a killed worker had printed is in its log
        "PYTHONHASHSEED": "0",  # sets of text iterate alike in every run
        **tunables,
        **{f"{name}_NUM_THREADS": str(threads) for name in numerical},
    }


def _system_paths() -> list[str]:
    """Give the folders of the interpreter, its libraries and this package; nothing else that happens to be importable."""
    packages = _PACKAGE.parent
    ours = packages if packages.name in {"site-packages", "dist-packages"} else _PACKAGE
    return sorted({sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, str(ours)})


async def _dismiss(process: asyncio.subprocess.Process, *streams: Stream) -> bytes:
    """End a process whose walls are not up; gives what it wrote."""
    if process.returncode is None:
        process.kill()
    output = (await process.communicate())[0]
    for stream in streams:
        await stream.finish()
    return output


def _pair(closing: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    closing.enter_context(ours)
    closing.enter_context(theirs)
    return ours, theirs


def _command(control: socket.socket, channel: socket.socket) -> list[str]:
    # -s, -P: no packages of the user, none of the working folder. Not -I, which would ignore PYTHONHASHSEED.
    return [
        sys.executable,
        "-s",
        "-P",
        "-c",
        _BOOT,
        str(_PACKAGE.parent),
        str(control.fileno()),
        str(channel.fileno()),
    ]


def _not_confined(why: str, output: str) -> WorkerFailed:
    return WorkerFailed(
        "confine.walls",
        f"No worker can be confined on this host: {why}.",
        remedy="Allow unprivileged user namespaces (sysctl user.max_user_namespaces, and "
        "kernel.apparmor_restrict_unprivileged_userns=0 where it exists), or install the appliance.",
        reason=why,
        output=output,
    )
