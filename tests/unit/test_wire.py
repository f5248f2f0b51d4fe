"""Whether a request has left this machine: against real sockets that break at every step of the way."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    CertificateRefused,
    ConnectionFailed,
    InvalidArgument,
    InvalidReply,
    InvalidSetting,
    NenoaError,
    PermanentError,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.http import ApiKeyAuth, HttpApi, api, failures, reason_of, wire
from tests.support.tls import self_signed
from tests.support.wire_server import OK, Behaviour, Proxy, WireServer, reset
from tests.unit.conftest import API_KEY, Logged

PROXY_PASSWORD = "proxy-password-hunter22"
Serve = Callable[..., WireServer]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    """No proxy, and certificates that vouch for the server."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "CURL_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.fixture
def serve(certificate: Path) -> Iterator[Serve]:
    open_servers: list[WireServer] = []

    def serve(behaviour: Behaviour, *, tls: bool = True) -> WireServer:
        open_servers.append(WireServer(behaviour, certificate if tls else None))
        return open_servers[-1]

    yield serve
    for server in open_servers:
        server.close()


@pytest.fixture
def proxied() -> Iterator[Callable[..., Proxy]]:
    open_proxies: list[Proxy] = []

    def proxied(refusal: str | None = None) -> Proxy:
        open_proxies.append(Proxy(refusal))
        return open_proxies[-1]

    yield proxied
    for proxy in open_proxies:
        proxy.close()


def make_api(base_url: str, **options: Any) -> HttpApi:
    options = {"conn_id": "mine", "secrets": [API_KEY], "retry_for": 0, "timeout": 0.5, **options}
    return HttpApi("Vendor", base_url, ApiKeyAuth("Authorization", f"Bearer {API_KEY}"), **options)


def start(base_url: str, **options: Any) -> tuple[Any, int]:
    """Start something; return what came of it, and how often it was announced."""
    announced: list[None] = []
    try:
        return make_api(base_url, **options).start("/x", {"a": 1}, before_send=lambda: announced.append(None)), len(
            announced
        )
    except NenoaError as error:
        return error, len(announced)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


# How a server breaks. Each is what it does with one connection.


def answers(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(OK)


def resets_at_once(server: WireServer, connected: socket.socket) -> None:
    connected.recv(1)
    reset(connected)


def closes_at_once(server: WireServer, connected: socket.socket) -> None:
    connected.recv(4096)


def speaks_no_tls(server: WireServer, connected: socket.socket) -> None:
    connected.recv(4096)
    connected.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def says_nothing(server: WireServer, connected: socket.socket) -> None:
    connected.recv(4096)
    while connected.recv(4096):
        pass


def closes_after_handshake(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        secured.recv(1)


def closes_after_headers(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_head(secured)


def resets_after_request(server: WireServer, connected: socket.socket) -> None:
    secured = server.secured(connected)
    server.read_request(secured)
    reset(secured)


def resets_in_body(server: WireServer, connected: socket.socket) -> None:
    secured = server.secured(connected)
    server.read_request(secured)
    secured.sendall(OK.replace(b": 2", b": 200"))
    reset(secured)


def closes_in_body(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(OK.replace(b": 2", b": 200"))


def answers_no_http(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def answers_another_http(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(b"HTTP/2 200\r\n\r\n")


def answers_too_many_headers(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n")


def never_answers(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.recv(1)


def answers_no_gzip(server: WireServer, connected: socket.socket) -> None:
    with server.secured(connected) as secured:
        server.read_request(secured)
        secured.sendall(OK.replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type"))


BEFORE: dict[str, tuple[Behaviour, str]] = {
    "resets in the handshake": (resets_at_once, "Connection reset by peer"),
    "closes in the handshake": (closes_at_once, "TLS failed: unexpected eof while reading"),
    "speaks no TLS": (speaks_no_tls, "TLS failed: wrong version number"),
    "says nothing in the handshake": (says_nothing, r"no answer to the TLS handshake within 0\.2 s"),
}
GONE = "(it closed the connection without an answer|Connection reset by peer|its answer broke off|TLS failed: .*)"
AFTER: dict[str, tuple[Behaviour, str]] = {
    "closes before it reads": (closes_after_handshake, GONE),
    "closes after the headers": (closes_after_headers, GONE),
    "resets after the request": (resets_after_request, GONE),
    "resets in the body": (resets_in_body, GONE),
    "closes in the body": (closes_in_body, "its answer broke off"),
    "answers no HTTP": (answers_no_http, "what it answered is no HTTP"),
    "never answers": (never_answers, r"it did not answer in time \(0\.5 s\)"),
    "answers no gzip": (answers_no_gzip, "Vendor answered POST /x with a body that cannot be decoded: .*"),
}
WAYS = ["directly", "by a tunnel"]


@pytest.fixture
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, proxied: Callable[..., Proxy]) -> str:
    if request.param == "by a tunnel":
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxied().port}")
    return str(request.param)


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize("breaks", BEFORE)
def test_what_breaks_before_the_first_byte_was_not_sent(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, sleeps: list[float], way: str, breaks: str
) -> None:
    for module in (api, failures):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)
    behaviour, _ = BEFORE[breaks]
    server = serve(behaviour)
    error, announced = start(f"https://localhost:{server.port}")
    assert type(error) is ConnectionFailed
    said, advice, _ = str(error).split("\n")
    assert said.startswith("No answer from Vendor to POST /x: ")
    assert advice.startswith("Check the host of connection 'mine'")
    assert ("through the proxy 127.0.0.1:" in advice) == (way == "by a tunnel")
    assert announced == 0
    assert server.connections == 1
    assert server.heads == []
    assert not isinstance(error, AirflowFailException)


@pytest.mark.parametrize("breaks", BEFORE)
def test_why_a_handshake_failed_is_said(serve: Serve, monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    for module in (api, failures):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)
    behaviour, why = BEFORE[breaks]
    url = f"https://localhost:{serve(behaviour).port}"
    with pytest.raises(ConnectionFailed, match=rf"^No answer from Vendor to GET /x: {why}\.\nCheck .*\n\({url}/x\)$"):
        make_api(url).get("/x")


@pytest.mark.parametrize("breaks", BEFORE)
def test_what_was_not_sent_is_sent_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, sleeps: list[float], breaks: str
) -> None:
    monkeypatch.setattr(api, "CONNECT_TIMEOUT", 0.2)
    behaviour, _ = BEFORE[breaks]
    server = serve(lambda server, each: (behaviour if server.connections < 3 else answers)(server, each))
    assert start(f"https://localhost:{server.port}", retry_for=300) == ({}, 1)
    assert (server.connections, len(server.heads), len(sleeps)) == (3, 1, 2)


@pytest.mark.parametrize("way", [*WAYS, "without TLS", "by a forwarding proxy"], indirect=True)
@pytest.mark.parametrize("breaks", AFTER)
def test_what_breaks_after_the_first_byte_may_have_been_acted_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, sleeps: list[float], way: str, breaks: str
) -> None:
    behaviour, why = AFTER[breaks]
    server = serve(behaviour, tls=way in WAYS)
    url = f"https://localhost:{server.port}" if way in WAYS else f"http://localhost:{server.port}"
    if way == "by a forwarding proxy":
        monkeypatch.setenv("HTTP_PROXY", url)
        url = "http://127.0.0.1:1"
    error, announced = start(url, retry_for=300)
    assert type(error) is StartOutcomeUnknown
    assert re.match(rf"Vendor may or may not have acted on POST /x: {why}\.\nIt was not sent again", str(error))
    assert announced == 1
    assert server.connections == 1
    assert sleeps == []
    assert len(server.heads) == ("before it reads" not in breaks)


@pytest.mark.parametrize("way", [*WAYS, "without TLS", "by a forwarding proxy"], indirect=True)
def test_a_start_that_arrives(serve: Serve, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    server = serve(answers, tls=way in WAYS)
    url = f"https://localhost:{server.port}" if way in WAYS else f"http://localhost:{server.port}"
    if way == "by a forwarding proxy":
        monkeypatch.setenv("HTTP_PROXY", url)
        url = "http://127.0.0.1:1/v1"
    assert start(url) == ({}, 1)
    assert server.heads[0].startswith(b"POST http://127.0.0.1:1/v1/x " if "forward" in way else b"POST /x ")
    assert len(server.heads) == 1


def test_it_is_announced_when_the_connection_stands_and_nothing_was_sent(serve: Serve) -> None:
    server = serve(answers)
    seen: list[tuple[int, int]] = []
    make_api(f"https://localhost:{server.port}").start(
        "/x", {}, before_send=lambda: seen.append((server.connections, len(server.heads)))
    )
    assert seen == [(1, 0)]


@pytest.mark.parametrize(
    "refusal", [ZeroDivisionError("no"), BrokenPipeError(32, "no"), ConnectionResetError(104, "no"), TimeoutError("no")]
)
@pytest.mark.parametrize("tls", [True, False])
def test_what_cannot_be_announced_is_not_sent(serve: Serve, sleeps: list[float], refusal: Exception, tls: bool) -> None:
    # urllib3 would take some of these for the server's way of saying that its answer is there.
    server = serve(answers, tls=tls)

    def announce() -> None:
        raise refusal

    with pytest.raises(type(refusal)) as caught:
        make_api(f"http{'s' * tls}://localhost:{server.port}", retry_for=300).start("/x", {}, before_send=announce)
    assert caught.value is refusal
    assert server.went.wait(5)
    assert server.heads == []
    assert sleeps == []


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("hangs_up", [True, False])
def test_who_hangs_up_during_a_slow_announcement_was_sent_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, sleeps: list[float], tls: bool, hangs_up: bool
) -> None:
    monkeypatch.setattr(wire, "SLOW_ANNOUNCEMENT", 0.0)
    announced = 0

    def behaviour(server: WireServer, connected: socket.socket) -> None:
        if server.connections == 1 and hangs_up:
            server.secured(connected).close()
        else:
            answers(server, connected)

    server = serve(behaviour, tls=tls)

    def announce() -> None:
        nonlocal announced
        announced += 1
        assert server.connections > 1 or not hangs_up or server.went.wait(5)

    assert (
        make_api(f"http{'s' * tls}://localhost:{server.port}", retry_for=300).start("/x", {}, before_send=announce)
        == {}
    )
    assert (announced, server.connections, len(server.heads)) == ((2, 2, 1) if hangs_up else (1, 1, 1))


def test_a_name_that_nobody_knows() -> None:
    error, announced = start("https://nobody.invalid")
    assert (type(error), announced) == (ConnectionFailed, 0)
    assert "Vendor to POST /x: its name is not known here: " in str(error)


def test_nobody_listens() -> None:
    error, announced = start(url := f"https://localhost:{closed_port()}")
    assert (type(error), announced) == (ConnectionFailed, 0)
    assert str(error) == (
        "No answer from Vendor to POST /x: Connection refused.\n"
        "Check the host of connection 'mine', and whether this machine can reach it.\n"
        f"({url}/x)"
    )


def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "CONNECT_TIMEOUT", 0.1)
    monkeypatch.setattr(api, "CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        held = []
        for _ in range(3):  # its queue is full, and what comes now waits
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(full.getsockname())
            held.append(each)
        error, announced = start(f"https://127.0.0.1:{full.getsockname()[1]}")
        for each in held:
            each.close()
    assert (type(error), announced) == (ConnectionFailed, 0)
    assert "POST /x: no connection within 0.1 s.\n" in str(error)


# Settings of this machine


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("bundle", ["missing", "garbage", "empty", "unreadable"])
def test_certificates_that_cannot_be_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sleeps: list[float], variable: str, bundle: str
) -> None:
    path = tmp_path / "ours.pem"
    if bundle == "garbage":
        path.write_text("these are no certificates")
    elif bundle == "empty":
        path.touch()
    elif bundle == "unreadable":
        path.symlink_to(path)  # a loop: not even root can read it
    server = serve(answers)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv(variable, str(path))
    error, announced = start(f"https://localhost:{server.port}", retry_for=300)
    assert (type(error), announced, sleeps) == (InvalidSetting, 0, [])
    assert isinstance(error, PermanentError)
    assert str(error).startswith(f"The environment variable {variable} names {path}, which ")
    with pytest.raises(InvalidSetting):
        make_api(f"https://localhost:{server.port}", retry_for=300).get("/x")
    assert server.heads == []


def test_the_machines_own_certificates_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "gone.pem"))
    error, announced = start("https://localhost:1")
    assert (type(error), announced) == (InvalidSetting, 0)
    assert (
        "certificates of this machine cannot be read: Could not find a suitable TLS CA certificate bundle, "
        f"invalid path: {tmp_path}/gone.pem"
    ) in str(error)


def test_a_directory_of_certificates_without_the_right_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sleeps: list[float]
) -> None:
    server = serve(answers)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    error, announced = start(f"https://localhost:{server.port}", retry_for=300)
    assert (type(error), announced, sleeps) == (CertificateRefused, 0, [])
    assert "its TLS certificate is not accepted: self-signed certificate." in str(error)
    assert f"the certificates that REQUESTS_CA_BUNDLE names ({tmp_path}) do not vouch for it" in str(error)
    assert server.heads == []


def test_a_self_signed_certificate(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(answers)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    error, announced = start(f"https://localhost:{server.port}")
    assert (type(error), announced) == (CertificateRefused, 0)
    assert "name a file with its certificate in REQUESTS_CA_BUNDLE" in str(error)
    assert server.heads == []


def test_a_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = self_signed(tmp_path, "other.test")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    server = WireServer(answers, other)
    error, announced = start(f"https://localhost:{server.port}")
    server.close()
    assert (type(error), announced) == (CertificateRefused, 0)
    assert "certificate is not valid for 'localhost'" in str(error)


@pytest.mark.parametrize(
    ("variable", "scheme"), [("HTTPS_PROXY", "https"), ("all_proxy", "https"), ("http_proxy", "http")]
)
@pytest.mark.parametrize(
    "value", ["http://", "ftp://proxy.test:3128", "http://proxy.test:port", "socks9://proxy.test:1"]
)
def test_a_proxy_that_is_none(
    monkeypatch: pytest.MonkeyPatch, sleeps: list[float], variable: str, scheme: str, value: str
) -> None:
    value = value.replace("proxy.test", f"user:{PROXY_PASSWORD}@proxy.test")
    monkeypatch.setenv(variable, value)
    error, announced = start(f"{scheme}://localhost:1", retry_for=300)
    assert (type(error), announced, sleeps) == (InvalidSetting, 0, [])
    assert str(error).startswith(f"The environment variable {variable} names no proxy that can be used")
    assert (
        PROXY_PASSWORD
        not in f"{error!r} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"
    )


@pytest.mark.parametrize(
    ("variable", "scheme"), [("HTTPS_PROXY", "https"), ("http_proxy", "http"), ("ALL_PROXY", "https")]
)
def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str) -> None:
    port = closed_port()
    monkeypatch.setenv(variable, f"http://user:{PROXY_PASSWORD}@127.0.0.1:{port}")
    error, announced = start(f"{scheme}://localhost:1")
    assert (type(error), announced) == (ConnectionFailed, 0)
    assert str(error) == (
        f"No answer from the proxy 127.0.0.1:{port} on the way to Vendor: Connection refused.\n"
        f"The proxy is from the environment variable {variable}: check it, or name localhost in NO_PROXY to go without "
        f"it.\n(POST /x at {scheme}://localhost:1/x)"
    )


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ("502 Bad Gateway", ConnectionFailed),
        ("503 Service Unavailable", ConnectionFailed),
        ("407 Proxy Authentication Required", InvalidSetting),
        ("403 Forbidden", InvalidSetting),
    ],
)
def test_a_proxy_that_refuses(
    serve: Serve,
    proxied: Callable[..., Proxy],
    monkeypatch: pytest.MonkeyPatch,
    refusal: str,
    expected: type[NenoaError],
) -> None:
    server, proxy = serve(answers), proxied(refusal)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    error, announced = start(f"https://localhost:{server.port}")
    assert (type(error), announced) == (expected, 0)
    assert f"proxy 127.0.0.1:{proxy.port}" in str(error).partition("\n")[0]
    assert f"Tunnel connection failed: {refusal}" in str(error).partition("\n")[0]
    assert "HTTPS_PROXY" in str(error)
    assert server.connections == 0
    assert API_KEY.encode() not in b"".join(proxy.asked)


def test_a_proxy_that_heals(
    serve: Serve, proxied: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> None:
    server, proxy = serve(answers), proxied("502 Bad Gateway")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setitem(HttpApi.__init__.__kwdefaults__, "sleep", lambda seconds: setattr(proxy, "refusal", None))
    assert start(f"https://localhost:{server.port}", retry_for=300) == ({}, 1)
    assert len(proxy.asked) == 2


def test_a_proxy_that_says_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (api, failures):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)
    proxy = serve(says_nothing, tls=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
    error, announced = start("https://localhost:1")
    assert (type(error), announced) == (ConnectionFailed, 0)
    assert f"the proxy localhost:{proxy.port} on the way to Vendor: it did not open the way within 0.2 s" in str(error)


def test_hosts_that_need_no_proxy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(answers)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert start(f"https://localhost:{server.port}") == ({}, 1)


# What is not the wire's fault


def test_a_header_that_http_cannot_carry(serve: Serve) -> None:
    server = serve(answers)
    with pytest.raises(InvalidArgument, match="a header has characters that HTTP cannot carry") as caught:
        make_api(f"https://localhost:{server.port}").start("/x", {}, auth=ApiKeyAuth("X-Signature", "a\r\nb: hunter22"))
    assert "hunter22" not in repr(caught.value)
    assert server.heads == []


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}])
def test_a_body_that_is_no_json(body: dict[str, Any], sleeps: list[float]) -> None:
    announced: list[None] = []
    with pytest.raises(InvalidArgument, match="Nothing was sent"):
        make_api("https://localhost:1").start("/x", body, before_send=lambda: announced.append(None))
    assert announced == []


def test_a_get_whose_body_cannot_be_decoded(serve: Serve, sleeps: list[float]) -> None:
    server = serve(answers_no_gzip)
    with pytest.raises(InvalidReply, match="a body that cannot be decoded"):
        make_api(f"https://localhost:{server.port}", retry_for=300).get("/x")
    assert sleeps == []


def test_threads_do_not_take_each_others_requests_for_theirs(serve: Serve) -> None:
    server, broken = serve(answers), serve(resets_at_once)
    together = [make_api(f"https://localhost:{each.port}") for each in (server, broken)]
    results: list[Any] = []

    def run(each: HttpApi) -> None:
        for _ in range(10):
            try:
                results.append(each.start("/x", {}))
            except NenoaError as error:
                results.append(type(error))

    threads = [threading.Thread(target=run, args=(each,)) for each in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count({}) == 10
    assert results.count(ConnectionFailed) == 10


@pytest.mark.parametrize(
    "behaviour",
    [
        *(answers_no_http, answers_another_http, answers_too_many_headers),
        *(closes_in_body, resets_at_once, speaks_no_tls, never_answers),
    ],
)
def test_reasons_have_no_debris(serve: Serve, logged: Logged, behaviour: Behaviour) -> None:
    server = serve(behaviour)
    for send in (lambda api: api.get("/x"), lambda api: api.start("/x", {})):
        with pytest.raises(NenoaError) as caught:
            send(make_api(f"https://localhost:{server.port}"))
        for debris in ("0x", '")', "')", "[SSL", "_ssl.c", "ConnectionPool", "Errno", "Max retries", "b'", "('"):
            assert debris not in str(caught.value)


def test_reasons_of_errors_that_others_make() -> None:
    assert reason_of(requests.ConnectTimeout("x")) == "no connection in time"
    assert reason_of(requests.ReadTimeout("x")) == "it did not answer in time"
    assert reason_of(requests.ConnectionError("refused")) == "refused"
    assert reason_of(requests.ConnectionError()) == "ConnectionError"
    for socks in ("0x05: Connection refused", "[Errno 111] Connection refused", "Connection refused"):
        error = NewConnectionError(object(), f"Failed to establish a new connection: {socks}")  # type: ignore[arg-type]
        whole = requests.ConnectionError(MaxRetryError(object(), "/a", error))  # type: ignore[arg-type]
        assert reason_of(whole) == "Connection refused"
    assert reason_of(ConnectionError(requests.ConnectionError(OSError(111, "refused")))) == "refused"


@pytest.mark.parametrize("slow", [True, False])
def test_a_connection_that_cannot_be_asked_is_taken_for_good(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    # As TLS inside TLS is, to a vendor behind a proxy that is spoken to by TLS itself.
    monkeypatch.setattr(wire, "SLOW_ANNOUNCEMENT", -1.0 if slow else 3600.0)
    passage = wire.Passage(before_send=lambda: None)
    passage.leave(object())
    assert passage.sent


def test_a_passage_ends_with_its_request(serve: Serve) -> None:
    announced: list[int] = []
    server = serve(answers, tls=False)
    with requests.Session() as session:
        session.mount("http://", wire.WireAdapter())
        for number in range(2):
            with wire.Passage(before_send=lambda number=number: announced.append(number)):
                session.get(f"http://localhost:{server.port}/")
            session.close()  # the server hangs up after each answer, and that may be seen too late
            session.get(f"http://localhost:{server.port}/")
            session.close()
    assert announced == [0, 1]


@pytest.mark.parametrize("tls", [True, False])
def test_interim_answers_are_not_the_answer(serve: Serve, tls: bool) -> None:
    """A proxy's early hints made every start a lost one."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"

    def behaviour(server: WireServer, connected: socket.socket) -> None:
        with server.secured(connected) as secured:
            server.read_request(secured)
            secured.sendall(interim + OK)

    server = serve(behaviour, tls=tls)
    assert start(f"{'https' if tls else 'http'}://localhost:{server.port}") == ({}, 1)
    assert len(server.heads) == 1


@pytest.mark.parametrize("then", [b"", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
def test_an_interim_answer_alone_is_none(serve: Serve, then: bytes) -> None:
    def behaviour(server: WireServer, connected: socket.socket) -> None:
        server.read_request(connected)
        connected.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" + then)

    error, announced = start(f"http://localhost:{serve(behaviour, tls=False).port}")
    assert (type(error), announced) == (StartOutcomeUnknown, 1)
    assert ("101" in str(error)) == bool(then)
