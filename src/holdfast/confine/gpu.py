"""The device nodes that the libraries of a GPU open.

Only nodes that exist are named: what creates them (udev, ``nvidia-modprobe``, ``nvidia-persistenced``) runs outside of every
worker, before it is started. Left out are nodes for displays (``nvidia-modeset``) and for parts of a GPU (``nvidia-caps``).

Source: NVIDIA, "Linux Driver README" (device files); ``nvidia-modprobe(1)``.
"""

from __future__ import annotations

import re
from pathlib import Path

DEVICES = Path("/dev")
_GPU = re.compile(r"nvidia([0-9]{1,3})")
_SHARED = (
    "nvidiactl",
    "nvidia-uvm",
    "nvidia-uvm-tools",
)  # of the driver and of its unified memory, for every GPU


def nodes(folder: Path = DEVICES) -> tuple[str, ...]:
    """List the nodes of this host's GPUs.

    Args:
        folder: Where the nodes are.

    Returns:
        Their names, for ``WorkerSpec.devices``; none where there is no GPU, or no driver to speak with.
    """
    present = {entry.name for entry in folder.iterdir()}
    numbers = sorted(int(found[1]) for found in map(_GPU.fullmatch, present) if found)
    if not numbers or _SHARED[0] not in present:
        return ()
    return (*(name for name in _SHARED if name in present), *(f"nvidia{number}" for number in numbers))
