"""The site's certificate is refused before a front gets it, unless applications would accept it."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.serving.certificates import read_pem, write_certificate

from holdfast.audit.event import timestamp
from holdfast.daemon.serve.certificate import check
from holdfast.errors import HoldfastError, OperationFailed, UntrustedRequest
from holdfast.serving import pem
from holdfast.serving.front import tls

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pem")
    write_certificate(folder, "server")
    write_certificate(folder, "clients")
    return read_pem(folder, clients="clients")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    write_certificate(folder, "server")
    return read_pem(folder)


def encrypted(text):
    key = serialization.load_pem_private_key(text.encode(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(*form, serialization.BestAvailableEncryption(b"word")).decode()


def test_one_that_holds_together_is_told_by_its_digest_and_its_end(good, other):
    found = check(good, NOW)
    assert found.plain() == {"certificate": found.digest, "until": timestamp(found.until)}
    left = found.until - dt.datetime.now(dt.UTC)  # NOW is as old as the collection of all tests
    assert dt.timedelta(hours=23) < left < dt.timedelta(hours=25)
    chain = replace(good, certificate=f"# \xe9 issued\n{good.certificate}{other.certificate}")
    assert check(chain, NOW).digest == found.digest != check(other, NOW).digest
    assert tls.context(good, clients=True).verify_mode.name == "CERT_REQUIRED"
    described = [f"# \xe9\n{text}" for text in (good.certificate, good.key, good.clients or "")]
    assert check(pem.Pem(*described), NOW).digest == found.digest
    made = tls.context(pem.Pem(*described), clients=True)
    assert len(made.get_ca_certs()) == 1
    for nobody in (None, "", "# \xe9"):
        with pytest.raises(UntrustedRequest):
            tls.context(replace(good, clients=nobody), clients=True)
    assert pem.parse(good.plain()) == good


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda good, other: replace(good, key=other.key), "serve.tls-fit"),
        (
            lambda good, other: replace(good, certificate=other.certificate + good.certificate),
            "serve.tls-fit",
        ),
        (lambda good, _: replace(good, key=encrypted(good.key)), "serve.tls-form"),
        (lambda good, _: replace(good, key=good.certificate), "serve.tls-form"),
        (lambda good, _: replace(good, key=good.key.replace("A", "?")), "serve.tls-form"),
        (lambda good, _: replace(good, certificate=""), "serve.tls-form"),
        (lambda good, _: replace(good, certificate=good.key), "serve.tls-form"),
        (lambda good, _: replace(good, clients="-----BEGIN CERTIFICATE-----\n"), "serve.tls-form"),
    ],
)
def test_what_does_not_is_refused_and_nothing_of_a_key_is_told(good, other, change, key):
    meant = change(good, other)
    with pytest.raises(OperationFailed) as caught:
        check(meant, NOW)
    assert caught.value.key == key
    with pytest.raises(UntrustedRequest):  # and so would the front
        tls.context(meant, clients=True)
    assert good.key.splitlines()[1] not in f"{caught.value.to_dict()} {meant!r}"


@pytest.mark.parametrize(("days", "key"), [(-2, "serve.tls-early"), (2, "serve.tls-expired")])
def test_one_that_does_not_count_today_is_refused_with_the_days(good, days, key):
    with pytest.raises(OperationFailed, match=f"{NOW + dt.timedelta(days=days):%Y-%m-%d}") as caught:
        check(good, NOW + dt.timedelta(days=days))
    assert caught.value.key == key


@given(st.text(), st.text(), st.none() | st.text())
def test_whatever_lies_there_is_refused_with_our_errors_alone(certificate, key, clients):
    with pytest.raises(HoldfastError):
        check(pem.Pem(certificate, key, clients), NOW)


@pytest.mark.parametrize(
    "told", [None, {}, {"certificate": "a", "key": 1, "clients": None}, {"certificate": "a", "key": "b"}]
)
def test_what_is_no_certificate_and_key_is_refused(told):
    with pytest.raises(UntrustedRequest):
        pem.parse(told)


def test_no_log_shows_a_key(good, caplog):
    with caplog.at_level(logging.DEBUG):
        tls.context(good, clients=False)
    assert good.key.splitlines()[1] not in caplog.text
