"""What Airflow expects of a provider, in a real one: lineage, and retries when the vendor listens again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator
from tests.support.local_airflow import LocalAirflow
from tests.support.openlineage import check_event

NAMESPACE = "openanalyst://127.0.0.1:"


@pytest.fixture
def told(airflow: LocalAirflow) -> Iterator[Path]:
    """Where OpenLineage's provider writes what the scheduler's workers tell it, while this test runs."""
    path = airflow.home / "openlineage.jsonl"
    transport = {"type": "file", "log_file_path": str(path), "append": True}
    airflow.stop_component("scheduler")
    airflow.environment["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    airflow.start_component("scheduler")
    yield path
    airflow.stop_component("scheduler")
    del airflow.environment["AIRFLOW__OPENLINEAGE__TRANSPORT"]
    airflow.start_component("scheduler")


def test_lineage(airflow: LocalAirflow, emulator: Emulator, told: Path, tmp_path: Path) -> None:
    run = airflow.api.trigger("lineage", conf={"out": str(tmp_path)})
    run.expect("failed")
    states = run.states()
    assert states.pop("failing") == "failed"
    assert set(states) == {"query", "sql", "agents[0]", "agents[1]"}
    assert set(states.values()) == {"success"}, run.failures()

    events: list[dict[str, Any]] = [json.loads(line) for line in told.read_text().splitlines()]
    for event in events:
        check_event(event)

    def ends(task_id: str) -> list[dict[str, Any]]:
        return [
            event
            for event in events
            if event["job"]["name"] == f"lineage.{task_id}" and event["eventType"] in ("COMPLETE", "FAIL")
        ]

    (query,) = ends("query")
    (table,) = query["inputs"]
    assert table["namespace"].startswith(NAMESPACE)
    assert table["name"] == "ds_abc123.sales"
    assert "revenue" in {field["name"] for field in table["facets"]["schema"]["fields"]}
    (file,) = query["outputs"]
    assert file["name"] == str(tmp_path / "revenue.csv")
    (source,) = file["facets"]["columnLineage"]["fields"]["revenue"]["inputFields"]
    assert (source["name"], source["field"]) == ("ds_abc123.sales", "revenue")
    assert query["job"]["facets"]["sql"]["query"].startswith("SELECT region")
    assert "none of them" not in json.dumps(query["job"]["facets"]["sql"])
    assert query["run"]["facets"]["nenoa_run"]["status"] == "completed"

    (sql,) = ends("sql")
    assert [(each["namespace"], each["name"]) for each in sql["inputs"]] == [(table["namespace"], table["name"])]

    agents = [event["run"]["facets"]["nenoa_run"] for event in ends("agents")]
    assert {facet["runId"] for facet in agents} == {run.xcom("agents", map_index=index)["run_id"] for index in (0, 1)}
    assert {facet["status"] for facet in agents} == {"completed"}

    (failing,) = ends("failing")
    assert failing["eventType"] == "FAIL"
    facet = failing["run"]["facets"]["nenoa_run"]
    assert (facet["vendor"], facet["status"], facet["error"]) == ("NenAI", "failed", "The window never opened")
    assert facet["url"] == f"https://app.getnen.ai/runs/{facet['runId']}"
    assert "The window never opened" in failing["run"]["facets"]["errorMessage"]["message"]


@pytest.mark.needs("retry_policy")
def test_the_next_attempt_comes_when_the_vendor_listens_again(airflow: LocalAirflow, emulator: Emulator) -> None:
    emulator.control.fault("status", path="/v1/agents/run", status=429, headers={"Retry-After": "5"})
    run = airflow.api.trigger("retry_after")
    run.expect("success", timeout=60)  # and not in a day
    assert run.task_instance("agent")["try_number"] == 2
    asked = [each["time"] for each in emulator.control.requests() if each["route"] == "/v1/agents/run"]
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 5
    assert emulator.control.counts()["runs_started"]["agent"] == 1
    assert "listens again in 5 s" in run.log("agent")
