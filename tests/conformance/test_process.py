"""The client as its own process, as the public suite runs it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conformance.conftest import Run
from tests.conformance.simulator import ALL, Repository, serving

CLIENT = Path(__file__).with_name("tuf-client")


@pytest.fixture
def made_days_ago():
    """Age of the repository; its metadata lasts for thirty days."""
    return 0


@pytest.fixture
def live(tmp_path, made_days_ago):
    """A repository that a client with the host's own clock meets."""
    repository = Repository(now=datetime.now(UTC).replace(microsecond=0) - timedelta(days=made_days_ago))
    repository.add("targets", "a/file", b"content")
    repository.add("targets", "b?file", b"more")
    repository.publish(*ALL)
    with serving(repository) as base:
        made = Run(repository, base, tmp_path)
        made.initial.write_bytes(repository.served["1.root.json"])
        yield made


def call(*words, folder=None):
    command = [sys.executable, str(CLIENT), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_whole_contract_from_a_folder_of_its_own(live, tmp_path):
    where = tmp_path / "elsewhere"
    where.mkdir()
    assert call("--metadata-dir", str(live.metadata), "init", str(live.initial), folder=where).returncode == 0
    assert live.repository.requests == []
    assert call(*live.arguments("refresh"), folder=where).returncode == 0
    assert live.trusted() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    done = call(*live.arguments("download", "a/file", "b?file"), folder=where)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert live.downloaded() == [b"content", b"more"]
    refused = call(*live.arguments("download", "missing"), folder=where)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1  # a sentence, no traceback


def test_no_root_no_server_and_no_metadata_are_plain_failures(live):
    assert call(*live.arguments("refresh")).returncode == 1
    live.initial.write_bytes(b"no root")
    assert call("--metadata-dir", str(live.metadata), "init", str(live.initial)).returncode == 1
    live.initial.write_bytes(live.repository.served["1.root.json"])
    assert call("--metadata-dir", str(live.metadata), "init", str(live.initial)).returncode == 0
    live.base = "http://127.0.0.1:1"
    refused = call(*live.arguments("refresh"))
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(("made_days_ago", "status"), [(29, 0), (31, 1)])
def test_the_host_s_clock_decides_what_is_expired(live, status):
    assert call("--metadata-dir", str(live.metadata), "init", str(live.initial)).returncode == 0
    assert call(*live.arguments("refresh")).returncode == status
