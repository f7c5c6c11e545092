"""The manifest: one form, nothing contradictory, nothing but our errors."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import canonical, hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats.chunking import LARGE, Chunk
from holdfast.governance.labels import Label
from holdfast.media import layout, manifest
from holdfast.media.manifest import Delta, Entry, Manifest, Source

LABEL = Label("internal", frozenset({"alpha"}), frozenset({"site"}))
ONE, TWO = Chunk(hashing.sha512(b"abcd"), 4), Chunk(hashing.sha512(b"ef"), 2)
PARENT = hashing.sha512(b"a base elsewhere")
REQUEST = hashing.sha512(b"request")


def entry_of(name: str, chunks: tuple[Chunk, ...], parents: tuple[str, ...] = ()) -> Entry:
    ref = FileRef("items.jsonl", sum(c.size for c in chunks), hashing.of_chunks(c.digest for c in chunks))
    return Entry(Artefact(Kind.DATASET, name, "1", (ref,), LABEL, parents), "MIT", {"items.jsonl": chunks})


def made(**fields: object) -> Manifest:
    facts: dict[str, object] = {
        "name": "tiny",
        "version": "1",
        "description": "Two data sets.",
        "publisher": "Test works",
        "created": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "entries": (entry_of("first", (ONE, TWO), (PARENT,)), entry_of("second", (TWO,))),
        "origins": {PARENT: "starter 1"},
        "delta": Delta(REQUEST, "Outpost", {TWO.digest: Source(PARENT, "model.safetensors", 8)}),
    }
    return Manifest(**{**facts, **fields})


def refusal(document: object) -> UntrustedBundle:
    with pytest.raises(UntrustedBundle) as caught:
        manifest.parse(canonical.encode(document))
    return caught.value


def changed(change) -> object:
    document = json.loads(made().encode())
    change(document)
    return document


def test_what_is_written_is_read_again():
    found = made()
    assert manifest.parse(found.encode()) == found
    assert found.chunks == {ONE.digest: 4, TWO.digest: 2}
    assert found.carried == {ONE.digest: 4}
    assert found.delta.bases == {PARENT}
    assert found.publication_path(found.entries[0]) == "datasets/first"
    assert made(collection="health").publication_path(found.entries[0]) == "datasets/health/first"


def test_a_manifest_has_one_form():
    data = made().encode()
    spaced = json.dumps(json.loads(data), sort_keys=True).encode()
    for other in (spaced, data + b"\n", data.replace(b'"12:00', b'"012:00')):
        if other != data:
            with pytest.raises(UntrustedBundle):
                manifest.parse(other)
    assert refusal(changed(lambda d: d.update(created="2026-3-1T12:00:00Z"))).key == "media.manifest"


def test_a_manifest_without_artefacts_is_one_that_only_revokes():
    assert manifest.parse(made(entries=(), origins={}, delta=None).encode()).entries == ()


def first(document):
    return document["artefacts"][0]


CONTRADICTIONS = {
    "an extra field": lambda d: d.update(extra=1),
    "a field less": lambda d: d.pop("origins"),
    "another schema": lambda d: d.update(schema="holdfast.manifest/2"),
    "a name with a slash": lambda d: d.update(name="a/b"),
    "a collection that climbs": lambda d: d.update(collection="../x"),
    "a collection in capitals": lambda d: d.update(collection="Health"),
    "artefacts that are no list": lambda d: d.update(artefacts={}),
    "a billion artefacts": lambda d: d.update(artefacts=10**9),
    "a kind that is a list": lambda d: first(d).update(kind=[]),
    "a kind made on site": lambda d: first(d).update(kind="nothing"),
    "a sequence number of the log": lambda d: first(d).update(made_by=7),
    "no licence": lambda d: first(d).pop("licence"),
    "a publisher on two lines": lambda d: d.update(publisher="Works\nsigned by    Ada"),
    "a licence on two lines": lambda d: first(d).update(licence="MIT\nverified"),
    "a licence with an escape": lambda d: first(d).update(licence="\x1b[2J"),
    "a label without zones": lambda d: first(d)["label"].update(zones=[]),
    "a parent that is no digest": lambda d: first(d).update(parents=["base"]),
    "another digest": lambda d: first(d).update(digest=PARENT),
    "a file without chunks": lambda d: first(d)["files"][0].update(chunks=[]),
    "chunks in another order": lambda d: first(d)["files"][0]["chunks"].reverse(),
    "a chunk twice": lambda d: first(d)["files"][0]["chunks"].append(first(d)["files"][0]["chunks"][0]),
    "a chunk of no size": lambda d: first(d)["files"][0]["chunks"][0].update(size=0),
    "a chunk too large": lambda d: first(d)["files"][0]["chunks"][0].update(size=LARGE + 1),
    "a chunk of true bytes": lambda d: first(d)["files"][0]["chunks"][0].update(size=True),
    "a chunk by another hash": lambda d: first(d)["files"][0]["chunks"][0].update(
        digest="sha256:" + "0" * 64
    ),
    "a file that climbs": lambda d: first(d)["files"][0].update(path="../x"),
    "a file with a comment": lambda d: first(d)["files"][0].update(comment=""),
    "the same artefact twice": lambda d: d["artefacts"].append(first(d)),
    "an origin of what is no parent": lambda d: d["origins"].update({REQUEST: "starter 1"}),
    "an origin of what is here": lambda d: d["origins"].update({d["artefacts"][1]["digest"]: "starter 1"}),
    "an origin with an escape": lambda d: d["origins"].update({PARENT: "\x1b"}),
    "a source of no chunk": lambda d: d["delta"]["sources"].update(
        {PARENT: d["delta"]["sources"][TWO.digest]}
    ),
    "a source before the file": lambda d: d["delta"]["sources"][TWO.digest].update(offset=-1),
    "a source at half a byte": lambda d: d["delta"]["sources"][TWO.digest].update(offset=0.5),
    "a source that climbs": lambda d: d["delta"]["sources"][TWO.digest].update(path="/etc/passwd"),
    "a delta without a request": lambda d: d["delta"].pop("request"),
    "sources that are no object": lambda d: d["delta"].update(sources=[]),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_contradiction_is_refused(what):
    document = changed(CONTRADICTIONS[what])
    found = refusal(document)
    assert found.exit_code == 3
    assert "\x1b" not in str(found)


def test_a_chunk_of_two_sizes_is_refused():
    other = Chunk(TWO.digest, 3)
    with pytest.raises(UntrustedBundle, match="two sizes"):
        manifest.parse(
            made(entries=(entry_of("a", (TWO,)), entry_of("b", (other,))), origins={}, delta=None).encode()
        )


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def places(value, path=()):
    """Give the path to everything in a document."""
    yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


DOCUMENT = json.loads(made().encode())


@given(st.sampled_from([path for path in places(DOCUMENT) if path]), ANY)
def test_whatever_stands_in_a_place_is_taken_whole_or_refused(path, value):
    document = copy.deepcopy(DOCUMENT)
    here = document
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    data = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
    try:
        found = manifest.parse(data)
    except UntrustedBundle:
        return
    assert found.encode() == data


def test_names_on_the_medium_are_read_as_they_are_written():
    assert layout.role_name(layout.role("health-adapters")) == "health-adapters"
    for name in ("root", "timestamp", "snapshot", "targets", "Health", "1x", "a" * 41, "a.b"):
        assert layout.role_name(layout.role(name)) is None
    assert layout.root_version(layout.root(17)) == 17
    assert layout.root_version("metadata/017.root.json") is None
    assert layout.manifest_collection(layout.target(layout.manifest_target("adapter", "health"))) == "health"
    assert layout.manifest_collection(layout.target(layout.manifest_target("adapter", ""))) == ""
    for path in (
        "manifest.json",
        "targets/x/manifest.json",
        "targets/adapters/../manifest.json",
        "targets/adapters/x/y/manifest.json",
    ):
        assert layout.manifest_collection(path) is None
