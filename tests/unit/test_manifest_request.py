"""A site's request: read as it was written, bound by its signature, refused in every other form."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import canonical, hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.errors import UntrustedBundle
from holdfast.formats.chunking import Chunk
from holdfast.governance.labels import Label
from holdfast.keys import person
from holdfast.media import request

PAIR, OTHER = person.generate("outpost"), person.generate("outpost")
LABEL = Label("restricted", frozenset({"alpha"}), frozenset({"site"}))
ONE, TWO, THREE = (Chunk(hashing.sha512(data), len(data)) for data in (b"abcd", b"ef", b"ghi"))
NOW = datetime(2026, 3, 1, 12, 0, 0, 999, tzinfo=UTC)


def held(name: str, *chunks: Chunk) -> tuple[Artefact, dict[str, tuple[Chunk, ...]]]:
    ref = FileRef("data.jsonl", sum(c.size for c in chunks), hashing.of_chunks(c.digest for c in chunks))
    return Artefact(Kind.DATASET, name, "1", (ref,), LABEL, meta={"secret": 1}), {"data.jsonl": chunks}


FIRST, SECOND = held("first", ONE, TWO), held("second", THREE, TWO)
MADE = request.make("Outpost", NOW, LABEL, [FIRST, SECOND])
DATA = request.encode(MADE, PAIR)


def signed(statement: object, pair: person.KeyPair = PAIR) -> bytes:
    """Sign any statement, as a site that does not play by the rules."""
    document = {"statement": statement, "public": pair.public.to_json()}
    signatures = person.sign(pair, request.DOMAIN, canonical.encode(document))
    return canonical.encode({**document, "signatures": signatures})


def test_what_is_written_is_read_again():
    found = request.verify(DATA)
    assert found.request == MADE
    assert found.public == PAIR.public
    assert found.digest == hashing.sha512(DATA)
    assert MADE.created.microsecond == 0


def test_nothing_leaves_the_site_but_names_versions_and_digests():
    statement = json.loads(DATA)["statement"]
    assert set(statement) == {"schema", "site", "created", "label", "artefacts"}
    for one in statement["artefacts"]:
        assert set(one) == {"kind", "name", "version", "digest", "files"}
        assert set(one["files"][0]) == {"path", "size", "digest", "chunks"}


def test_it_says_where_each_chunk_lies():
    sources = MADE.sources
    assert sources.keys() == {ONE.digest, TWO.digest, THREE.digest}
    assert (sources[ONE.digest].artefact, sources[ONE.digest].offset) == (FIRST[0].digest, 0)
    assert (sources[THREE.digest].artefact, sources[THREE.digest].path) == (SECOND[0].digest, "data.jsonl")
    assert sources[TWO.digest].offset == (4 if sources[TWO.digest].artefact == FIRST[0].digest else 3)


def test_the_order_of_what_is_held_does_not_matter():
    assert request.make("Outpost", NOW, LABEL, [SECOND, FIRST]) == MADE


def test_an_empty_site_can_ask():
    assert request.verify(request.encode(request.make("Outpost", NOW, LABEL, []), PAIR)).request.sources == {}


def places(value: object, path: tuple[object, ...] = ()):
    yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


DOCUMENT = json.loads(DATA)
PATHS = [path for path in places(DOCUMENT) if path]


def put(path: tuple[object, ...], value: object) -> object:
    document = copy.deepcopy(DOCUMENT)
    here = document
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    return document


def other(value: object) -> object:
    """Give another value of the same form."""
    if isinstance(value, str):
        return value[:-1] + ("1" if value[-1:] == "0" else "0")
    if isinstance(value, int):
        return value + 1
    return [*value, *value[:1]] if isinstance(value, list) else {**value, "more": 1}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: "/".join(map(str, path)))
def test_a_request_that_was_tampered_with_anywhere_is_refused(path):
    value = DOCUMENT
    for step in path:
        value = value[step]
    with pytest.raises(UntrustedBundle) as caught:
        request.verify(canonical.encode(put(path, other(value))))
    assert caught.value.exit_code == 3


def change(*path: object):
    """Give a function that changes the statement there."""

    def to(value: object) -> object:
        return put(("statement", *path), value)["statement"]

    return to


FALSE = {
    "another schema": change("schema")("holdfast.request/2"),
    "a site with an escape": change("site")("\x1b[2J"),
    "no moment": change("created")("yesterday"),
    "a moment in another form": change("created")("2026-3-1T12:00:00Z"),
    "a label without zones": change("label", "zones")([]),
    "a label out of order": change("label", "zones")(["site", "alpha"]),
    "a billion artefacts": change("artefacts")(10**9),
    "an artefact with a label": change("artefacts", 0)(
        {**DOCUMENT["statement"]["artefacts"][0], "label": LABEL.to_json()}
    ),
    "a kind that is none": change("artefacts", 0, "kind")("software"),
    "a digest of nothing": change("artefacts", 0, "digest")("sha512:" + "0" * 128),
    "a file that climbs": change("artefacts", 0, "files", 0, "path")("../x"),
    "no files": change("artefacts", 0, "files")([]),
    "a chunk more": change("artefacts", 0, "files", 0, "chunks")(
        [*DOCUMENT["statement"]["artefacts"][0]["files"][0]["chunks"], {"digest": ONE.digest, "size": 4}]
    ),
    "no chunks": change("artefacts", 0, "files", 0, "chunks")([]),
    "a chunk of another size": change("artefacts", 0, "files", 0, "chunks", 0, "size")(5),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_well_signed_request_that_contradicts_itself_is_refused(what):
    with pytest.raises(UntrustedBundle) as caught:
        request.verify(signed(FALSE[what]))
    assert "\x1b" not in str(caught.value)


def test_the_signature_is_by_the_keys_that_are_named_and_for_a_request():
    document = json.loads(DATA)
    document["public"] = OTHER.public.to_json()
    with pytest.raises(UntrustedBundle) as caught:
        request.verify(canonical.encode(document))
    assert caught.value.key == "keys.signature"
    document = json.loads(DATA)
    del document["signatures"]
    document["signatures"] = person.sign(PAIR, "residency-report", canonical.encode(document))
    with pytest.raises(UntrustedBundle):
        request.verify(canonical.encode(document))
    assert request.verify(signed(document["statement"], OTHER)).public == OTHER.public


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", DATA + b"\n", DATA[:-1], b"[" * 100_000, b'{"statement":' * 30_000]
)
def test_what_is_no_request_is_refused(data):
    with pytest.raises(UntrustedBundle):
        request.verify(data)


@settings(max_examples=60)
@given(
    st.sampled_from(PATHS),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-9, 2**52)
        | st.sampled_from([0.5, 1e300])
        | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    ),
)
def test_nothing_but_our_errors_comes_out_of_a_foreign_request(path, value):
    document = put(path, value)
    try:
        data = signed(document["statement"]) if path[0] == "statement" else json.dumps(document).encode()
        request.verify(data)
    except UntrustedBundle:
        return
    except ValueError:
        pytest.fail("a library's error came out")
