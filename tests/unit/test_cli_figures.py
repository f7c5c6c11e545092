"""Figures on the command line: what is out of bounds is wrong usage, found before anybody is asked."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from holdfast.api.messages import ServeRequest
from holdfast.cli import root
from holdfast.cli.figures import Bytes


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("4GB", 4 * 10**9), ("512MiB", 2**29), ("1.5 kb", 1500), ("2KiB", 2048)]
)
def test_sizes_are_read_as_they_are_written(text, size):
    assert Bytes().convert(text, None, None) == size


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "start", "--port", "65536"),
        ("serve", "start", "--port", "-1"),
        ("serve", "start", "--context", "15"),
        ("serve", "start", "--parallel", "65"),
        ("serve", "start", "--memory", "0"),
        ("serve", "start", "--memory", "nan"),
        ("serve", "start", "--memory", "4 bytes"),
        ("serve", "start", "--type", "q9"),
        ("serve", "load", "starter", "--type", "q9"),
        ("model", "quantize", "starter", "--memory", "1e3"),
        ("model", "quantize", "starter", "--floor-kl", "nan"),
        ("model", "quantize", "starter", "--floor-top1", "1.01"),
        ("model", "quantize", "starter", "--floor-cosine", "much"),
    ],
)
def test_what_is_out_of_bounds_is_wrong_usage(words, tmp_path):
    done = CliRunner().invoke(root, ["--home", str(tmp_path / "nothing"), "--as", "olga", *words])
    assert done.exit_code == 2, done.output
    assert words[-2] in done.output


@pytest.mark.parametrize(
    ("name", "least", "most"), [("port", 0, 65535), ("context", 16, 2**20), ("parallel", 1, 64)]
)
def test_the_daemon_has_the_same_bounds(name, least, most):
    for value in (least, most):
        assert getattr(ServeRequest.model_validate({"model": "starter", name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError):
            ServeRequest.model_validate({"model": "starter", name: value})
