"""Ten thousand runs awaited by webhook: how soon they resume, and what waiting costs, against peers' triggers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.table import Row
from tests.support.receiver import SENDERS, ReceiverProcess

WAITERS = 10_000
PEER_WAITERS = {"http": 1000, "airbyte": 50}
"""Airbyte's opens a client of its own for each: more of them take minutes."""
INTERVALS = {"http": 5.0, "airbyte": 60.0}
"""Seconds between two polls, by the peers' defaults."""
NEVER = 3600.0
"""A poll interval beyond the measurement: what is measured is waiting, not asking."""
IDLE, RATE, SECONDS = 20.0, 100.0, 10.0


def _serve(listener: socket.socket) -> None:
    """Be the vendor of both peers: whatever is asked about is still running."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps({"jobId": 1, "jobType": "sync", "startTime": "2026-01-01T00:00:00Z", "status": "running"})
            self.send_response(404 if self.path.startswith("/runs/") else 200)  # 404 tells the HTTP sensor: not yet
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(listener.getsockname()[:2], Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients are killed while connected
    server.socket = listener
    server.serve_forever()


@contextmanager
def _peers_vendor() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.kill()
        server.join()
        listener.close()


@contextmanager
def _waiters(
    name: str, count: int, interval: float, idle: float, rest: bool, environment: dict[str, str]
) -> Iterator[tuple[dict[str, float], subprocess.Popen[str]]]:
    """Run a process of waiters; give what it says of its costs, and the process."""
    arguments = [name, str(count), str(interval), str(idle), "rest" if rest else "no"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.waiters", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
    )
    try:
        yield _said(process), process
    finally:
        process.kill()
        process.wait()


def _said(process: subprocess.Popen[str]) -> dict[str, float]:
    """The next JSON object that the process says, whatever else Airflow says before it."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            found: dict[str, float] = json.loads(line)
            return found
    raise RuntimeError("The process of waiters ended without a word.")


def _send(url: str, count: int) -> load.Load:
    return load.at_a_rate(url, [load.webhook(url, "nen", f"run-{number}") for number in range(count)], RATE)


def _measure_ours() -> tuple[dict[str, float], list[float], int]:
    """Costs of waiting; seconds from a webhook's 200 to its waiter, ordered; how many webhooks got one."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ReceiverProcess(f"sqlite:///{directory}/events.db") as receiver,
        ProcessPoolExecutor(1, get_context("spawn")) as clients,
    ):
        connection = {"conn_type": "nenai", "password": "key", "extra": {"webhook_secret": SENDERS["nen"].secret}}
        environment = {"AIRFLOW_CONN_NEN": json.dumps(connection), "AIRFLOW__NENOA__RECEIVER_URL": receiver.url}
        with _waiters("ours", WAITERS, 15.0, IDLE, True, environment) as (costs, process):
            sent = clients.submit(_send, receiver.url, int(RATE * SECONDS)).result()
            assert process.stdin is not None
            process.stdin.close()
            fired = _said(process)
    late = sorted(fired[str(number)] - at for number, at in sent.answered_at.items() if str(number) in fired)
    return costs, late, sent.statuses[200]


def rows() -> list[Row]:
    """Latency, memory and CPU."""
    costs, late, accepted = _measure_ours()
    memory: dict[str, float] = {}
    with _peers_vendor() as url:
        connection = {"AIRFLOW_CONN_PEER": json.dumps({"conn_type": "http", "host": url})}
        for name, count in PEER_WAITERS.items():
            with _waiters(name, count, NEVER, 0.0, True, connection) as (peer, _):
                memory[name] = peer["bytes"]
        with _waiters("http", PEER_WAITERS["http"], INTERVALS["http"], 10.0, False, connection) as (peer, _):
            cpu = peer["cpu"]
    leanest = min(memory, key=lambda name: memory[name])
    p50, p95 = (late[len(late) * percent // 100] for percent in (50, 95))
    half = ", ".join(f"{name} {interval / 2:.1f} s" for name, interval in INTERVALS.items())
    return [
        Row(
            f"webhook accepted → waiter resumed, {WAITERS:,} waiting, {RATE:.0f} webhooks a second",
            "p95 ≤ 1 s",
            f"p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms",
            f"half the peers' default poll interval: {half}",
            p95 <= 1.0 and len(late) == accepted == int(RATE * SECONDS),
            f"{len(late):,} of {accepted:,} resumed, {late[-1] * 1000:.0f} ms at most; receiver (SQLite), waiters and "
            "sender are three processes; from the 200 at the sender to the trigger's event",
        ),
        Row(
            "memory per waiting run",
            "≤ the leanest peer's trigger",
            f"{costs['bytes'] / 1024:.1f} KiB; {costs['bytes'] / memory[leanest]:.2f} of {leanest}'s",
            ", ".join(f"{name} {each / 1024:.1f} KiB" for name, each in memory.items()),
            costs["bytes"] <= memory[leanest],
            f"growth of the resident set from 1 to {WAITERS:,} waiting `run()` in one loop (peers: "
            + ", ".join(f"{name} {count:,}" for name, count in PEER_WAITERS.items())
            + "); dbt Cloud's and Databricks' speak https only, and were not measured",
        ),
        Row(
            f"CPU of {WAITERS:,} idle waiters",
            "< 5 % of a core",
            f"{costs['cpu']:.2%}",
            f"{PEER_WAITERS['http']:,} of http's at their default interval: {cpu:.0%}",
            costs["cpu"] < 0.05 and costs["waiting"] == WAITERS + 1,
            f"over {IDLE:.0f} s, with the long poll",
        ),
    ]
