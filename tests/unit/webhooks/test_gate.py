"""The door: what strangers cost, and what they can learn. The app is called as a server calls it, without one."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from airflow_provider_nenoa.webhooks import bodies, connections, floods, gate, inbound, polls, readiness, refusals
from airflow_provider_nenoa.webhooks.app import create_app
from airflow_provider_nenoa.webhooks.connections import Sender
from airflow_provider_nenoa.webhooks.refusals import Pace, Refusal
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.tokens import issue
from tests.support.receiver import SENDERS, body_of, open_store, signed

BODY = body_of("nenai", "m-1", "success")
FORGED = {"X-Hmac-Signature": "sha256=" + "0" * 64}


class Client:
    """One request at a time to an app, byte by byte if need be."""

    def __init__(self, app: Callable[..., Any], path: str, headers: dict[str, str], method: str = "POST") -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answer: list[dict[str, Any]] = []
        path, _, query = path.partition("?")
        self.scope = {
            "type": "http",
            "method": method,
            "path": "/nenoa" + path,
            "raw_path": ("/nenoa" + path).encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.received = 0
        self.task = asyncio.ensure_future(app(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        message = await self.sent.get()
        self.received += len(message.get("body", b""))
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        self.answer.append(message)

    def send(self, body: bytes = b"", *, more: bool = False) -> Client:
        self.sent.put_nowait({"type": "http.request", "body": body, "more_body": more})
        return self

    def hang_up(self) -> None:
        self.sent.put_nowait({"type": "http.disconnect"})

    async def status(self) -> int:
        await asyncio.wait_for(self.task, 20)
        return self.answer[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.answer[0]["headers"])


class Backend:
    """A secrets backend that counts, and that answers when it is told to."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self._asked = threading.Semaphore(0)
        self.answers = threading.Event()
        self.answers.set()

    def read(self, conn_id: str) -> Sender:
        self.reads.append(conn_id)
        self._asked.release()
        assert self.answers.wait(20)
        return SENDERS[conn_id]

    async def is_asked(self, times: int) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._asked.acquire, timeout=20)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def app(tmp_path: Path, backend: Backend) -> Callable[..., Any]:
    store = open_store(f"sqlite:///{tmp_path}/events.db")
    store.cursor()  # its tables are made, which takes longer than a webhook may on a busy machine
    return create_app(store, backend.read)


@pytest.mark.parametrize("path", ["runs", "runs/m-1", "refs/r", "events", "events/5"])
async def test_who_hangs_up_is_no_error_of_the_server(app: Callable[..., Any], backend: Backend, path: str) -> None:
    backend.answers.clear()
    token = issue("nen", SENDERS["nen"].secret)
    client = Client(app, f"/api/v1/connections/nen/{path}", {"Authorization": f"Bearer {token}"}, "GET").send()
    await backend.is_asked(1)
    client.hang_up()
    assert await client.status() == 400
    backend.answers.set()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hmac-Signature": ""},
        {"X-Hmac-Signature": "sha256=" + "0" * 63},
        {"X-Hmac-Signature": "0" * 64},
        {"X-OpenAnalyst-Signature": "t=1,v1="},
        {"X-OpenAnalyst-Signature": "x" * 5000},
        {"Authorization": "Bearer a.b.c"},
    ],
)
async def test_without_a_well_formed_signature_nothing_is_looked_up_and_nothing_is_read(
    app: Callable[..., Any], backend: Backend, headers: dict[str, str]
) -> None:
    client = Client(app, "/webhooks/nen", headers).send(BODY)
    assert await client.status() == 401
    assert client.headers[b"connection"] == b"close"
    assert (backend.reads, client.received) == ([], 0)


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Bearer a.b", "Bearer a.b.", "Basic a.b.c"])
async def test_without_a_well_formed_token_nothing_is_looked_up(
    app: Callable[..., Any], backend: Backend, token: str
) -> None:
    client = Client(app, "/api/v1/connections/nen/events", {"Authorization": token}, "GET").send()
    assert await client.status() == 401
    assert backend.reads == []


async def test_who_hangs_up_is_looked_up_no_more(app: Callable[..., Any], backend: Backend) -> None:
    backend.answers.clear()
    strangers = [Client(app, f"/webhooks/c{number}", FORGED).send(BODY) for number in range(40)]
    await backend.is_asked(2)
    for stranger in strangers:
        stranger.hang_up()
    await asyncio.gather(*(stranger.task for stranger in strangers))
    backend.answers.set()
    assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 200
    assert len(backend.reads) <= 2 + 1


async def test_a_new_secret_is_good_while_the_connection_is_being_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"nen": Sender("nenai", "old")}
    store = open_store(f"sqlite:///{tmp_path}/events.db")
    store.cursor()
    app = create_app(store, lambda conn_id: known[conn_id])
    monkeypatch.setattr(connections, "REMEMBER", 0.0)
    assert await Client(app, "/webhooks/nen", FORGED).send(BODY).status() == 401
    known["nen"] = SENDERS["nen"]
    assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 200


async def test_a_look_up_that_takes_too_long_is_a_refusal_like_any_other(
    app: Callable[..., Any], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "REFUSAL_TIMES", (0.01, 0.05, 0.1))
    assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 200
    monkeypatch.setattr(refusals, "LOOK_UP_TIME", 0.1)
    backend.answers.clear()
    for conn_id in ("nobody", "nen"):
        started = time.monotonic()
        assert await Client(app, f"/webhooks/{conn_id}", FORGED).send(BODY).status() == 401
        # The known one needs no look-up, and is refused as late as the other; nobody waits for the backend's answer.
        assert time.monotonic() - started >= 0.09
    assert backend.reads == ["nen", "nobody"]
    backend.answers.set()


def test_strangers_are_answered_when_the_slowest_look_up_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace, seen = Pace(), []
    for seconds in (0.01, 0.5, 0.01, 30.0):
        pace.took(seconds)
        seen.append(pace.seconds)
    now += refusals.SLOW_FOR + 1
    assert [*seen, pace.seconds] == [0.1, 1.0, 1.0, 4.0, 0.1]


async def test_a_body_that_does_not_come_is_waited_for_so_long_and_no_longer(
    app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "TIME", 0.05)
    for conn_id in ("nen", "nobody"):
        client = Client(app, f"/webhooks/{conn_id}", FORGED).send(BODY[:5], more=True)
        assert await client.status() == 408
        assert client.headers[b"connection"] == b"close"


async def settle() -> None:
    """Let all that needs no time come to rest, however slow the machine is."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_unfinished_bodies_give_way_to_who_sends_at_once(
    app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "TIME", 20.0)
    monkeypatch.setattr(refusals, "REFUSAL_TIMES", (0.0,))
    chunk = b" " * 1000_000
    slow = [
        Client(app, f"/webhooks/{'nen' if number % 2 else f'c{number}'}", FORGED).send(chunk, more=True)
        for number in range(100)
    ]
    await settle()
    left = [number for number, client in enumerate(slow) if not client.task.done()]
    assert len(left) <= bodies.BYTES // len(chunk)
    assert sum(number % 2 for number in left) <= bodies.BYTES_OF_ONE // len(chunk)
    assert left[-1] == 99, "the newest stay"
    assert {await client.status() for client in slow if client.task.done()} == {503}
    assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 200
    for client in slow:
        client.hang_up()
    assert {await slow[number].status() for number in left} <= {400, 503}
    many = [Client(app, "/webhooks/nen", FORGED) for number in range(2000)]
    await settle()
    assert sum(not client.task.done() for client in many) <= bodies.BYTES_OF_ONE // bodies.OVERHEAD
    for client in many:
        client.hang_up()
    await asyncio.gather(*(client.task for client in many))


@pytest.mark.parametrize("where", ["header", "headers", "query", "path"])
async def test_endless_headers_are_refused_before_anything_else(
    app: Callable[..., Any], backend: Backend, where: str
) -> None:
    path, headers = "/webhooks/nen", dict(FORGED)
    if where == "header":
        headers["X-Other"] = "x" * 40_000
    elif where == "headers":
        headers |= {f"X-{number}": "x" * 100 for number in range(400)}
    elif where == "query":
        path += "?ref=" + "x" * 40_000
    else:
        path += "x" * 40_000
    assert await Client(app, path, headers).send(BODY).status() == 431
    assert backend.reads == []


@pytest.mark.parametrize(("interval", "lines"), [(1_000.0, 1), (0.0, 3)])
async def test_what_goes_on_is_told_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, interval: float, lines: int
) -> None:
    def fail() -> None:
        raise OSError("gone")

    for module in (gate, inbound, polls, readiness):
        monkeypatch.setattr(module, "LOG_INTERVAL", interval)
    monkeypatch.setattr(polls, "MAX_WAITING", 0)
    monkeypatch.setattr(floods, "EVENTS", floods.Allowance(0.001, 1.0))
    monkeypatch.setattr(readiness, "REMEMBER", 0.0)
    caplog.set_level(logging.INFO, "airflow_provider_nenoa")
    store = open_store(f"sqlite:///{tmp_path}/events.db")
    store.cursor()
    app = create_app(store, SENDERS.__getitem__)
    while await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() != 429:
        pass
    assert await Client(app, "/ready", {}, "GET").send().status() == 200
    monkeypatch.setattr(store, "check", fail)
    for _ in range(3):
        assert await Client(app, "/webhooks/nen", FORGED).send(BODY).status() == 401
        assert await events(app).status() == 429
        assert await Client(app, "/ready", {}, "GET").send().status() == 503
    for _ in range(2):
        assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 429
    beginnings = (
        "Refused 1 webhooks: unknown connection",
        "Refused a long poll of connection 'nen': 0 are held for it",
        "Webhooks cannot be stored. OSError Check",
        "Webhooks of connection 'nen' are refused: more events came",
    )
    told = [record.getMessage() for record in caplog.records]
    assert [sum(text.startswith(begin) for text in told) for begin in beginnings] == [lines] * 4


# Long polls


def events(app: Callable[..., Any], conn_id: str = "nen", after: int = 0, wait: float = 20.0) -> Client:
    token = {"Authorization": f"Bearer {issue(conn_id, SENDERS[conn_id].secret)}"}
    return Client(app, f"/api/v1/connections/{conn_id}/events?after={after}&wait={wait}", token, "GET").send()


async def test_so_many_long_polls_are_held_and_no_more(
    app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MAX_WAITING", 3)
    monkeypatch.setattr(polls, "MAX_WAITING_IN_ALL", 5)
    for conn_id in ("nen", "oa"):  # else they are looked up first, and the store is opened
        assert await events(app, conn_id, wait=0.01).status() == 200
    held = [events(app) for _ in range(3)]
    await settle()
    refused = events(app)
    assert await refused.status() == 429
    assert refused.headers[b"retry-after"] == str(polls.RETRY_AFTER).encode()
    held += [events(app, "oa") for _ in range(2)]
    await settle()
    assert await events(app, "oa").status() == 429
    assert await events(app, wait=0).status() == 200, "who does not wait is answered"
    held.pop(0).hang_up()
    await settle()
    assert await events(app, wait=0.01).status() == 200, "who hangs up makes room"
    assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 200
    assert [await client.status() for client in held[:2]] == [200, 200]
    for client in held:
        client.hang_up()
    await asyncio.gather(*(client.task for client in held))


async def test_all_who_ask_the_same_share_one_read_and_none_misses_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = open_store(f"sqlite:///{tmp_path}/events.db")
    store.cursor()
    reads, answered, real = [], [], store.events

    def counted(conn_id: str, after: int) -> Any:
        reads.append(after)
        events = real(conn_id, after)
        answered.append(after)
        return events

    monkeypatch.setattr(store, "events", counted)
    app = create_app(store, SENDERS.__getitem__)
    assert await events(app, wait=0.01).status() == 200  # else the connection is looked up while they ask
    asked = len(reads)
    waiting = [events(app) for _ in range(100)]
    await settle()
    async with asyncio.timeout(20):
        while not asked < len(reads) == len(answered):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await settle()
    before = len(reads)
    assert await Client(app, "/webhooks/nen", signed("nen", BODY)).send(BODY).status() == 200
    assert {await client.status() for client in waiting} == {200}
    assert all(b"m-1" in client.answer[1]["body"] for client in waiting)
    assert before - asked <= 10
    assert len(reads) - before <= 3


@pytest.mark.parametrize("bound", ["BYTES", "BYTES_OF_ONE"])
async def test_a_body_that_was_read_takes_no_room_any_more_and_gives_none_away(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(bodies, bound, bodies.OVERHEAD + len(BODY))
    reading = bodies.Bodies()

    async def read(body: bytes) -> bytes:
        chunks = iter([body, b""])

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            chunk = next(chunks)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

        async def take(whole: bytes) -> bytes:
            return whole

        return await reading.read(Request({"type": "http", "headers": []}, receive), "nen", take)

    assert [await read(BODY) for _ in range(3)] == [BODY] * 3
    with pytest.raises(Refusal) as caught:
        await read(BODY + b" ")
    assert (caught.value.response.status_code, caught.value.error) == (503, "crowded")
    assert await read(BODY) == BODY
