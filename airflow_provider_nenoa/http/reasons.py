"""Why a request got no answer, in words for people: no addresses of objects, no nested reprs."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from typing import TypeVar

import requests
from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

_SOURCE = re.compile(r" ?\(_ssl\.c:\d+\)$")
_NOT_CONNECTED = re.compile(r"Failed to establish a new connection: (?:\[Errno -?\d+\] |0x[0-9a-f]+: )?(.+)")
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")

E = TypeVar("E", bound=BaseException)


def reason_of(error: BaseException) -> str:
    """
    Say what went wrong.

    :param error: What requests or urllib3 raised.
    :return: A part of a sentence, such as ``Connection refused`` or ``it did not answer in time``.
    """
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    chain = list(_chain(error))
    if any(isinstance(each, (requests.Timeout, TimeoutError)) or _timed_out(each) for each in chain):
        return "it did not answer in time"
    for each in chain:
        words = _words(each)
        if words:
            return words
    text = " ".join(str(error).split())
    return text or type(error).__name__


def find(error: BaseException, kind: type[E]) -> E | None:
    """Return the first error of a kind among an error and those that it was made from."""
    return next((each for each in _chain(error) if isinstance(each, kind)), None)


def refusal_of_proxy(error: BaseException) -> int | None:
    """Return the status with which a proxy refused to open the way to a host, if that is what happened."""
    found = (_TUNNEL.search(str(each)) for each in _chain(error) if isinstance(each, OSError))
    return next((int(match[1]) for match in found if match), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go through an error and those that requests and urllib3 made it from, outermost first."""
    queue: list[object] = [error]
    seen: set[int] = set()
    while queue:
        each = queue.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        queue += [*each.args, getattr(each, "reason", None), getattr(each, "original_error", None), each.__cause__]


def _timed_out(error: BaseException) -> bool:
    return isinstance(error, Urllib3Timeout) and not isinstance(error, NewConnectionError)


def _words(error: BaseException) -> str | None:
    if isinstance(error, NewConnectionError) and error.__cause__ is None:  # of SOCKS; its cause is in its text alone
        found = _NOT_CONNECTED.search(str(error))
        return found[1] if found else None
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", None) or _SOURCE.sub("", error.strerror or str(error))
        return f"its TLS certificate is not accepted: {why.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        why = (error.reason or "").replace("_", " ").lower() or _SOURCE.sub("", error.strerror or str(error))
        return f"TLS failed: {why}"
    if isinstance(error, socket.gaierror):
        return f"its name is not known here: {error.strerror or error}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "its answer broke off"
    if isinstance(error, (http.client.BadStatusLine, http.client.LineTooLong, http.client.UnknownProtocol)):
        return "what it answered is no HTTP"
    if isinstance(error, http.client.HTTPException):
        return " ".join(str(error).split()) or None
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        wraps = any(isinstance(each, BaseException) for each in error.args)
        return error.strerror or (None if wraps else " ".join(str(error).split()) or None)
    return None
