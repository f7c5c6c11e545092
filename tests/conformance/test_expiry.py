"""Expired files, with a clock that moves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.conformance.simulator import ALL


def expire(repository, role, days):
    repository.files[role].signed.expires = repository.now + timedelta(days=days)


def test_an_expired_root_is_kept_but_nothing_beneath_it_is_believed(run, repository):
    run.refresh()
    expire(repository, "root", -1)
    repository.publish("root", *ALL)
    assert run.refresh() == 1
    assert run.trusted() == {"root": 2, "timestamp": 1, "snapshot": 1, "targets": 1}


def test_only_the_last_root_must_be_fresh(run, repository):
    expire(repository, "root", -9)
    repository.publish("root")
    expire(repository, "root", 30)
    repository.publish("root")
    assert run.refresh() == 0
    assert run.trusted()["root"] == 3


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_an_expired_file_is_refused(run, repository, role):
    run.refresh()
    expire(repository, role, -1)
    repository.publish(*ALL)
    assert run.refresh() == 1
    assert run.trusted()[role] == 1


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_file_that_expired_meanwhile_is_refused_although_it_was_trusted(run, repository, role):
    expire(repository, role, 7)
    repository.publish("root", *ALL)
    assert run.refresh(days=6) == 0
    assert run.refresh(days=7) == 1


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_newer_file_replaces_one_that_expired(run, repository, role):
    expire(repository, role, 7)
    repository.publish("root", *ALL)
    assert run.refresh() == 0
    expire(repository, role, 21)
    repository.publish("root", *ALL)
    assert run.refresh(days=18) == 0
    assert run.trusted()[role] == 3


def test_an_expired_timestamp_still_protects_from_rollback(run, repository):
    expire(repository, "timestamp", 7)
    repository.publish("timestamp")
    run.refresh()
    expire(repository, "timestamp", 30)
    repository.timestamp.version = 1
    repository.issue("timestamp")
    assert run.refresh(days=8) == 1
    assert run.trusted()["timestamp"] == 2


def test_an_expired_delegated_role_vouches_for_nothing(run, repository):
    repository.delegate("targets", "D")
    repository.add("D", "file", b"1")
    expire(repository, "D", -1)
    repository.publish("D", *ALL)
    assert run.refresh() == 0
    assert run.download("file") == 1
    assert run.downloaded() == []
    assert "D" not in run.trusted()


def test_a_delegated_role_that_expired_meanwhile_vouches_for_nothing_more(run, repository):
    repository.delegate("targets", "D")
    repository.add("D", "first", b"1")
    repository.add("D", "second", b"2")
    expire(repository, "D", 7)
    repository.publish("D", *ALL)
    assert run.download("first") == 0
    assert run.download("second", days=18) == 1
    assert run.downloaded() == [b"1"]
    expire(repository, "D", 21)
    repository.publish("D", *ALL)
    assert run.download("second", days=18) == 0
    assert run.downloaded() == [b"1", b"2"]
    assert run.trusted()["D"] == 2
