"""What the conformance tests share: a repository, a server before it, and a client with its folders."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from tests.conformance import client as tuf_client
from tests.conformance.simulator import Repository, serving


class Run:
    """A client against one repository, with the clock in the test's hand."""

    def __init__(self, repository, base, folder):
        self.repository = repository
        self.base = base
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.targets.mkdir()
        self.initial = folder / "initial.json"
        self.now = repository.now

    def arguments(self, command, *names):
        words = ["--metadata-dir", str(self.metadata), "--metadata-url", f"{self.base}/metadata/"]
        for name in names:
            words += ["--target-name", name]
        return [
            *words,
            "--target-base-url",
            f"{self.base}/targets/",
            "--target-dir",
            str(self.targets),
            command,
        ]

    def init(self, root=None):
        self.initial.write_bytes(root or self.repository.served["1.root.json"])
        words = ["--metadata-dir", str(self.metadata), "init", str(self.initial)]
        return tuf_client.main(words, self.now)

    def refresh(self, days=0):
        self.repository.requests.clear()
        return tuf_client.main(self.arguments("refresh"), self.now + timedelta(days=days))

    def download(self, *names, days=0):
        self.repository.requests.clear()
        return tuf_client.main(self.arguments("download", *names), self.now + timedelta(days=days))

    def trusted(self):
        """Give the versions that the client keeps, by role as the file is named."""
        return {
            file.name.removesuffix(".json"): json.loads(file.read_bytes())["signed"]["version"]
            for file in self.metadata.glob("*.json")
        }

    def downloaded(self):
        return sorted(file.read_bytes() for file in self.targets.rglob("*") if file.is_file())


@pytest.fixture
def repository():
    return Repository()


@pytest.fixture
def run(repository, tmp_path):
    with serving(repository) as base:
        made = Run(repository, base, tmp_path)
        assert made.init() == 0
        yield made
