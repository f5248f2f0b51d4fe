"""Every example DAG, as it is, in a real Airflow: each ends as it says, whoever starts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator
from tests.e2e.conftest import EXAMPLES, start_elsewhere
from tests.support.airflow_api import DagRun, wait_until
from tests.support.dag_tests import dags_in
from tests.support.local_airflow import LocalAirflow

DAGS = {dag.dag_id: dag for path in sorted(EXAMPLES.glob("*.py")) for dag in dags_in(path)}
FAILS = {"nenoa_notifier"}
STARTED_BY_OTHERS = {
    "nenoa_assets_consumer": "the asset that nenoa_assets_producer makes",
    "nenoa_on_run_end": "a run that was started outside Airflow",
    "nenoa_taskflow": "its schedule",
    "openanalyst_wait_only": "openanalyst_start_only",
}


@pytest.fixture(scope="module")
def ended(
    session_airflow: LocalAirflow, session_emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, DagRun]]:
    """One run of each DAG, all at once, that has ended."""
    api = session_airflow.api
    session_emulator.control.reset()
    output = tmp_path_factory.mktemp("output").as_uri()

    def first_run(dag_id: str) -> DagRun:
        def found() -> list[dict[str, Any]]:
            if dag_id == "nenoa_on_run_end":  # Airflow starts its watcher when it likes
                start_elsewhere(session_airflow, session_emulator, 0, "nenai_default")
            runs: list[dict[str, Any]] = api.get(f"/dags/{dag_id}/dagRuns", order_by="run_after")["dag_runs"]
            return runs

        wait_until(found, 120, lambda: f"no run of {dag_id} was started by {STARTED_BY_OTHERS[dag_id]}", every=1)
        return DagRun(api, dag_id, found()[0]["dag_run_id"])

    try:
        for dag_id in STARTED_BY_OTHERS:
            api.wait_for_dag(dag_id)
            api.set_paused(dag_id, False)
        runs = {
            dag_id: api.trigger(dag_id, conf={"output": output} if "output" in dag.params else None)
            for dag_id, dag in DAGS.items()
            if dag_id not in STARTED_BY_OTHERS
        }
        for run in runs.values():
            run.wait()
        runs |= {dag_id: first_run(dag_id) for dag_id in STARTED_BY_OTHERS}
        for dag_id in STARTED_BY_OTHERS:
            runs[dag_id].wait()
        yield runs
    finally:
        for dag_id in DAGS:
            api.set_paused(dag_id, True)
        api.end_all_runs()


@pytest.mark.parametrize("dag_id", DAGS)
def test_it_ends_as_it_says(ended: dict[str, DagRun], dag_id: str) -> None:
    ended[dag_id].expect("failed" if dag_id in FAILS else "success")


def test_the_event_of_an_asset_tells_the_run(session_airflow: LocalAirflow, ended: dict[str, DagRun]) -> None:
    run_id = ended["nenoa_assets_producer"].xcom("summarize")["run_id"]
    events = session_airflow.api.get("/assets/events", source_dag_id="nenoa_assets_producer")["asset_events"]
    # Its schedule may have made one, too.
    told = {event["extra"]["run_id"]: event["extra"]["status"] for event in events}
    assert told[run_id] == "completed"
    assert ended["nenoa_assets_consumer"].xcom("use") in {f"run {each} ended with {told[each]}" for each in told}


def test_an_agent_is_told_of_a_failure(ended: dict[str, DagRun]) -> None:
    log = ended["nenoa_notifier"].log("misspelt")
    assert "VALIDATION_ERROR" in log
    assert "About the failure of misspelt the agent says:" in log


@pytest.mark.needs("common_ai")
def test_airflows_agent_asks_openanalysts(ended: dict[str, DagRun]) -> None:
    run = ended["openanalyst_agent_as_tool"]
    assert "Tool call sequence: ask_sales_analyst" in run.log("review")
    assert "ask_sales_analyst" in run.xcom("review")


def test_decorated_tasks_are_deferred_and_mapped(ended: dict[str, DagRun], session_emulator: Emulator) -> None:
    run = ended["nenoa_taskflow"]
    regions = [run.xcom("sales", map_index=index)["rows"] for index in (0, 1)]
    assert regions[0] != regions[1]
    for task_id in ("explain", "publish"):
        for index in (0, 1):
            assert "Pausing task as DEFERRED" in run.log(task_id, map_index=index)


def test_files_are_where_the_tasks_say(ended: dict[str, DagRun]) -> None:
    files = [*ended["nenai_files"].xcom("fetch_invoices")["files"], *ended["nenai_files"].xcom("download")]
    files += ended["openanalyst_quality_and_export"].xcom("export")["files"]
    assert len(files) == 3
    for file in files:
        assert Path(file["path"].removeprefix("file://")).stat().st_size == file["size"]
