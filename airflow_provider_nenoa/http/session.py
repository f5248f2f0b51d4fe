"""How every session of the provider is set up: what of the machine's settings counts, and what does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from airflow_provider_nenoa import __version__

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a TCP connection, and again for TLS."""
CA_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that name certificates, the first one that is set counts."""
SOCKS_SCHEMES = ("socks5", "socks5h", "socks4", "socks4a")


class Session(requests.Session):
    """
    A session that takes proxies and certificates from the environment, and credentials from nowhere.

    An entry in a ``.netrc`` must neither replace a connection's API key nor travel with a presigned URL. Certificates
    are always looked at. Redirects are the caller's business: credentials would travel along.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["User-Agent"] = f"airflow-provider-nenoa/{__version__}"

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return how one request is sent: what the caller says, and else what the environment says."""
        if proxies is None or not proxies:
            proxies = requests.utils.get_environ_proxies(url)
        if verify is None:
            verify = certificates() or True
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """
        Leave redirects alone: requests would prepare the next request even where it is not to be sent.

        With a ``Location`` that is no URL, that fails, and an answer would be taken for none.
        """


class Proxy(NamedTuple):
    """
    The proxy on the way to a URL.

    :param variable: The environment variable that names it.
    :param name: Its host and port, without credentials; empty if it is not to be made out.
    :param socks: Whether it speaks SOCKS, and not HTTP.
    """

    variable: str
    name: str
    socks: bool


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that the environment has for a URL, if any."""
    chosen = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if not chosen:
        return None
    names = [f"{kind}_proxy" for kind in (urlsplit(url).scheme.lower(), "all")]
    spelled = [spelling for name in names for spelling in (name, name.upper())]
    variable = next((name for name in spelled if os.environ.get(name) == chosen), names[0].upper())
    try:
        parts = urlsplit(chosen if "://" in chosen else f"http://{chosen}")
        name = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return Proxy(variable, "", False)
    return Proxy(variable, name, parts.scheme.lower() in SOCKS_SCHEMES)


def certificates(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the file or directory of certificates that the environment names; None if it names none."""
    return next((environ[name] for name in CA_BUNDLE_VARIABLES if environ.get(name)), None)


def certificates_variable(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the environment variable from which `certificates` are."""
    return next((name for name in CA_BUNDLE_VARIABLES if environ.get(name)), None)
