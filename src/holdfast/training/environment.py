"""What of this machine and process changes a run's bits: fixing it, and describing it for the manifest."""

from __future__ import annotations

import os
import platform
import warnings
from importlib import metadata

from holdfast.training.manifest import Environment

PACKAGES = ("accelerate", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl")

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
    "CUDA_VISIBLE_DEVICES": "",
    # Threads that wait for one another soon sleep: as fast as the default on an idle machine, where shorter spinning is
    # not, and about three times as fast beside other work. It changes no bits.
    "GOMP_SPINCOUNT": "30000",
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


def describe(threads: int) -> Environment:
    """Describe this process for the manifest.

    Args:
        threads: CPU threads of one operation.

    Returns:
        The description.
    """
    import torch

    features = torch.cpu.get_capabilities()
    return Environment(
        packages={name: metadata.version(name) for name in PACKAGES},
        python=platform.python_version(),
        machine=platform.machine(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cpu_features=sorted(name for name, has in features.items() if has is True),
        threads=threads,
        world_size=1,
    )
