"""What of this machine and process changes a run's bits: fixing it, describing it, keeping to it.

Invariants: nothing that runs beside the training (a calibration, a look at a suite, held-out text) moves its random
numbers; a host that can't keep to a recipe or to a recorded environment says so before a model is loaded.
"""

from __future__ import annotations

import os
import platform
import random
import warnings
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from holdfast.errors import OperationFailed, UntrustedRecipe, VerificationFailed
from holdfast.training import manifest, software

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from holdfast.canonical import Json

PACKAGES = ("accelerate", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl")

# By these a matrix library may be told to use fewer instructions than the processor has, which changes bits.
INSTRUCTIONS = (
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA_HINTS",
)  # fmt: skip

# Read by the libraries when they are imported. None of them may look for the network, report anything or start threads.
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    # Threads that wait for one another soon sleep: as fast as the default on an idle machine, where shorter spinning is
    # not, and about three times as fast beside other work. It changes no bits.
    "GOMP_SPINCOUNT": "30000",
    # With several streams the matrix library of a GPU repeats its sums only in a workspace of fixed size (cuBLAS,
    # "Results reproducibility").
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # One GPU, the one that NVML counts first: on several, transformers would give each a batch and so change the recipe's.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUDA_VISIBLE_DEVICES": "0",
}


def prepare(threads: int, scratch: str) -> None:
    """Fix what must be fixed before the first import of a model library.

    Args:
        threads: CPU threads of one operation.
        scratch: A writable folder for what the libraries insist on caching.
    """
    os.environ.update(SETTINGS)
    os.environ["HF_HOME"] = f"{scratch}/hf"
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    # Deterministic mode would fill each new tensor first; nothing of ours is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module


def without_deprecations() -> warnings.catch_warnings[None]:
    """Pass over the deprecations that the libraries report of one another, which nobody here can act on.

    Returns:
        A context, for the calls in which TRL or PEFT set a model up.
    """
    return warnings.catch_warnings(action="ignore", category=FutureWarning)


def device() -> str:
    """Choose where to compute.

    Returns:
        ``cuda`` if a GPU can be used, else ``cpu``.
    """
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def describe(threads: int) -> manifest.Environment:
    """Describe this process for the manifest.

    Args:
        threads: CPU threads of one operation.

    Returns:
        The description.
    """
    import torch

    features = torch.cpu.get_capabilities()
    return manifest.Environment(
        software=software.identity(),
        packages={name: metadata.version(name) for name in PACKAGES},
        python=platform.python_version(),
        machine=platform.machine(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cpu_features=sorted(name for name, has in features.items() if has is True),
        settings={name: os.environ[name] for name in INSTRUCTIONS if name in os.environ},
        device=_device(),
        threads=threads,
        world_size=1,
    )


def _device() -> dict[str, str]:
    import torch

    if device() == "cpu":
        return {"type": "cpu"}
    import pynvml  # type: ignore[import-untyped]  # it has no type hints

    pynvml.nvmlInit()
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()
    return {
        "type": "cuda",
        "name": torch.cuda.get_device_name(0),
        "cuda": str(torch.version.cuda),
        "driver": driver,
    }


def require_threads(threads: int) -> None:
    """Refuse a recipe that asks for more threads than this process may use.

    Args:
        threads: CPU threads of one operation, as the recipe says.

    Raises:
        UntrustedRecipe: If there are fewer processors: a matrix library may then use fewer threads than it was told, and
            other threads give other bits.
    """
    here = len(os.sched_getaffinity(0))
    if threads > here:
        raise UntrustedRecipe(
            "recipe.threads",
            f"The recipe asks for {threads} threads, and this machine has {here} processors for it.",
            remedy="Set threads in [precision] to what the machine has; the run then has other bits and another digest.",
            threads=threads,
            processors=here,
        )


def require_equal(there: Mapping[str, Json], here: manifest.Environment) -> None:
    """Refuse to repeat a run where it would not come out the same.

    Args:
        there: The recorded run's environment.
        here: This one.

    Raises:
        VerificationFailed: If they differ, with every difference.
    """
    found = manifest.differences(there, here.to_json())
    if found:
        raise VerificationFailed(
            "train.environment",
            f"This machine or its software is not as the run had it: {' '.join(found)}",
            remedy="Replay it with the software and the processor that the run names, or anyway with --anyway.",
            differences=found,
        )


@contextmanager
def apart(model: torch.nn.Module | None = None) -> Iterator[None]:
    """Do something beside a run: every random number generator is afterwards as it was before, and every module's mode.

    Args:
        model: Whose modules' modes are put back; None if nobody changes them.

    Yields:
        Nothing.
    """
    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the one the libraries use
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    modes = [(module, module.training) for module in model.modules()] if model is not None else []
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002 - as above
        torch.set_rng_state(before[2])
        if on_gpu:
            torch.cuda.set_rng_state_all(on_gpu)


def peak_memory() -> int:
    """Give the most memory that this process has held.

    Returns:
        Bytes.
    """
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory() -> int:
    """Give the memory that this process holds.

    Returns:
        Bytes resident.

    Raises:
        OperationFailed: If the kernel doesn't tell.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - called every step
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError as error:
        raise OperationFailed(
            "train.memory",
            "The kernel does not say how much memory the training holds.",
            remedy="Mount /proc in the worker's view.",
        ) from error
