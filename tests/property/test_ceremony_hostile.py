"""Hostile metadata, signed by one of the holders, laid out before another: nothing but our errors, and nothing is signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Root

from holdfast import canonical
from holdfast.cli import trustfiles, trustview
from holdfast.errors import HoldfastError
from holdfast.keys import person
from holdfast.media import layout, papers, sign
from holdfast.media.manifest import Manifest
from holdfast.trust import ceremony, holders, metadata, roots, signing
from holdfast.trust.publisher import Delegation

NOW = datetime(2026, 3, 1, tzinfo=UTC)
END = NOW + timedelta(days=90)
ADA, BO, DI = (person.generate(name) for name in ("Ada", "Bo", "Di"))
ROOT = ceremony.make_root([ADA, BO], expires=END)
SECOND = signing.add_signature(roots.next_root(ROOT, expires=END, add=[DI.public]), ADA)
MANIFEST = Manifest("tiny", "1", "", "Test works", NOW, ()).encode()
GIVEN = Delegation("health", ("suites/health/*",), (ADA.public, DI.public))
FILES = ceremony.make_release(
    [ADA], ROOT, targets={"manifest.json": MANIFEST}, delegate=[GIVEN], expires=END
).files
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "targets", "health", "../x", "sha512:ab", "é\ud83d\ude00"])
    | st.builds(list)
    | st.builds(dict)
)


def places(value, path=()):
    """Give the path of everything in a document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(data, path, value, how):
    """Replace, remove or rename one thing in the signed part, and sign the whole as Ada."""
    document = json.loads(data)
    *above, last = path
    inner = document["signed"]
    for key in above:
        inner = inner[key]
    if how == "replace":
        inner[last] = value
    elif isinstance(inner, list):
        inner.append(value)
    elif how == "remove":
        del inner[last]
    else:
        inner[str(value)] = inner[last]
    try:
        message = encode_canonical(document["signed"]).encode()
    except Exception:  # noqa: BLE001 - what the library can't write, nobody could sign
        message = b""
    document["signatures"] = [
        {"keyid": signer.public_key.keyid, "sig": signer.sign(message).signature}
        for signer in holders.signers_of(ADA)
    ]
    return canonical.encode(document)


def written(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def look(path):
    """Do everything that is done before somebody says yes."""
    found = trustfiles.lay_out(path, None)
    json.dumps(trustview.of_papers(found))
    list(trustview.lines(found))
    sign.awaiting(found, BO.public)
    return found


CHANGES = st.sampled_from(["replace", "remove", "add"])


@settings(max_examples=150)
@given(role=st.sampled_from(sorted(FILES)), data=st.data(), value=VALUES, how=CHANGES)
def test_a_medium_of_a_hostile_holder_is_shown_or_refused(role, data, value, how):
    path = data.draw(st.sampled_from([one for one in places(json.loads(FILES[role])["signed"]) if one]))
    try:
        hostile = changed(FILES[role], path, value, how)
    except HoldfastError:
        assume(False)
    files = {layout.role(name): one for name, one in {**FILES, role: hostile}.items()}
    if (
        role == "targets"
    ):  # the holder makes the other files fit, so that the change is not noticed by its digest alone
        files |= fitting(hostile)
    with TemporaryDirectory() as name:
        place = written(Path(name), {**files, layout.root(1): ROOT, "targets/manifest.json": MANIFEST})
        try:
            look(place)
        except HoldfastError:
            return


def fitting(targets):
    """Make the snapshot and the timestamp that name other targets."""
    try:
        named = metadata.named(signing.read(targets))
    except HoldfastError:
        return {}
    plain = json.loads(FILES["snapshot"])["signed"]["meta"]["targets.json"]
    snapshot = changed(FILES["snapshot"], ("meta", "targets.json"), {**plain, **named.to_dict()}, "replace")
    stamp = metadata.named(signing.read(snapshot)).to_dict()
    timestamp = changed(FILES["timestamp"], ("meta", "snapshot.json"), stamp, "replace")
    return {layout.SNAPSHOT: snapshot, layout.TIMESTAMP: timestamp}


@settings(max_examples=150)
@given(data=st.data(), value=VALUES, how=CHANGES)
def test_a_hostile_root_is_shown_or_refused(data, value, how):
    path = data.draw(st.sampled_from([one for one in places(json.loads(SECOND)["signed"]) if one]))
    try:
        hostile = changed(SECOND, path, value, how)
    except HoldfastError:
        assume(False)
    with TemporaryDirectory() as name:
        place = written(Path(name), {"1.root.json": ROOT, "2.root.json": hostile})
        for look_at in (lambda: look(place / "2.root.json"), lambda: trustfiles.ladder_in(place)):
            try:
                look_at()
            except HoldfastError:
                continue


def test_the_unchanged_files_are_shown():
    with TemporaryDirectory() as name:
        files = {layout.role(role): data for role, data in FILES.items()} | fitting(FILES["targets"])
        place = written(Path(name), {**files, layout.root(1): ROOT, "targets/manifest.json": MANIFEST})
        assert look(place).manifest.name == "tiny"
        assert not papers.of_medium(place).complete
        written(place / "roots", {"1.root.json": ROOT, "2.root.json": SECOND})
        assert look(place / "roots" / "2.root.json").sheets[0].role == Root.type
        with pytest.raises(HoldfastError):
            look(place / "roots")
