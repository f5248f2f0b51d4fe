"""A payload cannot make a worker ask what only the inside of a network can reach."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.exceptions import ResultRefused
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.session import FileSession
from tests.unit.results.conftest import FileServer


def networks(table: str) -> list[str]:
    return table.split()


# IANA's registries of special-purpose addresses, "iana-ipv4-special-registry" and "iana-ipv6-special-registry", whole.
SPECIAL_4 = networks("""
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32
""")
SPECIAL_6 = networks("""
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10
""")
# What they do not list, and is no place for files either: multicast, site-local, IPv4-compatible, unassigned space.
OTHERS = networks("224.0.0.0/4 ff00::/8 fec0::/10 ::/96 ::ffff:0:0:0/96 4000::/3 8000::/2 e000::/4 168.63.129.16/32")
WRITTEN_AS_OTHERS = [
    "fe80::1%eth0",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::10.1.2.3",
    "64:ff9b:1::a9fe:a9fe",
    "100.100.100.200",
    "192.0.0.192",
]


@pytest.mark.parametrize("network", SPECIAL_4 + SPECIAL_6 + OTHERS)
def test_no_address_with_a_special_purpose_is_asked(network: str) -> None:
    addresses = ipaddress.ip_network(network)
    for index in {0, addresses.num_addresses // 3, addresses.num_addresses // 2, addresses.num_addresses - 1}:
        with pytest.raises(ResultRefused, match="no public address"):
            Guard().check_address("files.example.com", str(addresses[index]))
    if addresses.version == 4:
        for form in ("::ffff:{}", "64:ff9b::{}"):
            with pytest.raises(ResultRefused, match="no public address"):
                Guard().check_address("files.example.com", form.format(addresses[0]))


@pytest.mark.parametrize("address", WRITTEN_AS_OTHERS)
def test_addresses_of_the_inside_are_refused(address: str) -> None:
    with pytest.raises(ResultRefused, match="no public address"):
        Guard().check_address("files.example.com", address)


def test_it_is_not_for_python_to_say_what_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        monkeypatch.setattr(kind, "is_global", True)
        monkeypatch.setattr(kind, "is_private", False)
    for address in ("10.0.0.1", "192.0.0.192", "fec0::1", "3fff::1"):
        with pytest.raises(ResultRefused):
            Guard().check_address("files.example.com", address)


@pytest.mark.parametrize(
    "address",
    [
        "52.216.0.1",
        "8.8.8.8",
        "2600:1f18::1",
        "64:ff9b::808:808",  # how a network without IPv4 reaches 8.8.8.8
        "::ffff:8.8.8.8",
        *("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"),
        *("169.253.255.255", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
        *("168.63.129.15", "2001:200::", "2003::", "2001:db7:ffff::", "3fff:1000::", "2620:4f:7fff::"),
    ],
)
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
        "https://[::1/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://files.example.com:99999/x",
        "https://files.example.com:x/",
        "https:///x",
        "https://",
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
    with FileSession(Guard()) as session, pytest.raises(ResultRefused, match=r"127\.0\.0\.1"):
        session.fetch(f"http://{host}:{port}/x", {})
    assert file_server.seen == []


def test_a_name_that_changes_its_address_in_between(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = resolve_as(monkeypatch, "52.216.0.1", "127.0.0.1")
    port = file_server.url.split(":")[2].split("/")[0]
    with FileSession(Guard()) as session, pytest.raises(ResultRefused, match=r"127\.0\.0\.1"):
        session.fetch(f"http://files.example.com:{port}/x", {})
    assert len(lookups) == 2
    assert file_server.seen == [], "a connection was made, but nothing may be sent on it"


def test_a_name_that_nobody_knows_is_an_ordinary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with FileSession(Guard()) as session, pytest.raises(requests.ConnectionError):
        session.fetch("https://files.example.com/x", {})
