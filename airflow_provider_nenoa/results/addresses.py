"""
Which addresses a URL from a payload may lead to.

A payload can be forged, or a vendor's system taken over. So that it cannot make a worker read what only the inside of a
network can reach, such as a cloud's metadata service at 169.254.169.254, files are fetched from public addresses
alone. The address that counts is the one that is connected to, not one that a name had a moment before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from airflow_provider_nenoa.exceptions import ResultRefused
from airflow_provider_nenoa.http import is_loopback

# What is public is said here and not asked of the ipaddress module: what that says differs between versions of Python.
# By IANA's registries of special-purpose addresses for IPv4 and IPv6. Some of what they list can be reached from
# everywhere (anycast services of networks), but no store of files is there.
_NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared with carriers' customers; a cloud's metadata service at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # no registry says so, but inside Azure this is the host's own service
        "169.254.0.0/16",  # link-local; clouds' metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata service at 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunneling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; broadcast
    )
)
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
"""All that has been given out for everybody: not loopback (::1), unique local (fc00::/7), link-local (fe80::/10),
site-local (fec0::/10), IPv4-compatible (::/96), local translation (64:ff9b:1::/48), discard (100::/64), segment routing
(5f00::/16), multicast (ff00::/8)."""
_NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, ...
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside, by relays of strangers
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""How networks without IPv4 reach it (NAT64): the IPv4 address inside counts."""


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

        :raises ResultRefused: It is none, is not https, names its user, or has an address where a public one belongs.
        """
        try:
            parts = urlsplit(url)
            host, scheme = parts.hostname or "", parts.scheme.lower()
            usable = parts.port is None or parts.port > 0
        except ValueError:
            usable = False
        if not usable or not host or not host.isprintable():
            raise ResultRefused("A file has a URL that nobody can be asked by.")
        if "@" in parts.netloc:
            raise ResultRefused("Files are not fetched from URLs with a user name in them.")
        if scheme != "https" and not (scheme == "http" and self.loopback and is_loopback(host)):
            raise ResultRefused(f"Files are fetched by https only, not from {scheme}://{host}.")
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
        if _is_public(ip):
            return
        if (self.loopback and ip.is_loopback) or any(fnmatchcase(host.lower(), name) for name in self.private_hosts):
            return
        raise ResultRefused(
            f"The payload has the URL of a file at {host}, which is {ip}: no public address, so nothing was asked "
            "there.\nIf your files are kept inside your own network, name the host in the connection's extra field "
            "'private_file_hosts'."
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    return ip in _UNICAST_6 and not any(ip in network for network in _NOT_PUBLIC_6)


def _meant(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Unwrap an IPv4 address that is written as an IPv6 one."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _TRANSLATED:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip
    return ip
