"""``holdfast ask`` as an application: over plain HTTP and TLS, with and without a model's name, and what it says when it fails."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from tests.integration.serving.certificates import read_pem, write_certificate
from tests.integration.serving.stack import LABEL, make_settings

from holdfast.cli import root
from holdfast.client import chat
from holdfast.errors import (
    DaemonUnreachable,
    NotAuthenticated,
    NotPermitted,
    OperationFailed,
    UntrustedRequest,
    UsageRefused,
)
from holdfast.serving import keys
from holdfast.serving.front import tls


def ask(address, key, model="base", trust=chat.NO_TRUST):
    pieces = []
    told = chat.ask(address, key, model, "Hello?", max_tokens=5, on_text=pieces.append, trust=trust)
    assert "".join(pieces) == told["answer"]
    return told


@pytest.fixture
def secured(tmp_path, new_front, new_puppet):
    """A front that speaks TLS and asks for certificates; the folder with everybody's files."""
    authority = write_certificate(tmp_path, "authority")
    for name in ("server", "application"):
        write_certificate(tmp_path, name, authority)
    write_certificate(tmp_path, "stranger")
    (tmp_path / "clients.pem").write_bytes((tmp_path / "authority.pem").read_bytes())
    for name in ("application", "stranger"):
        both = (tmp_path / f"{name}.pem").read_bytes() + (tmp_path / f"{name}.key").read_bytes()
        (tmp_path / f"{name}.both").write_bytes(both)
    settings = make_settings(access={"tls": True, "clients": True})
    front = new_front(
        settings, tcp=True, tls=tls.context(read_pem(tmp_path, clients="clients"), clients=True)
    )
    new_puppet(front, by_itself=2)
    return f"https://localhost:{front.address[1]}", front, tmp_path


def test_tls_both_ways_and_nobody_else(secured):
    address, front, folder = secured
    authority, own = folder / "authority.pem", folder / "application.both"
    assert ask(address, front.text, trust=chat.Trust(authority, own))["answer"] == "w0 w1 "
    assert ask(
        address,
        front.text,
        trust=chat.named({"HOLDFAST_CA": str(authority), "HOLDFAST_CERTIFICATE": str(own)}),
    )
    with pytest.raises(UntrustedRequest, match="not trusted"):
        ask(address, front.text, trust=chat.Trust(folder / "stranger.pem", own))
    for other in (None, folder / "stranger.both"):
        with pytest.raises(DaemonUnreachable, match="closed the connection") as found:
            ask(address, front.text, trust=chat.Trust(authority, other))
        assert "--certificate" in found.value.remedy
    for broken in (chat.Trust(folder / "none.pem"), chat.Trust(authority, authority)):
        with pytest.raises(UsageRefused):
            ask(address, front.text, trust=broken)
    assert front.recorder.actions == ["answer", "answer.done"] * 2


def test_the_command_asks_the_first_model_that_the_key_opens(secured):
    address, front, folder = secured
    words = ["ask", "Hello?", "--url", f"{address}/v1", "--ca", str(folder / "authority.pem"), "--json"]
    environment = {"HOLDFAST_API_KEY": front.text, "HOLDFAST_CERTIFICATE": str(folder / "application.both")}
    done = CliRunner().invoke(root, words, env=environment)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["model"], told["request_seq"], told["answer_seq"], told["completion_tokens"]) == (
        "base",
        0,
        1,
        2,
    )


def test_what_goes_wrong_is_said_in_our_words(new_front, new_puppet):
    reader = keys.mint("tax-office", [keys.ANY], LABEL, ["metrics"])
    front = new_front(tcp=True, more_keys=[reader.key])
    puppet = new_puppet(front)
    address = f"http://127.0.0.1:{front.address[1]}"
    with pytest.raises(NotAuthenticated):
        ask(address, "hf-wrong")
    with pytest.raises(UsageRefused, match="not the address"):
        ask(address.removeprefix("http://"), front.text)
    with pytest.raises(DaemonUnreachable, match="speaks no TLS"):
        ask(address.replace("http", "https"), front.text)
    with pytest.raises(UntrustedRequest, match="does not exist"):
        ask(address, front.text, "nothing")
    with pytest.raises(NotPermitted, match="scope inference"):
        ask(address, reader.secret)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, address, front.text)
        asked = puppet.next()
        puppet.accept(asked)
        puppet.words(asked)
        front.until(lambda: front.recorder.actions == ["answer"])
        puppet.say(b"\0\0\0\2{}")
        with pytest.raises(OperationFailed, match="broke off"):
            asking.result(60)
    front.call(lambda: front.house.pause(paused=True))
    with pytest.raises(OperationFailed, match="at the moment"):
        ask(address, front.text)
    front.close()
    with pytest.raises(DaemonUnreachable, match="Nobody answers"):
        ask(address, front.text)
