"""Which run belongs to whom: mapped tasks in a task group, several runs of a DAG, and a DAG that changes meanwhile."""

from __future__ import annotations

import pytest

from tests.e2e.crash.stage import MODES, Stage
from tests.support.airflow_api import DagRun
from tests.support.local_airflow import LocalAirflow

NUMBERS = ("one", "two", "three")


@pytest.mark.crash
@pytest.mark.parametrize("mode", MODES)
def test_each_mapped_task_goes_on_with_its_own_run(airflow: LocalAirflow, mode: str) -> None:
    """All are killed, come back at different times (back-off), in two runs of a DAG that depends on its past."""
    with Stage(airflow, "agent", mode, seconds=None, dies="remembered", dag="_mapped") as stage:
        first, second = (trigger(stage, f"2026-01-0{day}T00:00:00Z") for day in (1, 2))
        for run in (first, second):
            stage.until("adopted", lambda run=run: attempts(run) == [2, 2, 2] and waiting(run))
            for run_id in {run["id"] for run in stage.emulator.control.runs() if not run["ended"]}:
                stage.emulator.control.finish(run_id)
            run.expect("success")
            assert len(stage.runs()) == (3 if run is first else 6)
        results = [[run.xcom("group.mapped", map_index=index) for index in range(3)] for run in (first, second)]
        for run, of_run in zip((first, second), results, strict=True):
            for number, result in zip(NUMBERS, of_run, strict=True):
                assert f"Describe {number} of {run.run_id}" in str(result["result"])
        assert len({result["run_id"] for of_run in results for result in of_run}) == 6


@pytest.mark.crash
def test_a_new_version_of_the_dag_goes_on_with_the_run_that_the_old_one_started(airflow: LocalAirflow) -> None:
    with Stage(airflow, "agent", "deferrable", seconds=None, dag="_changing") as stage:
        stage.trigger()
        stage.until_waiting()
        assert stage.task()["dag_version"]["version_number"] == 1

        (airflow.home / "changed").touch()
        stage.until("parsed anew", lambda: len(versions(stage)) == 2)
        stage.run.set_state("task", "failed")
        stage.until_ended()
        stage.api.post(
            f"/dags/{stage.dag_id}/clearTaskInstances",
            {"dry_run": False, "only_failed": False, "dag_run_id": stage.run.run_id, "run_on_latest_version": True},
        )
        stage.until_waiting(attempt=2)
        assert stage.task()["dag_version"]["version_number"] == 2

        stage.finish()
        outcome = stage.outcome()
        assert (outcome.posts, outcome.runs, outcome.end) == (1, 1, "success"), stage.story()


def trigger(stage: Stage, logical_date: str) -> DagRun:
    """Start a run with a logical date: a task looks at its past only in such a one."""
    stage.api.request("PATCH", f"/dags/{stage.dag_id}", json={"is_paused": False})
    run = stage.api.post(f"/dags/{stage.dag_id}/dagRuns", {"logical_date": logical_date, "conf": stage.conf})
    return DagRun(stage.api, stage.dag_id, run["dag_run_id"])


def attempts(run: DagRun) -> list[int]:
    return [task["try_number"] for task in run.task_instances()]


def waiting(run: DagRun) -> bool:
    """Whether every task of the run has said which run it goes on with, or has been deferred after that."""
    return all(task["state"] in ("running", "deferred") for task in run.task_instances()) and all(
        "Going on with" in run.log("group.mapped", 2, index) for index in range(3)
    )


def versions(stage: Stage) -> list[object]:
    found: list[object] = stage.api.get(f"/dags/{stage.dag_id}/dagVersions")["dag_versions"]
    return found
