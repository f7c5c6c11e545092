"""Targets: the bytes that were signed for, under any name, and nothing else."""

from __future__ import annotations

import pytest
from tests.conformance.simulator import ALL

NAMES = [
    "plain",
    "a/b/c.tar.gz",
    "with space",
    "per%20cent",
    "100%",
    "question?mark",
    "hash#mark",
    "plus+and&",
    "ünïcode-日本",
    "semi;colon",
    "back\\slash",
    "../escape",
    "../../metadata/root.json",
    "/absolute",
    "a//b",
    "a/./b",
    "..",
    ".hidden",
    "quote'\"",
    "new\nline",
]
ROLES = [
    "A",
    "?",
    "#",
    "/slash",
    "../up",
    "..",
    "a b",
    "100%",
    "%2e%2e",
    "ünï",
    "1.A",
    "root/x",
    "back\\slash",
    "new\nline",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_target_of_any_name_arrives_and_stays_in_its_folder(run, repository, name, tmp_path):
    repository.add("targets", name, b"content")
    repository.publish(*ALL)
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    assert run.download(name) == 0
    assert run.downloaded() == [b"content"]
    after = {file for file in tmp_path.rglob("*") if file.is_file() and run.targets not in file.parents}
    assert {file.name for file in after - before} <= {"timestamp.json", "snapshot.json", "targets.json"}
    assert len(list(run.targets.iterdir())) == 1


@pytest.mark.parametrize("role", ROLES)
def test_a_role_of_any_name_is_asked_for_with_quotes_and_kept_in_its_folder(run, repository, role, tmp_path):
    repository.delegate("targets", role)
    repository.add(role, "file", b"content")
    repository.publish(role, *ALL)
    assert run.download("file") == 0
    assert set("".join(run.repository.requests[4])) & set("?#\\ \n/") == set()
    assert len(run.trusted()) == 5
    assert len(list(tmp_path.iterdir())) == 3  # metadata, targets and the initial root
    # What is kept is found again under the role's own name.
    assert run.download("file") == 0
    assert [name for name in run.repository.requests if name.startswith("1.")] == []


def test_several_targets_in_one_run(run, repository):
    for number in range(3):
        repository.add("targets", f"file-{number}", b"%d" % number)
    repository.publish(*ALL)
    assert run.download("file-0", "file-1", "file-2") == 0
    assert run.downloaded() == [b"0", b"1", b"2"]
    assert run.repository.requests[:4] == ["2.root", "timestamp", "2.snapshot", "2.targets"]


def test_a_target_that_is_there_is_not_fetched_again(run, repository):
    repository.add("targets", "file", b"1")
    repository.publish(*ALL)
    run.download("file")
    assert run.download("file") == 0
    assert run.repository.requests == ["2.root", "timestamp"]


def test_a_newer_target_replaces_the_one_that_is_there(run, repository):
    for content in (b"one", b"two", b"three"):
        repository.add("targets", "file", content)
        repository.publish(*ALL)
        assert run.download("file") == 0
        assert run.downloaded() == [content]


def test_a_damaged_copy_is_fetched_again(run, repository):
    repository.add("targets", "file", b"1")
    repository.publish(*ALL)
    run.download("file")
    run.targets.joinpath("file").write_bytes(b"2")
    assert run.download("file") == 0
    assert run.downloaded() == [b"1"]


@pytest.mark.parametrize(
    "substitute", [b"substitute", b"contenu", b"content and more", b"", b"x" * 1_000_000]
)
def test_another_content_is_refused_and_what_was_there_stays(run, repository, substitute):
    repository.add("targets", "here", b"before.")
    repository.add("targets", "file", b"content")
    repository.publish(*ALL)
    run.download("here")
    for path in repository.targets:
        repository.targets[path] = substitute
    assert run.download("file") == 1
    assert run.download("here") == 0
    assert run.downloaded() == [b"before."]


@pytest.mark.parametrize("algorithms", [("sha256",), ("sha512",), ("sha256", "sha512")])
def test_hash_algorithms(run, repository, algorithms):
    repository.add("targets", "file", b"1", algorithms)
    repository.publish(*ALL)
    assert run.download("file") == 0
    info = repository.top.targets["file"]
    assert run.repository.requests[-1] in {f"/targets/{digest}.file" for digest in info.hashes.values()}


@pytest.mark.parametrize("algorithm", ["unknown", "shake_128", ""])
def test_a_target_under_a_hash_that_nobody_knows_is_refused(run, repository, algorithm):
    info = repository.add("targets", "file", b"1")
    info.hashes = {algorithm: info.hashes["sha512"]}
    repository.publish(*ALL)
    assert run.download("file") == 1
    assert run.downloaded() == []


def test_one_wrong_hash_of_two_is_refused(run, repository):
    info = repository.add("targets", "file", b"1", ("sha256", "sha512"))
    info.hashes["sha256"] = "00" * 32
    repository.targets[f"{'00' * 32}.file"] = b"1"
    repository.publish(*ALL)
    assert run.download("file") == 1


def test_a_missing_target_is_a_failure(run, repository):
    repository.add("targets", "file", b"1")
    repository.targets.clear()
    repository.publish(*ALL)
    assert run.download("file") == 1
    assert run.downloaded() == []
