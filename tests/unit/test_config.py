"""The founding document: every mistake in it is told."""

from __future__ import annotations

import pytest

from holdfast import config
from holdfast.errors import UntrustedInput

DOCUMENT = """\
schema = "holdfast.site/1"
name = "Harbour"
zones = ["site"]
media_roots = ["/media"]
[[person]]
name = "alice"
roles = ["administrator"]
key = "keys/alice.pub"
uids = [1000]
"""


def test_a_document_with_its_defaults():
    site = config.parse(DOCUMENT.encode(), file="site.toml")
    assert (site.serving.host, site.serving.port, site.threads, site.gaps) == ("127.0.0.1", 8600, 2, [])
    audit = site.audit
    assert (audit.heartbeat_seconds, audit.low_space_bytes, audit.reserve_bytes) == (60, 2**29, 2**26)
    energy = site.energy
    assert (energy.watts_per_core, energy.price_per_kwh, energy.currency) == (15.0, None, "EUR")
    assert site.person[0].roles == ["administrator"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("site/1", "site/2", "schema"),
        ('name = "Harbour"\n', "", "name"),
        ("zones", "zone", "zone"),
        ('["site"]', "[]", "zones"),
        ('["/media"]', "[]", "media_roots"),
        ('["/media"]', '["media"]', "media_roots"),
        ('["/media"]', '["/m\\u0000"]', "media_roots"),
        ('["administrator"]', '["king"]', "roles"),
        ('["administrator"]', "[]", "roles"),
        ("[1000]", "[-1]", "uids"),
        ("[1000]", "[]", "uids"),
        ("uids", "uid", "uids"),
        ("[[person]]", "[person]", "person"),
        ("[[person]]", "threads = 0\n[[person]]", "threads"),
        ("[[person]]", "[audit]\nheartbeat_seconds = 0\n[[person]]", "audit.heartbeat_seconds"),
        ("[[person]]", "[audit]\nreserve_bytes = 1000\n[[person]]", "audit.reserve_bytes"),
        ("[[person]]", "[audit]\nlow_space_bytes = 1000000\n[[person]]", "less than reserve_bytes"),
        ("[[person]]", "[audit]\nheartbeat = 5\n[[person]]", "audit.heartbeat"),
        ("[[person]]", "[energy]\nwatts_per_core = 0\n[[person]]", "energy.watts_per_core"),
        ("[[person]]", "[energy]\nwatts_per_core = nan\n[[person]]", "energy.watts_per_core"),
        ("[[person]]", "[energy]\nprice_per_kwh = -0.1\n[[person]]", "energy.price_per_kwh"),
        ("[[person]]", '[energy]\ncurrency = "euro"\n[[person]]', "energy.currency"),
        ("[[person]]", "[serving]\nparallel = 65\n[[person]]", "serving.parallel"),
        ("[[person]]", "[serving]\nmemory_gb = 0\n[[person]]", "serving.memory_gb"),
        ("[[person]]", '[serving]\nkv = "q2"\n[[person]]', "serving.kv"),
        ("[[person]]", '[serving]\ncors_origins = ["*"]\n[[person]]', "serving.cors_origins"),
        ("[[person]]", '[serving.tls]\ncertificate = "a.pem"\n[[person]]', "serving.tls.key"),
        (
            "[[person]]",
            '[serving.tls]\ncertificate = "/etc/a.pem"\nkey = "../b.key"\n[[person]]',
            "serving.tls.certificate",
        ),
        ("schema", "schema =", "line 1"),
        (
            "[[person]]",
            '[[person]]\nname = "alice"\nroles = ["auditor"]\nkey = "k"\nuids = [1]\n[[person]]',
            "same name",
        ),
    ],
)
def test_a_wrong_document_is_refused_and_the_field_named(old, new, told):
    with pytest.raises(UntrustedInput) as caught:
        config.parse(DOCUMENT.replace(old, new, 1).encode(), file="site.toml")
    assert caught.value.key == "site.form"
    assert told in caught.value.message
    assert caught.value.message.startswith("site.toml is refused")


def test_bytes_that_are_no_text_and_a_flood_are_refused():
    for data in (b"\xff", b"#" * (config.MAX_SITE + 1)):
        with pytest.raises(UntrustedInput):
            config.parse(data, file="site.toml")
