"""How every session of the provider is set up, wherever one is built: against real servers and real files."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_nenoa
from airflow_provider_nenoa.exceptions import CertificateRefused, NenoaError, ReceiverUnavailable
from airflow_provider_nenoa.http import ApiKeyAuth, HttpApi
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.session import FileSession
from airflow_provider_nenoa.webhooks import selftest
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from airflow_provider_nenoa.webhooks.connections import Sender
from tests.support.tls import self_signed
from tests.support.wire_server import WireServer
from tests.unit.conftest import API_KEY

BODY = b'{"cursor": 1, "events": [], "more": false, "status": "stored"}'
AGENT = f"airflow-provider-nenoa/{airflow_provider_nenoa.__version__}"


def answers(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nSet-Cookie: a=b\r\n\r\n%s" % (len(BODY), BODY))


def api_of(url: str) -> HttpApi:
    return HttpApi("Vendor", url, ApiKeyAuth("X-Key", API_KEY), retry_for=0)


def ask(url: str) -> None:
    api_of(url).get("/x")


def ask_anything(url: str) -> None:
    api_of(url).request("DELETE", "/x")


def start(url: str) -> None:
    api_of(url).start("/x", {})


def ask_receiver(url: str) -> None:
    ReceiverClient("c", "a webhook secret that is long enough", url, retry_for=0).check()


def download(url: str) -> None:
    with FileSession(Guard(loopback=True)) as session:
        session.fetch(f"{url}/x", {}).raise_for_status()


def post_a_test_event(url: str) -> None:
    selftest._post(f"{url}/x", Sender("nenai", "a webhook secret that is long enough"), "m-1")


CALLS: dict[str, Callable[[str], None]] = {
    "ask": ask,
    "ask anything": ask_anything,
    "start": start,
    "ask the receiver": ask_receiver,
    "post a test event": post_a_test_event,
    "download": download,
}
TO_VENDORS = {name: call for name, call in CALLS.items() if name != "download"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture
def secure(certificate: Path) -> Iterator[WireServer]:
    server = WireServer(answers, certificate)
    yield server
    server.close()


@pytest.fixture
def plain() -> Iterator[WireServer]:
    server = WireServer(answers)
    yield server
    server.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_certificate_that_nobody_vouches_for_is_refused(secure: WireServer, call: Callable[[str], None]) -> None:
    with pytest.raises(Exception, match="self-signed certificate"):
        call(f"https://localhost:{secure.port}")
    assert (secure.connections, secure.heads) == (1, [])


def test_how_it_is_refused(secure: WireServer) -> None:
    with pytest.raises(CertificateRefused):
        ask(f"https://localhost:{secure.port}")
    with pytest.raises(ReceiverUnavailable, match=r"TLS certificate is not accepted: self-signed certificate\.\n"):
        ask_receiver(f"https://localhost:{secure.port}")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_environments_certificates_count(
    secure: WireServer, monkeypatch: pytest.MonkeyPatch, certificate: Path, call: Callable[[str], None], variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    call(f"https://localhost:{secure.port}")
    assert len(secure.heads) == 1


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_netrc_is_not_read(
    plain: WireServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Callable[[str], None]
) -> None:
    entry = "machine localhost login somebody password hunter22\n"
    (tmp_path / ".netrc").write_text(entry)
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    call(f"http://localhost:{plain.port}")
    (head,) = plain.heads
    assert b"Authorization: Basic" not in head
    if call in (ask, ask_anything, start):
        assert f"X-Key: {API_KEY}".encode() in head
    assert (b"Authorization: Bearer" in head) == (call is ask_receiver)


def test_a_cookie_is_not_kept(plain: WireServer) -> None:
    url = f"http://localhost:{plain.port}"
    client = ReceiverClient("c", "a webhook secret that is long enough", url, retry_for=0)
    with FileSession(Guard(loopback=True)) as session:
        for _ in range(2):
            client.check()
            session.fetch(f"{url}/x", {}).raise_for_status()
    assert len(plain.heads) == 4
    assert b"cookie" not in b"".join(plain.heads).lower()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whose_request_it_is(plain: WireServer, call: Callable[[str], None]) -> None:
    call(f"http://localhost:{plain.port}")
    assert re.findall(rb"(?mi)^User-Agent: (.*)\r$", plain.heads[0]) == [AGENT.encode()]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("call", TO_VENDORS.values(), ids=TO_VENDORS)
def test_the_environments_proxy_is_used(
    plain: WireServer, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None], variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{plain.port}")
    call("http://localhost:1")
    assert re.match(rb"\w+ http://localhost:1/", plain.heads[0])


@pytest.mark.parametrize("call", TO_VENDORS.values(), ids=TO_VENDORS)
def test_the_environment_says_what_needs_no_proxy(
    plain: WireServer, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "other.test,localhost")
    call(f"http://localhost:{plain.port}")
    assert re.match(rb"\w+ /", plain.heads[0])


@pytest.mark.parametrize("setting", [{"REQUESTS_CA_BUNDLE": "/nowhere/ours.pem"}, {"HTTPS_PROXY": "ftp://proxy.test"}])
@pytest.mark.parametrize("call", TO_VENDORS.values(), ids=TO_VENDORS)
def test_a_setting_that_cannot_be_used_is_an_error_of_ours(
    secure: WireServer, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], None], setting: dict[str, Any]
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NenoaError):
        call(f"https://localhost:{secure.port}")
    assert secure.connections == 0
