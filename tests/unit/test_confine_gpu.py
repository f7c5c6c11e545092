"""Which device nodes a GPU's worker is given."""

from __future__ import annotations

import pytest

from holdfast.confine import gpu


@pytest.mark.parametrize(
    ("present", "given"),
    [
        ((), ()),
        (("null", "nvram", "dri"), ()),
        (("nvidiactl", "nvidia-uvm"), ()),  # a driver without a GPU
        (("nvidia0", "nvidia-uvm"), ()),  # a GPU without its driver
        (("nvidia0", "nvidiactl"), ("nvidiactl", "nvidia0")),
        (
            ("nvidia10", "nvidia2", "nvidia-uvm-tools", "nvidia-uvm", "nvidiactl", "nvidia-modeset", "nvidia-caps",
             "nvidia0x", "xnvidia0", "nvidia0000", "nvidia"),
            ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia2", "nvidia10"),
        ),
    ],
)  # fmt: skip
def test_only_what_computing_needs_is_listed(tmp_path, present, given):
    for name in present:
        (tmp_path / name).touch()
    assert gpu.nodes(tmp_path) == given
