"""How the cost grows: with the number of waiting runs, ours and peers', and with the number of receiver processes."""

from __future__ import annotations

import os
import statistics
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

from airflow_provider_nenoa.webhooks.client import ReceiverClient
from tests.benchmarks import load, waiting
from tests.benchmarks.peers import PEERS
from tests.benchmarks.plots import COLOURS, GREY, Line, Panel, Plot
from tests.benchmarks.receiver import KEY
from tests.benchmarks.table import Row
from tests.support.postgres import postgres_server
from tests.support.receiver import SENDERS, ReceiverProcess

WAITERS = (10, 100, 1000, waiting.WAITERS)
PROCESSES = (1, 2, 4, 8)
ROUNDS = 3
WEBHOOKS = 3000
CONNECTIONS = 32
"""For each process."""
RATE, SECONDS = 200.0, 5.0
PATIENCE = 5.0
"""Seconds without news after which a reader takes it that nothing more comes."""
MIB = 2**20


class Reader(threading.Thread):
    """
    Follows the events through one receiver while webhooks come in, as a triggerer does.

    :param base_url: The receiver.
    """

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._client = ReceiverClient("nen", SENDERS["nen"].secret, base_url)
        self._cursor = self._client.events().cursor
        self.all_sent = threading.Event()
        self.read: Counter[str] = Counter()
        """How often each run was among the events."""

    def run(self) -> None:
        while True:
            all_sent = self.all_sent.is_set()
            page = self._client.events(after=self._cursor, wait=PATIENCE)
            self._cursor = page.cursor
            self.read.update(event.run_id for event in page.events)
            if all_sent and not page.events:
                return


@dataclass(frozen=True)
class Received:
    """
    What became of webhooks, each of a run of its own.

    :param sent: The runs.
    :param stored: Webhooks that were answered with 200.
    :param read: How often each run was read.
    :param per_second: Webhooks taken per second, as fast as possible, by the number of processes.
    :param latencies: Seconds to the answers at a steady rate, by the number of processes.
    """

    sent: Sequence[str]
    stored: int
    read: Counter[str]
    per_second: dict[int, float]
    latencies: dict[int, list[float]]


def _send(urls: Sequence[str], run_ids: Sequence[str], per_second: float | None) -> load.Load:
    webhooks = [load.webhook(urls[0], "nen", run_id) for run_id in run_ids]
    if per_second is None:
        return load.as_fast_as_possible(urls, webhooks, CONNECTIONS * len(urls))
    return load.at_a_rate(urls, webhooks, per_second)


@cache
def _received() -> Received:
    """Send webhooks to one of eight receivers on one database, then to two of them, and so on."""
    run_ids: list[str] = []
    loads: list[load.Load] = []
    with (
        postgres_server() as new_database,
        ProcessPoolExecutor(1, get_context("spawn")) as clients,
        ExitStack() as stack,
    ):
        database = new_database()
        receivers = [ReceiverProcess(database, {"AIRFLOW__CORE__FERNET_KEY": KEY}) for _ in range(max(PROCESSES))]
        urls = [stack.enter_context(receiver).url for receiver in receivers]
        reader = Reader(urls[0])
        reader.start()

        def send(count: int, webhooks: int, per_second: float | None = None) -> load.Load:
            run_ids.extend(uuid.uuid4().hex for _ in range(webhooks))
            loads.append(clients.submit(_send, urls[:count], run_ids[-webhooks:], per_second).result())
            return loads[-1]

        try:
            fast = [{count: send(count, WEBHOOKS).per_second for count in PROCESSES} for _ in range(ROUNDS)]
            steady = {count: send(count, int(RATE * SECONDS), RATE).latencies for count in PROCESSES}
        finally:
            reader.all_sent.set()
            reader.join()
    per_second = {count: statistics.median(each[count] for each in fast) for count in PROCESSES}
    return Received(run_ids, sum(each.statuses[200] for each in loads), reader.read, per_second, steady)


def rows() -> list[Row]:
    """Whether several receivers lose or repeat anything."""
    received = _received()
    once = sum(received.read[run_id] == 1 for run_id in received.sent)
    sent = len(received.sent)
    return [
        Row(
            f"webhooks to {', '.join(map(str, PROCESSES))} receiver processes on one PostgreSQL database",
            "all stored, each read exactly once",
            f"{received.stored:,} stored, {once:,} read exactly once",
            f"{sent:,} sent, each of a run of its own",
            received.stored == once == sent,
            "read through one of the receivers, by a cursor that follows the events while they come in",
        ),
    ]


def plots() -> list[Plot]:
    """By the number of waiting runs, and by the number of receiver processes."""
    return [_by_waiters(), _by_processes()]


def _by_waiters() -> Plot:
    resumed = {count: waiting.ours(count)[1] for count in WAITERS}
    costs = {
        "ours": {count: waiting.ours(count)[0] for count in WAITERS},
        **{
            name: {count: waiting.peers(name, count) for count in WAITERS if count <= peer.waiters}
            for name, peer in PEERS.items()
        },
    }
    colours = dict(zip(costs, COLOURS, strict=True))
    lean = [name for name in costs if max(costs[name]) >= 1000]
    intervals = {PEERS[name].interval: name for name in lean if name in PEERS}
    p50, p95 = (
        {count: load.percentile(each.late, percent) * 1000 for count, each in resumed.items()} for percent in (50, 95)
    )

    def points(name: str, of: Callable[[waiting.Cost], float]) -> dict[int, float]:
        return {count: of(cost) for count, cost in costs[name].items()}

    def panel(title: str, lines: list[Line]) -> Panel:
        return Panel(title, "waiting runs", WAITERS, lines)

    def cells(name: str, count: int, cost: waiting.Cost) -> tuple[str, ...]:
        if name == "ours":
            late = f"p50 {p50[count]:.1f} ms, p95 {p95[count]:.1f} ms"
        else:
            late = f"{PEERS[name].interval / 2:.0f} s on average"
        memory = f"{cost.added / MIB:.2f} MiB", f"{cost.each / 1024:.1f} KiB"
        return name, f"{count:,}", *memory, f"{cost.cpu:.3%}", f"{cost.asked:,.0f}", late

    return Plot(
        "growth-waiters",
        "With the number of waiting runs",
        "Triggers in one process wait for runs that go on; the peers' at their default intervals. Airbyte's and "
        "Anthropic's open a client each, so fewer of them are measured; their CPU and requests are in the table. How "
        "late the waiter knows of the end is measured for ours, from the webhook's 200, and reckoned for the peers: "
        "half of their interval.",
        [
            panel(
                "resident memory for each, KiB",
                [Line(name, points(name, lambda cost: cost.each / 1024), colours[name]) for name in costs],
            ),
            panel(
                "CPU for all, % of a core",
                [Line(name, points(name, lambda cost: cost.cpu * 100), colours[name]) for name in lean],
            ),
            panel(
                "vendor requests an hour for all",
                [
                    Line("ours", points("ours", lambda cost: cost.asked), colours["ours"]),
                    *(
                        Line(f"peers, every {interval:.0f} s", points(name, lambda cost: cost.asked), GREY)
                        for interval, name in intervals.items()
                    ),
                ],
            ),
            panel(
                "until the waiter knows of the end, ms",
                [
                    Line("ours, p50", p50, colours["ours"], dashed=True),
                    Line("ours, p95", p95, colours["ours"]),
                    *(
                        Line(f"peers, every {each:.0f} s", dict.fromkeys(WAITERS, each / 2 * 1000), GREY, dashed=True)
                        for each in intervals
                    ),
                ],
            ),
        ],
        ("triggers", "waiting", "memory", "each", "CPU", "vendor requests an hour", "knows of the end after"),
        [cells(name, count, cost) for name in costs for count, cost in costs[name].items()],
    )


def _by_processes() -> Plot:
    received = _received()
    cores = len(os.sched_getaffinity(0))
    p50, p99 = (
        {count: load.percentile(latencies, percent) * 1000 for count, latencies in received.latencies.items()}
        for percent in (50, 99)
    )
    x = f"receiver processes, on {cores} cores"
    return Plot(
        "growth-receivers",
        "With the number of receiver processes",
        f"One PostgreSQL database. It, the receivers, the sender and a reader who follows the events share {cores} "
        f"cores, so more processes cannot bring much more; they are to show that nothing gets lost. {CONNECTIONS} "
        "connections to each process, as fast as it can. Commits take turns, for the order of the events: a process "
        "takes more at a time when more come in.",
        [
            Panel("webhooks a second", x, PROCESSES, [Line("", received.per_second, COLOURS[0])], log=False),
            Panel(
                f"answered after, ms, at {RATE:.0f} webhooks a second",
                x,
                PROCESSES,
                [Line("p50", p50, COLOURS[0]), Line("p99", p99, COLOURS[1])],
            ),
        ],
        ("processes", "webhooks a second", "answered, p50", "p99", "at most"),
        [
            (
                str(count),
                f"{received.per_second[count]:,.0f}",
                f"{p50[count]:.1f} ms",
                f"{p99[count]:.1f} ms",
                f"{max(received.latencies[count]) * 1000:.1f} ms",
            )
            for count in PROCESSES
        ],
    )
