"""
Airflow as on many machines, some of which are lost in the middle.

Celery with Redis, PostgreSQL, two workers, two triggerers, and two API servers: one for the vendors' webhooks, one for
Airflow's own components. Nothing here is timed: it may take as long as the machine needs.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from airflow_provider_nenoa.emulator import Emulator
from tests.support.airflow_api import ENDS, DagRun, wait_until
from tests.support.local_airflow import COMPONENTS, LocalAirflow, free_port

pytest.importorskip("airflow.providers.celery", reason="needs the dependency group 'ha': make ha-test")
from tests.support.redis import redis_server

COUNT = int(os.environ.get("NENOA_HA", "200"))
"""Workflows, and agents."""
FEW = 5
"""The same, where it is to be quick."""
SECONDS = 120.0
"""How long each takes at its vendor: long enough that starts, waits and ends go on at the same time."""
PATIENCE = 3600.0
"""Seconds without any of what is sure to come."""
SOON = 300.0
"""The same, where it is to be quick."""
API_KEY = "oa_live_many0123456789"
WEBHOOK_SECRET = "webhook-secret-many0123456789"
STARTS = {"workflow": "/runs", "agent": "/v1/agents/run"}
ENVIRONMENT = {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "6",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
    # What a lost worker had fetched and not begun is sent to the others.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
    # An API server takes a minute to start on a loaded machine, and is to be waited for.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "180",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "60",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "5",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "60",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "30",
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(
        openanalyst_key=API_KEY,
        nenai_key=API_KEY,
        openanalyst_webhook_secret=WEBHOOK_SECRET,
        nenai_webhook_secret=WEBHOOK_SECRET,
        plan="pro",
        agent={"seconds": SECONDS},
        workflow={"seconds": SECONDS},
    ) as emulator:
        yield emulator


@pytest.fixture
def vendors_port() -> int:
    """Where the API server listens that the vendors call."""
    return free_port()


@pytest.fixture
def count() -> int:
    """How many workflows, and agents."""
    return COUNT


@pytest.fixture
def airflow(
    emulator: Emulator, vendors_port: int, count: int, postgres_databases: Callable[[], str], tmp_path: Path
) -> Iterator[LocalAirflow]:
    with redis_server() as broker:
        airflow = LocalAirflow(
            tmp_path,
            Path(__file__).parent / "dags",
            connections={
                "openanalyst": {
                    "conn_type": "openanalyst",
                    "host": emulator.openanalyst_url,
                    "password": API_KEY,
                    "extra": {"webhook_secret": WEBHOOK_SECRET, "plan": "pro"},
                },
                "nenai": {
                    "conn_type": "nenai",
                    "host": emulator.nenai_url,
                    "password": API_KEY,
                    # NenAI sends an end once: what comes while nobody listens must be asked for.
                    "extra": {"webhook_secret": WEBHOOK_SECRET, "mcp_url": emulator.mcp_url},
                },
            },
            database_url=postgres_databases(),
            parallelism=24,
            environment={
                **ENVIRONMENT,
                "AIRFLOW__CELERY__BROKER_URL": broker,
                "AIRFLOW__NENOA__WEBHOOK_BASE_URL": f"http://127.0.0.1:{vendors_port}/nenoa",
                "NENOA_HA": str(count),
            },
        )
        try:
            airflow.start((*COMPONENTS, "worker"))
            airflow.start_component("triggerer-2")  # later than the other: its job has the higher number
            airflow.start_api_server("api-server-2", vendors_port)
            yield airflow
        finally:
            airflow.stop()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """A function that says what happens when it does: the test takes long."""
    began = time.monotonic()

    def tell(what: str) -> None:
        with capsys.disabled():
            print(f"\n{time.monotonic() - began:5.0f} s  {what}", end="", flush=True)

    return tell


def test_a_worker_a_triggerer_and_two_api_servers_are_lost(
    airflow: LocalAirflow, vendors_port: int, emulator: Emulator, tell: Callable[[str], None]
) -> None:
    airflow.start_component("worker-2")
    _, triggerer_2 = triggerers(airflow)
    run = airflow.api.trigger("many")

    def until_started(share: float) -> None:
        wait_until(lambda: started(emulator) >= share * 2 * COUNT, PATIENCE, lambda: counted(run), every=1)

    until_started(1 / 4)
    under_way = until_some(lambda: tasks_below(airflow, airflow.pid("worker-2")), run)
    airflow.kill_component("worker-2")
    tell(f"{started(emulator)} started; killed a worker with {len(under_way)} tasks under way")

    until_started(2 / 4)
    waits = until_some(lambda: waits_of(run, triggerer_2), run)
    airflow.kill_component("triggerer-2")
    tell(f"{started(emulator)} started; killed a triggerer with {len(waits)} waits")

    until_started(3 / 4)
    airflow.kill_component("api-server-2")
    tell(f"{started(emulator)} started, {ended(emulator)} ended; killed the API server for vendors")
    airflow.start_api_server("api-server-2", vendors_port)
    tell(f"{started(emulator)} started, {ended(emulator)} ended; it is there again")

    until_started(7 / 8)
    airflow.kill_component("api-server")
    tell(f"{started(emulator)} started, {ended(emulator)} ended; killed the API server for Airflow's components")
    airflow.start_component("api-server")
    tell(f"{started(emulator)} started, {ended(emulator)} ended; it is there again")

    until_started(1)
    tell("all started")
    wait_until(lambda: has_ended(run), PATIENCE, lambda: counted(run), every=5)
    tasks = run.task_instances()
    tell(f"ended: {counted(run)}; tries: {dict(Counter(task['try_number'] for task in tasks))}")
    deliveries = Counter(f"{each['kind']} {each['outcome']}" for each in emulator.control.deliveries())
    tell(f"webhooks: {dict(deliveries)}")
    tell(f"requests: {emulator.control.counts()}")
    assert_one_start_each(run, emulator, COUNT)


@pytest.mark.parametrize("count", [FEW])
def test_a_triggerer_is_lost(
    airflow: LocalAirflow, emulator: Emulator, count: int, tell: Callable[[str], None]
) -> None:
    """The short form: no run ends before the triggerer is lost with which more of them wait."""
    emulator.control.settings(agent={"seconds": None}, workflow={"seconds": None})
    names = dict(zip(triggerers(airflow), ("triggerer", "triggerer-2"), strict=True))
    tell("all is there")
    run = airflow.api.trigger("many")
    waits: dict[int, list[dict[str, Any]]] = {}

    def all_wait() -> bool:
        waits.update({job: waits_of(run, job) for job in names})
        return sum(map(len, waits.values())) == 2 * count

    wait_until(all_wait, SOON, lambda: counted(run), every=0.5)
    lost = max(names, key=lambda job: len(waits[job]))
    airflow.kill_component(names[lost])
    tell(f"all wait; killed the {names[lost]}, with {len(waits[lost])} waits")
    for each in emulator.control.runs():
        emulator.control.finish(each["id"])
    wait_until(lambda: has_ended(run), SOON, lambda: counted(run), every=0.5)
    tell(f"ended: {counted(run)}")
    assert_one_start_each(run, emulator, count)
    assert {task["try_number"] for task in run.task_instances()} == {1}


def assert_one_start_each(run: DagRun, emulator: Emulator, count: int) -> None:
    """All tasks have succeeded; the vendors were asked to start as many runs, and had to refuse nothing."""
    assert Counter(run.states().values()) == {"success": 2 * count}, run.failures()
    assert [asked for asked in emulator.control.requests() if asked["status"] == 429] == []
    for kind in STARTS:
        assert starts(emulator, kind) == dict.fromkeys(range(count), 1), kind
        theirs = {each["id"] for each in emulator.control.runs() if each["kind"] == kind}
        ours = [run.xcom(kind, map_index=number) for number in range(count)]
        assert {result["message_id" if kind == "workflow" else "run_id"] for result in ours} == theirs


def starts(emulator: Emulator, kind: str) -> dict[int, int]:
    """How often the vendor was asked to start the run with a number."""
    name = "workflow_params" if kind == "workflow" else "context"
    bodies = [
        each["body"] for each in emulator.control.requests() if (each["method"], each["path"]) == ("POST", STARTS[kind])
    ]
    return dict(Counter(body[name]["number"] for body in bodies))


def started(emulator: Emulator) -> int:
    """How many runs the vendors have started."""
    return len(emulator.control.runs())


def ended(emulator: Emulator) -> int:
    """How many of them have ended."""
    return sum(each["ended"] for each in emulator.control.runs())


def triggerers(airflow: LocalAirflow) -> list[int]:
    """The ids of the triggerers' jobs, in the order in which they were started."""
    return sorted(job["id"] for job in airflow.api.get("/jobs", job_type="TriggererJob")["jobs"])


def tasks_below(airflow: LocalAirflow, worker: int) -> list[psutil.Process]:
    """The processes of a worker that run a task's code."""
    return [
        process
        for process in airflow.task_processes().values()
        if any(parent.pid == worker for parent in process.parents())
    ]


def waits_of(run: DagRun, triggerer: int) -> list[dict[str, Any]]:
    """The tasks that wait in a triggerer, by the id of its job."""
    return [task for task in run.task_instances() if (task["triggerer_job"] or {}).get("id") == triggerer]


def until_some(look: Callable[[], list[Any]], run: DagRun) -> list[Any]:
    """Wait until there is something to be lost, and return it."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = look()
        return bool(found)

    wait_until(there, PATIENCE, lambda: counted(run), every=0.5)
    return found


def has_ended(run: DagRun) -> bool:
    try:
        return run.state in ENDS
    except requests.Timeout:
        return False  # it is busy


def counted(run: DagRun) -> str:
    """How many tasks are in which state."""
    return str(dict(Counter(run.states().values())))
