"""What all tests share: a quiet environment of the libraries, and a loopback interface that is up.

In a new network namespace (``unshare --map-root-user --net``) loopback is down. Tests that speak to servers of their own on
127.0.0.1 need it; nothing needs more. The model libraries are told before their first import to ask nothing of the network.
llama.cpp sets the tiles of a processor with AMX up once for each thread, and torch in bf16 gives them back: whoever computes with
both in one thread dies of SIGILL. No worker of the product does; tests do, so torch keeps to AVX-512 here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct

from hypothesis import HealthCheck, settings

os.environ |= {
    "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16",
    "MKL_ENABLE_INSTRUCTIONS": "AVX512_E3",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}

# A busy machine is no mistake of what is tested; and examples may share what a test's fixtures made: models and folders.
BUSY = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
# The suite gives the same verdict of the same code; what nobody has drawn yet is drawn by ``make soak``.
settings.register_profile("suite", BUSY, derandomize=True)
settings.register_profile("explore", BUSY, max_examples=1000)
settings.load_profile("suite")

_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914  # SIOCGIFFLAGS and SIOCSIFFLAGS of netdevice(7)
_UP = 0x1
_REQUEST = struct.Struct("16sh14x")  # struct ifreq: name, flags


def pytest_sessionstart() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _, flags = _REQUEST.unpack(fcntl.ioctl(sock, _GET_FLAGS, _REQUEST.pack(b"lo", 0)))
        if not flags & _UP:
            with contextlib.suppress(PermissionError):  # then the tests that need it say so themselves
                fcntl.ioctl(sock, _SET_FLAGS, _REQUEST.pack(b"lo", flags | _UP))


def pytest_make_parametrize_id(val, argname):
    """Name long parameters after their argument: some hold fresh keys, and processes that share the tests must agree on names."""
    return argname if isinstance(val, str | bytes) and len(val) > 60 else None
