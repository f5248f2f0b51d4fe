"""Being told instead of asking, in a real Airflow: its API server has the receiver, its triggerer the hub."""

from __future__ import annotations

import json

import pytest
import requests

from airflow_provider_nenoa.emulator import Emulator
from tests.e2e.conftest import start_elsewhere
from tests.support.airflow_api import wait_until
from tests.support.local_airflow import LocalAirflow

MANY = 50


def test_fifty_workflows_cost_fifty_requests(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("many_workflows")
    run.expect("success", timeout=300)
    counts = emulator.control.counts()
    assert counts.pop("runs_started")["workflow"] == MANY
    assert counts == {"POST /runs": MANY}


def test_fifty_agents_cost_fifty_requests(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("many_agents")
    run.expect("success", timeout=300)
    counts = emulator.control.counts()
    assert counts.pop("runs_started")["agent"] == MANY
    assert counts == {"POST /v1/agents/run": MANY}


def test_a_blocking_workflow_is_told_too(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("workflow_blocking")
    run.expect("success")
    result = run.xcom("run")
    assert result["status"] == "success"
    assert result["message_id"] == run.xcom("run", "message_id")
    assert result["result"]["message_id"] == result["message_id"]
    assert run.xcom("run", "_link_NenAIRunLink") == f"https://app.getnen.ai/runs/{result['message_id']}"
    assert emulator.control.counts()["POST /runs"] == 1


def test_a_failed_workflow_fails_with_the_vendors_words(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("workflow_failed")
    run.expect("failed")
    assert "The window never opened" in run.log("run")


@pytest.mark.parametrize("faults", [{"duplicate": 2}, {"reorder": True}, {"before_reply": True}])
def test_deliveries_come_as_they_like(airflow: LocalAirflow, emulator: Emulator, faults: dict) -> None:
    emulator.control.webhook_fault(**faults)
    run = airflow.api.trigger("workflow_blocking")
    run.expect("success")
    assert emulator.control.counts()["runs_started"]["workflow"] == 1


def test_secret_parameters_are_seen_by_nobody(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("secure_workflow")
    run.expect("failed")
    log = run.log("run")
    assert "hmac_required_for_secure_params" in log
    assert "requests.auth.AuthBase" in log
    assert "sesame-8471" not in log
    assert "sesame-8471" not in json.dumps(run.task_instance("run"))


def test_sensors_end_with_a_run_that_was_started_outside_airflow(airflow: LocalAirflow, emulator: Emulator) -> None:
    message_id = start_elsewhere(airflow, emulator, seconds=None)
    run = airflow.api.trigger("started_elsewhere", conf={"message_id": message_id})
    run.wait_for("poke", "running")
    run.wait_for("reschedule", "up_for_reschedule")
    run.wait_for("deferred", "deferred")
    emulator.control.finish(message_id)
    run.expect("success")
    assert run.xcom("deferred")["result"]["status"] == "success"
    assert emulator.control.counts()["POST /runs"] == 1


@pytest.mark.needs("start_from_trigger")
def test_no_worker_waits_until_the_run_has_ended(airflow: LocalAirflow, emulator: Emulator) -> None:
    message_id = start_elsewhere(airflow, emulator, seconds=None)
    run = airflow.api.trigger("awaited_by_nobody", conf={"message_id": message_id})
    for task_id in ("template", "output"):
        run.wait_for(task_id, "deferred")
    run.wait_for("too_long", "skipped")  # by a worker, once its time was over
    for task_id in ("template", "output"):
        # A worker that begins a task leaves a log; the triggerer's stands beside it.
        folder = airflow.logs / f"tasks/dag_id={run.dag_id}/run_id={run.run_id}/task_id={task_id}"
        wait_until(
            lambda folder=folder: any(message_id in path.read_text() for path in folder.glob("*.trigger.*.log")),
            60,
            lambda folder=folder: f"no triggerer waits: {folder}",
        )
        assert all(".trigger." in path.name for path in folder.iterdir())
        assert run.task_instance(task_id)["pid"] is None
    emulator.control.finish(message_id)
    run.expect("success")
    for task_id in ("template", "output"):
        assert run.xcom(task_id)["result"]["message_id"] == message_id
    assert emulator.control.counts()["POST /runs"] == 1


@pytest.mark.needs("start_from_trigger")
def test_no_worker_ends_what_succeeded(airflow: LocalAirflow, emulator: Emulator) -> None:
    ids = {name: start_elsewhere(airflow, emulator, seconds=None) for name in ("succeeds", "fails")}
    run = airflow.api.trigger("ended_by_nobody", conf=ids)
    for task_id in ids:
        run.wait_for(task_id, "deferred")
    emulator.control.finish(ids["succeeds"])
    emulator.control.finish(ids["fails"], outcome="failed", error="The window never opened")
    run.expect("failed")
    assert run.states() == {"succeeds": "success", "fails": "failed"}
    assert {task_id: run.worker_processes(task_id) for task_id in ids} == {"succeeds": 0, "fails": 1}
    assert "ended in 'success', and with it the task" in run.log("succeeds")
    assert "The window never opened" in run.log("fails")


def test_nothing_is_started_when_nobody_would_hear_of_its_end(airflow: LocalAirflow, emulator: Emulator) -> None:
    run = airflow.api.trigger("nobody_listens")
    run.expect("failed")
    assert run.task_instance("run")["try_number"] == 1
    assert "webhook_secret" in run.log("run")
    assert emulator.control.counts()["runs_started"]["workflow"] == 0


def test_a_dag_starts_when_a_run_has_ended(airflow: LocalAirflow, emulator: Emulator) -> None:
    airflow.api.set_paused("on_run_end", False)

    def started() -> bool:
        # The watcher begins with what ends after its start, and Airflow starts it when it likes.
        start_elsewhere(airflow, emulator, seconds=0)
        return airflow.api.get("/dags/on_run_end/dagRuns", state=["success"])["total_entries"] > 0

    try:
        wait_until(started, 90, lambda: "the DAG that waits for runs was not started", every=2)
    finally:
        airflow.api.set_paused("on_run_end", True)


def test_events_survive_the_triggerer(airflow: LocalAirflow, emulator: Emulator) -> None:
    def told() -> str:
        try:
            events = airflow.api.get("/assets/events", limit=100, order_by="-timestamp")["asset_events"]
        except requests.HTTPError as error:  # Airflow 3.3 cannot show an event while the DAG run of it is queued
            return str(error)
        return json.dumps([event["extra"] for event in events])

    def one_is_told() -> bool:
        first.append(start_elsewhere(airflow, emulator, seconds=0))
        return any(run_id in told() for run_id in first)

    first: list[str] = []
    airflow.api.set_paused("on_run_end", False)
    try:
        wait_until(one_is_told, 90, told, every=2)
        before = [start_elsewhere(airflow, emulator, seconds=0) for _ in range(3)]
        airflow.kill_component("triggerer")
        while_dead = [start_elsewhere(airflow, emulator, seconds=0) for _ in range(3)]
        airflow.start_component("triggerer")
        wait_until(lambda: all(run_id in told() for run_id in before + while_dead), 120, told, every=2)
    finally:
        airflow.api.set_paused("on_run_end", True)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.crash)])
def test_what_waits_survives_the_triggerer(airflow: LocalAirflow, emulator: Emulator, count: int) -> None:
    run = airflow.api.trigger("as_many_agents", conf={"count": count})

    def deferred() -> int:
        return list(run.states().values()).count("deferred")

    wait_until(lambda: deferred() == count, 60 + 2 * count, lambda: f"{deferred()} of {count} are deferred", every=1)
    airflow.kill_component("triggerer")
    for vendors_run in emulator.control.runs():
        emulator.control.finish(vendors_run["id"])
    airflow.start_component("triggerer")
    run.expect("success", timeout=60 + 3 * count)
    assert emulator.control.counts()["POST /v1/agents/run"] == count
