"""Signed webhooks a second, each answered after its commit, against a bare route that does one INSERT and COMMIT."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path

import requests
from cryptography.fernet import Fernet

from tests.benchmarks import bare, load
from tests.benchmarks.table import Row
from tests.support.postgres import postgres_server
from tests.support.receiver import ReceiverProcess

ROUNDS = 3
REQUESTS = 600
CONNECTIONS = 32
RATE, SECONDS = 200.0, 10.0
KEY = Fernet.generate_key().decode()
"""Payloads are encrypted, as in production."""
VENDORS_PATIENCE = 5.0
"""Seconds after which NenAI gives up on a delivery; OpenAnalyst does after 10."""


@contextmanager
def _bare_server(database_url: str, threaded: str) -> Iterator[str]:
    """Run the bare route under the same server, with the same options, as the receiver; give its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.bare:create_app", "--factory", "--port", port]
    server = subprocess.Popen(
        [*command, "--http", "h11", "--log-level", "warning", "--no-access-log"],
        env={**os.environ, bare.DATABASE: database_url, bare.THREADED: threaded},
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except requests.ConnectionError:
                if server.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/nenoa"
    finally:
        server.kill()
        server.wait()


def _fast(url: str) -> load.Load:
    webhooks = [load.webhook(url, "nen", uuid.uuid4().hex) for _ in range(REQUESTS)]
    return load.as_fast_as_possible([url], webhooks, CONNECTIONS)


def _steady(url: str) -> load.Load:
    webhooks = [load.webhook(url, "nen", uuid.uuid4().hex) for _ in range(int(RATE * SECONDS))]
    return load.at_a_rate([url], webhooks, RATE)


def _rows(database: str, new_url: Callable[[], str], clients: ProcessPoolExecutor) -> list[Row]:
    # On SQLite, inserts from many threads end in "database is locked": there, the event loop's one thread is the way.
    ways = {"in the event loop": "no", **({} if database == "SQLite" else {"in threads": "yes"})}
    with ExitStack() as stack:
        servers = {
            **{way: stack.enter_context(_bare_server(new_url(), threaded)) for way, threaded in ways.items()},
            "ours": stack.enter_context(ReceiverProcess(new_url(), {"AIRFLOW__CORE__FERNET_KEY": KEY})).url,
        }
        loads: dict[str, list[load.Load]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, url in servers.items():
                loads[name].append(clients.submit(_fast, url).result())
        steady = clients.submit(_steady, servers["ours"]).result()
    refused = sum(each.statuses.total() - each.statuses[200] for each in loads["ours"])
    rate = {name: statistics.median(each.per_second for each in all_) for name, all_ in loads.items()}
    best = max(rate[way] for way in ways)
    slowest = max(steady.latencies)
    p50, p99 = (load.percentile(steady.latencies, percent) * 1000 for percent in (50, 99))
    answered = steady.statuses[200]
    return [
        Row(
            f"receiver, signed webhooks a second, durable, {database}",
            "≥ 0.8 of a bare route, the faster one",
            f"{rate['ours']:.0f}/s; {rate['ours'] / best:.2f} of the bare route",
            "bare FastAPI route, INSERT " + ", ".join(f"{way} {rate[way]:.0f}/s" for way in ways),
            rate["ours"] >= 0.8 * best and not refused,
            f"{CONNECTIONS} kept-alive connections, {REQUESTS} webhooks, median of {ROUNDS} in turns, one process each"
            "; ours verifies, encrypts, and keeps one row per run in order, several deliveries to a commit"
            + (f"; {refused} were not answered with 200" if refused else ""),
        ),
        Row(
            f"answers at {RATE:.0f} webhooks a second for {SECONDS:.0f} s, {database}",
            f"all within {VENDORS_PATIENCE:.0f} s",
            f"max {slowest * 1000:.0f} ms",
            f"{slowest / VENDORS_PATIENCE:.3f} of the vendor's patience",
            slowest <= VENDORS_PATIENCE and answered == int(RATE * SECONDS),
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; {answered:,} answered with 200, by one process",
        ),
    ]


def rows() -> list[Row]:
    """Throughput and latency, on SQLite and on PostgreSQL."""
    # Clients are a process of their own, lest they and this one share an interpreter.
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as clients,
        tempfile.TemporaryDirectory() as directory,
        postgres_server() as new_postgres,
    ):
        return [
            *_rows("SQLite", lambda: f"sqlite:///{Path(directory) / uuid.uuid4().hex}.db", clients),
            *_rows("PostgreSQL", new_postgres, clients),
        ]
