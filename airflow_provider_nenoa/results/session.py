"""
How a file is asked for: byte for byte by the URL that was given, with nothing else along, and so that nobody hears it.

A presigned URL is signed over its exact bytes, and it is a secret. requests and urllib3 would change one (a doubled
slash, a dot segment, an escape that need not be one) and urllib3 writes it into its debug log. So they are told of the
host alone, and the connection itself puts the rest into the request line.
"""

from __future__ import annotations

import re
import socket
import threading
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from airflow_provider_nenoa.http import Session
from airflow_provider_nenoa.http.wire import FinalResponse
from airflow_provider_nenoa.results.addresses import Guard

TIMEOUT = (10.0, 60.0)
"""Seconds: to connect; between two bytes."""

_URL = re.compile(r"(?P<origin>[A-Za-z]+://[^/?#]+)(?P<target>[^#]*)")


class FileSession(Session):
    """
    A session that connects only to where the guard lets it, and sends URLs as they are.

    It sends no API key and no cookie either: a presigned URL is all the authentication there is.

    :param guard: Decides which hosts may be asked.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._wire = threading.local()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _FileAdapter(guard, self._wire))

    def fetch(self, url: str, headers: dict[str, str]) -> requests.Response:
        """
        GET a URL; the body is left to be streamed, and a redirect to be followed.

        :param url: The URL, checked by the guard. Of the response, ``url`` is the host alone.
        """
        origin, self._wire.target = split_url(url)
        return self.get(origin, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUT)


def split_url(url: str) -> tuple[str, str]:
    """
    Split a URL into the host's and what a request line has: path and query, byte for byte.

    What no request line can carry (a space, a letter beyond ASCII) is escaped; nothing else is touched.

    :raises ValueError: It is no URL.
    """
    match = _URL.match(url)
    if match is None:
        raise requests.exceptions.InvalidURL("no URL")
    target = match["target"]
    target = "".join(char if "!" <= char <= "~" else quote(char.encode("utf-8", "replace"), safe="") for char in target)
    return match["origin"] + "/", target if target.startswith("/") else "/" + target


def redirected(url: str, location: str) -> str:
    """
    Return the URL to which an answer leads on.

    :param url: What was asked for.
    :param location: The header, as requests gives it: each byte one character.
    :raises ValueError: It is no URL.
    """
    location = "".join(char if char <= "~" else quote(char.encode("latin-1", "replace"), safe="") for char in location)
    location = location.strip()
    origin = split_url(url)[0]
    if not location or re.search(r"[\x00-\x1f\x7f]", location):
        raise ValueError("control characters")
    if location.startswith("//"):
        location = urlsplit(origin).scheme + ":" + location
    elif location.startswith("/"):
        location = origin[:-1] + location
    elif not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location):
        location = urljoin(url, location)
    if not urlsplit(location).hostname:
        raise ValueError("no host")
    return location


class _FileAdapter(HTTPAdapter):
    """Connects only to where the guard lets it; through a proxy, it is the proxy that knows the address."""

    def __init__(self, guard: Guard, wire: threading.local) -> None:
        self._guard = guard
        self._wire = wire
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._teach(self.poolmanager, self._guard)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        self._teach(manager, None)
        return manager

    def _teach(self, manager: Any, guard: Guard | None) -> None:
        # A manager for a proxy is kept and comes here again.
        manager.pool_classes_by_scheme = {
            scheme: kind if issubclass(kind.ConnectionCls, _Exact) else _pool_class(kind, self._wire, guard)
            for scheme, kind in manager.pool_classes_by_scheme.items()
        }


class _Exact:
    """Marks our connections among urllib3's."""


def _pool_class(kind: Any, wire: threading.local, guard: Guard | None) -> Any:
    class Pool(kind):
        ConnectionCls = _connection_class(kind.ConnectionCls, wire, guard)

    return Pool


def _connection_class(kind: Any, wire: threading.local, guard: Guard | None) -> Any:
    class Connection(_Exact, kind):
        response_class = FinalResponse

        def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
            # The URL is "/", or with a proxy for http the host's whole URL.
            super().putrequest(method, url.removesuffix("/") + wire.target, *args, **kwargs)

        def _new_conn(self) -> socket.socket:
            if guard is None:
                return super()._new_conn()
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

    return Connection
