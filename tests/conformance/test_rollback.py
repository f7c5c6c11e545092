"""Older versions, versions that do not belong together, and the way back after somebody ran far ahead."""

from __future__ import annotations

import pytest
from tests.conformance.simulator import ALL, signer


def earlier(repository, role, version):
    """Publish a role at an earlier version than was seen."""
    repository.files[role].signed.version = version
    repository.issue(role)


def test_an_older_timestamp_is_refused(run, repository):
    repository.publish("timestamp")
    run.refresh()
    earlier(repository, "timestamp", 1)
    assert run.refresh() == 1
    assert run.trusted()["timestamp"] == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_a_timestamp_that_names_an_older_snapshot_is_refused_before_the_snapshot_is_asked_for(
    run, repository, hashes
):
    repository.hashes = hashes
    repository.publish("snapshot", "timestamp")
    run.refresh()
    earlier(repository, "snapshot", 1)
    repository.publish("timestamp")
    assert run.refresh() == 1
    assert run.repository.requests[-1] == "timestamp"
    assert (run.trusted()["timestamp"], run.trusted()["snapshot"]) == (2, 2)


@pytest.mark.parametrize("hashes", [False, True])
@pytest.mark.parametrize("role", ["targets", "D"])
def test_a_snapshot_that_names_an_older_role_is_refused(run, repository, hashes, role):
    repository.hashes = hashes
    repository.delegate("targets", "D")
    repository.add("D", "file", b"1")
    repository.publish("D", *ALL)
    repository.publish("D", *ALL)
    assert run.download("file") == 0
    earlier(repository, role, 1)
    repository.publish("snapshot", "timestamp")
    assert run.refresh() == 1
    assert run.trusted()["snapshot"] == 3
    assert run.trusted()["timestamp"] == 4


@pytest.mark.parametrize("role", ["targets", "D"])
def test_a_snapshot_that_drops_a_role_is_refused(run, repository, role):
    repository.delegate("targets", "D")
    repository.publish("D", *ALL)
    run.refresh()
    del repository.snapshot.meta[f"{role}.json"]
    repository.publish("snapshot", "timestamp")
    assert run.refresh() == 1
    assert run.trusted()["snapshot"] == 2


def test_a_snapshot_that_is_not_named_is_not_asked_for(run, repository):
    run.refresh()
    repository.publish("snapshot")
    assert run.refresh() == 0
    assert run.trusted()["snapshot"] == 1
    assert run.repository.requests[-1] == "timestamp"


@pytest.mark.parametrize("above", ["timestamp", "snapshot"])
def test_files_of_two_publications_do_not_mix(run, repository, above):
    beneath = {"timestamp": "snapshot", "snapshot": "targets"}[above]
    repository.publish(*ALL)
    repository.serve(beneath, 2, repository.served[f"1.{beneath}.json"])
    assert run.refresh() == 1
    assert beneath not in run.trusted()


def test_a_delegated_role_of_another_publication_does_not_mix(run, repository):
    repository.delegate("targets", "D")
    repository.publish("D", *ALL)
    first = repository.latest("D")
    repository.add("D", "file", b"new")
    repository.publish("D", *ALL)
    repository.serve("D", 2, first)
    assert run.download("file") == 1
    assert "D" not in run.trusted()


def test_targets_recover_from_a_run_ahead_through_new_snapshot_keys(run, repository):
    repository.top.version = 900
    repository.publish(*ALL)
    run.refresh()
    repository.top.version = 1
    repository.publish(*ALL)
    assert run.refresh() == 1
    repository.rotate("snapshot", signer("fresh"))
    repository.publish("root", "snapshot", "timestamp")
    assert run.refresh() == 0
    assert run.trusted()["targets"] == 2


def test_a_snapshot_recovers_from_a_run_ahead_through_new_timestamp_and_snapshot_keys(run, repository):
    repository.snapshot.version = 900
    repository.publish(*ALL)
    run.refresh()
    repository.snapshot.version = 1
    repository.rotate("snapshot", signer("fresh"))
    repository.publish("root", "snapshot", "timestamp")
    assert run.refresh() == 1  # the old timestamp still counts, and it names version 901
    repository.rotate("timestamp", signer("fresher"))
    repository.publish("root", "timestamp")
    assert run.refresh() == 0
    assert run.trusted()["snapshot"] == 2


def test_a_timestamp_recovers_from_a_run_ahead_through_new_keys(run, repository):
    repository.timestamp.version = 900
    repository.publish("timestamp")
    run.refresh()
    repository.timestamp.version = 1
    repository.publish("timestamp")
    assert run.refresh() == 1
    repository.rotate("timestamp", signer("fresh"))
    repository.publish("root", "timestamp")
    assert run.refresh() == 0
    assert run.trusted()["timestamp"] == 3


def test_a_delegated_role_recovers_from_a_run_ahead_through_new_snapshot_keys(run, repository):
    repository.delegate("targets", "D")
    repository.add("D", "file", b"1")
    repository.publish("D", *ALL)
    repository.files["D"].signed.version = 900
    repository.publish("D", *ALL)
    assert run.download("file") == 0
    repository.files["D"].signed.version = 1
    repository.rotate("snapshot", signer("fresh"))
    repository.publish("root", "D", *ALL)
    assert run.download("file") == 0
    assert run.trusted()["D"] == 2
