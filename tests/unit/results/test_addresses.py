"""A payload cannot make a worker ask what only the inside of a network can reach."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.addresses import Guard, guarded_session
from airflow_provider_nenoa.exceptions import ResultRefused
from tests.unit.results.conftest import FileServer

INSIDE = [
    "127.0.0.1",
    "127.8.9.10",
    "169.254.169.254",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
    "ff02::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_of_the_inside_are_refused(address: str) -> None:
    with pytest.raises(ResultRefused, match="no public address"):
        Guard().check_address("files.example.com", address)


@pytest.mark.parametrize("address", ["52.216.0.1", "8.8.8.8", "2600:1f18::1", "64:ff9b::808:808"])
def test_public_addresses_are_not(address: str) -> None:
    Guard().check_address("files.example.com", address)


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.com/x",
        "https://user:password@files.example.com/x",
        "https://localhost/x",
        "https://LOCALHOST:8080/x",
        "https://db.localhost/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "ftp://files.example.com/x",
        "file:///etc/passwd",
    ],
)
def test_urls_that_are_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ResultRefused):
        Guard().check_url(url)


def test_with_an_emulated_vendor_loopback_may_be_asked_and_nothing_else_inside() -> None:
    guard = Guard(loopback=True)
    guard.check_url("http://127.0.0.1:8090/files/x")
    guard.check_url("http://localhost:8090/files/x")
    guard.check_url("https://files.example.com/x")
    guard.check_address("localhost", "::1")
    for url in ("http://files.example.com/x", "https://169.254.169.254/", "https://10.0.0.1/x"):
        with pytest.raises(ResultRefused):
            guard.check_url(url)


def test_a_private_host_is_let_in_by_name() -> None:
    guard = Guard(private_hosts=["*.s3.eu-central-1.amazonaws.com", "minio.corp"])
    guard.check_address("bucket.s3.eu-central-1.amazonaws.com", "10.1.2.3")
    guard.check_address("MINIO.corp", "192.168.0.9")
    for host in ("s3.evil.com", "minio.corp.evil.com"):
        with pytest.raises(ResultRefused, match="private_file_hosts"):
            guard.check_address(host, "10.1.2.3")


def resolve_as(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let one name lookup after the other give these addresses; return what was looked up."""
    lookups: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        lookups.append(host)
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return lookups


@pytest.mark.parametrize("host", ["files.example.com", "2130706433", "0x7f.1"])
def test_the_address_counts_and_not_how_it_is_written(
    host: str, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_as(monkeypatch, "127.0.0.1")
    port = file_server.url.split(":")[2].split("/")[0]
    with guarded_session(Guard()) as session, pytest.raises(ResultRefused, match=r"127\.0\.0\.1"):
        session.get(f"http://{host}:{port}/x")
    assert file_server.seen == []


def test_a_name_that_changes_its_address_in_between(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = resolve_as(monkeypatch, "52.216.0.1", "127.0.0.1")
    port = file_server.url.split(":")[2].split("/")[0]
    with guarded_session(Guard()) as session, pytest.raises(ResultRefused, match=r"127\.0\.0\.1"):
        session.get(f"http://files.example.com:{port}/x")
    assert len(lookups) == 2
    assert file_server.seen == [], "a connection was made, but nothing may be sent on it"


def test_a_name_that_nobody_knows_is_an_ordinary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with guarded_session(Guard()) as session, pytest.raises(requests.ConnectionError):
        session.get("https://files.example.com/x")


def test_a_session_brings_no_credentials_along(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests.utils, "get_netrc_auth", lambda *args, **kwargs: ("me", "password"))
    with guarded_session(Guard(loopback=True)) as session:
        session.get(file_server.url)
    assert "authorization" not in file_server.seen[0]
