"""Keys that come with a copy are refused in our own words, whatever their file holds."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from holdfast.audit.signer import LogSigner
from holdfast.cli.custody import forget
from holdfast.custody import relog
from holdfast.errors import VerificationFailed

ORIGIN = "holdfast.example/test/0"


def test_a_logs_keys_are_read(tmp_path):
    signer = LogSigner.generate()
    (tmp_path / "log.pub").write_bytes(signer.public(ORIGIN))
    assert relog.read_keys(tmp_path / "log.pub") == list(signer.keys(ORIGIN))


@pytest.mark.parametrize(
    "data", [b"", b"junk\n", b"\xff" * 9, LogSigner.generate().public(ORIGIN)[:-3], None]
)
def test_an_archive_with_other_keys_than_a_logs_is_refused(tmp_path, data):
    if data is None:
        os.mkfifo(tmp_path / "log.pub")
    else:
        (tmp_path / "log.pub").write_bytes(data)
    result = CliRunner().invoke(forget, ["3", str(tmp_path)])
    assert isinstance(result.exception, VerificationFailed)
    assert str(tmp_path / "log.pub") in result.exception.message
