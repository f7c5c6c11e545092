"""Types that several rooms' parameters are made of. Pure."""

from __future__ import annotations

from holdfast.artefact import MAX_FILES, MAX_PATH, Kind
from holdfast.artefact import MAX_NAME as MAX_ARTEFACT_NAME
from holdfast.audit.params import (
    COUNT,
    DIGEST,
    SEQ,
    TIME,
    Choice,
    Document,
    Hex,
    ListOf,
    MapOf,
    Nullable,
    Optional,
    Record,
    Text,
)
from holdfast.governance.labels import LEVELS, MAX_NAME, MAX_NAMES

KEY = Text(128)  # an error's stable key
MESSAGE = Text(4_000)  # what an error said; the recorder cuts at as much
REASON = Text(1_000)  # what a person wrote why; a request takes no more
PERSON = Text(256)  # a person's, application's or part's name, as in an event's actor
SITE = Text(64)
NAME = Text(MAX_ARTEFACT_NAME)  # of an artefact, a bundle, a publisher
CALLED = Text(2 * MAX_ARTEFACT_NAME + 1)  # name and version, an @ or a space between them
FOLDER = Text(4_096)  # a path of the host, the longest that Linux takes
ROOT = Hex(32)  # a Merkle root
ORIGIN = Text(255)  # a log's name
KEY_LINE = Text(2_048)  # a verifier key, C2SP vkey; one of ML-DSA-44 has about 1,800 characters
FINGERPRINT = Text(256)

LABEL = Record(
    {
        "level": Choice(LEVELS),
        "compartments": ListOf(Text(MAX_NAME), MAX_NAMES),
        "zones": ListOf(Text(MAX_NAME), MAX_NAMES),
    },
    "label",
)
ARTEFACT = Record(
    {
        "kind": Choice(tuple(kind.value for kind in Kind)),
        "name": NAME,
        "version": NAME,
        "digest": DIGEST,
        "files": ListOf(Record({"path": Text(MAX_PATH), "size": COUNT, "digest": DIGEST}), MAX_FILES),
        "label": LABEL,
        "parents": ListOf(DIGEST, 1_000),
        "made_by": Nullable(SEQ),
        "meta": Document("set of facts of the artefact's kind", 16_384),
    },
    "artefact",
)
LISTED = Record(
    {
        **ARTEFACT.types,
        **{name: Optional(ARTEFACT.types[name]) for name in ("label", "parents", "made_by", "meta")},
    },
    "listed artefact",
)
ARTEFACTS = ListOf(ARTEFACT, 1_000)
SIGNATURES = ListOf(MapOf(Text(10_000), 4), 8)  # an ML-DSA-87 signature has 9,254 hexadecimal digits
APPROVAL = Record(
    {
        "statement": Record(
            {
                "schema": Text(64),
                "site": SITE,
                "request": SEQ,
                "action": Text(64),
                "digest": DIGEST,
                "requester": PERSON,
                "expires": TIME,
            }
        ),
        "signatures": SIGNATURES,
    },
    "approval",
)
FILES = MapOf(DIGEST, 256)  # digests by file name
FIGURES = Document("set of figures", 16_384)
REVOKED = Record(
    {
        "digest": DIGEST,
        "kind": Text(64),
        "name": CALLED,
        "reason": Text(500),
        "since": TIME,
        "instead": Nullable(DIGEST),
    },
    "revocation",
)
