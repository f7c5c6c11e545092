"""llama.cpp's threads: made once and shared by all contexts, which compute in turn.

Without a pool of its own llama.cpp makes and joins its threads in every step. The threads of this one look for the next step a
few milliseconds long before they sleep: steps of small models follow one another faster than a thread wakes, and with larger ones
the cores are left to the other processes that serve. A second pool, of the caller alone, is for steps of one row of a model so
small that its threads would spend them waiting for each other.

Source: ggml.h and ggml-cpu.h of the pinned llama.cpp (``ggml_threadpool_params``, ``ggml_threadpool_new``), llama.h
(``llama_attach_threadpool``).
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from holdfast.errors import WorkerFailed

if TYPE_CHECKING:
    from types import ModuleType

MAX_THREADS = 512  # ggml.h, GGML_MAX_N_THREADS
POLL = 1  # of 100; times 131,072 looks before a thread sleeps (``ggml_graph_compute_poll_for_work``)


class _Params(ctypes.Structure):
    _fields_: ClassVar = [
        ("cpumask", ctypes.c_bool * MAX_THREADS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    ]


class Threads:
    """A pool of threads; close it after the contexts that use it.

    Args:
        llama: The bindings.
        count: Threads, the caller's included.

    Raises:
        WorkerFailed: If llama.cpp makes none.
    """

    def __init__(self, llama: ModuleType, count: int) -> None:
        self.count = count
        folder = Path(llama.__file__ or "").parent / "lib"
        self._llama = ctypes.CDLL(str(folder / "libllama.so"))
        base = ctypes.CDLL(str(folder / "libggml-base.so"))
        ggml = ctypes.CDLL(str(folder / "libggml.so"))
        ggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
        ggml.ggml_backend_reg_by_name.argtypes = [ctypes.c_char_p]
        registry = ggml.ggml_backend_reg_by_name(b"CPU")
        find = base.ggml_backend_reg_get_proc_address
        find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
        made = find(registry, b"ggml_threadpool_new") if registry else None
        free = find(registry, b"ggml_threadpool_free") if registry else None
        new = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Params))(made or 0)
        self._pools: list[int] = []  # of the caller alone, and of all threads
        for size in (1, count) if made else ():
            params = _Params()
            base.ggml_threadpool_params_init(ctypes.byref(params), size)
            params.poll = POLL
            self._pools += [pool for pool in (new(ctypes.byref(params)),) if pool]
        if len(self._pools) < 2 or not free:  # noqa: PLR2004 - the two sizes above
            raise WorkerFailed(
                "serve.threads",
                f"llama.cpp made no pool of {count} threads.",
                remedy="Serve with fewer threads, or run the set-up again.",
            )
        self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(free)
        self._llama.llama_attach_threadpool.argtypes = [ctypes.c_void_p] * 3
        self._llama.llama_attach_threadpool.restype = None
        self._llama.llama_set_n_threads.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
        self._llama.llama_set_n_threads.restype = None

    def attach(self, context: int, *, alone: bool = False) -> None:
        """Let a context compute with these threads.

        Args:
            context: llama.cpp's.
            alone: Whether steps of a single row are computed by the calling thread alone.
        """
        one, every = self._pools
        self._llama.llama_attach_threadpool(context, one if alone else every, every)
        self._llama.llama_set_n_threads(context, 1 if alone else self.count, self.count)

    def close(self) -> None:
        """End the threads; a second call does nothing."""
        while self._pools:
            self._free(self._pools.pop())
