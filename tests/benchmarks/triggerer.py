"""How many runs one triggerer of a real Airflow takes: with its heartbeat kept, and each task back whose run ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import psutil
import sqlalchemy as sa

from tests.benchmarks import load
from tests.benchmarks.table import Row
from tests.support.airflow_api import wait_until
from tests.support.local_airflow import LocalAirflow
from tests.support.postgres import postgres_server
from tests.support.receiver import SENDERS
from tests.support.statsd import StatsdServer

WAITING = 12_000
"""As documented in docs/scaling.md."""
RATE, ENDS = 20.0, 200
IDLE = 30.0
"""Seconds over which the CPU is watched while nothing happens."""
HEALTHY = 30.0
"""Seconds after which Airflow gives a triggerer up that has no heartbeat: its default."""
SOON = 5.0
PATIENCE = 600.0
MIB = 2**20


class Heartbeat(threading.Thread):
    """
    Watches how old a triggerer's heartbeat gets.

    :param engine: Airflow's database.
    """

    AGE = sa.text("SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job WHERE job_type = 'TriggererJob'")

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self._engine = engine
        self._over = threading.Event()
        self.oldest = 0.0

    def run(self) -> None:
        while not self._over.wait(0.5):
            with self._engine.connect() as connection:
                self.oldest = max(self.oldest, float(connection.execute(self.AGE).scalar_one()))

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()


def rows() -> list[Row]:
    """Memory, CPU, heartbeat, and how late ends are."""
    with (
        tempfile.TemporaryDirectory() as home,
        postgres_server() as make_database,
        StatsdServer() as statsd,
        _airflow(Path(home), url := make_database(), statsd) as airflow,
    ):
        engine = sa.create_engine(url)
        triggerer = psutil.Process(airflow.pid("triggerer"))
        processes = [triggerer, *triggerer.children()]
        before = _resident(processes)
        heartbeat = Heartbeat(engine)
        heartbeat.start()
        try:
            command = [sys.executable, "-m", "tests.benchmarks.deferred", str(WAITING)]
            subprocess.run(command, env=airflow.environment, check=True)
            with engine.connect() as connection:
                # A table that grows by use is analysed as it does; until then PostgreSQL plans as if it were empty.
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("ANALYZE"))
            wait_until(
                lambda: statsd.received("waiting", conn_id="nen")[-1:] == [WAITING + 1.0],
                PATIENCE,
                lambda: f"{statsd.received('waiting')[-1:]} of {WAITING} wait",
            )
            used = _cpu(processes)
            time.sleep(IDLE)
            cpu = (_cpu(processes) - used) / IDLE
            each = (_resident(processes) - before) / WAITING
            late = _ends(airflow, engine)
        finally:
            heartbeat.stop()
            engine.dispose()
    p95 = load.percentile(late, 95)
    return [
        Row(
            f"{WAITING:,} runs that wait in one triggerer of a real Airflow, {RATE:.0f} ends a second",
            f"its heartbeat ≤ {HEALTHY:.0f} s old; webhook accepted → task scheduled p95 ≤ {SOON:.0f} s, none lost",
            f"heartbeat at most {heartbeat.oldest:.0f} s old; mean {fmean(late):.1f} s, p95 {p95:.1f} s",
            f"{HEALTHY:.0f} s: [triggerer] triggerer_health_check_threshold",
            heartbeat.oldest <= HEALTHY and p95 <= SOON and len(late) == ENDS,
            f"all were deferred at once; {cpu:.0%} of a core while nothing happens, {each / 1024:.0f} KiB for each, in "
            "its two processes; the API server with the receiver, PostgreSQL and the sender share the cores",
        )
    ]


@contextmanager
def _airflow(home: Path, database_url: str, statsd: StatsdServer) -> Iterator[LocalAirflow]:
    """An Airflow in which one task is deferred, and that schedules no more."""
    secret = {"webhook_secret": SENDERS["nen"].secret}
    with LocalAirflow(
        home,
        Path(__file__).parent / "dags",
        connections={"nen": {"conn_type": "nenai", "password": "key", "extra": secret}},
        database_url=database_url,
        environment={
            **statsd.environment,
            "AIRFLOW__TRIGGERER__CAPACITY": str(2 * WAITING),
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
        },
    ) as airflow:
        airflow.api.trigger("waiting").wait_for("wait", "deferred")
        for name in ("scheduler", "dag-processor"):
            airflow.stop_component(name)
        yield airflow


def _ends(airflow: LocalAirflow, engine: sa.Engine) -> list[float]:
    """Let runs end; return the seconds from a webhook's 200 until its task was scheduled, ascending."""
    base = f"{airflow.url}/nenoa"
    sent = load.at_a_rate([base], [load.webhook(base, "nen", f"run-{number}") for number in range(ENDS)], RATE)
    scheduled = sa.text(
        "SELECT map_index, extract(epoch FROM updated_at) FROM task_instance "
        "WHERE map_index BETWEEN 0 AND :last AND state = 'scheduled'"
    )
    found: dict[int, float] = {}

    def all_there() -> bool:
        with engine.connect() as connection:
            found.update((number, float(at)) for number, at in connection.execute(scheduled, {"last": ENDS - 1}))
        return len(found) == ENDS

    wait_until(all_there, PATIENCE, lambda: f"{len(found)} of {ENDS} tasks are scheduled", every=0.5)
    return sorted(at - sent.answered_at[number] for number, at in found.items())


def _resident(processes: list[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes)


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
