"""What strangers and long polls take from Airflow's API server: its processor time, and how soon it answers others."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from airflow_provider_nenoa.webhooks import tokens
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from airflow_provider_nenoa.webhooks.polls import MAX_WAITING, MAX_WAITING_IN_ALL
from tests.benchmarks.load import percentile
from tests.benchmarks.receiver import VENDORS_PATIENCE
from tests.benchmarks.table import Row
from tests.support.local_airflow import LocalAirflow
from tests.support.postgres import postgres_server
from tests.support.receiver import SENDERS, ReceiverProcess, body_of, signed

SENDER = SENDERS["oa"]
CONNECTIONS = [f"crowd_{number}" for number in range(MAX_WAITING_IN_ALL // MAX_WAITING)]
BEYOND = 64
"""Long polls that are too many."""
ROUNDS, REQUESTS, AT_ONCE = 3, 400, 32
LOOKS = 100
STRANGERS, SECONDS = 500, 10.0
"""Connections that strangers have at once, and for how long."""
VERSION, HEALTH = "/api/v2/version", "/api/v2/monitor/health"


def _request(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return a request as the bytes that go over the wire: the only one of its TCP connection."""
    headers = {"Host": "airflow", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _webhook(conn_id: str, headers: dict[str, str], body: bytes) -> bytes:
    return _request("POST", f"/nenoa/webhooks/{conn_id}", headers, body)


def _signed(conn_id: str) -> bytes:
    body = body_of("openanalyst", uuid.uuid4().hex, "completed", padding="x" * 700)
    return _webhook(conn_id, signed("oa", body), body)


def _long_poll(conn_id: str, after: int, secret: str) -> bytes:
    token = {"Authorization": f"Bearer {tokens.issue(conn_id, secret)}"}
    return _request("GET", f"/nenoa/api/v1/connections/{conn_id}/events?after={after}&wait=30", token)


BODY = body_of("openanalyst", "run-1", "completed", padding="x" * 700)
FORGED = {name: value[:-1] + ("1" if value[-1] == "0" else "0") for name, value in signed("oa", BODY).items()}
OWN = {VERSION: _request("GET", VERSION), HEALTH: _request("GET", HEALTH)}
STRANGE = {
    "a webhook without a signature": _webhook("crowd_0", {}, BODY),
    "one with a wrong signature": _webhook("crowd_0", FORGED, BODY),
    "one for a connection that does not exist": _webhook("nobody", FORGED, BODY),
    "a read with a forged token": _long_poll("crowd_0", 0, "another secret"),
}


async def _send(port: int, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        status = int((await reader.readline())[9:12])
        await reader.read()
        return status
    finally:
        writer.close()


def _send_all(port: int, requests: list[bytes]) -> Counter[int]:
    """Send requests, some at once; return how often there was each status."""

    async def main() -> Counter[int]:
        statuses: Counter[int] = Counter()
        left = iter(requests)

        async def worker() -> None:
            for request in left:
                statuses[await _send(port, request)] += 1

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return statuses

    return asyncio.run(main())


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process and its children have had."""
    server = psutil.Process(pid)
    times = [each.cpu_times() for each in (server, *server.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _costs(pid: int, port: int, requests: dict[str, bytes]) -> dict[str, float]:
    """Milliseconds of a server's processor time for one request of each kind."""
    costs: dict[str, list[float]] = {kind: [] for kind in requests}
    for _ in range(ROUNDS):
        for kind, request in requests.items():
            before = _cpu(pid)
            statuses = _send_all(port, [request] * REQUESTS)
            costs[kind].append((_cpu(pid) - before) / REQUESTS * 1000)
            if set(statuses) != {401 if kind in STRANGE else 200}:
                raise AssertionError(f"{kind} was answered with {statuses}")
    return {kind: sorted(found)[ROUNDS // 2] for kind, found in costs.items()}


async def _looks(port: int) -> list[float]:
    """Ask for Airflow's health, one time after the other; return the seconds that each answer took."""
    times = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        if await _send(port, OWN[HEALTH]) != 200:
            raise AssertionError("Airflow is not healthy")
        times.append(time.perf_counter() - began)
    return times


def _beside_long_polls(airflow: LocalAirflow) -> tuple[dict[str, list[float]], Counter[int], Counter[int]]:
    """
    Hold as many long polls as one process may, and then tell all of them something.

    :return: How long Airflow's health took in each situation; how the long polls were answered, and those beyond.
    """

    async def main() -> tuple[dict[str, list[float]], Counter[int], Counter[int]]:
        port = airflow.port
        times = {"without": await _looks(port)}
        after = {conn_id: _cursor(airflow, conn_id) for conn_id in CONNECTIONS}
        polls = [(conn_id, _long_poll(conn_id, after[conn_id], SENDER.secret)) for conn_id in CONNECTIONS]
        held = [asyncio.create_task(_send(port, poll)) for _ in range(MAX_WAITING) for _, poll in polls]
        await asyncio.sleep(5)
        beyond = Counter([await _send(port, polls[number % len(polls)][1]) for number in range(BEYOND)])
        times["while they wait"] = await _looks(port)
        woken = asyncio.gather(*held, *(_send(port, _signed(conn_id)) for conn_id in CONNECTIONS))
        times["while all are told"] = await _looks(port)
        return times, Counter(await woken), beyond

    return asyncio.run(main())


def _cursor(airflow: LocalAirflow, conn_id: str) -> int:
    return ReceiverClient(conn_id, SENDER.secret, f"{airflow.url}/nenoa").events().cursor


def _crowd(port: int, request: bytes) -> int:
    """Send one request after the other on so many connections at once; return how many were answered."""

    async def main() -> int:
        until, answered = time.monotonic() + SECONDS, 0

        async def stranger() -> None:
            nonlocal answered
            while time.monotonic() < until:
                try:
                    await _send(port, request)
                    answered += 1
                except OSError:
                    pass  # refused or cut off: no less of a crowd

        await asyncio.gather(*(stranger() for _ in range(STRANGERS)))
        return answered

    return asyncio.run(main())


def _beside_a_crowd(airflow: LocalAirflow, request: bytes) -> tuple[list[float], int]:
    """Send signed webhooks beside strangers; return the seconds that each answer took, and the strangers' number."""

    async def main(over: Callable[[], bool]) -> list[float]:
        times = []
        while not over():
            began = time.perf_counter()
            if await _send(airflow.port, _signed("crowd_0")) != 200:
                raise AssertionError("A signed webhook was refused")
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)
        return times

    with ProcessPoolExecutor(1, get_context("spawn")) as others:
        crowd = others.submit(_crowd, airflow.port, request)
        return asyncio.run(main(crowd.done)), crowd.result()


def rows() -> list[Row]:
    """Their cost, Airflow's health beside long polls, and webhooks beside a crowd; on PostgreSQL."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (home / "dags").mkdir()
        new_database = stack.enter_context(postgres_server())
        connection = {"conn_type": "openanalyst", "password": "key", "extra": {"webhook_secret": SENDER.secret}}
        airflow = LocalAirflow(
            home / "airflow",
            home / "dags",
            connections=dict.fromkeys(CONNECTIONS, connection),
            database_url=new_database(),
        )
        stack.callback(airflow.stop)
        airflow.start(["api-server"])
        costs = _costs(airflow.pid("api-server"), airflow.port, {**OWN, **STRANGE})
        times, told, beyond = _beside_long_polls(airflow)
        crowds = {kind: _beside_a_crowd(airflow, request) for kind, request in (*OWN.items(), *STRANGE.items())}
        secret = {"AIRFLOW_CONN_CROWD_0": json.dumps(connection)}
        alone = stack.enter_context(ReceiverProcess(new_database(), secret))
        costs_alone = _costs(alone.process.pid, urlsplit(alone.url).port or 0, STRANGE)
    return [
        _row_of_costs(costs, costs_alone),
        _row_of_long_polls(times, told, beyond),
        _row_of_crowds(crowds),
    ]


def _row_of_costs(costs: dict[str, float], alone: dict[str, float]) -> Row:
    dearest = max(costs[kind] for kind in STRANGE)
    least, most = min(alone.values()), max(alone.values())
    return Row(
        "a stranger's request, the API server's processor time",
        f"≤ one for `{HEALTH}`, which anybody may ask for",
        "; ".join(f"{kind} {costs[kind]:.1f} ms" for kind in STRANGE)
        + f"; at most {dearest / costs[HEALTH]:.2f} of it",
        ", ".join(f"`{kind}` {costs[kind]:.1f} ms" for kind in OWN),
        dearest <= costs[HEALTH],
        f"{REQUESTS} requests, {AT_ONCE} at once, a TCP connection each, median of {ROUNDS} in turns. "
        f"The receiver alone takes {least:.1f} to {most:.1f} ms for them: the rest is Airflow's own middleware",
    )


def _row_of_long_polls(times: dict[str, list[float]], told: Counter[int], beyond: Counter[int]) -> Row:
    slowest = max(times["while they wait"] + times["while all are told"])
    figures = [
        f"{situation} p50 {percentile(found, 50) * 1000:.0f}, p95 {percentile(found, 95) * 1000:.0f}, "
        f"max {max(found) * 1000:.0f} ms"
        for situation, found in times.items()
    ]
    return Row(
        f"Airflow's health beside {MAX_WAITING_IN_ALL:,} long polls",
        "always within 2 s; whoever is beyond is refused",
        "; ".join(figures[1:]),
        figures[0],
        slowest <= 2 and set(beyond) == {429} and set(told) == {200},
        f"{MAX_WAITING} of each of {len(CONNECTIONS)} connections, all told at once by an event of each; "
        f"{beyond[429]} of {BEYOND} beyond that refused with 429; `{HEALTH}`, {LOOKS} times",
    )


def _row_of_crowds(crowds: dict[str, tuple[list[float], int]]) -> Row:
    def figure(kind: str) -> str:
        times, answered = crowds[kind]
        p50, slowest = percentile(times, 50) * 1000, max(times) * 1000
        return f"{kind} p50 {p50:.0f}, max {slowest:.0f} ms ({answered / SECONDS:.0f}/s)"

    slowest = max(max(crowds[kind][0]) for kind in STRANGE)
    return Row(
        f"a signed webhook beside {STRANGERS} connections of strangers at once",
        f"answered within {VENDORS_PATIENCE:.0f} s",
        "; ".join(map(figure, STRANGE)),
        ", ".join(map(figure, OWN)) + " instead of theirs",
        slowest <= VENDORS_PATIENCE,
        f"each sends again as soon as it is answered, for {SECONDS:.0f} s, from a process on the same two cores",
    )
