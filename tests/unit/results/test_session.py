"""How files are asked for: by the URL as it is, with nothing else along, and so that nobody overhears it."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_nenoa import __version__
from airflow_provider_nenoa.exceptions import DownloadFailed, InvalidSetting, ResultRefused
from airflow_provider_nenoa.results import session as session_module
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.download import Downloads
from airflow_provider_nenoa.results.session import FileSession, redirected, split_url
from tests.unit.conftest import Logged
from tests.unit.results.conftest import FileServer

SECRET = "verysecretsignature"


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"file://{tmp_path}/out"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def fetch(out: str, url: str, **options: Any) -> Any:
    guard = Guard(loopback=True, private_hosts=options.pop("private_hosts", ()))
    return Downloads(out, guard, sleep=lambda seconds: None, **options).fetch({"assets": url})


class Wire:
    """A socket that writes down what it is sent, and answers each request with an empty file."""

    def __init__(self, tls: ssl.SSLContext | None = None, answer: bytes | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._answer = answer or b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    @property
    def targets(self) -> list[str]:
        return [request.split(b" ")[1].decode("latin-1") for request in self.requests]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with connection:
                    self._talk(connection)
            except OSError:
                pass

    def _talk(self, connection: socket.socket) -> None:
        self._read(connection)
        connection.sendall(self._answer)

    def _read(self, connection: socket.socket) -> None:
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = connection.recv(65_536)
            if not more:
                return
            asked += more
        self.requests.append(asked)
        if self._tls is not None:
            connection.sendall(self._answer)


# --- byte for byte


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (target, target)
        for target in [
            "/bucket/key?X-Amz-Signature=abc",
            "//key?X-Amz-Signature=abc",
            "/bucket//a///b//",
            "/bucket/%2Fkey",
            "/bucket/%2fkey%2F",
            "/a%20b+c%2B",
            "/%7Euser/~user",
            "/a/./b/../c/%2e%2E/d",
            "/..",
            "/a?",
            "/a??b=?",
            "/a?b=c&",
            "/a?x=%E2%82%ac&y=%zz&z=%",
            "/a?b=c/../d//e",
            "/a;b=c?d;e",
            "/a?X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fs3%2Faws4_request",
            "/a!$&'()*,:@[]|^`{}\"<>\\",
            "/",
        ]
    ]
    + [
        ("", "/"),
        ("?sig=x", "/?sig=x"),
        ("/a#fragment", "/a"),
        ("/a?b#c?d", "/a?b"),
        ("/Übersicht/€?näme=ä%20", "/%C3%9Cbersicht/%E2%82%AC?n%C3%A4me=%C3%A4%20"),
        ("/e\u0301/\u00e9", "/e%CC%81/%C3%A9"),
    ],
)
def test_the_url_goes_out_byte_for_byte(out: str, asked: str, sent: str) -> None:
    with Wire() as wire:
        fetch(out, f"http://127.0.0.1:{wire.port}{asked}")
        (request,) = wire.requests
        assert request.split(b"\r\n")[0] == f"GET {sent} HTTP/1.1".encode()
        assert f"host: 127.0.0.1:{wire.port}\r\n".encode() in request.lower()


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://h.example//a/%7e/../b?", "https://h.example//a/%7e/../b?"),
        ("//h.example//a", "https://h.example//a"),
        ("//", None),
        ("/x//y/%2F/../z?", "https://files.example/x//y/%2F/../z?"),
        ("y?z=1", "https://files.example/a/y?z=1"),
        ("?z=1", "https://files.example/a/b?z=1"),
        (" /x ", "https://files.example/x"),
        ("/a b", "https://files.example/a b"),
        ("/\xc3\xa4", "https://files.example/%C3%A4"),
        ("/\xe4", "https://files.example/%E4"),
        ("", None),
        ("https:///x", None),
        ("/a\x00b", None),
        ("/a\tb", None),
    ],
)
def test_where_a_redirect_leads(location: str, url: str | None) -> None:
    if url is None:
        with pytest.raises(ValueError):
            redirected("https://files.example/a/b?c", location)
    else:
        assert redirected("https://files.example/a/b?c", location) == url


def test_an_interim_answer_is_not_the_file(out: str) -> None:
    with Wire(answer=b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc") as server:
        (file,) = fetch(out, f"http://127.0.0.1:{server.port}/x")
    assert file["size"] == 3


def test_a_redirect_goes_out_byte_for_byte_too(out: str) -> None:
    answer = b"HTTP/1.1 302 X\r\nLocation: //127.0.0.1:%d//k/%%7e/../\xe4?a b\r\nContent-Length: 0\r\n\r\n"
    with Wire() as last, Wire(answer=answer % last.port) as first:
        fetch(out, f"http://127.0.0.1:{first.port}/x")
        assert last.targets == ["//k/%7e/../%E4?a%20b"]


def test_a_url_of_half_a_letter_is_escaped() -> None:
    assert split_url("https://h/\ud800?x") == ("https://h/", "/%3F?x")
    with pytest.raises(ValueError):
        split_url("no url")


# --- nothing else along


def test_what_is_sent_along(file_server: FileServer, out: str) -> None:
    fetch(out, file_server.url)
    (seen,) = file_server.seen
    assert seen["user-agent"] == f"airflow-provider-nenoa/{__version__}"
    assert seen["accept-encoding"] == "identity"
    assert set(seen) == {"path", "host", "user-agent", "accept-encoding", "accept", "connection"}


@pytest.mark.parametrize("where", ["NETRC", "HOME"])
def test_a_netrc_is_not_read(
    file_server: FileServer, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\ndefault login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv(where, str(netrc if where == "NETRC" else tmp_path))
    import requests

    requests.get(file_server.url, timeout=5)
    assert "authorization" in file_server.seen[0], "the file is one that requests would take"
    fetch(out, file_server.url)
    assert "authorization" not in file_server.seen[1]


def test_no_cookie_is_kept(file_server: FileServer, out: str) -> None:
    file_server.answers = [
        file_server.status(302, Location="/again?X-Signature=s", Set_Cookie="session=1; Path=/"),
        file_server.ranged,
    ]
    fetch(out, file_server.url)
    assert "cookie" not in file_server.seen[1]


# --- proxies


def test_a_proxy_of_the_environment_is_asked(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        url = f"http://localhost:1//k/%7e?X-Amz-Signature={SECRET}"
        fetch(out, url)
        assert proxy.targets == [url], "whole, and byte for byte"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with Wire() as direct:
            fetch(out, f"http://127.0.0.1:{direct.port}//k")
            assert direct.targets == ["//k"]


def test_through_a_proxy_https_is_a_tunnel_for_the_host_alone(
    out: str, tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, bundle = tls

    class Tunnel(Wire):
        def _talk(self, connection: socket.socket) -> None:
            self._tls = None
            self._read(connection)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._tls = context
            self._read(connection)

    with Tunnel() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        fetch(out, f"https://localhost:8443//k/%7e?X-Amz-Signature={SECRET}", private_hosts=["localhost"])
        assert proxy.targets == ["localhost:8443", f"//k/%7e?X-Amz-Signature={SECRET}"]
        assert SECRET.encode() not in proxy.requests[0]


@pytest.mark.parametrize(
    ("proxy", "raised", "words"),
    [
        ("http://", InvalidSetting, "variable http_proxy names no proxy that can be used"),
        ("socks5://u:hunter22@127.0.0.1:1", InvalidSetting, "variable http_proxy names a SOCKS proxy, and what speaks"),
        ("socks9://u:hunter22@127.0.0.1:1", InvalidSetting, "variable http_proxy names no proxy that can be used"),
        ("gopher://127.0.0.1:1", InvalidSetting, "variable http_proxy names no proxy that can be used"),
        ("http://127.0.0.1:1", DownloadFailed, r"the proxy 127\.0\.0\.1:1 of http_proxy failed \(.*, 5 times"),
    ],
)
def test_a_proxy_that_does_not_work_is_called_the_proxy(
    out: str, monkeypatch: pytest.MonkeyPatch, proxy: str, raised: type[Exception], words: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(raised, match=words) as caught:
        fetch(out, f"http://127.0.0.1:2/x?sig={SECRET}")
    assert SECRET not in str(caught.value)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "raised", "asked", "words"),
    [
        (407, InvalidSetting, 1, r"refused the way to files\.example: .*407.*\n.*variable https_proxy: correct that"),
        (502, DownloadFailed, 5, r"the proxy 127\.0\.0\.1:\d+ of https_proxy failed \(.*502.*\), 5 times"),
    ],
)
def test_a_proxy_that_refuses_is_not_asked_again_and_one_in_trouble_is(
    out: str, monkeypatch: pytest.MonkeyPatch, status: int, raised: type[Exception], asked: int, words: str
) -> None:
    with Wire(answer=b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status) as proxy:
        monkeypatch.setenv("https_proxy", f"http://u:hunter22@127.0.0.1:{proxy.port}")
        with pytest.raises(raised, match=words) as caught:
            fetch(out, f"https://files.example/x?sig={SECRET}")
        assert len(proxy.requests) == asked
    assert SECRET not in str(caught.value)
    assert "hunter22" not in str(caught.value)


# --- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's TLS with a certificate that only it vouches for, and the certificate's file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context, str(directory / "cert.pem")


def test_a_server_that_nobody_vouches_for_is_sent_nothing(out: str, tls: tuple[ssl.SSLContext, str]) -> None:
    with Wire(tls[0]) as server:
        with pytest.raises(DownloadFailed, match=r"certificate is not accepted: .*\n.* REQUESTS_CA_BUNDLE.$") as caught:
            fetch(out, f"https://localhost:{server.port}/x?sig={SECRET}")
        assert (server.requests, server.connections) == ([], 1), "no other try will change that"
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_bundle_of_the_environment_holds(
    out: str, tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, tls[1])
    with Wire(tls[0]) as server:
        fetch(out, f"https://localhost:{server.port}//x?sig=1")
        assert server.targets == ["//x?sig=1"]
        with pytest.raises(DownloadFailed, match=rf"certificate is not accepted: (.*\n)+.*that {name} names"):
            fetch(out, f"https://127.0.0.1:{server.port}/x")
        assert len(server.requests) == 1, "the name counts as well"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize(("there", "words"), [(False, "does not exist"), (True, "cannot be read as cert")])
def test_a_ca_bundle_that_cannot_be_used(
    out: str,
    tls: tuple[ssl.SSLContext, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    there: bool,
    words: str,
) -> None:
    bundle = tmp_path / "bundle.pem"
    if there:
        bundle.write_text("no certificate")
    monkeypatch.setenv(name, str(bundle))
    with Wire(tls[0]) as server:
        with pytest.raises(InvalidSetting, match=f"{name} names {bundle}, which {words}") as caught:
            fetch(out, f"https://localhost:{server.port}/x?sig={SECRET}")
        assert server.requests == []
    assert SECRET not in str(caught.value)


def test_a_ca_bundle_does_not_matter_where_there_is_no_tls(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    with Wire() as server:
        fetch(out, f"http://127.0.0.1:{server.port}/x")
        assert server.targets == ["/x"]


# --- time


def test_a_server_that_does_not_answer(file_server: FileServer, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "TIMEOUT", (5.0, 0.05))
    done = threading.Event()
    file_server.answers = [lambda handler: done.wait(5)]
    try:
        with pytest.raises(DownloadFailed, match="did not answer in time, 5 times"):
            fetch(out, file_server.url)
    finally:
        done.set()
    assert len(file_server.seen) == 5


def test_a_server_that_does_not_go_on(file_server: FileServer, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "TIMEOUT", (5.0, 0.05))
    done = threading.Event()

    def stuck(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        done.wait(5)

    file_server.answers = [stuck]
    try:
        with pytest.raises(DownloadFailed, match="did not go on in time"):
            fetch(out, file_server.url)
    finally:
        done.set()


# --- nobody overhears


def test_no_library_logs_the_url(file_server: FileServer, out: str, logged: Logged) -> None:
    file_server.answers = [
        file_server.status(503),
        file_server.status(302, Location=f"/there?X-Signature={SECRET}"),
        file_server.breaking(100),
        file_server.ranged,
    ]
    fetch(out, file_server.url)
    with pytest.raises(DownloadFailed):
        fetch(out, f"http://127.0.0.1:9/x?X-Signature={SECRET}")
    assert "urllib3" in logged.text, "it does log at this level"
    assert SECRET not in logged.text
    assert "report.pdf?" not in logged.text
    assert SECRET not in "\n".join(repr(record.__dict__) for record in _records(logged))


def _records(logged: Logged) -> list[logging.LogRecord]:
    return list(logged._caplog.records)


@contextmanager
def counted_masks() -> Iterator[list[int]]:
    """How many patterns Airflow's masker compiles into its expression, each time that it does so."""
    import re

    sizes: list[int] = []
    compile_ = re.compile

    def count(pattern: Any, *args: Any) -> Any:
        if isinstance(pattern, str) and SECRET in pattern:
            sizes.append(pattern.count(SECRET))
        return compile_(pattern, *args)

    re.compile = count  # type: ignore[assignment]
    try:
        yield sizes
    finally:
        re.compile = compile_  # type: ignore[assignment]


@pytest.mark.parametrize("count", [10, 200])
def test_airflows_masker_is_not_made_to_search_for_each_url(file_server: FileServer, out: str, count: int) -> None:
    file_server.answers = [lambda handler: file_server.send(handler, 200, b"x")]
    payload = {"files": [f"{file_server.url}{number}" for number in range(count)]}
    with counted_masks() as sizes:
        files = Downloads(out, Guard(loopback=True)).fetch(payload)
    assert len(files) == count
    assert sum(sizes) == 0, "its cost would grow with the square of their number"


def test_the_guard_is_asked_by_each_kind_of_connection(
    file_server: FileServer, tls: tuple[ssl.SSLContext, str]
) -> None:
    asked: list[str] = []

    class Watching(Guard):
        def check_address(self, host: str, address: str) -> None:
            asked.append(address)
            raise ResultRefused("no")

    with FileSession(Watching(loopback=True)) as session:
        for url in (file_server.url, "https://localhost:9/x"):
            with pytest.raises(ResultRefused):
                session.fetch(url, {})
    assert len(asked) == 2
    assert file_server.seen == []
