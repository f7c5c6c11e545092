"""The top-level metadata: what is asked for, what is kept, what is refused."""

from __future__ import annotations

import json

import pytest
from tests.conformance.simulator import ALL, signer
from tuf.api.metadata import MetaFile

FIRST = {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


def test_a_first_refresh_asks_for_each_file_once_and_in_order(run):
    assert run.refresh() == 0
    assert run.repository.requests == ["2.root", "timestamp", "1.snapshot", "1.targets"]
    assert run.trusted() == FIRST


def test_a_second_refresh_asks_only_for_what_may_have_changed(run):
    run.refresh()
    assert run.refresh() == 0
    assert run.repository.requests == ["2.root", "timestamp"]


def test_files_are_kept_byte_for_byte(run, repository):
    repository.served["timestamp.json"] += b" \n"
    assert run.refresh() == 0
    for role in FIRST:
        assert (run.metadata / f"{role}.json").read_bytes() == repository.latest(role)


def test_a_download_refreshes_first(run):
    assert run.download("nothing") == 1
    assert run.trusted() == FIRST


def test_no_request_is_made_with_a_root_that_is_none(run, repository):
    root = json.loads(repository.served["1.root.json"])
    del root["signed"]["version"]
    assert run.init(json.dumps(root).encode()) == 1
    run.metadata.joinpath("root.json").write_bytes(json.dumps(root).encode())
    assert run.refresh() == 1
    assert run.repository.requests == []


def test_no_request_is_made_with_a_root_that_does_not_vouch_for_itself(run, repository):
    root = json.loads(repository.served["1.root.json"])
    root["signatures"][0]["sig"] = "00" * 64
    run.metadata.joinpath("root.json").write_bytes(json.dumps(root).encode())
    assert run.refresh() == 1
    assert run.repository.requests == []


UP_TO = [
    ("root", {"root": 1}),
    ("timestamp", {"root": 2}),
    ("snapshot", {"root": 2, "timestamp": 2}),
    ("targets", {"root": 2, "timestamp": 2, "snapshot": 2}),
]


@pytest.mark.parametrize(("role", "kept"), UP_TO)
def test_a_role_without_signatures_is_refused_and_what_came_before_is_kept(run, repository, role, kept):
    repository.signers[role] = []
    repository.publish("root", *ALL)
    assert run.refresh() == 1
    assert run.trusted() == kept


@pytest.mark.parametrize(("role", "kept"), UP_TO)
def test_a_role_signed_by_a_stranger_is_refused(run, repository, role, kept):
    repository.signers[role] = [signer("stranger")]
    repository.publish("root", *ALL)
    assert run.refresh() == 1
    assert run.trusted() == kept


@pytest.mark.parametrize(("role", "kept"), UP_TO)
def test_another_major_version_of_the_specification_is_refused(run, repository, role, kept):
    repository.files[role].signed.spec_version = "2.0.0"
    repository.publish("root", *ALL)
    assert run.refresh() == 1
    assert run.trusted() == kept


@pytest.mark.parametrize("role", FIRST)
def test_a_newer_minor_version_of_the_specification_is_accepted(run, repository, role):
    repository.files[role].signed.spec_version = "1.99"
    repository.publish("root", *ALL)
    assert run.refresh() == 0
    assert run.trusted()[role] == 2


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_a_file_of_another_version_than_its_name_is_refused(run, repository, role):
    repository.publish("root", *ALL)
    repository.files[role].signed.version = 7
    repository.issue(role)
    repository.serve(role, 2, repository.latest(role))
    if role != "root":
        repository.snapshot.meta["targets.json"].version = 2
        repository.timestamp.snapshot_meta.version = 2
        for above in ("snapshot", "timestamp"):
            if above != role:
                repository.issue(above)
    assert run.refresh() == 1
    assert role not in run.trusted() or run.trusted()[role] == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_missing_file_is_a_failure_and_what_came_before_is_kept(run, repository, role):
    run.refresh()
    repository.publish(*ALL)
    for name in [name for name in repository.served if role in name]:
        del repository.served[name]
    assert run.refresh() == 1
    assert run.repository.requests[-1].endswith(role)
    assert run.trusted()[role] == 1


def test_a_file_of_another_type_is_refused_although_it_is_well_signed(run, repository):
    repository.signers["snapshot"] = [*repository.signers["snapshot"], *repository.signers["timestamp"]]
    repository.snapshot.meta = {"snapshot.json": MetaFile(1)}
    repository.publish("snapshot")
    repository.served["timestamp.json"] = repository.latest("snapshot")
    assert run.refresh() == 1
    assert run.trusted() == {"root": 1}


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"signed":{},"signatures":[]}', b"\xff\xfe", b"[" * 5000]
)
def test_what_is_no_metadata_is_refused(run, repository, role, data):
    repository.publish("root", *ALL)
    repository.serve(role, 2, data)
    assert run.refresh() == 1
    assert role not in run.trusted() or run.trusted()[role] == 1


@pytest.mark.parametrize(
    ("role", "size"),
    [("root", 512_000), ("timestamp", 16_384), ("snapshot", 2_000_000), ("targets", 5_000_000)],
)
def test_a_file_is_not_read_past_its_bound(run, repository, role, size):
    repository.publish("root", *ALL)
    repository.serve(role, 2, repository.latest(role) + b" " * size)
    assert run.refresh() == 1
    assert run.trusted().get(role, 1) == 1


def test_a_file_is_not_read_past_the_length_that_the_metadata_gives(run, repository):
    repository.hashes = True
    repository.publish(*ALL)
    repository.serve("targets", 2, repository.latest("targets") + b" ")
    assert run.refresh() == 1
    assert "targets" not in run.trusted()


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_hashes_in_the_metadata_are_checked(run, repository, role):
    repository.hashes = True
    repository.publish(*ALL)
    assert run.refresh() == 0
    repository.publish(*ALL)
    data = repository.latest(role)
    repository.serve(role, 3, data.replace(b" ", b"\t", 1))
    assert run.refresh() == 1
    assert run.trusted()[role] == 2


def test_another_timestamp_of_the_same_version_is_ignored(run, repository):
    run.refresh()
    kept = run.metadata.joinpath("timestamp.json").read_bytes()
    repository.timestamp.snapshot_meta.version = 100
    repository.issue("timestamp")
    assert run.refresh() == 0
    assert run.repository.requests[-1] == "timestamp"
    assert run.metadata.joinpath("timestamp.json").read_bytes() == kept


def test_fields_that_nobody_knows_are_signed_for_and_accepted(run, repository):
    repository.root.unrecognized_fields["later"] = {"a": [1, "ü"]}
    repository.root.roles["root"].unrecognized_fields["note"] = "x"
    repository.top.unrecognized_fields["later"] = True
    repository.publish("root", *ALL)
    assert run.refresh() == 0
    assert run.trusted()["root"] == 2


def test_a_field_that_was_added_after_signing_breaks_the_signature(run, repository):
    repository.publish(*ALL)
    document = json.loads(repository.latest("targets"))
    document["signed"]["later"] = True
    repository.serve("targets", 2, json.dumps(document).encode())
    assert run.refresh() == 1


def test_what_the_client_kept_may_be_damaged_without_harm(run):
    run.refresh()
    for role in ("timestamp", "snapshot", "targets"):
        run.metadata.joinpath(f"{role}.json").write_bytes(b"{}")
    assert run.refresh() == 0
    assert run.trusted() == FIRST


def test_repositories_without_consistent_snapshots_are_read_by_plain_names(run, repository):
    repository.root.consistent_snapshot = False
    repository.add("targets", "a/b", b"plain")
    repository.publish("root", *ALL)
    assert run.download("a/b") == 0
    assert run.repository.requests == ["2.root", "3.root", "timestamp", "snapshot", "targets", "/targets/a/b"]
    assert run.downloaded() == [b"plain"]
