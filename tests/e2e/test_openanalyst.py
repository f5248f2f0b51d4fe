"""OpenAnalyst's operators and sensors in a real Airflow: its own processes, a real scheduler, a real triggerer."""

from __future__ import annotations

import pytest

from airflow_provider_nenoa.emulator import Emulator
from tests.e2e.conftest import SECRETS
from tests.support.airflow_api import wait_until
from tests.support.local_airflow import LocalAirflow

START = "POST /v1/agents/run"
POLL = "GET /v1/agents/runs/{run_id}"
REGIONS = ["East", "North", "South", "West"]


def started_run(emulator: Emulator, kind: str = "agent") -> str:
    """Wait until the vendor has a run of this kind, and return its id; it must be the only one."""

    def ids() -> list[str]:
        return [run["id"] for run in emulator.control.runs() if run["kind"] == kind]

    wait_until(ids, 30, lambda: f"no run of kind {kind} was started")
    (run_id,) = ids()
    return run_id


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_deferred_agent_holds_no_worker_and_is_resumed(airflow: LocalAirflow, emulator: Emulator, way: str) -> None:
    run = airflow.api.trigger(f"agent_deferred_{way}", conf={"subject": "the weather"})
    task = run.wait_for("agent", "deferred")

    pool = airflow.api.get("/pools/default_pool")
    assert (pool["running_slots"], pool["queued_slots"], pool["deferred_slots"]) == (0, 0, 1)
    assert airflow.task_processes() == {}
    assert task["trigger"]["classpath"].endswith("OpenAnalystAgentRunTrigger")

    run_id = started_run(emulator)
    emulator.control.finish(run_id)
    run.expect("success")

    result = run.xcom("agent")
    assert result["run_id"] == run_id
    assert result["agent_id"] == "agent_xyz789"
    assert result["status"] == "completed"
    assert "Summarise the weather" in str(result["result"])
    assert run.xcom("agent", "run_id") == run_id
    counts = emulator.control.counts()
    assert counts[START] == 1
    assert (counts.get(POLL, 0) == 0) == (way == "told")


@pytest.mark.parametrize("way", ["deferred_told", "deferred_polled", "blocking_polled"])
def test_an_answer_that_airflow_cannot_carry_ends_neither_the_task_nor_the_triggerer(
    airflow: LocalAirflow, emulator: Emulator, way: str
) -> None:
    run = airflow.api.trigger(f"agent_{way}")
    run.wait_for("agent", "deferred" if "deferred" in way else "running")
    emulator.control.finish(started_run(emulator), result={"number": 2**70, "text": "a\0b", "odd": {"__id__": 1}})
    run.expect("success")
    expected = {"number": str(2**70), "text": "a\ufffdb", "odd": '{"__id__": 1}'}
    assert run.xcom("agent")["result"]["result"].items() >= expected.items()


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_blocking_agent_waits_in_its_worker(airflow: LocalAirflow, emulator: Emulator, way: str) -> None:
    run = airflow.api.trigger(f"agent_blocking_{way}")
    task = run.wait_for("agent", "running")
    run_id = started_run(emulator)
    assert task["id"] in airflow.task_processes()
    assert run.states() == {"agent": "running"}

    emulator.control.finish(run_id)
    run.expect("success")
    assert run.xcom("agent")["run_id"] == run_id
    assert emulator.control.counts()[START] == 1


@pytest.mark.parametrize("mode", ["deferred", "blocking"])
def test_a_query_that_answers_at_once_and_one_that_takes_its_time(
    airflow: LocalAirflow, emulator: Emulator, mode: str
) -> None:
    run = airflow.api.trigger(f"query_{mode}")
    run.expect("success")

    rows, slow_rows = run.xcom("rows"), run.xcom("slow_rows")
    assert rows["columns"] == ["region", "quantity"]
    assert rows["row_count"] == 4
    assert [row["region"] for row in rows["rows"]] == REGIONS
    assert slow_rows["rows"] == rows["rows"]
    assert emulator.control.counts()["POST /v1/queries"] == 2


def test_one_agent_per_listed_dataset(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("mapping")
    run.expect("success")

    ids = [dataset["id"] for dataset in run.xcom("datasets")]
    assert len(ids) == 3
    for index, dataset_id in enumerate(ids):
        assert f"Describe {dataset_id}" in str(run.xcom("agent", map_index=index)["result"])
    assert emulator.control.counts()["runs_started"]["agent"] == 3


def test_sensors_wait_in_all_three_modes(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("sensors")
    for kind in ("agent", "query"):
        run.wait_for(f"{kind}_poke", "running")
        run.wait_for(f"{kind}_reschedule", "up_for_reschedule")
        run.wait_for(f"{kind}_deferred", "deferred")

    for kind in ("agent", "query"):
        emulator.control.finish(started_run(emulator, kind))
    run.expect("success")
    assert emulator.control.counts()["runs_started"] == {"agent": 1, "query": 1, "workflow": 0}


@pytest.mark.parametrize(
    ("status", "code", "route"),
    [
        (401, "UNAUTHORIZED", START),
        (404, "DATASET_NOT_FOUND", "GET /v1/datasets/{dataset_id}"),
        (422, "VALIDATION_ERROR", "POST /v1/queries"),
    ],
)
def test_what_another_try_cannot_cure_is_not_tried_again(
    airflow: LocalAirflow, emulator: Emulator, status: int, code: str, route: str
) -> None:
    run = airflow.api.trigger(f"error_{status}")
    run.expect("failed")

    task = run.task_instance("task")
    assert (task["max_tries"], task["try_number"]) == (2, 1)
    assert emulator.control.counts()[route] == 1
    log = run.log("task")
    assert code in log
    assert "req_" in log, "the vendor's request id is missing"


def test_no_secret_in_what_a_person_can_see(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("agent_deferred_told")
    emulator.control.finish(started_run(emulator))
    run.expect("success")

    rendered = run.task_instance("agent")["rendered_fields"]
    assert rendered["task_prompt"] == "Summarise sales"
    shown = f"{rendered} {run.log('agent')} {run.xcom('agent')}"
    assert not [secret for secret in SECRETS if secret in shown]
