"""Laws of the trust core: the floor, the revocation list, delegations, and hostile bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.conformance.simulator import ALL, NOW, Repository, holder
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from holdfast import canonical, hashing
from holdfast.errors import HoldfastError, UntrustedBundle
from holdfast.trust import floor, metadata, revocation
from holdfast.trust.revocation import Revocation, RevocationList
from holdfast.trust.workflow import TrustState, Workflow

MOMENTS = st.integers(0, 40_000).map(lambda days: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=days))
KINDS = {"root": Root, "timestamp": Timestamp, "snapshot": Snapshot, "targets": Targets}


@given(MOMENTS, st.none() | MOMENTS, st.lists(st.tuples(MOMENTS, MOMENTS), max_size=8))
def test_alone_the_floor_never_falls_never_passes_an_expiry_and_never_jumps(clock, start, media):
    current = start
    for created, expires in media:
        before = current
        try:
            current = floor.raised(clock, before, created, expires)
        except UntrustedBundle:
            assert min(created, expires) - floor.now(clock, before) > floor.MAX_JUMP
            continue
        assert before is None or current >= before
        assert current == before or current <= min(created, expires)
        assert current <= floor.now(clock, before) + floor.MAX_JUMP


@given(st.none() | MOMENTS, st.lists(MOMENTS, max_size=8))
def test_the_log_never_lowers_the_floor_and_never_makes_it_jump(start, moments):
    current = start
    for moment in moments:
        before, current = current, floor.witnessed(current, moment)
        assert before is None or before <= current <= before + floor.MAX_JUMP


TEXT = st.text(min_size=1, max_size=20).filter(str.isprintable)
DIGESTS = st.integers(0, 30).map(lambda number: hashing.sha512(b"%d" % number))


@st.composite
def lists(draw):
    issued = draw(MOMENTS)
    revoked = draw(st.lists(DIGESTS, unique=True, max_size=6))
    entries = {}
    for digest in revoked:
        instead = draw(st.none() | DIGESTS.filter(lambda other: other not in revoked))
        entries[digest] = Revocation(digest, "base", "x", draw(TEXT), instead, issued)
    return RevocationList(draw(st.integers(1, 5)), issued, entries)


@given(lists())
def test_a_revocation_list_survives_being_written_and_read(made):
    assert revocation.parse(made.encode()) == made


@given(lists(), lists())
def test_what_was_revoked_stays_revoked_by_whatever_may_follow(old, new):
    try:
        revocation.follows(old, new)
    except UntrustedBundle:
        return
    assert set(old.entries) <= set(new.entries)
    assert new.counter > old.counter or new == old


@given(lists(), st.binary(max_size=8), st.integers(0, 10_000))
def test_a_damaged_list_is_refused_or_says_what_it_says(made, noise, place):
    data = made.encode()
    place %= len(data)
    changed = data[:place] + noise + data[place + len(noise) :]
    try:
        found = revocation.parse(changed)
    except UntrustedBundle:
        return
    assert found.encode() == changed


def strict():
    made = Repository(holders=[holder("Ada"), holder("Bo")])
    people = [holder("Cy"), holder("Di")]
    made.delegate("targets", "health", holders=people, paths=["adapters/health/*"])
    made.add("health", "adapters/health/manifest.json", b"1")
    made.publish("health", *ALL)
    return made


REPOSITORY = strict()
SERVED = dict(REPOSITORY.served)


def whole(served):
    """Take the workflow over these files."""
    flow = Workflow(TrustState(SERVED["1.root.json"]), NOW)
    flow.update_timestamp(served["timestamp.json"])
    flow.update_snapshot(served["snapshot.json"])
    flow.update_targets(served["targets.json"])
    return flow.find("adapters/health/manifest.json", lambda role: served[f"{role}.json"])


@settings(max_examples=150)
@given(st.sampled_from(sorted(set(SERVED) - {"1.root.json"})), st.integers(0), st.integers(1, 255))
def test_no_byte_of_a_signed_file_can_change(name, place, change):
    data = bytearray(SERVED[name])
    data[place % len(data)] ^= change
    try:
        whole({**SERVED, name: bytes(data)})
    except UntrustedBundle:
        return
    raise AssertionError("a changed byte was not noticed")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths(value, here=()):
    """Give the place of every value in a document."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*here, key))


DOCUMENTS = {name: json.loads(data) for name, data in SERVED.items()}
PLACES = [(name, place) for name, value in DOCUMENTS.items() for place in paths(value) if place]


@settings(max_examples=300)
@given(st.sampled_from(PLACES), JSON)
@example(("targets.json", ("signed", "delegations", "roles", 0, "name")), 5)
@example(("targets.json", ("signed", "delegations", "roles")), {})
@example(("1.root.json", ("signed", "roles", "root", "keyids")), [[]])
@example(("1.root.json", ("signed", "expires")), "0001-01-01T00:00:00Z")
def test_whatever_stands_in_a_file_only_our_own_errors_come_out(where, value):
    name, place = where
    document = json.loads(SERVED[name])
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    role = name.removesuffix(".json").rpartition(".")[2]
    try:
        data = canonical.encode(document)
        metadata.parse(KINDS.get(role, Targets), data, role)
        if role == "root":
            Workflow(TrustState(data), NOW)
        else:
            whole({**SERVED, name: data})
    except HoldfastError:
        return
    assert document == DOCUMENTS[name]


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=300))
def test_noise_is_refused(role, data):
    try:
        metadata.parse(KINDS[role], data)
    except UntrustedBundle:
        return
    raise AssertionError("noise was read as metadata")


SEGMENT = st.text(alphabet="ab*?", min_size=1, max_size=3)


@given(
    st.lists(SEGMENT, min_size=1, max_size=3),
    st.lists(st.text(alphabet="ab/", max_size=3), min_size=1, max_size=4),
)
def test_a_pattern_never_covers_a_path_of_another_depth(pattern, path):
    made = Repository()
    role = made.delegate("targets", "d", paths=["/".join(pattern)])
    wanted = "/".join(path)
    if role.is_delegated_path(wanted):
        assert wanted.count("/") == len(pattern) - 1
