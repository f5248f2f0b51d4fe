"""Ten thousand runs awaited by webhook: how soon they resume, and what waiting costs, against peers' triggers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

from tests.benchmarks import load
from tests.benchmarks.peers import PEERS, Vendor, waiting_on
from tests.benchmarks.table import Row
from tests.benchmarks.waiters import WaitersProcess
from tests.support.receiver import SENDERS, ReceiverProcess

WAITERS = 10_000
ARRIVING = 1000.0
"""Triggers that begin to wait, per second; peers' come as their first polls can be answered."""
PEERS_ARRIVING = 100.0
IDLE = 20.0
"""Seconds over which ours are watched: as long as a long poll lasts."""
INTERVALS = 3
"""Poll intervals over which peers' are watched."""
RATE, SECONDS = 100.0, 10.0
PATIENCE = 10.0
"""Seconds after the last webhook for which waiters may still resume."""
HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """
    What a process full of waiting triggers costs.

    :param added: Bytes of memory that they add to a process with one of them.
    :param each: The same for each.
    :param cpu: Share of a core while they wait.
    :param asked: Requests that the vendor gets in an hour.
    """

    added: int
    each: float
    cpu: float
    asked: float


@dataclass(frozen=True)
class Resumed:
    """
    How soon waiters resumed.

    :param told: Webhooks that were accepted.
    :param late: Seconds from a webhook's 200 at the sender to the trigger's event, ascending: one for each that fired.
    """

    told: int
    late: Sequence[float]


@cache
def ours(count: int) -> tuple[Cost, Resumed]:
    """Let so many of our triggers wait for webhooks, then send some."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ReceiverProcess(f"sqlite:///{directory}/events.db") as receiver,
        Vendor(running=(404, {}), ended=(404, {})) as vendor,
        ProcessPoolExecutor(1, get_context("spawn")) as clients,
    ):
        connection = {
            "conn_type": "nenai",
            "host": vendor.url,
            "password": "key",
            "extra": {"webhook_secret": SENDERS["nen"].secret},
        }
        environment = {
            "AIRFLOW_CONN_NEN": json.dumps(connection),
            "AIRFLOW__NENOA__RECEIVER_URL": receiver.url,
            **vendor.environment,
        }
        with WaitersProcess("ours", environment) as waiters:
            added = _added(waiters, count, ARRIVING)
            before = vendor.asked
            cpu = waiters.ask("live", IDLE, False) / IDLE
            asked = (vendor.asked - before) / IDLE * HOUR
            _must_wait(waiters)
            sent = clients.submit(_send, receiver.url, min(count, int(RATE * SECONDS))).result()
            told = sent.statuses[200]
            fired = waiters.ask("fired", told, PATIENCE)
    late = sorted(fired[str(number)][0] - at for number, at in sent.answered_at.items() if str(number) in fired)
    return Cost(added, added / (count - 1), cpu, asked), Resumed(told, late)


@cache
def peers(name: str, count: int) -> Cost:
    """Let so many triggers of a peer wait, at their default interval."""
    seconds = INTERVALS * PEERS[name].interval
    with waiting_on(name) as (vendor, waiters):
        added = _added(waiters, count, PEERS_ARRIVING)
        before = vendor.asked
        cpu = waiters.ask("live", seconds, True) / seconds
        asked = (vendor.asked - before) / seconds * HOUR
        _must_wait(waiters)
    return Cost(added, added / (count - 1), cpu, asked)


def _added(waiters: WaitersProcess, count: int, per_second: float) -> int:
    waiters.ask("start", 1, per_second)  # what is loaded and opened once is no waiter's
    before = waiters.ask("resident")
    waiters.ask("start", count - 1, per_second)
    added: int = waiters.ask("resident") - before
    return added


def _must_wait(waiters: WaitersProcess) -> None:
    if fired := waiters.ask("fired", 0, 0.0):
        raise RuntimeError(f"Triggers fired that were to wait, among them: {next(iter(fired.items()))}")


def _send(url: str, count: int) -> load.Load:
    return load.at_a_rate([url], [load.webhook(url, "nen", f"run-{number}") for number in range(count)], RATE)


def rows() -> list[Row]:
    """Latency, memory and CPU."""
    cost, resumed = ours(WAITERS)
    of_peers = {name: peers(name, peer.waiters) for name, peer in PEERS.items()}
    ordered = sorted(of_peers, key=lambda name: of_peers[name].each)
    leanest = of_peers[ordered[0]]
    late, sent = resumed.late, int(RATE * SECONDS)
    p50, p95 = load.percentile(late, 50), load.percentile(late, 95)
    busiest = max(PEERS, key=lambda name: of_peers[name].cpu)
    return [
        Row(
            f"webhook accepted → waiter resumed, {WAITERS:,} waiting, {RATE:.0f} webhooks a second",
            "p95 ≤ 1 s, none lost",
            f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms",
            "half the peers' default poll interval: "
            + ", ".join(f"{name} {peer.interval / 2:.0f} s" for name, peer in PEERS.items()),
            p95 <= 1.0 and len(late) == resumed.told == sent,
            f"{len(late):,} of {sent:,} resumed, {late[-1] * 1000:.1f} ms at most; receiver (SQLite), waiters and "
            "sender are three processes; from the 200 at the sender to the trigger's event",
        ),
        Row(
            "memory per waiting run",
            "≤ the leanest peer's trigger",
            f"{cost.each / 1024:.1f} KiB; {cost.each / leanest.each:.2f} of {ordered[0]}'s",
            ", ".join(f"{name} {of_peers[name].each / 1024:.1f} KiB" for name in ordered),
            cost.each <= leanest.each,
            f"growth of the resident set from 1 to {WAITERS:,} waiting triggers in one loop, at rest; peers: "
            + ", ".join(f"{name} {PEERS[name].waiters:,}" for name in ordered)
            + f", which come one after the other, {PEERS_ARRIVING:.0f} a second",
        ),
        Row(
            f"CPU of {WAITERS:,} idle waiters",
            "< 5 % of a core",
            f"{cost.cpu:.3%}",
            f"{PEERS[busiest].waiters:,} of {busiest}'s, every {PEERS[busiest].interval:.0f} s: "
            f"{of_peers[busiest].cpu:.1%}",
            cost.cpu < 0.05,
            f"over {IDLE:.0f} s, a long poll included; peers over {INTERVALS} intervals, by the clock of a loop that "
            "skips the time between two polls",
        ),
    ]
