"""
Which addresses a URL from a payload may lead to.

A payload can be forged, or a vendor's system taken over. So that it cannot make a worker read what only the inside of a
network can reach, such as a cloud's metadata service at 169.254.169.254, files are fetched from public addresses
alone. The address that counts is the one that is connected to, not one that a name had a moment before.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_nenoa import __version__
from airflow_provider_nenoa.exceptions import ResultRefused
from airflow_provider_nenoa.http import is_loopback

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Guard:
    """
    Decides which hosts files may be fetched from.

    :param loopback: Whether this machine itself may be asked, and by http: for a vendor that is emulated here.
    :param private_hosts: Names, or patterns such as ``*.s3.eu-central-1.amazonaws.com``, of hosts that may have a
        private address: an endpoint for a store inside one's own network.
    """

    def __init__(self, *, loopback: bool = False, private_hosts: Iterable[str] = ()) -> None:
        self.loopback = loopback
        self.private_hosts = tuple(host.lower() for host in private_hosts)

    def check_url(self, url: str) -> None:
        """
        Look at a URL before anything is sent.

        :raises ResultRefused: It is not https, names its user, or has an address where a public one belongs.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        if "@" in parts.netloc:
            raise ResultRefused("Files are not fetched from URLs with a user name in them.")
        if parts.scheme.lower() != "https" and not (self.loopback and is_loopback(host)):
            raise ResultRefused(f"Files are fetched by https only, not from {parts.scheme}://{host}.")
        if is_loopback(host):
            self.check_address(host, host if ":" in host else "127.0.0.1")
        elif _is_address(host):
            self.check_address(host, host)

    def check_address(self, host: str, address: str) -> None:
        """
        Look at an address that is about to be connected to, or was.

        :param host: The name it belongs to.
        :raises ResultRefused: It is private, link-local, loopback or otherwise not public.
        """
        ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
        if ip.is_global and not ip.is_multicast:
            return
        if (self.loopback and ip.is_loopback) or any(fnmatchcase(host.lower(), name) for name in self.private_hosts):
            return
        raise ResultRefused(
            f"The payload has the URL of a file at {host}, which is {ip}: no public address, so nothing was asked "
            "there. If your files are kept inside your own network, name the host in the connection's extra field "
            "'private_file_hosts'."
        )


def guarded_session(guard: Guard) -> requests.Session:
    """Make a session that connects only to where the guard lets it; proxies of the environment are for the caller."""
    session = requests.Session()
    session.headers["User-Agent"] = f"airflow-provider-nenoa/{__version__}"
    session.trust_env = False  # no .netrc: a presigned URL is all the authentication there is
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    for scheme in ("https://", "http://"):
        session.mount(scheme, _GuardedAdapter(guard))
    return session


class _GuardedAdapter(HTTPAdapter):
    """Connects only to where the guard lets it; through a proxy, it is the proxy that knows the address."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)

        class Http(HTTPConnectionPool):
            ConnectionCls = _guarded(HTTPConnection, self._guard)

        class Https(HTTPSConnectionPool):
            ConnectionCls = _guarded(HTTPSConnection, self._guard)

        self.poolmanager.pool_classes_by_scheme = {"http": Http, "https": Https}


def _guarded(kind: type[HTTPConnection], guard: Guard) -> Any:
    class Guarded(kind):  # type: ignore[valid-type,misc]
        def _new_conn(self) -> socket.socket:
            # Before: nobody inside is even knocked at. After: a name may have another address by then.
            try:
                addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                addresses = []  # urllib3 has its own error for it
            for *_, address in addresses:
                guard.check_address(self.host, str(address[0]))
            connected: socket.socket = super()._new_conn()
            try:
                guard.check_address(self.host, connected.getpeername()[0])
            except BaseException:
                connected.close()
                raise
            return connected

    return Guarded


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _meant(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Unwrap an IPv4 address that is written as an IPv6 one."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip
