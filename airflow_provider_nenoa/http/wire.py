"""
The wire: how far a request has come, known by whoever opens the connection and writes the bytes.

Errors do not tell it: the same `ConnectionResetError` comes from a TLS handshake, when nothing was sent, and from a
vendor who may be at work already.
"""

from __future__ import annotations

import enum
import functools
import http.client
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from requests.adapters import HTTPAdapter

SLOW_ANNOUNCEMENT = 1.0
"""Seconds of `before_send` after which the other side may have hung up on a connection that says nothing."""


class Step(enum.Enum):
    """What was done last for a request."""

    PREPARING = "preparing"
    CONNECTING = "connecting"
    TUNNELLING = "tunnelling"
    """The proxy was asked for a connection to the vendor."""
    CONNECTED = "connected"
    """There is a connection; what may still be missing is TLS."""
    SENT = "sent"
    """Bytes of the request itself were written."""


class NotAnnounced(Exception):
    """
    ``before_send`` raised. `Passage.refusal` has the error.

    Kept in another one: urllib3 takes a broken pipe for the sign of an early answer, and would go on.
    """


class HungUp(Exception):
    """The other side closed the connection, or spoke unasked, before anything was sent."""


class Passage:
    """
    One request's way out. Used as a context, in whose thread the request is sent.

    :param before_send: Called when the connection stands, TLS included, immediately before the first byte.
    """

    def __init__(self, before_send: Callable[[], None] | None = None) -> None:
        self.step = Step.PREPARING
        self.tunnelled = False
        self.refusal: Exception | None = None
        self._before_send = before_send
        self._token: Token[Passage | None] | None = None

    @property
    def sent(self) -> bool:
        """Whether a byte of the request may have left this machine."""
        return self.step is Step.SENT

    def __enter__(self) -> Passage:
        self._token = _passage.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            _passage.reset(self._token)

    def leave(self, connected: Any) -> None:
        """
        Announce the request; the next thing that happens is its first byte.

        :param connected: The socket.
        :raises NotAnnounced: It must not be sent.
        :raises HungUp: There is nobody to send it to any more.
        """
        if self._before_send is not None:
            began = time.monotonic()
            try:
                self._before_send()
            except Exception as error:
                self.refusal = error
                raise NotAnnounced from error
            if time.monotonic() - began > SLOW_ANNOUNCEMENT and _hung_up(connected):
                raise HungUp("it closed the connection before the request was sent")
        self.step = Step.SENT


_passage: ContextVar[Passage | None] = ContextVar("nenoa_passage", default=None)


class FinalResponse(http.client.HTTPResponse):
    """Passes over interim answers, such as 103 Early Hints: Python's client takes all but 100 for the answer itself."""

    def begin(self) -> None:
        """Read status and headers of the answer."""
        super().begin()
        while 101 < self.status < 200:  # 101 is the last one on its connection
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class WireAdapter(HTTPAdapter):
    """Tells the `Passage` of a request how far it has come, whether it goes directly or by a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        _watch(manager)
        return manager


def _watch(manager: Any) -> None:
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _watched_pool(pool) for scheme, pool in pools.items()}


@functools.cache
def _watched_pool(pool: Any) -> Any:
    if issubclass(pool.ConnectionCls, _Watched):
        return pool
    connection = type(pool.ConnectionCls.__name__, (_Watched, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _Watched:
    """Stands before a connection of urllib3, be it to a host, by TLS, or to a proxy of any kind."""

    response_class = FinalResponse
    sock: Any
    _begins = False

    def _new_conn(self) -> Any:
        _came_to(Step.CONNECTING)
        connected = super()._new_conn()  # type: ignore[misc]
        _came_to(Step.CONNECTED)
        return connected

    def _tunnel(self) -> None:
        _came_to(Step.TUNNELLING)
        super()._tunnel()  # type: ignore[misc]
        _came_to(Step.CONNECTED)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self._begins = True  # not before: what a proxy is asked goes out by the same `send`
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._begins = False

    def send(self, data: Any) -> None:
        passage = _passage.get()
        if self._begins and passage is not None:
            self._begins = False
            passage.leave(self.sock)
        super().send(data)  # type: ignore[misc]


def _came_to(step: Step) -> None:
    passage = _passage.get()
    if passage is not None:
        passage.step = step
        passage.tunnelled = passage.tunnelled or step is Step.TUNNELLING


def _hung_up(connected: Any) -> bool:
    if not isinstance(connected, socket.socket):  # TLS inside TLS: cannot be asked without waiting
        return False
    timeout = connected.gettimeout()
    connected.settimeout(0)
    try:
        connected.recv(1)
    except BlockingIOError:
        return False
    except OSError as error:
        # TLS has another word for "nothing to read yet".
        return type(error).__name__ not in ("SSLWantReadError", "SSLWantWriteError")
    finally:
        connected.settimeout(timeout)
    return True
