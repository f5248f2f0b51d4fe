"""Reading bodies of which it is not known yet who sends them: never too many bytes at once, and never for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from airflow_provider_nenoa.webhooks.refusals import CLOSE, Refusal

T = TypeVar("T")

MAX_BODY = 1024 * 1024
"""Bytes that a webhook may have."""
TIME = 10.0
"""Seconds that a body may take, with all that shows who sent it: no vendor waits for an answer longer than that."""
BYTES = 32 * 1024 * 1024
"""Bytes of unverified bodies in one process, at most."""
BYTES_OF_ONE = 8 * 1024 * 1024
"""The same for one connection's name."""
OVERHEAD = 8 * 1024
"""Bytes that a body counts for before its first one has come: what an open request takes."""
MAX_HEAD = 32 * 1024
"""Bytes that a request's headers and URL may have. What is read before we are asked, only the server can bound."""


class _Body:
    def __init__(self, conn_id: str, limit: asyncio.Timeout) -> None:
        self.conn_id = conn_id
        self.limit = limit
        self.size = 0
        self.gave_way = False


class _Group:
    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self.bodies: dict[_Body, None] = {}  # the oldest first


class Bodies:
    """
    The bodies that are being read.

    Where there are too many, the one gives way that has been there longest: a vendor sends a body at once, and who does
    not is no vendor.
    """

    def __init__(self) -> None:
        self._all = _Group(BYTES)
        self._of_one: dict[str, _Group] = {}

    async def read(self, request: Request, conn_id: str, then: Callable[[bytes], Awaitable[T]]) -> T:
        """
        Read a body and find out who sent it.

        :param request: The request.
        :param conn_id: The connection that it names.
        :param then: Takes the body; what it does counts as reading.
        :return: What ``then`` returns.
        :raises Refusal: The body is too large or too slow, it ended early, or it had to give way.
        """
        too_large = Refusal(413, "too_large", f"A webhook may have {MAX_BODY} bytes.", CLOSE)
        with suppress(ValueError):  # not a number: then reading shows how long it is
            if int(request.headers.get("Content-Length", "0")) > MAX_BODY:
                raise too_large
        body: _Body | None = None
        try:
            async with asyncio.timeout(TIME) as limit:
                body = _Body(conn_id, limit)
                for group in self._groups(conn_id):
                    group.bodies[body] = None
                self._grow(body, OVERHEAD)
                read = bytearray()
                async for chunk in request.stream():
                    read += chunk
                    if len(read) > MAX_BODY:
                        raise too_large
                    self._grow(body, len(chunk))
                return await then(bytes(read))
        except TimeoutError:
            if body is not None and body.gave_way:
                raise Refusal(503, "crowded", "Too many webhooks are under way. Try again.", CLOSE) from None
            raise Refusal(408, "too_slow", f"A webhook may take {TIME:g} seconds.", CLOSE) from None
        except ClientDisconnect:
            raise Refusal(400, "incomplete", "The body ended early.", CLOSE) from None
        finally:
            if body is not None:
                self._forget(body)

    def _groups(self, conn_id: str) -> tuple[_Group, _Group]:
        return self._all, self._of_one.setdefault(conn_id, _Group(BYTES_OF_ONE))

    def _grow(self, body: _Body, size: int) -> None:
        if body.gave_way:
            return  # it hears of it when it next waits
        body.size += size
        for group in self._groups(body.conn_id):
            group.size += size
            while group.size > group.most:
                self._give_way(next(iter(group.bodies)))

    def _give_way(self, body: _Body) -> None:
        self._forget(body)
        body.gave_way = True
        body.limit.reschedule(asyncio.get_running_loop().time())

    def _forget(self, body: _Body) -> None:
        if body not in self._all.bodies:
            return
        for group in self._groups(body.conn_id):
            del group.bodies[body]
            group.size -= body.size
        if not self._of_one[body.conn_id].bodies:
            del self._of_one[body.conn_id]
