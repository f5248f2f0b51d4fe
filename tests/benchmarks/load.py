"""Webhooks by the thousand: prepared beforehand, sent over kept-alive connections with as little work as possible."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.receiver import body_of, signed

PADDING = "x" * 700
"""Makes a webhook about as large as one with a few presigned URLs."""


@dataclass
class Load:
    """
    What came of a number of requests.

    :param seconds: From the first request to the last answer.
    :param statuses: How often the server answered with each HTTP status.
    :param latencies: Seconds from when a request was due to its answer, in the order of the answers.
    :param answered_at: `time.time` of each request's answer, by its position.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    answered_at: dict[int, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Requests answered with 200, per second."""
        return self.statuses[200] / self.seconds


def percentile(values: Iterable[float], percent: int) -> float:
    """The value below which so many percent of the values are."""
    ordered = sorted(values)
    return ordered[len(ordered) * percent // 100]


def webhook(base_url: str, conn_id: str, run_id: str, word: str = "success") -> bytes:
    """Return a signed webhook as the bytes that go over the wire."""
    url = urlsplit(base_url)
    body = body_of("nenai", run_id, word, workflow_id="b6d4e2c8", expires_at=1_900_000_000, padding=PADDING)
    headers = {"Host": url.netloc, "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in {**headers, **signed(conn_id, body)}.items()]
    head = "\r\n".join([f"POST {url.path}/webhooks/{conn_id}?ref=r-{run_id} HTTP/1.1", *lines])
    return f"{head}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.transport: asyncio.WriteTransport
        self._received = b""
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if separator and self._answer is not None:
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                self._received = b""
                self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def send(self, request: bytes) -> int:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


async def _connect(base_url: str) -> _Connection:
    url, loop = urlsplit(base_url), asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: _Connection(base_url), url.hostname, url.port)
    return connection


def as_fast_as_possible(base_urls: Sequence[str], requests: Sequence[bytes], connections: int) -> Load:
    """Send requests over so many connections, spread over servers, each the next one as soon as it has an answer."""

    async def worker(connection: _Connection, queue: Iterator[tuple[int, bytes]], load: Load) -> None:
        for position, request in queue:
            began = time.perf_counter()
            load.statuses[await connection.send(request)] += 1
            load.latencies.append(time.perf_counter() - began)
            load.answered_at[position] = time.time()
        connection.transport.close()

    async def main() -> Load:
        load, queue = Load(), enumerate(requests)
        opened = [await _connect(base_urls[number % len(base_urls)]) for number in range(connections)]
        began = time.perf_counter()
        await asyncio.gather(*(worker(connection, queue, load) for connection in opened))
        load.seconds = time.perf_counter() - began
        return load

    return asyncio.run(main())


def at_a_rate(base_urls: Sequence[str], requests: Sequence[bytes], per_second: float, connections: int = 64) -> Load:
    """
    Send requests at a steady rate, spread over servers, however slow the answers are.

    Latencies count from when a request was due.
    """

    async def main() -> Load:
        load = Load()
        free: asyncio.Queue[_Connection] = asyncio.Queue()
        for number in range(connections):
            free.put_nowait(await _connect(base_urls[number % len(base_urls)]))

        async def send(position: int, request: bytes, due: float) -> None:
            connection = await free.get()
            if connection.transport.is_closing():  # servers end connections that are idle for some seconds
                connection = await _connect(connection.base_url)
            load.statuses[await connection.send(request)] += 1
            load.latencies.append(time.perf_counter() - due)
            load.answered_at[position] = time.time()
            free.put_nowait(connection)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for position, request in enumerate(requests):
                due = began + position / per_second
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(send(position, request, due))
        load.seconds = time.perf_counter() - began
        return load

    return asyncio.run(main())
