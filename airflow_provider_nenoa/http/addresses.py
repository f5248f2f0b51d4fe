"""Where an API is: the base URL, from whatever a connection says about it."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_nenoa.exceptions import InvalidConnection

_HOW = "Write it like https://api.example.com/v1, without credentials, query or fragment."


def base_url_of(host: str | None, port: Any, schema: str | None, default: str) -> str:
    """
    Put together what a connection says in three fields; a connection in the form of a URI fills all of them.

    :param host: A host, with or without scheme, port and path. IPv6 with or without brackets. Empty: the default.
    :param port: The port, if the host does not name one. 0 counts as none: Airflow's form sends it for an empty field.
    :param schema: The path, if the host does not name one; or ``https`` or ``http``, as in Airflow's HTTP connections.
    :param default: The base URL where there is no host.
    :return: The base URL, see `check_base_url`.
    :raises InvalidConnection: They contradict each other, or make no sense; the message names the field.
    """
    text = (host or "").strip()
    number, scheme, path = _port(port), *_scheme_or_path(schema)
    if not text and number == (urlsplit(default).port or 443):
        number = None  # what it is anyway: Airflow 3.3 tests no stored connection without a port
    if not text and (number is not None or scheme or path):
        named = "port" if number is not None else "schema"
        raise InvalidConnection(
            f"it has a {named}, but no host.\nPut the whole base URL into the host field, or leave the "
            f"{named} empty: then it is {default}."
        )
    text = text or default
    if "://" not in text:
        text = f"{scheme or 'https'}://{_bracketed(text)}"
    elif scheme and urlsplit(text).scheme.lower() != scheme:
        raise _conflict("schema", scheme, urlsplit(text).scheme)
    url = check_base_url(text, plain=True)
    parts = urlsplit(url)
    if number is not None and parts.port not in (None, number):
        raise _conflict("port", number, parts.port)
    if path and parts.path.strip("/") not in ("", path):
        raise _conflict("schema", path, parts.path.strip("/"))
    if number is None and not path:
        return check_base_url(url)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    at = parts.port if number is None else number
    netloc = name if at is None else f"{name}:{at}"
    whole = f"{parts.scheme}://{netloc}/{path or parts.path.strip('/')}"
    try:
        check_base_url(whole, plain=True)
    except InvalidConnection:
        raise InvalidConnection(
            f"its schema is {path!r}, which is no path that a base URL can have.\nPut the whole base URL "
            "into the host field, and leave the schema empty."
        ) from None
    return check_base_url(whole)


def check_base_url(url: str, *, plain: bool = False, field: str = "host") -> str:
    """
    Accept an https URL, or http on a loopback host, and take the slash off its end.

    :param plain: Look at the form only; that http is for loopback hosts is checked later.
    :param field: Where the connection has it, for messages.
    :raises InvalidConnection: Anything else: the API key must not travel in the clear.
    """
    try:
        parts = urlsplit(url)
        requests.Request("GET", url).prepare()  # whatever it refuses, it must not refuse in the midst of a start
        valid = (
            parts.scheme in ("http", "https")
            # Encoded: an empty or endless label would fail no sooner than a name is looked up, and again and again.
            and bool((parts.hostname or "").encode("idna"))
            and parts.port != 0
            and "@" not in parts.netloc
            and "//" not in parts.path.rstrip("/")
            and not parts.path.startswith("//")
            # An empty query or fragment would take in the paths that come behind it.
            and not any(character.isspace() or character in "\\?#" for character in url)
        )
    except ValueError:
        valid = False
    if not valid:
        raise InvalidConnection(f"its {field} is not a usable base URL.\n{_HOW}")
    if parts.scheme == "http" and not plain and not is_loopback(parts.hostname):
        raise InvalidConnection(
            f"its {field} is http://{parts.hostname}: the API key would travel in the clear.\nUse https; "
            "http is accepted for a loopback host only."
        )
    return url.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(value: Any) -> int | None:
    if value is None or value == "" or value == 0:
        return None
    try:
        number = int(str(value).strip())
    except ValueError:
        number = -1
    if not 0 < number < 65_536:
        raise InvalidConnection(
            f"its port is {value!r}, and no host has such a one.\nLeave it empty, or use 1 to 65535."
        )
    return number


def _scheme_or_path(schema: str | None) -> tuple[str | None, str]:
    text = (schema or "").strip()
    if text.lower() in ("http", "https"):
        return text.lower(), ""
    return None, text.strip("/")


def _bracketed(host: str) -> str:
    """Put an IPv6 address into the brackets that it has in a URL."""
    address, slash, path = host.partition("/")
    try:
        if ipaddress.ip_address(address).version == 6:
            return f"[{address}]{slash}{path}"
    except ValueError:
        pass
    return host


def _conflict(field: str, said: object, host_says: object) -> InvalidConnection:
    return InvalidConnection(
        f"its {field} is {said!r}, but its host says {host_says!r}.\nLeave the {field} empty, or make "
        "both say the same."
    )
